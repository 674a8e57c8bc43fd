"""Imaginary modes: where they lie, how much they weigh, and whether only interpolation made them.

Source: ours.
"""

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from phonopy import Phonopy
from phonopy.harmonic.dynmat_to_fc import get_commensurate_points

from ase_mlx.adapters.phonopy.consistency import check_phonopy

OnImaginary = Literal["error", "follow", "report"]


class ImaginaryModesError(ValueError):
    """The crystal is not at a minimum of energy: some of its frequencies are imaginary.

    Source: ours.
    """


class ImaginaryModesWarning(UserWarning):
    """What `ImaginaryModesError` says, where the caller asked for a report.

    Source: ours.
    """


@dataclass(frozen=True)
class Stability:
    """The lowest mode of a mesh, Γ's acoustic ones apart: frequency in THz (negative: imaginary), q dimensionless.

    `weight` is the dimensionless share of all modes that lie below zero. `exact` is the lowest frequency in THz among
    the wave vectors that fit into the supercell, at `exact_qpoint`; all other frequencies are interpolated.

    Source: ours.
    """

    lowest: float
    qpoint: tuple[float, float, float]
    weight: float
    exact: float
    exact_qpoint: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def is_interpolation(self, tolerance: float = 0.05) -> bool:
        """Tell modes that interpolation alone puts below minus the tolerance (THz) from a true instability.

        Source: ours.
        """
        return self.lowest < -tolerance <= self.exact

    def __str__(self) -> str:
        """Say it in one line."""
        q = ", ".join(f"{x:.3g}" for x in self.qpoint)
        share = f"{100 * self.weight:.2g}" if self.weight < 0.995 else "100"
        return f"lowest {self.lowest:.3f} THz at q = ({q}), {share} % of the modes below zero"


def stability(ph: Phonopy, mesh: float | tuple[int, int, int] = 60.0) -> Stability:
    """Find the lowest mode on a Γ-centred mesh; Γ's acoustic modes, zero by the sum rule, do not count.

    Args:
        ph: with force constants, eV/Å².
        mesh: three numbers, or a length in Å (numbers = length times reciprocal vectors).

    Raises:
        ValueError: no force constants, infinite ones, or units other than eV and Å.

    Source: ours.
    """
    check_phonopy(ph)
    grid = ph.run_mesh(mesh, is_gamma_center=True)
    counted = ~acoustic_modes(grid.qpoints, grid.frequencies)
    frequencies = np.where(counted, grid.frequencies, np.inf)
    q = _first_lowest(frequencies.min(axis=1))
    fitting = get_commensurate_points(np.rint(np.linalg.inv(ph.primitive.primitive_matrix)).astype(int))
    exact = ph.run_qpoints(fitting).frequencies
    exact = np.where(acoustic_modes(fitting, exact), np.inf, exact).min(axis=1)
    fits = _first_lowest(exact)
    below = grid.weights[:, None] * (frequencies < 0)
    return Stability(
        lowest=float(frequencies[q].min()),
        qpoint=tuple(float(x) for x in grid.qpoints[q]),
        weight=float(below.sum() / (grid.weights.sum() * frequencies.shape[1])),
        exact=float(exact[fits]),
        exact_qpoint=tuple(float(x) for x in fitting[fits]),
    )


def _first_lowest(frequencies: Float[np.ndarray, " q"]) -> int:
    """Index of the first of all that are equally low but for rounding (1e-4 THz), so that no rounding chooses."""
    return int(np.flatnonzero(frequencies <= frequencies.min() + 1e-4)[0])


FOLLOW = 'pass on_imaginary="follow" to go down the lowest mode, or "report" to look at the spectrum'
"""What helps against imaginary modes where a caller can ask for it."""


def judge(modes: Stability, on_imaginary: OnImaginary = "error", tolerance: float = 0.05, remedy: str = FOLLOW) -> None:
    """Raise, or warn where a report was asked for, when the lowest frequency lies below minus the tolerance (THz).

    `remedy` says what the caller's own options can do.

    Raises:
        ImaginaryModesError: naming frequency, place and weight.

    Source: ours.
    """
    if modes.lowest >= -tolerance:
        return
    if modes.is_interpolation(tolerance):
        cause = (
            f"Where the supercell gives exact frequencies the lowest is {modes.exact:.3f} THz: interpolation makes "
            "these modes imaginary: take a larger supercell"
        )
    else:
        cause = "The structure is no minimum of this potential"
    text = f"Imaginary modes: {modes} (tolerance -{tolerance:g} THz). {cause}; {remedy}."
    if on_imaginary == "error":
        raise ImaginaryModesError(text)
    warnings.warn(text, ImaginaryModesWarning, stacklevel=3)


def acoustic_modes(
    qpoints: Float[np.ndarray, "q 3"], frequencies: Float[np.ndarray, "q bands"]
) -> Bool[np.ndarray, "q bands"]:
    """Mark Γ's three modes of lowest |frequency| (THz) among dimensionless q: zero by the sum rule, noise in any sum.

    Returns:
        Dimensionless marks.

    Source: ours.
    """
    chosen = np.zeros(frequencies.shape, dtype=bool)
    for q in np.flatnonzero(np.abs(qpoints).max(axis=1) < 1e-8):
        chosen[q, np.argsort(np.abs(frequencies[q]))[:3]] = True
    return chosen
