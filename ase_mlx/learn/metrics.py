"""Errors of any quantity of any kind of model, and how far error bars keep their promise.

Source: ours; coverage and reliability as in Kellner and Ceriotti, arXiv 2402.16621.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ase_mlx.data.samples import symbols
from ase_mlx.units import EV_PER_A3_IN_GPA, NORMAL_95

SMALL_UNITS = {
    "eV": ("meV", 1e3),
    "eV/atom": ("meV/atom", 1e3),
    "eV/Å": ("meV/Å", 1e3),
    "eV/Å³": ("MPa", 1e3 * EV_PER_A3_IN_GPA),
}
"""Units that errors are told in, and how many of them make one of the package's; other units stay."""


@dataclass(frozen=True)
class Residuals:
    """Reference and predicted values of one quantity, flat, in the package's unit of it.

    `std` are predicted standard deviations; `levels` the half widths of central intervals, in units of std, by the
    share that should lie inside; `species` the atomic number that a value belongs to; `extra` further numbers of the
    table of errors.

    Source: ours.
    """

    unit: str
    reference: Float[np.ndarray, " rows"]
    predicted: Float[np.ndarray, " rows"]
    std: Float[np.ndarray, " rows"] | None = None
    levels: Mapping[float, float] = field(default_factory=lambda: {0.68: 1.0, 0.95: NORMAL_95})
    species: Int[np.ndarray, " rows"] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def small_unit(self) -> tuple[str, float]:
        """The unit that errors are told in, and how many of it make one of `unit`."""
        return SMALL_UNITS.get(self.unit, (self.unit, 1.0))


def errors(residuals: Mapping[str, Residuals]) -> dict[str, dict[str, Any]]:
    """Summarise residuals by quantity: MAE and RMSE (meV/atom, meV/Å, MPa, …), coverages, rank correlation.

    Source: ours.
    """
    table: dict[str, dict[str, Any]] = {}
    for name, r in residuals.items():
        error = np.abs(r.predicted - r.reference)
        if not len(error):
            continue
        unit, factor = r.small_unit
        row: dict[str, Any] = {
            "unit": unit,
            "count": len(error),
            "mae": float(error.mean() * factor),
            "rmse": float(np.sqrt(np.square(error).mean()) * factor),
        }
        if r.species is not None:
            row["mae_by_element"] = {
                symbols((int(z),))[0]: float(error[r.species == z].mean() * factor) for z in np.unique(r.species)
            }
        if r.std is not None:
            row |= {"tail": float(r.levels[0.95])} if 0.95 in r.levels else {}
            row |= calibration(error, r.std, r.levels)
            row["mean_std"] = float(r.std.mean() * factor)
        table[name] = row | dict(r.extra)
    return table


def calibration(
    error: Float[np.ndarray, " rows"], std: Float[np.ndarray, " rows"], levels: Mapping[float, float] | None = None
) -> dict[str, float]:
    """Count the share of errors inside each central interval, and the rank correlation of |error| and σ.

    Args:
        error: absolute errors, any unit.
        std: standard deviations, the same unit.
        levels: half widths in units of σ by nominal share; None: σ and 1.96 σ, for 0.68 and 0.95.

    Returns:
        Dimensionless numbers; the rank correlation is NaN-free: 0 where σ does not vary; `z_spread` is the standard
        deviation of errors in units of σ.

    Source: ours.
    """
    levels = {0.68: 1.0, 0.95: NORMAL_95} if levels is None else levels
    varied = len(error) > 2 and np.ptp(std) > 0 and np.ptp(error) > 0
    rank = float(np.corrcoef(average_ranks(error), average_ranks(std))[0, 1]) if varied else 0.0
    rounding = 1e-6 * std.max(initial=0.0)  # where symmetry makes σ and the error zero, rounding decides
    inside = {
        f"inside_{round(100 * share)}": float((error <= width * std + rounding).mean())
        for share, width in levels.items()
    }
    positive = std > rounding
    spread = float(np.sqrt(np.square(error[positive] / std[positive]).mean())) if positive.any() else 0.0
    return inside | {"rank_correlation": rank, "z_spread": spread}


def average_ranks(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Rank numbers of any unit from 1 on, equal ones by the mean of their ranks (dimensionless).

    Here, because `scipy.stats` takes longer to import than all else of a training.

    Source: C. Spearman, Am. J. Psychol. 15, 72 (1904).
    """
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[places]


def reliability(
    error: Float[np.ndarray, " rows"], std: Float[np.ndarray, " rows"], bins: int = 12
) -> tuple[Float[np.ndarray, " bins"], Float[np.ndarray, " bins"], Int[np.ndarray, " bins"]]:
    """Root mean square predicted σ and error in bins of equal counts (both in the unit given).

    Source: Levi et al., arXiv 1905.11659.
    """
    order = np.argsort(std, kind="stable")
    groups = [g for g in np.array_split(order, min(bins, max(1, len(order) // 5))) if len(g)]
    rms = lambda x: float(np.sqrt(np.mean(np.square(x))))  # noqa: E731
    return (
        np.array([rms(std[g]) for g in groups]),
        np.array([rms(error[g]) for g in groups]),
        np.array([len(g) for g in groups]),
    )


def auroc(inside: Float[np.ndarray, " a"], outside: Float[np.ndarray, " b"]) -> float:
    """Probability that a score outside exceeds one inside (dimensionless; ties count half).

    Source: Mann and Whitney, Ann. Math. Stat. 18, 50 (1947).
    """
    ranks = average_ranks(np.concatenate([inside, outside]))
    n, m = len(inside), len(outside)
    return float((ranks[n:].sum() - m * (m + 1) / 2) / (n * m))
