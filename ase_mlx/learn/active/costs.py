"""What a label costs: seconds of the teacher, from the sizes of structures and the labels so far.

Source: ours.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

EXPONENT, DOUBT = 1.0, 0.3
"""Of the seconds in the work, before any label, and its standard deviation (natural logarithms)."""

FAMILIES, SCATTER = 1.0, 0.3
"""Standard deviations of the logarithm of a family's factor, and of one label's seconds."""


def work(atoms: Int[np.ndarray, " frames"], k_points: Int[np.ndarray, " frames"]) -> Float[np.ndarray, " frames"]:
    """Guess how much more one label costs than another: atoms² × k-points (dimensionless).

    Source: ours; between 8 and 64 atoms pw.x is near n² for each k-point (field notes of the project).
    """
    return np.asarray(atoms, dtype=float) ** 2 * np.maximum(k_points, 1)


def predicted_seconds(
    amount: Float[np.ndarray, " frames"],
    family: Sequence[str],
    seen_amount: Float[np.ndarray, " seen"],
    seen_family: Sequence[str],
    seconds: Float[np.ndarray, " seen"],
) -> Float[np.ndarray, " frames"]:
    """Predict the seconds of labels by a power of the work and a factor a family, a Bayesian line in logarithms.

    Args:
        amount: work of the frames (any unit).
        family: of the frames.
        seen_amount: work of those labelled so far (the same unit).
        seen_family: theirs.
        seconds: that these took, seconds.

    Returns:
        The seconds; before any label, the work itself.

    Source: ours.
    """
    if not len(seconds):
        return np.asarray(amount, dtype=float)
    names = sorted({*family, *seen_family})
    y, x = np.log(np.maximum(seconds, 1e-3)), np.log(np.maximum(seen_amount, 1e-12))
    middle = x.mean()

    def rows(amounts: np.ndarray, families: Sequence[str]) -> np.ndarray:
        one_of = np.array([[name == own for name in names] for own in families], dtype=float)
        line = np.log(np.maximum(amounts, 1e-12)) - middle
        return np.column_stack([np.ones(len(line)), line, one_of])

    precision = np.diag([1e-6, DOUBT**-2, *[FAMILIES**-2] * len(names)])
    prior = np.array([0.0, EXPONENT, *[0.0] * len(names)])
    design = rows(seen_amount, seen_family)
    normal = design.T @ design / SCATTER**2 + precision
    mean = np.linalg.solve(normal, design.T @ y / SCATTER**2 + precision @ prior)
    return np.exp(rows(np.asarray(amount, dtype=float), family) @ mean)


def affordable(seconds: Float[np.ndarray, " frames"], left: float) -> int:
    """Count how many of the frames, in their order, can be labelled within so many seconds.

    Source: ours.
    """
    return int(np.searchsorted(np.cumsum(seconds), left, side="right"))
