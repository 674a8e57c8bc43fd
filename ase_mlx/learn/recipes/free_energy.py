"""Models of F(V, T): a few volumes, heat capacities, expansions or bulk moduli, and a quasi-harmonic prior.

The rows are the data over their standard deviations, and all weights over those of their prior. S(0) = 0, C_V → 3 k_B
and Maxwell's relations are no rows: no weights can break them.

Source: ours; Gauss-Newton as of `gauss_newton`, Laplace's posterior of D. J. C. MacKay, Neural Comput. 4, 448 (1992).
"""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ase_mlx.data.csv_columns import text_chunks
from ase_mlx.keep import digest
from ase_mlx.models.free_energy import FreeEnergy, FreeEnergyConfig, QuasiHarmonicPrior, Spread
from ase_mlx.models.free_energy.config import SHIFTS
from ase_mlx.models.ranges import expect_ranges
from ase_mlx.units import BOLTZMANN, GAS

from ..config import build
from ..equations import EquationFit, EquationRecipe, linearised
from ..metrics import Residuals, errors

MEASURED = {
    "volume": ("Å³/atom", 1.0),
    "heat_capacity_p": ("J/(K mol)", GAS / BOLTZMANN),
    "expansion": ("1/K", 1.0),
    "bulk_modulus": ("GPa", 1.0),
}
"""Quantities of a file, their units there, and how many of them make one of the model's."""
COLUMNS = ("quantity", "temperature", "value", "std")
IDENTIFIED = 0.5
"""Share of a prior's bar below which data has told something."""
HOTTEST = 1e4


@dataclass(frozen=True)
class MeasuredFile:
    """A CSV file of measurements along temperature, with the columns quantity, temperature (K), value, std.

    Source: ours.
    """

    file: str


@dataclass(frozen=True)
class FreeEnergyTraining:
    """What F(V, T) is fitted to: `prior`, `spread` (how far it may be wrong), `data`, at a `pressure` in GPa.

    The prior is a file of `ase-mlx phonons --qha`, or numbers as of `QuasiHarmonicPrior.debye_gruneisen`;
    `temperatures` (K) are the ends of the curves.

    Source: ours.
    """

    prior: dict[str, Any]
    data: MeasuredFile
    spread: Spread = field(default_factory=Spread)
    temperatures: tuple[float, ...] = (0.0, 1000.0)
    pressure: float = 0.0
    title: str = ""
    model: dict[str, Any] = field(default_factory=dict)
    fit: EquationFit = field(default_factory=lambda: EquationFit(patience=4))
    kind: Literal["free_energy"] = "free_energy"

    def __post_init__(self):
        """Refuse ranges that are none.

        Raises:
            ValueError: naming them.
        """
        expect_ranges(self, "", temperatures=(0, HOTTEST), pressure=(-100, 1000))
        if len(self.temperatures) != 2 or not self.temperatures[0] < self.temperatures[1]:
            raise ValueError(f"got temperatures = {list(self.temperatures)}, expected the lowest and the highest, K")
        if self.fit.points:
            raise ValueError(f"got fit.points = {self.fit.points}, expected none: all rows are data and prior")


@dataclass(frozen=True)
class Measurements:
    """Values along temperature (K), in the model's units: Å³/atom, eV/K, 1/K, GPa; and their standard deviations.

    `start` is ln(V/V₀) (dimensionless) of a model there, where it is known.

    Source: ours.
    """

    quantities: tuple[str, ...]
    temperature: Tensor
    value: Tensor
    std: Tensor
    pressure: float = 0.0
    start: Tensor | None = None

    def __len__(self) -> int:
        """Count them."""
        return len(self.quantities)

    def of(self, values: dict[str, Tensor]) -> Tensor:
        """Choose what was measured among curves at these temperatures, in the model's units."""
        return torch.stack([values[name][k] for k, name in enumerate(self.quantities)])


class FreeEnergyRecipe(EquationRecipe):
    """How F(V, T) is fitted.

    Source: see the module.
    """

    Config = FreeEnergyTraining
    model: FreeEnergy

    def __init__(self, config: FreeEnergyTraining):
        """Make the prior (Å³, GPa, THz) and read the data.

        Raises:
            FileNotFoundError: no such file.
            ValueError: no prior, no data, or data outside the temperatures.
        """
        self.config, self.fit = config, config.fit
        settings = {"prior": asdict(prior_of(config.prior)), "spread": asdict(config.spread), **config.model}
        torch.manual_seed(config.fit.seed)
        self.model = FreeEnergy(build(FreeEnergyConfig, settings, "model"))
        self.data = read_measured(Path(config.data.file), config.pressure)
        _expect_between(self.data, config.temperatures)

    def content(self, seed: int) -> tuple[Measurements, str]:
        """All data: there are no other rows."""
        data = self.data
        return data, digest([data.quantities, *(x.numpy() for x in (data.temperature, data.value, data.std))])

    @classmethod
    def linear(cls, model: FreeEnergy, content: Measurements, derivatives: bool) -> tuple[Tensor, Tensor | None]:
        """Rows (dimensionless), and their derivatives; volumes are solved for once, ahead of these."""
        with torch.no_grad():
            start = model.strain_at(content.temperature, content.pressure)
        return linearised(model, replace(content, start=start), cls.rows, derivatives)

    @staticmethod
    def rows(model: FreeEnergy, content: Measurements) -> dict[str, Tensor]:
        """Data over their standard deviations, and weights over their prior's: dimensionless."""
        predicted = content.of(model.values_along(content.temperature, content.pressure, content.start))
        return {"data": (predicted - content.value) / content.std, "prior": model.prior_rows()}

    def finish(self) -> dict[str, Any]:
        """Set the posterior, and say what the data told.

        Raises:
            ValueError: the fit ended where a crystal is not stable.
        """
        model, kelvin = self.model, self.data.temperature.numpy()
        reached = model.reached(kelvin, self.config.pressure)
        if not reached.all():
            raise ValueError(
                f"got no stable volume at {kelvin[~reached][0]:g} K after the fit, expected one within the prior's: "
                "the data contradict it or one another; look for wrong units, or give [spread] more width and the "
                "prior more volumes"
            )
        _, by = self.linear(model, self.data, True)
        model.width.copy_(_root_of_inverse(by.T @ by))
        beside = errors(self.residuals(model, self.data))
        shares = torch.linalg.vector_norm(model.width[: len(SHIFTS)], dim=1).tolist()
        moved = dict(zip(SHIFTS, model.shifts.detach().tolist(), strict=True))
        shifts = {
            name: {"away": moved[name], "of_prior": share, "identified": share < IDENTIFIED}
            for name, share in zip(SHIFTS, shares, strict=True)
        }
        lines = {"title": self.config.title, "data": len(self.data), "pressure": self.config.pressure}
        return lines | {
            "shifts": shifts, "errors": beside, "errors_on": "the data it was fitted to",
            "fit": asdict(self.fit), "epochs": dict(self.epochs),
        }  # fmt: skip

    @classmethod
    def located(cls, table: dict[str, Any], folder: Path) -> dict[str, Any]:
        """Take the prior's file relative to the folder."""
        prior = table.get("prior")
        if isinstance(prior, dict) and isinstance(prior.get("file"), str):
            table = {**table, "prior": {**prior, "file": str((folder / prior["file"]).resolve())}}
        return table

    @classmethod
    def read(cls, model: FreeEnergy, path: Path, part: str = "all") -> Measurements:
        """Read a file of measurements at zero pressure (Å³/atom, J/(K mol), 1/K, GPa)."""
        return read_measured(path)

    @classmethod
    def residuals(cls, model: FreeEnergy, data: Measurements) -> dict[str, Residuals]:
        """Compare with measurements, in their units; bars are those of both."""
        curves, out = model.along(data.temperature.numpy(), data.pressure), {}
        for name in dict.fromkeys(data.quantities):
            unit, factor = MEASURED[name]
            rows = np.array([k for k, other in enumerate(data.quantities) if other == name])
            std = np.hypot(curves.std[name][rows], data.std.numpy()[rows])
            measured, predicted = data.value.numpy()[rows], curves[name][rows]
            out[name] = Residuals(unit, factor * measured, factor * predicted, factor * std)
        return out

    @classmethod
    def evaluates(cls, model: torch.nn.Module, path: Path) -> bool:
        """Take CSV files, for models of F(V, T)."""
        return isinstance(model, FreeEnergy) and path.suffix == ".csv"


def prior_of(table: dict[str, Any]) -> QuasiHarmonicPrior:
    """Make a prior of its table in a settings file: `file`, or Debye's and Grüneisen's numbers (Å³/atom, GPa, K).

    Raises:
        FileNotFoundError: no such file.
        ValueError: neither, or unknown names.

    Source: ours.
    """
    if set(table) == {"file"}:
        return QuasiHarmonicPrior.read(table["file"])
    needed = ("volume", "bulk_modulus", "derivative", "debye_temperature", "gruneisen")
    extra = [name for name in table if name not in (*needed, "power", "reach")]
    missing = [name for name in needed if name not in table]
    numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in table.values())
    if extra or missing or not numbers:
        raise ValueError(
            f'got [prior] with {", ".join(table) or "nothing"}, expected file = "free_energy.json" alone, or the '
            f"numbers {', '.join(needed)} (and power, reach)"
        )
    return QuasiHarmonicPrior.debye_gruneisen(**table)


def read_measured(path: Path, pressure: float = 0.0) -> Measurements:
    """Read measurements along temperature (K) at a pressure (GPa).

    Raises:
        FileNotFoundError: no such file.
        ValueError: missing columns, unknown quantities, what is no number, a std that is not positive, no rows.

    Source: ours.
    """
    table = pd.concat(text_chunks(path, 10_000))
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        raise ValueError(f"got {path.name} with columns {', '.join(table)}, expected also {', '.join(missing)}")
    names = tuple(str(name).strip() for name in table["quantity"])
    units = ", ".join(f"{name} ({unit})" for name, (unit, _) in MEASURED.items())
    if unknown := [name for name in names if name not in MEASURED]:
        raise ValueError(f"got quantity {unknown[0]!r} in {path.name}, expected one of {units}")
    numbers = table[list(COLUMNS[1:])].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    good = np.isfinite(numbers).all(1) & (numbers[:, 0] >= 0) & (numbers[:, 2] > 0)
    if not len(good) or not good.all():
        row = f"{list(table.iloc[int(np.argmin(good))][list(COLUMNS)])}" if len(good) else "no rows"
        raise ValueError(f"got {row} in {path.name}, expected K from 0 on, a value, and a std above 0: {units}")
    factors = np.array([MEASURED[name][1] for name in names])
    columns = (numbers[:, 0], numbers[:, 1] / factors, numbers[:, 2] / factors)
    return Measurements(names, *map(torch.from_numpy, columns), pressure)


def _expect_between(data: Measurements, ends: tuple[float, float]) -> None:
    t = data.temperature.numpy()
    outside = (t < ends[0]) | (t > ends[1])
    if outside.any():
        raise ValueError(
            f"got data at {t[outside][0]:g} K, expected temperatures from {ends[0]:g} to {ends[1]:g} K; give "
            "`temperatures` more"
        )


def _root_of_inverse(normal: Tensor) -> Tensor:
    """A square root of the inverse of a positive matrix: W Wᵀ is the inverse."""
    lower = torch.linalg.cholesky(normal)
    return torch.linalg.solve_triangular(lower, torch.eye(len(normal), dtype=normal.dtype), upper=False).T
