"""What a density on a grid has lost: electrons outside of it, and values below zero.

Source: ours.
"""

import warnings

import numpy as np
from jaxtyping import Bool, Float

LOST = 1e-6
"""Share of the electrons that a grid may miss."""

NEGATIVE = 1e-3
"""Share of the electrons below which negative values are noise: of the network, or of a coarse grid (2e-4 at 0.6 Å)."""


class CoarseGridWarning(UserWarning):
    """The grid is too coarse to hold the electrons, or does not reach as far as the density.

    Source: ours.
    """


def check_density(
    density: Float[np.ndarray, "*points"], volume: float, expected: float, pbc: Bool[np.ndarray, " 3"]
) -> None:
    """Warn where a density (e/Å³) on the grid of a cell (volume in Å³) is not the whole one, or is below zero.

    Args:
        density: e/Å³.
        volume: of the cell, Å³.
        expected: electrons of the structure (dimensionless).
        pbc: periodic axes.

    Source: ours.
    """
    electrons = float(density.mean(dtype=np.float64)) * volume
    negative = float(density[density < 0].sum(dtype=np.float64)) * volume / density.size
    check_electrons(electrons, negative, expected, pbc)


def check_electrons(electrons: float, negative: float, expected: float, pbc: Bool[np.ndarray, " 3"]) -> None:
    """Warn as `check_density`, where sums are known: all electrons and those of negative values (dimensionless).

    Source: ours.
    """
    if abs(electrons - expected) > LOST * max(expected, 1):
        open_axes = [k for k in range(3) if not pbc[k]]
        where = (
            f"lie outside of it, where the cell ends too near to atoms along its open axes {open_axes}; give more "
            f"vacuum (atoms.center(vacuum=4, axis={open_axes})), or set atoms.pbc"
            if open_axes
            else "are lost, which no grid should; the model does not keep their number"
        )
        share = 100 * (expected - electrons) / max(expected, 1e-300)
        warnings.warn(
            f"got {electrons:.6g} of {expected:g} electrons on the grid of the cell: {share:.3g} % {where}",
            CoarseGridWarning,
            stacklevel=2,
        )
    if -negative > NEGATIVE * max(expected, 1):
        warnings.warn(
            f"got {-negative:.3g} of {expected:g} electrons in values of the density below zero "
            f"({-100 * negative / max(expected, 1e-300):.2g} %), which no density has; they are left as they are: the "
            "structure is probably unlike the model's training data (look at its distance), or a dipole or charge was "
            "asked for that is far from its own",
            CoarseGridWarning,
            stacklevel=2,
        )
