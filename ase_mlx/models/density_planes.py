"""A density plane by plane, whichever kind of model makes it: what its files and pictures read.

Source: ours.
"""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from .density_field import Conditioned, known, std_planes
from .field import planes
from .model import Prediction


@runtime_checkable
class DensityPlanes(Protocol):
    """Planes of a density and of its standard deviation (e/Å³), along the first axis or, turned, the third.

    `expected` is the number of electrons, `known` whether there are error bars, `counted` whether the electrons on the
    grid were looked at where the density was made.

    Source: ours.
    """

    expected: float
    known: bool
    counted: bool

    def planes(self, turned: bool, dtype: type) -> Iterator[tuple[int, np.ndarray, float]]:
        """First plane, values (e/Å³), and electrons that were restored so far (dimensionless)."""

    def std_planes(self, turned: bool) -> Iterator[tuple[int, np.ndarray]]:
        """First plane and values (e/Å³)."""


class AtomPlanes:
    """Sums over atoms (e/Å³), no more of the grid in memory than they reach.

    Source: ours.
    """

    counted = False

    def __init__(self, conditioned: Conditioned, shape: tuple[int, int, int], charge: float):
        """Take a conditioned density on a grid of this shape, with the charge (e) that it was conditioned on."""
        self.conditioned, self.shape, self.known = conditioned, shape, known(conditioned.density)
        self.expected = conditioned.expected - charge

    def planes(self, turned: bool, dtype: type) -> Iterator[tuple[int, np.ndarray, float]]:
        """First plane, values (e/Å³), and electrons that were restored so far (dimensionless)."""
        field, shape = self.conditioned.field(dtype=dtype), self.shape[::-1] if turned else self.shape
        return planes(field.turned if turned else field, shape, dtype)

    def std_planes(self, turned: bool) -> Iterator[tuple[int, np.ndarray]]:
        """First plane and values (e/Å³)."""
        return std_planes(self.conditioned, self.shape, turned)


class WholePlanes:
    """A density that is in memory as a whole (e/Å³).

    Source: ours.
    """

    counted = True

    def __init__(self, density: Prediction, expected: float):
        """Take the density on a grid and its number of electrons (dimensionless)."""
        self.density, self.known = density["density"].numpy(), "density" in density.std
        self.std = density.std["density"].numpy() if self.known else None
        self.expected = expected

    def planes(self, turned: bool, dtype: type) -> Iterator[tuple[int, np.ndarray, float]]:
        """First plane, values (e/Å³), and zero: nothing is restored."""
        yield 0, (self.density.transpose() if turned else self.density).astype(dtype), 0.0

    def std_planes(self, turned: bool) -> Iterator[tuple[int, np.ndarray]]:
        """First plane and values (e/Å³)."""
        yield 0, self.std.transpose() if turned else self.std


def on_whole_grid(source: DensityPlanes) -> Float[np.ndarray, "n1 n2 n3"]:
    """Put the planes of a density together, e/Å³.

    Source: ours.
    """
    return np.concatenate([values for _, values, _ in source.planes(False, np.float64)])
