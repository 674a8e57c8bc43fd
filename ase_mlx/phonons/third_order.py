"""Third-order force constants of a supercell, and their exact elements between phonons.

Source: A. Togo, L. Chaput and I. Tanaka, Phys. Rev. B 91, 094306 (2015).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Complex, Float, Int

from ase_mlx.phonons.force_constants import ForceConstants

CHUNK = 128
"""Triplets contracted at a time: 15 MB for 64 atoms."""


@dataclass(frozen=True)
class ThirdOrder(ForceConstants):
    """Third-order force constants in eV/Å³.

    Source: ours.
    """

    constants: Float[np.ndarray, "n N N 3 3 3"]

    def elements(
        self,
        points: Float[np.ndarray, "q 3"],
        amplitudes: Complex[np.ndarray, "q bands bands"],
        triplets: Int[np.ndarray, "t 3"],
    ) -> Complex[np.ndarray, "t bands bands bands"]:
        """Contract the force constants with three phonons each: exact, averaged over which atom lies in the home cell.

        Args:
            points: wave vectors in fractional coordinates, dimensionless; each triplet adds up to a reciprocal vector.
            amplitudes: what `Modes.amplitudes` gives, 1/√(amu THz).
            triplets: indices of points, dimensionless.

        Returns:
            Elements in eV/Å³ (amu THz)^(-3/2).

        Source: A. Togo, L. Chaput and I. Tanaka, Phys. Rev. B 91, 094306 (2015), eq. 41; the average is phono3py's.
        """
        phases = self.phases(points)
        half = self._half(phases)
        home = np.exp(2j * np.pi * points[triplets].sum(axis=1) @ self.positions.T)
        elements = np.empty((len(triplets), *3 * amplitudes.shape[2:]), dtype=complex)
        for lo in range(0, len(triplets), CHUNK):
            t, pre = triplets[lo : lo + CHUNK], home[lo : lo + CHUNK]
            total = (
                self._from(phases, half, t[:, 1], t[:, 2], pre)
                + self._from(phases, half, t[:, 0], t[:, 2], pre).transpose(0, 2, 1, 3)
                + self._from(phases, half, t[:, 0], t[:, 1], pre).transpose(0, 2, 3, 1)
            ) / 3
            size = total.shape[1]
            total = amplitudes[t[:, 0]].transpose(0, 2, 1) @ total.reshape(len(t), size, -1)
            total = amplitudes[t[:, 1], None].transpose(0, 1, 3, 2) @ total.reshape(len(t), -1, size, size)
            elements[lo : lo + CHUNK] = total @ amplitudes[t[:, 2], None]
        return elements

    @cached_property
    def _members(self) -> list[np.ndarray]:
        return [np.flatnonzero(self.primitive == atom) for atom in range(len(self.positions))]

    def _half(self, phases: np.ndarray) -> list[list[list[np.ndarray]]]:
        """The third atom transformed at each point: [i][j][k] of (q, N_j, 27)."""
        count, atoms = len(phases), range(len(self.positions))
        out = []
        for i in atoms:
            rows = [[None] * len(atoms) for _ in atoms]
            for k, late in enumerate(self._members):
                for j, early in enumerate(self._members):
                    block = self.constants[i][np.ix_(early, late)].transpose(1, 0, 2, 3, 4).reshape(len(late), -1)
                    rows[j][k] = (phases[:, i, late] @ block).reshape(count, len(early), 27)
            out.append(rows)
        return out

    def _from(self, phases, half, second, third, home) -> np.ndarray:
        """Elements (t, 3n, 3n, 3n) with the first atom in the home cell."""
        n, size = len(self.positions), len(second)
        elements = np.empty((size, n, 3, n, 3, n, 3), dtype=complex)
        for i in range(n):
            for j, early in enumerate(self._members):
                left = phases[second, i][:, None, early]
                for k in range(n):
                    block = (left @ half[i][j][k][third])[:, 0].reshape(size, 3, 3, 3)
                    elements[:, i, :, j, :, k] = block * home[:, i, None, None, None]
        return elements.reshape(size, 3 * n, 3 * n, 3 * n)
