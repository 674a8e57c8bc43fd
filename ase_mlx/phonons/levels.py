"""Levels of one coordinate by finite differences of highest order, and thermal functions of any levels.

Source: D. T. Colbert and W. H. Miller, J. Chem. Phys. 96, 1982 (1992).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ase_mlx.units import BOLTZMANN, KINETIC

from .thermal import Thermal

Potential = Callable[[Float[np.ndarray, " points"]], Float[np.ndarray, " points"]]
"""From displacements in Å √amu to energies in eV."""

CLOSE = 1e-9
"""Of the energies' span: change by a finer grid and a wider box below which levels count as converged."""
FINER, WIDER, MOST = 1.4, 1.2, 2500
"""Factors of grid and box in a round, and points at most."""
MISSING = 1e-3
"""Heat capacity, in units of k_B, that levels which are not there may have."""


@dataclass(frozen=True)
class GridLevels:
    """Energies (eV), grid (Å √amu) and wave functions on it ((Å √amu)^-1/2) of the lowest levels.

    `change` (eV) is by how much the last finer and wider grid moved an energy.

    Source: ours.
    """

    energies: Float[np.ndarray, " states"]
    grid: Float[np.ndarray, " points"]
    functions: Float[np.ndarray, "states points"]
    change: float


def finite_differences(potential: Potential, low: float, high: float, states: int) -> GridLevels:
    """Solve the Schrödinger equation -ħ²/2 ψ'' + V ψ = E ψ on a grid, finer and wider until no energy moves.

    Derivatives are differences over all points of the grid, so that errors fall exponentially with its step where the
    potential is smooth.

    Args:
        potential: from displacements in Å √amu, beyond the two ends too, to energies in eV.
        low: where the first grid begins, Å √amu.
        high: where it ends, Å √amu.
        states: levels wanted, dimensionless.

    Raises:
        ValueError: no interval, no states, or a potential that is no number somewhere.
        RuntimeError: the energies still move with `MOST` points: the potential does not bind so many states.

    Source: D. T. Colbert and W. H. Miller, J. Chem. Phys. 96, 1982 (1992), eq. 2.3.
    """
    if not (np.isfinite([low, high]).all() and low < high and states >= 1):
        raise ValueError(f"got {states} states from {low} to {high} Å √amu, expected one or more, and low < high")
    count, half, centre = max(48, 4 * states), (high - low) / 2, (low + high) / 2
    grid, energies, functions = _solved(potential, centre, half, count, states)
    while count <= MOST:
        finer = _solved(potential, centre, half, round(FINER * count), states)
        wider = _solved(potential, centre, WIDER * half, round(WIDER * count), states)
        span = max(finer[1][-1] - finer[1][0], abs(finer[1][0]) * 1e-3)
        by_grid, by_box = (float(np.abs(one[1] - energies).max()) for one in (finer, wider))
        if max(by_grid, by_box) <= CLOSE * span:
            return GridLevels(energies, grid, functions, max(by_grid, by_box))
        if by_grid > CLOSE * span:
            count = round(FINER * count)
            grid, energies, functions = finer
        if by_box > CLOSE * span:
            half, count = WIDER * half, round(WIDER * count)
            grid, energies, functions = _solved(potential, centre, half, count, states)
    raise RuntimeError(
        f"got levels that still move by {max(by_grid, by_box):.1e} eV with {count} points, expected {CLOSE:g} of their "
        "span; ask for fewer states, or give the potential further out"
    )


def _solved(potential: Potential, centre: float, half: float, count: int, states: int) -> tuple[np.ndarray, ...]:
    grid = centre + np.linspace(-half, half, count)
    values = np.asarray(potential(grid), dtype=np.float64)
    if not np.isfinite(values).all():
        place = grid[~np.isfinite(values)][0]
        raise ValueError(f"got a potential that is no number at {place:.4g} Å √amu, expected energies in eV everywhere")
    step, k = grid[1] - grid[0], np.arange(count)
    apart = k[:, None] - k
    sign = 1.0 - 2.0 * (apart % 2)
    kinetic = np.where(apart == 0, np.pi**2 / 3, 2 * sign / np.where(apart == 0, 1, apart) ** 2) * KINETIC / step**2
    energies, vectors = np.linalg.eigh(kinetic + np.diag(values))
    return grid, energies[:states], vectors[:, :states].T / np.sqrt(step)


def thermal_levels(energies: Float[np.ndarray, " states"], temperatures: Float[np.ndarray, " t"]) -> Thermal:
    """Sum free energy, entropy and heat capacity of a system with these levels.

    Args:
        energies: of the lowest levels, all of them that there are, rising, eV.
        temperatures: in K, zero allowed.

    Returns:
        Free energy in eV (on the zero of the energies), entropy and heat capacity in eV/K.

    Raises:
        ValueError: energies or temperatures that are none, or levels too few for the highest temperature.

    Source: L. D. Landau and E. M. Lifshitz, Statistical Physics, part 1, § 31.
    """
    energies, temperatures = np.asarray(energies, float), np.asarray(temperatures, float)
    if energies.ndim != 1 or not len(energies) or not np.isfinite(energies).all() or (np.diff(energies) < 0).any():
        raise ValueError("got energies that are no rising numbers, expected levels from the lowest on, in eV")
    if not (np.isfinite(temperatures).all() and (temperatures >= 0).all()):
        raise ValueError("got temperatures that are no numbers or below zero, expected K from 0 on")
    missing = missing_capacity(energies, temperatures)
    if (missing > MISSING).any():
        raise ValueError(
            f"got {len(energies)} levels for {temperatures.max():g} K, where those above them hold about "
            f"{missing.max():.1g} k_B; expected more levels, or temperatures below {warmest(energies):.4g} K"
        )
    columns = []
    above = energies - energies[0]
    for t in temperatures:
        x = above / (BOLTZMANN * t) if t > 0 else np.where(above > 0, np.inf, 0.0)
        weights = np.exp(-x)
        share, x = weights / weights.sum(), np.where(weights > 0, x, 0.0)
        log, mean = np.log(weights.sum()), float(share @ x)
        capacity = float(share @ (x - mean) ** 2)
        columns.append((energies[0] - BOLTZMANN * t * log, BOLTZMANN * (log + mean), BOLTZMANN * capacity))
    free_energy, entropy, capacity = (np.array(column) for column in zip(*columns, strict=True))
    return Thermal(temperatures, free_energy, entropy, capacity)


def missing_capacity(
    energies: Float[np.ndarray, " states"], temperatures: Float[np.ndarray, " t"]
) -> Float[np.ndarray, " t"]:
    """Estimate the heat capacity, in units of k_B (dimensionless), of levels above the highest that is there.

    They are taken to go on as far apart as the highest two of the same parity are on average; energies are in eV,
    temperatures in K.

    Source: ours.
    """
    out = np.zeros(len(temperatures))
    for n, t in enumerate(temperatures):
        if t > 0 and len(energies) > 2:
            x = (energies - energies[0]) / (BOLTZMANN * t)
            step = max((x[-1] - x[-3]) / 2, 1e-12)
            above = x[-1] + step * np.arange(1, 1 + max(1, min(10_000, int(40 / step))))
            out[n] = float((np.exp(-above) * above**2).sum() / np.exp(-x).sum())
        elif t > 0:
            out[n] = np.inf
    return out


def warmest(energies: Float[np.ndarray, " states"]) -> float:
    """Give the highest temperature (K) for which levels (eV) suffice.

    Source: ours.
    """
    low, high = 0.0, (energies[-1] - energies[0]) / BOLTZMANN
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if missing_capacity(energies, np.array([middle]))[0] <= MISSING else (low, middle)
    return low
