"""Levels of a soft mode and what they do to its heat capacity: by a network, beside finite differences.

Source: ours.
"""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ase_mlx.learn.recipes.levels import CONVERGED, LevelsRecipe, LevelsTraining
from ase_mlx.models.levels import Levels, ModePotential
from ase_mlx.phonons.levels import MISSING, GridLevels, finite_differences, missing_capacity, thermal_levels, warmest
from ase_mlx.phonons.thermal import Thermal, thermal_functions
from ase_mlx.progress import Progress
from ase_mlx.units import BOLTZMANN
from ase_mlx.whole.tables import write_csv

from .equations import fitted

FILES = ("levels.csv", "thermal.csv", "levels.png")
"""What a job writes beside the model."""
TEMPERATURES = 61
"""Where none are asked for: as many, up to where the levels suffice, `HOT` at most."""
HOT = 1000.0
"""K."""
DISAGREE, OUTSIDE = 1e-3, 1e-3
"""Of the spacing of levels, and of a wave function's square beyond the curve: what is noted."""


@dataclass(frozen=True)
class LevelsSolution:
    """Levels (eV, on the potential's zero) of a network and of finite differences, and thermal functions of the first.

    `harmonic` is the oscillator of the lowest minimum's curvature; None where that is flat. `rows` are lines of a
    table, `notes` say where it may be wrong.

    Source: ours.
    """

    potential: ModePotential
    model: Levels
    exact: GridLevels
    thermal: Thermal
    harmonic: Thermal | None
    seconds: float
    seconds_exact: float
    card: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    @property
    def energies(self) -> np.ndarray:
        """Levels of the network, eV."""
        return self.model.energies.numpy()

    @property
    def error(self) -> float:
        """Largest difference from finite differences, eV."""
        return float(np.abs(self.energies - self.exact.energies).max())

    @property
    def converged(self) -> bool:
        """Whether the equation is met and no level is missing."""
        return bool(self.card["converged"])

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Lines of a table: levels in meV above the potential's minimum."""
        lowest = self.potential.minima[0][1]
        return [
            {
                "level": k,
                "network, meV": round(1e3 * float(energy - lowest), 4),
                "finite differences, meV": round(1e3 * float(self.exact.energies[k] - lowest), 4),
                "within, meV": f"{1e3 * float(self.model.bounds[k]):.1e}",
            }
            for k, energy in enumerate(self.energies)
        ]


def solve_levels(
    training: LevelsTraining, folder: str | Path | None = None, progress: Progress | None = None
) -> LevelsSolution:
    """Solve the Schrödinger equation of a mode.

    Args:
        training: eV, Å √amu, K.
        folder: where the network is kept, and goes on from after a kill; None: nowhere.
        progress: called with the stage, the number of steps done and the number in all.

    Raises:
        ValueError: a potential that does not bind the states, or temperatures above what the levels suffice for.

    Source: ours.
    """
    begin = time.process_time()
    model, card = fitted(LevelsRecipe(training), folder, progress)
    seconds = time.process_time() - begin
    potential, begin = training.potential, time.process_time()
    exact = finite_differences(potential, potential.low, potential.high, model.config.states)
    seconds_exact = time.process_time() - begin
    temperatures, dropped = _temperatures(training, model)
    thermal = thermal_levels(model.energies.numpy(), temperatures)
    flat = not potential.frequency > 0
    harmonic = None
    if not flat:
        harmonic = thermal_functions(np.array([[potential.frequency]]), np.ones(1), temperatures)
    solution = LevelsSolution(potential, model, exact, thermal, harmonic, seconds - seconds_exact, seconds_exact, card)
    return replace(solution, notes=_notes(solution, dropped))


def _temperatures(training: LevelsTraining, model: Levels) -> tuple[np.ndarray, np.ndarray]:
    """Temperatures (K) for which the levels suffice, and those asked for besides."""
    energies = model.energies.numpy()
    if not training.temperatures:
        return np.linspace(0, min(HOT, warmest(energies)), TEMPERATURES), np.zeros(0)
    asked = np.asarray(training.temperatures, float)
    enough = missing_capacity(energies, asked) <= MISSING
    return asked[enough], asked[~enough]


def _notes(solution: LevelsSolution, dropped: np.ndarray) -> list[str]:
    """Say where levels and thermal functions may be wrong."""
    model, notes = solution.model, []
    if not solution.converged:
        why = f"{solution.card['missing']} levels are missing" if solution.card["missing"] else (
            f"(H - E) ψ is {model.residual:.1e} of the spacing of levels long (below {CONVERGED:g} counts)"
        )  # fmt: skip
        notes.append(f"NOT CONVERGED: {why}; give model.width or fit.epochs more")
    if solution.error > DISAGREE * model.box.spacing:
        notes.append(f"network and finite differences differ by {1e3 * solution.error:.2g} meV: do not use the network")
    if len(dropped):
        notes.append(
            f"left out: {len(dropped)} temperatures from {dropped.min():.4g} K on, for which {model.config.states} "
            f"levels do not suffice (up to {warmest(solution.energies):.4g} K); give model.states more"
        )
    share = outside(model)
    if share > OUTSIDE:
        notes.append(
            f"{100 * share:.2g} % of the highest wave function lie beyond the potential's ends, where it is continued: "
            "compute energies further out"
        )
    if (
        solution.potential.barrier
        and solution.energies[0] > solution.potential.minima[0][1] + solution.potential.barrier
    ):
        notes.append("the lowest level lies above the barrier: the mode is not frozen in at any temperature")
    notes.append("one coordinate alone: what other modes and the strain of the cell do to it is left out")
    return notes


def outside(model: Levels) -> float:
    """Share (dimensionless) of the highest wave function's square beyond the ends of its potential.

    Source: ours.
    """
    q = model.box.centre + model.box.half * np.linspace(-1, 1, 4001)
    square = model.at(None, q)["wave_functions"][:, -1] ** 2
    return float(square[(q < model.potential.low) | (q > model.potential.high)].sum() / square.sum())


def levels_job(
    training: LevelsTraining,
    folder: str | Path,
    work: str | Path | None = None,
    progress: Progress | None = None,
) -> LevelsSolution:
    """Solve a mode and write its levels, thermal functions and a figure.

    Args:
        training: eV, Å √amu, K.
        folder: for the results.
        work: where the network is kept, and goes on from after a kill.
        progress: as of `solve_levels`.

    Raises:
        ValueError: as of `solve_levels`.
        OSError: the folder cannot be written.

    Source: ours.
    """
    from ase_mlx.figures.levels import draw_levels

    solution, folder = solve_levels(training, work, progress), Path(folder)
    bounds = solution.model.bounds.numpy()
    levels = np.column_stack([np.arange(len(bounds)), solution.energies, solution.exact.energies, bounds])
    write_csv(folder / FILES[0], ["level", "energy", "finite_differences", "bound"], levels.tolist())
    t, h = solution.thermal, solution.harmonic
    header = ["temperature", "free_energy", "entropy", "heat_capacity"]
    columns = [t.temperatures, t.free_energy, t.entropy, t.heat_capacity]
    if h is not None:
        header, columns = [*header, "harmonic_heat_capacity"], [*columns, h.heat_capacity]
    write_csv(folder / FILES[1], header, np.column_stack(columns).tolist())
    draw_levels(solution, training.title or "Levels of a mode", folder / FILES[2])
    return replace(solution, files=list(FILES))


def heat_capacity_at(solution: LevelsSolution, temperature: float) -> tuple[float, float]:
    """Heat capacities, in units of k_B, of a mode's levels and of its harmonic oscillator (NaN without one) at one K.

    Raises:
        ValueError: the levels do not suffice there.

    Source: ours.
    """
    at = np.array([temperature])
    levels = float(thermal_levels(solution.energies, at).heat_capacity[0]) / BOLTZMANN
    if solution.harmonic is None:
        return levels, float("nan")
    frequency = np.array([[solution.potential.frequency]])
    return levels, float(thermal_functions(frequency, np.ones(1), at).heat_capacity[0]) / BOLTZMANN
