"""Scale, floor, tail and growth of error bars, by what they do on held-out errors.

Source: ours.
"""

import math

import torch
from jaxtyping import Float
from scipy.special import bdtr
from torch import Tensor

from ase_mlx.units import NORMAL_95

NOMINAL_68 = 0.682689

CONFIDENCE = 0.95
"""With which at least `NOMINAL_68` of the errors to come lie within σ, if they are like the held-out ones."""

GROWTHS = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
"""Dimensionless: how fast bars may grow with the distance score."""


def calibrate(
    residual: Float[Tensor, " rows"],
    spread: Float[Tensor, " rows"],
    floors: int = 41,
    weight: Float[Tensor, " rows"] | None = None,
) -> tuple[float, float, float]:
    """Find scale a and floor b of σ² = a² s² + b², and the tail t: errors fill ±σ to 68 % and ±tσ to 95 %.

    The floor is the one of highest Gaussian likelihood, the scale follows from the 68 % quantile, the tail from the
    95 % quantile: 1.96 for a normal distribution, more where errors have heavy tails, never less. Of few held-out
    errors the 68 % quantile is a higher one, sure with `CONFIDENCE` to hold 68 % of all: 90 % of twenty, 72 % of 500.

    Args:
        residual: held-out errors in the quantity's unit.
        spread: standard deviation s of the members, same unit.
        floors: how many to try, from none on (dimensionless).
        weight: how much each error counts (dimensionless); all the same where None.

    Returns:
        Scale (dimensionless), floor (the quantity's unit) and tail (dimensionless).

    Source: ours; quantiles of normalised held-out errors as in Angelopoulos and Bates, arXiv 2107.07511, sections 1 and
    2.3; of few errors by S. S. Wilks, Ann. Math. Stat. 12, 91 (1941).
    """
    error = residual.abs()
    if len(error) == 0 or float(error.max()) == 0:
        return 1.0, 0.0, NORMAL_95
    weight = torch.ones_like(error) if weight is None else weight
    weight = weight / weight.sum()
    share_within = _sure_share(1 / float(weight.square().sum()))
    typical = _quantile(error, weight, share_within)
    best = (math.inf, 1.0, 0.0, NORMAL_95)
    for share in torch.linspace(0.0, 1.0, floors, dtype=torch.float64).tolist():
        floor = share * typical
        scale = _scale(error, spread, floor, weight, share_within)
        sigma = torch.sqrt(scale**2 * spread.square() + floor**2).clamp_min(1e-300)
        z = error / sigma
        score = _misfit(z, sigma, weight)
        if score < best[0]:
            best = (score, scale, floor, tail(error, sigma, weight))
    return best[1:]


def tail(
    residual: Float[Tensor, " rows"], std: Float[Tensor, " rows"], weight: Float[Tensor, " rows"] | None = None
) -> float:
    """Half width of the 95 % interval in units of `std` (dimensionless): as held-out errors want, at least 1.96.

    Source: Angelopoulos and Bates, arXiv 2107.07511, section 1.
    """
    weight = torch.full_like(std, 1 / len(std)) if weight is None else weight
    return max(NORMAL_95, _quantile(residual.abs() / std, weight, 0.95 * (1 + 1 / len(std))))


def bar(
    spread: Float[Tensor, " rows"], distance: Float[Tensor, " rows"], scales: tuple[float, float, float, float]
) -> Float[Tensor, " rows"]:
    """Standard deviation of what `calibrate_growth` gave scales for (the unit of the spread).

    Source: ours.
    """
    scale, floor, _, growth = scales
    return torch.sqrt((1 + (growth * distance) ** 2) * (scale**2 * spread.square() + floor**2)).clamp_min(1e-300)


def _misfit(z: Tensor, sigma: Tensor, weight: Tensor) -> float:
    """Mean of minus the logarithm of the normal density of errors of z σ, up to a constant; very large ones are cut."""
    return float((weight * (0.5 * z.square().clamp_max(25.0) + torch.log(sigma))).sum())


def _quantile(values: Tensor, weight: Tensor, share: float) -> float:
    """The smallest of the values that values of so much weight do not exceed; the largest, where there are too few."""
    order = torch.argsort(values)
    place = int(torch.searchsorted(torch.cumsum(weight[order], 0), share - 1e-12))
    return float(values[order][min(place, len(values) - 1)])


def calibrate_growth(
    residual: Float[Tensor, " rows"],
    spread: Float[Tensor, " rows"],
    distance: Float[Tensor, " rows"],
    composition: Float[Tensor, "rows elements"],
) -> tuple[float, float, float, float]:
    """Find g beside scale, floor and tail of σ² = (1 + g² d²)(a² s² + b²), d the distance, by likelihood of the errors.

    Errors count the same, or compositions do: whichever makes the errors more likely, all counted the same.

    Args:
        residual: held-out errors in the quantity's unit.
        spread: standard deviation s of the members, same unit.
        distance: score of the atom, or mean of the structure's atoms, dimensionless.
        composition: shares of the elements in the structure, dimensionless.

    Returns:
        Scale (dimensionless), floor (the quantity's unit), tail and g (dimensionless).

    Source: ours.
    """
    error, equal = residual.abs(), torch.full_like(spread, 1 / max(1, len(spread)))
    best = (math.inf, *calibrate(error, spread), 0.0)  # what stays where no error tells anything
    by_composition = _one_weight_a_composition(composition)
    uneven = len(equal) and bool((by_composition != by_composition[0]).any())
    for g in GROWTHS:
        factor = torch.sqrt(1 + (g * distance) ** 2)
        for weight in (equal, by_composition) if uneven else (equal,):
            scale, floor, tail = calibrate(error / factor, spread, weight=weight)
            sigma = factor * torch.sqrt(scale**2 * spread.square() + floor**2).clamp_min(1e-300)
            score = _misfit(error / sigma, sigma, equal)
            if score < best[0]:
                best = (score, scale, floor, tail, g)
    return best[1:]


def _one_weight_a_composition(composition: Tensor) -> Tensor:
    _, kind, count = torch.unique(composition.round(decimals=6), dim=0, return_inverse=True, return_counts=True)
    return 1 / count[kind].to(torch.float64)


def _sure_share(count: float) -> float:
    """Share of `count` errors within whose largest at least `NOMINAL_68` of all lie, with `CONFIDENCE`."""
    n = round(count)
    return next((k / n for k in range(1, n) if bdtr(k - 1, n, NOMINAL_68) >= CONFIDENCE), 1.0)


def _scale(error: Tensor, spread: Tensor, floor: float, weight: Tensor, share: float) -> float:
    """Scale of the spread at which a share of the errors, by weight, lies within σ (dimensionless)."""
    needed = torch.sqrt((error.square() - floor**2).clamp_min(0)) / spread.clamp_min(1e-300)
    return min(max(_quantile(needed, weight, share), 1e-4), 1e4)
