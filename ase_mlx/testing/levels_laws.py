"""The laws of levels and wave functions: normalised, orthogonal, none missing, and bounds from above.

Source: as each law says.
"""

from collections.abc import Callable

import numpy as np

from ase_mlx.models.levels import Levels
from ase_mlx.phonons.levels import finite_differences

from .laws import LawBroken

ORTHONORMAL, ABOVE = 1e-8, 1e-7
"""Overlaps apart from one; of the spacing of levels, what a bound from above may lie below the level."""
CONVERGED = 0.03
"""Length of (H - E) ψ over the spacing below which levels have to be all there."""


def orthonormal(model: Levels) -> None:
    """Wave functions are orthogonal and normalised to one.

    Raises:
        LawBroken: they are not.
    """
    q = model.box.centre + model.box.half * np.linspace(-1, 1, 20_001)
    psi = model.at(None, q)["wave_functions"]
    overlap = psi.T @ psi * (q[1] - q[0])  # zero at both ends: the trapezoidal rule
    _expect("orthonormal", np.abs(overlap - np.eye(len(overlap))).max(), 1e-6 + ORTHONORMAL, "overlaps")


def bounds_from_above(model: Levels) -> None:
    """Each level lies above that of finite differences.

    Raises:
        LawBroken: one lies below.

    Source: W. Ritz, J. Reine Angew. Math. 135, 1 (1909).
    """
    exact = finite_differences(model.potential, model.potential.low, model.potential.high, model.config.states)
    below = (exact.energies - model.energies.numpy()).max() / model.box.spacing
    _expect("bounds from above", max(0.0, below), ABOVE, "levels")


def zero_point(model: Levels) -> None:
    """The lowest level lies above the potential's minimum, and levels rise.

    Raises:
        LawBroken: it does not.

    Source: W. Heisenberg, Z. Phys. 43, 172 (1927).
    """
    energies = model.energies.numpy()
    low = model.potential.minima[0][1] - energies[0]
    _expect("zero-point energy", max(0.0, low, -float(np.diff(energies).min(initial=0.0))), 0.0, "the lowest level")


def complete(model: Levels) -> None:
    """No level below the highest is missing, where they have converged.

    Raises:
        LawBroken: one is.

    Source: as of `levels_below`.
    """
    if model.residual < CONVERGED:
        _expect("complete", float(model.missing()), 0.0, "the number of levels")


def _expect(law: str, deviation: float, tolerance: float, what: str) -> None:
    if not deviation <= tolerance:
        raise LawBroken(law, "a mode", "float64", what, float(deviation), tolerance)


LEVELS_LAWS: dict[str, Callable[[Levels], None]] = {
    "orthonormal": orthonormal,
    "bounds from above": bounds_from_above,
    "zero-point energy": zero_point,
    "complete": complete,
}
