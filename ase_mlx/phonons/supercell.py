"""Which atom of a supercell stands for which site of the crystal.

Source: ours.
"""

import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from ase_mlx.phonons.crystal import Crystal
from ase_mlx.phonons.modes import occupation
from ase_mlx.units import AMU, HBAR

SOFTEST = 1e-3
"""Modes below this share of the highest frequency are as good as translations: nothing moves along them."""


@dataclass(frozen=True)
class Supercell:
    """A supercell by the sites (cell and atom of the primitive cell) of its atoms.

    Rows of `matrix` are its lattice vectors in terms of the primitive ones.

    Source: ours.
    """

    matrix: Int[np.ndarray, "3 3"]
    sites: Int[np.ndarray, "atoms 4"]

    @classmethod
    def of(
        cls,
        lattice: Float[np.ndarray, "3 3"],
        positions: Float[np.ndarray, "n 3"],
        cell: Float[np.ndarray, "3 3"],
        coordinates: Float[np.ndarray, "atoms 3"],
    ) -> "Supercell":
        """Find the sites of atoms at `coordinates` in Å in a supercell with row vectors `cell` in Å.

        Args:
            lattice: row vectors of the primitive cell in Å.
            positions: of its atoms in fractional coordinates, dimensionless.
            cell: row vectors of the supercell in Å.
            coordinates: of its atoms in Å.

        Source: ours.
        """
        apart = (coordinates @ np.linalg.inv(lattice))[:, None] - positions
        off = np.abs(apart - np.rint(apart)).max(axis=-1)
        atom = off.argmin(axis=1)
        cells = np.rint(apart[np.arange(len(coordinates)), atom]).astype(int)
        return cls(np.rint(cell @ np.linalg.inv(lattice)).astype(int), np.column_stack([cells, atom]))

    @property
    def translations(self) -> Int[np.ndarray, "cells 3"]:
        """Lattice vectors of the primitive cell that the supercell holds.

        Source: ours.
        """
        return self.sites[self.sites[:, 3] == 0, :3] - self.sites[self.sites[:, 3] == 0, :3][0]

    def index(self, sites: Int[np.ndarray, "... 4"]) -> Int[np.ndarray, "..."]:
        """Find the atoms that stand for any sites.

        Source: ours.
        """
        return self._atom_of_key[self._key(sites)]

    @property
    def wave_vectors(self) -> Float[np.ndarray, "cells 3"]:
        """Those that repeat in the supercell, in fractional coordinates of the primitive cell, dimensionless.

        Source: ours.
        """
        inverse, size = self._inverse
        steps = np.array(list(itertools.product(range(size), repeat=3)))
        return np.unique((steps @ inverse.T) % size, axis=0) / size

    @cached_property
    def _inverse(self) -> tuple[np.ndarray, int]:
        """The inverse of `matrix` as integers over the smallest denominator."""
        size = abs(round(np.linalg.det(self.matrix)))
        whole = np.rint(np.linalg.inv(self.matrix) * size).astype(int)
        common = int(np.gcd.reduce(np.append(whole.ravel(), size)))
        return whole // common, size // common

    @cached_property
    def _atom_of_key(self) -> np.ndarray:
        keys = self._key(self.sites)
        atom_of = np.full(keys.max() + 1, -1)
        atom_of[keys] = np.arange(len(keys))
        return atom_of

    def _key(self, sites: np.ndarray) -> np.ndarray:
        inverse, size = self._inverse
        a, b, c = np.moveaxis((sites[..., :3] @ inverse) % size, -1, 0)
        return ((sites[..., 3] * size + a) * size + b) * size + c


def thermal_displacements(
    crystal: Crystal, supercell: Supercell, temperature: float, count: int, seed: int
) -> Float[np.ndarray, "count atoms 3"]:
    """Draw displacements in Å of a supercell's atoms from the harmonic crystal at a temperature in K.

    Args:
        crystal: its phonons.
        supercell: whose atoms move.
        temperature: in K; zero-point motion is always there.
        count: how many, dimensionless.
        seed: of the draw.

    Source: M. Born and K. Huang, Dynamical Theory of Crystal Lattices (1954), chapter IV.
    """
    frequencies, patterns = _standing(crystal, supercell)
    lowest = SOFTEST * float(frequencies.max())
    quanta = 2 * occupation(frequencies, np.array([temperature]), lowest)[:, 0] + 1
    sizes = np.sqrt(HBAR / (4 * np.pi * AMU) * quanta / np.where(frequencies > lowest, frequencies, np.inf))
    random = np.random.default_rng(seed).normal(size=(2, count, len(sizes))) * sizes
    moves = (random[0] @ patterns.real - random[1] @ patterns.imag).reshape(count, -1, 3)
    return moves / np.sqrt(crystal.masses[supercell.sites[:, 3]])[:, None]


def _standing(crystal: Crystal, supercell: Supercell) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies in THz of a supercell's modes, and their orthonormal patterns e^(iqx) e/√N, (modes, 3 atoms)."""
    modes = crystal.modes(supercell.wave_vectors, False)
    size, bands = modes.frequencies.shape
    fractional = supercell.sites[:, :3] + crystal.group.positions[supercell.sites[:, 3]]
    waves = np.exp(2j * np.pi * modes.points @ fractional.T) / np.sqrt(size)
    vectors = modes.eigenvectors.reshape(size, -1, 3, bands)[:, supercell.sites[:, 3]]
    patterns = np.einsum("qn,qnaj->qjna", waves, vectors)
    return modes.frequencies.ravel(), patterns.reshape(size * bands, -1)
