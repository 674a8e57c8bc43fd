"""Heat conduction solved: by a network or by finite volumes, with what stands behind the numbers.

Source: ours.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ase_mlx.heat import Problem, finite_volumes
from ase_mlx.heat.volumes import CLOSE, Grid
from ase_mlx.learn.config import build
from ase_mlx.learn.recipes.heat import CONVERGED, HeatRecipe, HeatTraining, read_sensors
from ase_mlx.models.heat import HeatField, problem_of
from ase_mlx.models.heat.balance import balance
from ase_mlx.progress import Progress
from ase_mlx.whole.tables import write_csv

from .equations import fitted

FILES = ("temperature.csv", "heat.png", "unknowns.csv")
"""What a job may write beside the model."""
MOST_WINDOWS = 16
"""Stretches of time into which a problem is cut at most where it does not converge in fewer."""
LOOSE = 1e4
"""Times `CLOSE` by which an iteration of finite volumes may end short of it."""
DISAGREE = 0.01
"""Root mean square difference of network and finite volumes, of the rise, that is told."""
APART = 2.0
"""Standard deviations of its prior by which an unknown may move before it is told."""


@dataclass(frozen=True)
class HeatSolution:
    """A field of temperature: ask it by `temperature(points)` (K); points are m, the parameters' units, and s.

    `residual` is dimensionless: the root mean square of the equation's rows, or the last change of the iteration;
    `unknowns` are values with standard deviations; `notes` say where it may be wrong.

    Source: ours.
    """

    problem: Problem
    method: str
    model: HeatField | None
    grid: Grid | None
    residual: float
    converged: bool
    seconds: float
    balance: dict[str, float] | None = None
    card: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    def temperature(self, points: np.ndarray | list) -> np.ndarray:
        """Temperatures (K) at points (m, and s)."""
        points = np.atleast_2d(np.asarray(points, dtype=np.float64))
        return self.model.at(None, points)["temperature"] if self.model is not None else self.grid.at(points)

    def temperature_std(self, points: np.ndarray | list) -> np.ndarray | None:
        """Standard deviations (K) at points (m, and s) of what thermometers leave open; None where there are none."""
        points = np.atleast_2d(np.asarray(points, dtype=np.float64))
        return None if self.model is None else self.model.at(None, points, std=True).std.get("temperature")

    @property
    def unknowns(self) -> dict[str, dict[str, Any]]:
        """What thermometers told: value, std, share of the prior's std, and whether that is less than half."""
        return self.card.get("unknowns", {})


def solve(
    problem: Problem | HeatTraining,
    method: Literal["network", "fv"] = "network",
    folder: str | Path | None = None,
    progress: Progress | None = None,
    words: Callable[[str], str] = str,
) -> HeatSolution:
    """Solve a problem of heat conduction.

    A network that does not converge over the whole duration is begun anew over halves of it, and so on: errors of
    early times are not carried into the rest.

    Args:
        problem: m, s, K, W; with its settings, unknowns and thermometers as `read_training` gives it.
        method: a network that obeys the equation, or finite volumes.
        folder: where the network is kept, and goes on from after a kill; None: nowhere.
        progress: called with the stage, the number of steps done and the number in all.
        words: how notes are put.

    Raises:
        ValueError: a problem without a solution, or unknowns with finite volumes.

    Source: ours.
    """
    begin, training = time.process_time(), problem if isinstance(problem, HeatTraining) else _training(problem)
    if method == "fv":
        return _by_volumes(training, begin)
    windows = int(training.model.get("windows", 1))
    while True:
        recipe = HeatRecipe(replace(training, model={**training.model, "windows": windows}))
        model, card = fitted(recipe, None if folder is None else Path(folder) / f"{windows}-windows", progress)
        last = model.problem.duration is None or windows >= MOST_WINDOWS or "windows" in training.model
        if card["converged"] or last or training.sensors is not None:
            break
        windows *= 2
    notes = _notes(model, card)
    return HeatSolution(
        model.problem, method, model, None, float(model.residual), card["converged"], time.process_time() - begin,
        balance(model), card, [words(note) for note in notes],
    )  # fmt: skip


def _training(problem: Problem) -> HeatTraining:
    if problem.unknowns or problem.constants:
        raise ValueError("got a problem with unknowns or constants, expected settings with priors of them")
    table = {name: value for name, value in asdict(problem).items() if name not in ("unknowns", "constants")}
    table["layers"] = tuple({k: v for k, v in layer.items() if v is not None} for layer in table["layers"])
    table["faces"] = {name: {k: v for k, v in f.items() if v is not None} for name, f in table["faces"].items()}
    return build(HeatTraining, {name: value for name, value in table.items() if value is not None})


def _by_volumes(training: HeatTraining, begin: float) -> HeatSolution:
    if training.unknowns or training.parameters:
        raise ValueError("got unknowns or parameters with finite volumes, expected method 'network': it fits them")
    grid = finite_volumes(problem_of(training.problem()))
    converged = grid.change < LOOSE * CLOSE
    notes = [] if converged else [f"the iteration ended at a change of {grid.change:.1e} of the rise: not a solution"]
    seconds = time.process_time() - begin
    return HeatSolution(grid.problem, "fv", None, grid, grid.change, converged, seconds, notes=notes)


def _notes(model: HeatField, card: dict[str, Any]) -> list[str]:
    """Say where a field may be wrong."""
    notes = []
    remedy = "give fit.points, model.rank or model.windows more"
    if model.problem.torn:
        remedy = "faces that meet are held at different temperatures, where the flux is infinite: take method 'fv'"
    if not card["converged"]:
        notes.append(
            f"NOT CONVERGED: the equation is off by {float(model.residual):.1e} of its terms (root mean square; below "
            f"{CONVERGED:g} counts as a solution); {remedy}"
        )
    error = card["finite_volumes"]["temperature"]["rmse"] / model.sizes.temperature
    if error > DISAGREE:
        notes.append(f"network and finite volumes differ by {100 * error:.2g} % of the rise: look at the residual map")
    for name, told in card.get("unknowns", {}).items():
        if not told["identified"]:
            notes.append(
                f"{name} is not identified: measurements leave {100 * told['of_prior']:.0f} % of the spread that was "
                "put in; what stands there is the prior"
            )
        away = abs(float(model.away[list(model.priors).index(name)].detach()))
        if away > APART:
            notes.append(f"{name} is {away:.1f} standard deviations of its prior from it: one of them is wrong")
    notes += [f"layer {k + 1}: {note}" for k, note in enumerate(_outside(model)) if note]
    return notes


def _outside(model: HeatField) -> list[str]:
    """Say where temperatures leave what is known of a layer's material."""
    random, problem, notes = np.random.default_rng(1), model.problem, []
    low, high = np.array(problem.box).T
    for k in range(len(problem.layers)):
        points = low + random.uniform(0, 1, (2000, len(low))) * (high - low)
        points[:, 0] = random.uniform(*problem.edges[k : k + 2], len(points))
        temperature = model.at(None, points)["temperature"]
        first, last = problem.layers[k].material.known
        beyond = temperature.min() < first or temperature.max() > last
        notes.append(
            f"{temperature.min():.4g} to {temperature.max():.4g} K, but its table goes from {first:.4g} to {last:.4g} K"
            if beyond
            else ""
        )
    return notes


def heat_job(
    training: HeatTraining,
    folder: str | Path,
    method: Literal["network", "fv"] = "network",
    work: str | Path | None = None,
    progress: Progress | None = None,
    words: Callable[[str], str] = str,
) -> HeatSolution:
    """Solve a problem and write its temperatures, what thermometers told, and a figure.

    Args:
        training: m, s, K, W.
        folder: for the results.
        method: as of `solve`.
        work: where the network is kept, and goes on from after a kill.
        progress: as of `solve`.
        words: as of `solve`.

    Raises:
        ValueError: as of `solve`.
        OSError: the folder cannot be written.

    Source: ours.
    """
    from ase_mlx.figures.heat import draw_heat

    solution, folder = solve(training, method, work, progress, words), Path(folder)
    points = sample_points(solution.problem)
    columns = {"temperature": solution.temperature(points), "temperature_std": solution.temperature_std(points)}
    columns = {name: column for name, column in columns.items() if column is not None}
    rows = np.column_stack([points, *columns.values()]).tolist()
    write_csv(folder / FILES[0], [*solution.problem.coordinates, *columns], rows)
    measured = None if training.sensors is None else read_sensors(solution.model, Path(training.sensors.file))
    draw_heat(solution, training.title or "Heat conduction", folder / FILES[1], measured)
    files = list(FILES[:2])
    if solution.unknowns:
        header = ["unknown", *next(iter(solution.unknowns.values()))]
        write_csv(folder / FILES[2], header, [[name, *told.values()] for name, told in solution.unknowns.items()])
        files.append(FILES[2])
    return replace(solution, files=files)


def sample_points(problem: Problem, most: int = 4000) -> np.ndarray:
    """Lay regular points over a body and its time, in units of m and s, `most` at most.

    Source: ours.
    """
    count = max(3, int(most ** (1 / len(problem.box)))) if len(problem.box) > 1 else 201
    mesh = np.meshgrid(*(np.linspace(*ends, count) for ends in problem.box), indexing="ij")
    return np.stack(mesh, -1).reshape(-1, len(problem.box))
