"""Force constants of a supercell, shared among equally short vectors.

Source: A. Togo, L. Chaput and I. Tanaka, Phys. Rev. B 91, 094306 (2015).
"""

from abc import ABC
from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex, Float, Int


@dataclass(frozen=True)
class ForceConstants(ABC):
    """Force constants of a supercell of N atoms in eV/Åⁿ for order n, rows of the n atoms of the primitive cell.

    `primitive` maps the supercell's atoms to the primitive cell's. `vectors` are the shortest ones from each atom of
    the primitive cell to each of the supercell, in fractional coordinates of the primitive cell (dimensionless), and
    `images` says which (start, count) of them belong to a pair: where several are equally short, they share the force
    constant. `positions` are fractional coordinates of the primitive cell, `masses` in amu.

    Source: ours.
    """

    constants: Float[np.ndarray, "n N *rest"]
    primitive: Int[np.ndarray, " N"]
    vectors: Float[np.ndarray, "v 3"]
    images: Int[np.ndarray, "N n 2"]
    positions: Float[np.ndarray, "n 3"]
    masses: Float[np.ndarray, " n"]

    @property
    def full_size(self) -> int:
        """Numbers in the tensor over all atoms of the supercell.

        Source: ours.
        """
        return (3 * len(self.primitive)) ** (self.constants.ndim // 2)

    def shares(self, home: int) -> tuple[Int[np.ndarray, " v"], Int[np.ndarray, "v 3"], Float[np.ndarray, " v"]]:
        """Atoms of the supercell as one of the home cell has them, one for each of equally short vectors.

        Args:
            home: which atom of the primitive cell, dimensionless.

        Returns:
            The atom in the supercell, its cell, and its share in the force constant, dimensionless.

        Source: ours.
        """
        start, count = self.images[:, home].T
        atom = np.repeat(np.arange(len(count)), count)
        vector = np.concatenate([np.arange(s, s + c) for s, c in zip(start, count, strict=True)])
        shifts = self.positions[self.primitive[atom]] - self.positions[home]
        return atom, np.rint(self.vectors[vector] - shifts).astype(int), 1 / count[atom]

    def phases(self, points: Float[np.ndarray, "q 3"]) -> Complex[np.ndarray, "q n N"]:
        """Sum e^(2πi q·x) over the shortest vectors of each pair, a mean; dimensionless.

        Args:
            points: wave vectors in fractional coordinates, dimensionless.

        Source: A. Togo, L. Chaput and I. Tanaka, Phys. Rev. B 91, 094306 (2015), eq. 41.
        """
        waves = np.exp(2j * np.pi * points @ self.vectors.T)
        start, count = self.images[..., 0].T, self.images[..., 1].T
        sums = np.concatenate([np.zeros((len(points), 1)), np.cumsum(waves, axis=1)], axis=1)
        return (sums[:, start + count] - sums[:, start]) / count
