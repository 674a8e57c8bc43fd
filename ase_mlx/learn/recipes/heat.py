"""Fields of temperature: no data but the equation, or a few thermometers and the equation.

Source: Gauss-Newton as of `gauss_newton`; windows of time of S. Wang, S. Sankaran and P. Perdikaris, arXiv 2203.07404.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from ase_mlx.data.csv_columns import text_chunks
from ase_mlx.heat import Material, finite_volumes
from ase_mlx.models.heat import HeatConfig, HeatField
from ase_mlx.models.heat.model import expect_inside
from ase_mlx.nn.terms import Term

from ..config import build
from ..equations import EquationFit, Sample, newton
from ..fit import Stage
from ..heat.blocks import Blocks, Sensors, physics, sensors, whole
from ..metrics import Residuals, errors
from ..recipe import Recipe

CONVERGED = 1e-3
"""Root mean square of the rows, dimensionless, below which a solution counts as one."""
STRICT = 0.05
"""How far physics may be off while thermometers are fitted, in units of their noise."""
POINTS = {1: 200, 2: 900, 3: 1800}
"""Of a layer, by the number of coordinates; where there are more, `MOST`."""
MOST = 2500
JUDGED, FAMILY = 2000, 10
"""Points of a body at which finite volumes are asked, and members of a family of problems."""


@dataclass(frozen=True)
class SensorFile:
    """A CSV file of measured temperatures, with columns x, y, z (m), t (s) as the problem has them, temperature, std.

    Source: ours.
    """

    file: str


@dataclass(frozen=True)
class HeatTraining:
    """A problem (m, s, K, W) as of `ase_mlx.heat.Problem`; `unknowns` that `sensors` are to tell; `model`, `fit`.

    Source: ours.
    """

    size: tuple[float, ...]
    layers: tuple[dict[str, Any], ...]
    faces: dict[str, Any] = field(default_factory=dict)
    source: Any = 0.0
    initial: Any = None
    duration: float | None = None
    title: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    unknowns: dict[str, Any] = field(default_factory=dict)
    sensors: SensorFile | None = None
    model: dict[str, Any] = field(default_factory=dict)
    fit: EquationFit = field(default_factory=EquationFit)
    kind: Literal["heat"] = "heat"

    def problem(self) -> dict[str, Any]:
        """The tables of the problem alone."""
        names = ("size", "layers", "faces", "source", "initial", "duration", "parameters")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


class HeatRecipe(Recipe):
    """How fields of temperature are made: one stage a window of time.

    Source: see the module.
    """

    Config = HeatTraining
    model: HeatField

    def __init__(self, config: HeatTraining):
        """Check the problem (m, s, K, W) and read the thermometers.

        Raises:
            FileNotFoundError: no such file of sensors.
            ValueError: a problem without a solution, sensors outside the body, unknowns without sensors.
        """
        self.config = config
        settings = {"problem": config.problem(), "unknowns": config.unknowns, **config.model}
        torch.manual_seed(config.fit.seed)
        self.model = HeatField(build(HeatConfig, settings, "model"))
        self.count = config.fit.points or POINTS.get(len(self.model.problem.box), MOST)
        self.sensors = None if config.sensors is None else read_sensors(self.model, Path(config.sensors.file))
        if (self.sensors is None) != (not config.unknowns):
            raise ValueError("got unknowns without sensors or sensors without unknowns, expected both or none")
        if self.sensors is not None and self.model.config.windows > 1:
            raise ValueError("got sensors and several windows of time, expected one window: they are fitted together")

    def stages(self) -> Iterator[Stage]:
        """Fit each window, from the end of the one before."""
        fit, model = self.config.fit, self.model
        for window in range(model.config.windows):
            model.requires_grad_(False)
            for p in model.weights(window):
                p.requires_grad_(True)
            parts = [whole(self._blocks(window, self.count, fit.seed + 100 * part)) for part in (0, 1)]
            name = f"window {window + 1}" if model.config.windows > 1 else ""
            method = newton(fit, lambda model, window=window: model.weights(window), linear)
            yield Stage(model, loss, parts[0], method, parts[1], name, settings=asdict(fit))
        model.requires_grad_(True)

    def _blocks(self, window: int, count: int, seed: int) -> list:
        weight, readings = 1.0, []
        if self.sensors is not None:
            noise = float(np.median(self.sensors.std)) / self.model.sizes.temperature
            weight, readings = (STRICT * noise) ** -2, sensors(self.model, self.sensors)
        return [*physics(self.model, window, count, seed, weight), *readings]

    def finish(self) -> dict[str, Any]:
        """Judge the rows at other points, and the field beside finite volumes; what the thermometers told."""
        model, fit = self.model, self.config.fit
        squares = {}
        for window in range(model.config.windows):
            with torch.no_grad():
                for block in physics(model, window, self.count, fit.seed + 200):
                    squares.setdefault(block.name, []).append(float(model.rows(block).square().mean()))
        rows = {name: float(np.mean(parts)) ** 0.5 for name, parts in squares.items()}
        model.residual.fill_(max(rows.values()))
        lines = {"title": self.config.title, "residual": rows, "converged": float(model.residual) < CONVERGED}
        beside = errors(self.residuals(model, self.read(model, Path())))
        lines |= {"finite_volumes": beside, "errors": beside, "errors_on": "finite volumes"}
        if self.sensors is not None:
            lines |= self._posterior()
            lines |= {"errors": errors(self.residuals(model, self.sensors)), "errors_on": "thermometers"}
        return lines | {"fit": asdict(fit), "epochs": dict(self.epochs)}

    def _posterior(self) -> dict[str, Any]:
        """Laplace's posterior of the unknowns, the weights of the network integrated out."""
        model, fit = self.model, self.config.fit
        _, by = linear(model, tuple(self._blocks(0, self.count, fit.seed)))
        normal, k = by.T @ by, len(model.priors)
        n = len(normal) - k
        normal[range(n), range(n)] += 1e-12 * normal.diagonal()[:n].mean()
        inner = torch.linalg.solve(normal[:n, :n], normal[:n, n:])
        marginal = normal[n:, n:] - normal[n:, :n] @ inner
        model.covariance.copy_(torch.linalg.inv(marginal))
        together = torch.cat([-inner, torch.eye(k, dtype=inner.dtype)])
        model.directions.copy_(together @ torch.linalg.cholesky(model.covariance))
        unknowns = {}
        for j, (name, (value, std)) in enumerate(model.posterior().items()):
            share = float(model.covariance[j, j]) ** 0.5
            unknowns[name] = {"value": value, "std": std, "of_prior": share, "identified": share < 0.5}
        return {"unknowns": unknowns, "sensors": len(self.sensors)}

    @classmethod
    def located(cls, table: dict[str, Any], folder: Path) -> dict[str, Any]:
        """Read conductivities that layers name by a file of phono3py; take the sensors' file relative to the folder."""
        table = dict(table)
        if isinstance(table.get("layers"), list):
            table["layers"] = [_material(layer, folder) for layer in table["layers"]]
        sensors = table.get("sensors")
        if isinstance(sensors, dict) and isinstance(sensors.get("file"), str):
            table["sensors"] = {**sensors, "file": str((folder / sensors["file"]).resolve())}
        return table

    @classmethod
    def read(cls, model: HeatField, path: Path, part: str = "all") -> Sensors:
        """Read a file of thermometers (K); without one, what finite volumes say at points of the body."""
        if path.suffix == ".csv":
            return read_sensors(model, path)
        problem = model.problem_at({name: value for name, (value, _) in model.posterior().items()})
        random, d = np.random.default_rng(0), len(problem.size)
        low, high = np.array(problem.box).T
        sets = [random.uniform(*ends, FAMILY if problem.parameters else 1) for ends in problem.parameters.values()]
        points, temperatures = [], []
        for k in range(FAMILY if problem.parameters else 1):
            chosen = dict(zip(problem.parameters, (float(values[k]) for values in sets), strict=True))
            at = low + random.uniform(0.02, 0.98, (JUDGED, len(low))) * (high - low)
            at[:, d : d + len(chosen)] = list(chosen.values())
            temperatures.append(finite_volumes(problem.settled(chosen)).at(np.delete(at, range(d, d + len(chosen)), 1)))
            points.append(at)
        at = np.concatenate(temperatures)
        return Sensors(np.concatenate(points), at, np.full(len(at), np.nan))

    @classmethod
    def residuals(cls, model: HeatField, data: Sensors) -> dict[str, Residuals]:
        """Compare temperatures (K); the bars are those of the thermometers."""
        predicted = model.at(None, data.points)["temperature"]
        std = data.std if np.isfinite(data.std).all() else None
        return {"temperature": Residuals("K", data.temperature, predicted, std)}

    @classmethod
    def evaluates(cls, model: torch.nn.Module, path: Path) -> bool:
        """Take files of thermometers, for fields of temperature."""
        return isinstance(model, HeatField) and path.suffix == ".csv"


def loss(model: HeatField, sample: Sample, random: torch.Generator) -> dict[str, Term]:
    """Mean squares of physics, sums of squares of thermometers and of unknowns.

    Source: ours.
    """
    terms: dict[str, Term] = {}
    for block in sample.content:
        rows = model.rows(block)
        before = terms.get(block.name)
        total = rows.square().sum() + (before.total if before else 0.0)
        count = 1.0 if block.name == "sensors" else rows.numel() + (before.count if before else 0.0)
        terms[block.name] = Term(total, count, block.weight)
    if model.priors:
        terms["unknowns"] = Term(model.away.square().sum(), 1.0)
    return terms


def linear(model: HeatField, blocks: Blocks, derivatives: bool = True) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Rows (dimensionless) whose sum of squares is the loss, and their derivatives by weights and unknowns.

    Source: ours.
    """
    counts: dict[str, int] = {}
    parts = []
    for block in blocks:
        if derivatives:
            part = model.linear(block)
            rows, by = part.rows, part.by_weights
        else:
            rows, by = model.rows(block).reshape(-1), None
        counts[block.name] = counts.get(block.name, 0) + len(rows)
        parts.append((block, rows, by))
    factors = [(b.weight / (1 if b.name == "sensors" else counts[b.name])) ** 0.5 for b, _, _ in parts]
    rows = torch.cat([f * r for f, (_, r, _) in zip(factors, parts, strict=True)] + [model.away.detach()])
    if not derivatives:
        return rows, None
    by = torch.cat([f * j for f, (_, _, j) in zip(factors, parts, strict=True)])
    k = len(model.away)
    prior = torch.zeros(k, by.shape[1], dtype=by.dtype)
    prior[range(k), range(by.shape[1] - k, by.shape[1])] = 1.0
    return rows, torch.cat([by, prior])


def _material(layer: Any, folder: Path) -> Any:
    kappa = layer.get("kappa") if isinstance(layer, dict) else None
    if not isinstance(kappa, dict) or "file" not in kappa:
        return layer
    extra = set(kappa) - {"file", "volume", "factor"}
    if extra:
        raise ValueError(
            f"got kappa = {{{', '.join(kappa)}}}, expected file, volume (Å³ of the primitive cell), factor"
        )
    made = Material.from_phono3py(folder / kappa["file"], kappa.get("volume"), kappa.get("factor", 1.0))
    return {**layer, "kappa": made.kappa, "capacity": layer.get("capacity", made.capacity)}


def read_sensors(model: HeatField, path: Path) -> Sensors:
    """Read thermometers: points (m, and s), temperature (K), std (K).

    Raises:
        FileNotFoundError: no such file.
        ValueError: missing columns, a std that is not positive, a point outside the body.

    Source: ours.
    """
    names = [*model.problem.coordinates, "temperature", "std"]
    table = pd.concat(text_chunks(path, 10_000))
    missing = [name for name in names if name not in table]
    if missing:
        raise ValueError(f"got {path.name} with columns {', '.join(table)}, expected also {', '.join(missing)}")
    columns = table[names].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    if not (np.isfinite(columns).all() and (columns[:, -1] > 0).all()):
        raise ValueError(f"got entries of {path.name} that are no numbers, or a std of 0, expected K above 0")
    expect_inside(model.problem, torch.from_numpy(columns[:, :-2]))
    return Sensors(columns[:, :-2], columns[:, -2], columns[:, -1])
