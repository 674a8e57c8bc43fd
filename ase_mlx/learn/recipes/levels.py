"""Levels of one mode: no data but the Schrödinger equation.

Source: Gauss-Newton as of `gauss_newton`; rows as of `models.levels`.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from ase_mlx.data.csv_columns import text_chunks
from ase_mlx.keep import digest
from ase_mlx.models.levels import Levels, LevelsConfig, ModePotential
from ase_mlx.phonons.levels import finite_differences

from ..config import build
from ..equations import EquationFit, EquationRecipe
from ..metrics import Residuals, errors

CONVERGED = 0.03
"""Largest length of (H - E) ψ, over the spacing of levels, below which they count as a solution: its square is what
energies are off by, in units of the spacing."""
STEPS = 12
"""Of Gauss and Newton, at most, where the settings do not say it."""


@dataclass(frozen=True)
class LevelsFit(EquationFit):
    """As of `EquationFit` (dimensionless numbers), with fewer steps: they begin near the end.

    Source: ours.
    """

    epochs: int = STEPS


@dataclass(frozen=True)
class LevelsTraining:
    """A `potential` (eV, Å √amu), `temperatures` (K) for thermal functions, `model` and `fit`.

    Source: ours.
    """

    potential: ModePotential
    title: str = ""
    temperatures: tuple[float, ...] = ()
    model: dict[str, Any] = field(default_factory=dict)
    fit: LevelsFit = field(default_factory=LevelsFit)
    kind: Literal["levels"] = "levels"

    def __post_init__(self):
        """Refuse temperatures that are none, in K."""
        t = np.asarray(self.temperatures, float)
        if not (np.isfinite(t).all() and (t >= 0).all()):
            raise ValueError(f"got temperatures {list(self.temperatures)}, expected K from 0 on")


@dataclass(frozen=True)
class LevelData:
    """Energies (eV) by the number of the level, with std (eV): `absolute`, or above the lowest level.

    Source: ours.
    """

    level: np.ndarray
    energy: np.ndarray
    std: np.ndarray
    absolute: bool

    def __len__(self) -> int:
        """How many there are."""
        return len(self.level)


class LevelsRecipe(EquationRecipe):
    """How the levels of a mode are made: from the lowest states of a random network's features, by Gauss-Newton.

    Source: see the module.
    """

    Config = LevelsTraining
    model: Levels

    def __init__(self, config: LevelsTraining):
        """Check the potential (eV, Å √amu) and set the network to where it begins.

        Raises:
            ValueError: a potential that does not bind the states, a network that is too narrow.
        """
        self.config, self.fit = config, config.fit
        torch.manual_seed(config.fit.seed)
        self.model = Levels(build(LevelsConfig, {"potential": asdict(config.potential), **config.model}, "model"))
        self.count = config.fit.points or 4 * self.model.config.states + 40
        if self.model.potential.even:
            self.count = (self.count + 1) // 2
        self.model.begin(self.model.points(self.count))

    def content(self, seed: int) -> tuple[Any, str]:
        """Points of the quadrature; those that tell when to stop are a few more."""
        points = self.model.points(self.count + 5 * (seed != self.fit.seed))
        return points, digest([points.s, points.weights, points.potential])[:16]

    @staticmethod
    def rows(model: Levels, content: Any) -> dict[str, torch.Tensor]:
        """As of the model, dimensionless."""
        return model.rows(content)

    def finish(self) -> dict[str, Any]:
        """Set the levels, and compare them with finite differences."""
        model, fit = self.model, self.fit
        finer = model.points(2 * self.count)
        model.settle(finer)
        with torch.no_grad():
            rows = {name: float(part.square().sum()) ** 0.5 for name, part in model.rows(finer).items()}
        beside = errors(self.residuals(model, self.read(model, Path())))
        lines = {"title": self.config.title, "residual": rows, "missing": model.missing()}
        lines["converged"] = model.residual < CONVERGED and not lines["missing"]
        lines |= {"levels": [float(x) for x in model.energies], "finite_differences": beside}
        return lines | {
            "errors": beside, "errors_on": "finite differences", "fit": asdict(fit), "epochs": dict(self.epochs)
        }  # fmt: skip

    @classmethod
    def read(cls, model: Levels, path: Path, part: str = "all") -> LevelData:
        """Read a file of measured or computed levels (eV); without one, what finite differences say."""
        if path.suffix == ".csv":
            return read_levels(model, path)
        potential, states = model.potential, model.config.states
        exact = finite_differences(potential, potential.low, potential.high, states).energies
        return LevelData(np.arange(states), exact, np.full(states, np.nan), True)

    @classmethod
    def residuals(cls, model: Levels, data: LevelData) -> dict[str, Residuals]:
        """Compare levels (eV); the bars are those of the file, or the model's bounds where it has none."""
        energies, bounds = (x.numpy() for x in (model.energies, model.bounds))
        predicted, std = energies[data.level], data.std
        if not data.absolute:
            predicted = predicted - energies[0]
        if not np.isfinite(std).all():
            std = bounds[data.level] + (0.0 if data.absolute else bounds[0])
        return {"levels": Residuals("eV", data.energy, predicted, std)}

    @classmethod
    def evaluates(cls, model: torch.nn.Module, path: Path) -> bool:
        """Take files of levels."""
        return isinstance(model, Levels) and path.suffix == ".csv"


def read_levels(model: Levels, path: Path) -> LevelData:
    """Read a CSV file of levels: `level` (1 is the first above the lowest), `energy` (eV above the lowest), `std` (eV).

    Raises:
        FileNotFoundError: no such file.
        ValueError: missing columns, numbers that are none, or levels that the model has not.

    Source: ours.
    """
    table = pd.concat(text_chunks(path, 10_000))
    lacking = [name for name in ("level", "energy") if name not in table]
    if lacking:
        raise ValueError(f"got {path.name} with columns {', '.join(table)}, expected also {', '.join(lacking)}")
    names = ["level", "energy", *(["std"] if "std" in table else [])]
    columns = table[names].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    if not len(columns) or not np.isfinite(columns).all() or ("std" in table and not (columns[:, 2] > 0).all()):
        raise ValueError(f"got entries of {path.name} that are no numbers, or a std of 0, expected eV")
    level, states = columns[:, 0], model.config.states
    if (level != np.round(level)).any() or (level < 0).any() or (level >= states).any():
        raise ValueError(f"got levels {level.min():g} to {level.max():g} in {path.name}, expected 0 to {states - 1}")
    std = columns[:, 2] if "std" in table else np.full(len(columns), np.nan)
    return LevelData(level.astype(int), columns[:, 1], std, False)
