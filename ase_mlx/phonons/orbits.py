"""The space group acting on displacement patterns: what ties the mode functions of a compressed tensor.

Source: ours.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

TOLERANCE = 1e-4
"""Fractional: positions closer than this are the same."""


@dataclass(frozen=True)
class SpaceGroup:
    """A primitive cell and the operations x → R x + t (fractional, dimensionless) that leave it as it is.

    `lattice` holds row vectors in Å, `positions` are fractional coordinates (dimensionless).

    Source: ours.
    """

    lattice: Float[np.ndarray, "3 3"]
    positions: Float[np.ndarray, "atoms 3"]
    rotations: Int[np.ndarray, "operations 3 3"]
    translations: Float[np.ndarray, "operations 3"]

    @property
    def cartesian(self) -> Float[np.ndarray, "operations 3 3"]:
        """Rotations of Cartesian vectors, dimensionless, orthogonal to machine precision.

        Source: ours.
        """
        turned = self.lattice.T @ self.rotations @ np.linalg.inv(self.lattice.T)
        left, _, right = np.linalg.svd(turned)
        return left @ right

    def classes(self) -> list[int]:
        """Give one atom of each set of atoms that the operations map onto each other.

        Source: ours.
        """
        moved = np.einsum("oab,nb->ona", self.rotations, self.positions) + self.translations[:, None]
        apart = moved[:, :, None] - self.positions
        lands = np.all(np.abs(apart - np.rint(apart)) < TOLERANCE, axis=-1)
        return sorted({int(np.flatnonzero(lands[:, atom].any(axis=0))[0]) for atom in range(len(self.positions))})

    def stabilizer(self, centre: Float[np.ndarray, " 3"]) -> list[tuple[int, Int[np.ndarray, " 3"]]]:
        """Find operations, each with the lattice shift after it (dimensionless), that leave a fractional point alone.

        Source: ours.
        """
        moved = self.rotations @ centre + self.translations - centre
        stay = np.all(np.abs(moved - np.rint(moved)) < TOLERANCE, axis=1)
        return [(int(k), -np.rint(moved[k]).astype(int)) for k in np.flatnonzero(stay)]

    def around(self, centre: Float[np.ndarray, " 3"], radius: float) -> Int[np.ndarray, "sites 4"]:
        """List cell (three numbers) and atom of all sites within a radius in Å of a fractional point; dimensionless.

        Source: ours.
        """
        heights = 1 / np.linalg.norm(np.linalg.inv(self.lattice), axis=0)
        most = np.ceil(radius / heights).astype(int) + 2
        cells = np.array(list(itertools.product(*(range(-m, m + 1) for m in most))))
        apart = (cells[:, None] + self.positions - centre) @ self.lattice
        cell, atom = np.nonzero(np.linalg.norm(apart, axis=-1) < radius + TOLERANCE)
        return np.column_stack([cells[cell], atom])

    def move(
        self, operation: int, shift: Int[np.ndarray, " 3"], sites: Int[np.ndarray, "sites 4"]
    ) -> Int[np.ndarray, "sites 4"]:
        """Move sites by an operation and then by a lattice vector.

        Source: ours.
        """
        moved = (sites[:, :3] + self.positions[sites[:, 3]]) @ self.rotations[operation].T
        apart = (moved + self.translations[operation] + shift)[:, None] - self.positions
        off = np.abs(apart - np.rint(apart)).max(axis=-1)
        atom = off.argmin(axis=1)
        cells = np.rint(apart[np.arange(len(sites)), atom]).astype(int)
        return np.column_stack([cells, atom])

    def subgroups(self, centre: Float[np.ndarray, " 3"]) -> list[list[tuple[int, np.ndarray]]]:
        """Choose symmetries that mode functions about a fractional point keep: its mirrors, one of each kind.

        A mirror halves orbit and parameters; higher symmetry of the pattern costs more rank than it saves. Without
        mirrors: twofold axes; without those, none.

        Source: ours; measured on silicon and rock salt.
        """
        stays = self.stabilizer(centre)
        identity = next(s for s in stays if np.array_equal(self.rotations[s[0]], np.eye(3)))
        for sign in (-1, 1):
            choices, seen = [], set()
            for operation, shift in stays:
                rotation = self.rotations[operation]
                if round(np.linalg.det(rotation)) != sign or np.trace(rotation) != -sign:
                    continue
                if rotation.tobytes() in seen:
                    continue
                for other, _ in stays:
                    turn = self.rotations[other]
                    seen.add(np.rint(turn @ rotation @ np.linalg.inv(turn)).astype(rotation.dtype).tobytes())
                choices.append([identity, (operation, shift)])
            if choices:
                return choices
        return [[identity]]

    def cosets(self, subgroup: Sequence[tuple[int, np.ndarray]]) -> list[int]:
        """One operation of each left coset of a subgroup of the operations that leave a point alone; dimensionless.

        Source: ours.
        """
        index_of = {r.tobytes(): k for k, r in enumerate(np.ascontiguousarray(self.rotations))}
        seen, chosen = set(), []
        for operation in range(len(self.rotations)):
            if operation in seen:
                continue
            chosen.append(operation)
            for inner, _ in subgroup:
                product = np.ascontiguousarray(self.rotations[operation] @ self.rotations[inner])
                seen.add(index_of[product.tobytes()])
        return chosen

    def patterns(
        self, sites: Int[np.ndarray, "sites 4"], subgroup: Sequence[tuple[int, np.ndarray]], sign: int = 1
    ) -> Float[np.ndarray, "sites 3 patterns"]:
        """Orthonormal displacement patterns on sites that sum to zero and that a subgroup leaves alone; dimensionless.

        Args:
            sites: a set that the subgroup maps onto itself, dimensionless.
            subgroup: operations and shifts, dimensionless, the identity first.
            sign: −1 for patterns that all but the identity turn around: their even powers are left alone, too.

        Source: ours.
        """
        size, index_of = len(sites), {tuple(s): k for k, s in enumerate(sites)}
        projector = np.zeros((size, 3, size, 3))
        for number, (operation, shift) in enumerate(subgroup):
            target = [index_of[tuple(s)] for s in self.move(operation, shift, sites)]
            turned = self.cartesian[operation] * (sign if number else 1)
            projector[target, :, np.arange(size), :] += turned / len(subgroup)
        uniform = np.tile(np.eye(3), (size, 1)) / np.sqrt(size)
        keep = projector.reshape(3 * size, -1)
        keep = keep - uniform @ (uniform.T @ keep)
        keep = keep - (keep @ uniform) @ uniform.T
        values, vectors = np.linalg.eigh((keep + keep.T) / 2)
        return vectors[:, values > 0.5].reshape(size, 3, -1)
