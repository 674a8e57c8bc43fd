"""Student's t as the distribution of what a bar is given for: intervals and probabilities from σ and freedom.

Source: "Student" (W. S. Gosset), Biometrika 6, 1 (1908).
"""

import numpy as np
from jaxtyping import Float
from scipy.special import stdtr, stdtrit


def half_width(freedom: float, level: float) -> float:
    """Give the half width of a central interval of that probability, in standard deviations (dimensionless).

    Source: see the module.
    """
    return float(stdtrit(freedom, 0.5 + level / 2) * np.sqrt((freedom - 2) / freedom))


def probability_below(z: Float[np.ndarray, " n"], freedom: float) -> Float[np.ndarray, " n"]:
    """Give the probability of lying below a value that is z standard deviations above the mean (dimensionless).

    Source: see the module.
    """
    return stdtr(freedom, z / np.sqrt((freedom - 2) / freedom))
