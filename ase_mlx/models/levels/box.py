"""Where the wave functions of the lowest levels live: a box from the semiclassical count of states.

Source: L. D. Landau and E. M. Lifshitz, Quantum Mechanics, § 48.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigvalsh_tridiagonal
from scipy.optimize import brentq

from ase_mlx.units import KINETIC

from .potential import FINE, ModePotential

DECAY = 11.0
"""Logarithm by which the highest wave function has fallen at the box's ends."""
COUNTED = 4001
"""Points at which levels are counted."""
BEYOND = 3.0
"""Widths of the potential's range in which the ends are looked for, on either side."""


@dataclass(frozen=True)
class Box:
    """Centre and half width in Å √amu; `spacing` of levels (eV), and `waves`, the largest wave number times the half.

    Source: ours.
    """

    centre: float
    half: float
    spacing: float
    waves: float


def box_of(potential: ModePotential, states: int) -> Box:
    """Find the box (Å √amu) of so many states.

    Raises:
        ValueError: the potential ends below the highest of them.

    Source: L. D. Landau and E. M. Lifshitz, Quantum Mechanics, § 48.
    """
    q = np.linspace(potential.low, potential.high, FINE)
    v = potential(q)
    step, lowest, end = q[1] - q[0], float(v.min()), float(min(v[0], v[-1]))

    def count(energy: float) -> float:
        return float(np.sqrt(np.clip(energy - v, 0, None) / KINETIC).sum() * step / np.pi)

    if count(end) < states - 0.5:
        raise ValueError(
            f"got a potential that ends {end - lowest:.3g} eV above its minimum, below level {states - 1}; expected it "
            f"further out, or at most {int(count(end) + 0.5)} states"
        )
    top = float(brentq(lambda energy: count(energy) - (states - 0.5), lowest, end))
    width = potential.high - potential.low
    left, right = potential.low - BEYOND * width, potential.high + BEYOND * width
    q = np.linspace(left, right, 8 * FINE)
    v = potential(q)
    falls = np.sqrt(np.clip(v - top, 0, None) / KINETIC) * (q[1] - q[0])
    open_ = np.flatnonzero(v < top)
    first, last = open_[0], open_[-1]
    right = q[min(last + int(np.searchsorted(np.cumsum(falls[last:]), DECAY)), len(q) - 1)]
    left = q[max(first - int(np.searchsorted(np.cumsum(falls[first::-1]), DECAY)), 0)]
    if potential.even:
        right = max(right, -left)
        left = -right
    half = float(right - left) / 2
    return Box(float(left + right) / 2, half, (top - lowest) / states, half * float(np.sqrt((top - lowest) / KINETIC)))


def levels_below(potential: ModePotential, box: Box, energy: float) -> int:
    """Count the levels below an energy (eV), whatever they are, by the signs of a Sturm sequence.

    Source: W. Barth, R. S. Martin and J. H. Wilkinson, Numer. Math. 9, 386 (1967).
    """
    q = box.centre + box.half * np.linspace(-1, 1, COUNTED)
    kinetic = KINETIC / (q[1] - q[0]) ** 2
    diagonal = potential(q) + 2 * kinetic
    below = (float(diagonal.min()) - 4 * kinetic, energy)
    return len(eigvalsh_tridiagonal(diagonal, np.full(COUNTED - 1, -kinetic), select="v", select_range=below, tol=1e-3))
