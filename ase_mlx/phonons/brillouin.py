"""Γ-centred meshes of the Brillouin zone: their symmetry, irreducible points, and triplets that conserve momentum.

Source: ours.
"""

import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int


@dataclass(frozen=True)
class Mesh:
    """A Γ-centred mesh with the point group of the crystal; time reversal is always counted as a symmetry.

    `numbers` divide the primitive reciprocal vectors; `rotations` are those of the point group in the basis of the
    primitive cell (x → R x on fractional coordinates).

    Source: ours.
    """

    numbers: tuple[int, int, int]
    rotations: Int[np.ndarray, "operations 3 3"]

    def __post_init__(self) -> None:
        if len(self.numbers) != 3 or any(int(n) != n or n < 1 for n in self.numbers):
            raise ValueError(f"A mesh is three positive integers, got {self.numbers}.")
        scale = np.array(self.numbers)
        for rotation in self.reciprocal:
            moved = rotation * scale[:, None] / scale[None, :]
            if not np.allclose(moved, np.rint(moved)):
                raise ValueError(
                    f"The mesh {tuple(self.numbers)} breaks the point group of the crystal: an operation maps its "
                    "points elsewhere. Take equal numbers along reciprocal vectors that symmetry makes equal."
                )

    @cached_property
    def reciprocal(self) -> Int[np.ndarray, "operations 3 3"]:
        """Rotations of fractional wave vectors, those with time reversal included.

        Source: ours.
        """
        rotations = np.rint(np.linalg.inv(self.rotations)).astype(int).transpose(0, 2, 1)
        return np.unique(np.concatenate([rotations, -rotations]), axis=0)

    @cached_property
    def addresses(self) -> Int[np.ndarray, "points 3"]:
        """Integer coordinates of the points, from 0 to the mesh numbers, the first running fastest.

        Source: ours.
        """
        axes = [np.arange(n) for n in reversed(self.numbers)]
        return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)[:, ::-1]

    @cached_property
    def points(self) -> Float[np.ndarray, "points 3"]:
        """Wave vectors in fractional coordinates, dimensionless, each within half a reciprocal vector.

        Source: ours.
        """
        numbers = np.array(self.numbers)
        return ((self.addresses + numbers // 2) % numbers - numbers // 2) / numbers

    def index(self, addresses: Int[np.ndarray, "... 3"]) -> Int[np.ndarray, "..."]:
        """Find the points of any integer coordinates, modulo the mesh.

        Source: ours.
        """
        a, b, c = (addresses[..., k] % self.numbers[k] for k in range(3))
        return a + self.numbers[0] * (b + self.numbers[1] * c)

    @cached_property
    def images(self) -> Int[np.ndarray, "rotations points"]:
        """Which point each rotation of `reciprocal` maps each point to.

        Source: ours.
        """
        numbers = np.array(self.numbers)
        moved = [np.rint((self.addresses / numbers) @ r.T * numbers).astype(int) for r in self.reciprocal]
        return np.stack([self.index(m) for m in moved])

    def is_normal(
        self, point: int, triplets: Int[np.ndarray, "triplets 2"], lattice: Float[np.ndarray, "3 3"]
    ) -> Bool[np.ndarray, " triplets"]:
        """Tell which triplets conserve momentum without a reciprocal vector, in the first Brillouin zone.

        Of points on the border of the zone, any image will do.

        Args:
            point: the index of q₁, dimensionless.
            triplets: indices of q₂ and q₃, dimensionless.
            lattice: row vectors of the primitive cell in Å.

        Returns:
            True for normal processes, False for Umklapp; dimensionless.

        Source: R. Peierls, Ann. Phys. 395, 1055 (1929).
        """
        shifts = np.array(list(itertools.product((-1, 0, 1), repeat=3)))
        lengths = np.linalg.norm((self.points[:, None] + shifts) @ np.linalg.inv(lattice).T, axis=-1)
        nearest = lengths < lengths.min(axis=1, keepdims=True) + 1e-6 * lengths.max()
        within = np.pad(nearest.reshape(-1, 3, 3, 3), ((0, 0), *3 * ((4, 4),)))
        second, third = triplets.T
        rest = -np.rint(self.points[point] + self.points[second] + self.points[third]).astype(int)
        normal = np.zeros(len(triplets), dtype=bool)
        for a, b in itertools.product(shifts[nearest[point]], shifts):
            x, y, z = (rest - a - b + 5).T
            normal |= within[second, b[0] + 5, b[1] + 5, b[2] + 5] & within[third, x, y, z]
        return normal

    @cached_property
    def irreducible(self) -> tuple[Int[np.ndarray, " stars"], Int[np.ndarray, " stars"]]:
        """One point of each star and the number of points in the star.

        Source: ours.
        """
        first, counts = np.unique(self.images.min(axis=0), return_counts=True)
        return first, counts

    def triplets(self, point: int) -> tuple[Int[np.ndarray, "triplets 2"], Int[np.ndarray, " triplets"]]:
        """Find pairs with q₁ + q₂ + q₃ = G for one q₁, reduced by its little group and the exchange of q₂ and q₃.

        Args:
            point: the index of q₁.

        Returns:
            Indices of q₂ and q₃, and how many pairs each one stands for.

        Source: A. Togo, L. Chaput and I. Tanaka, Phys. Rev. B 91, 094306 (2015), section II.
        """
        little = self.images[self.images[:, point] == point]
        second = np.arange(len(self.addresses))
        third = self.index(-(self.addresses[point] + self.addresses))
        lowest = np.minimum(little, little[:, third]).min(axis=0)
        chosen, counts = np.unique(lowest, return_counts=True)
        return np.stack([second[chosen], third[chosen]], axis=1), counts
