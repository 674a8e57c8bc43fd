"""Fourth-order force constants of a supercell, folded for sums over the quartets of a mesh.

Four wave vectors add up to a reciprocal vector. With the cells of atoms 2 and 3 of a quartet counted from those of the
others, what stands between a pair of wave vectors and all others is a Fourier series in one lattice vector D,
V = Σ_D K(D) e^(2πi q₃·D), as between one wave vector and all others at third order.

Source: ours.
"""

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex, Float, Int
from scipy.sparse import csr_array

from ase_mlx.phonons.brillouin import Mesh
from ase_mlx.phonons.force_constants import ForceConstants
from ase_mlx.phonons.lattice_sum import LatticeSum, phased, square_into

ROOM = 500_000_000
"""Bytes of force constants contracted with one phonon that are kept."""


@dataclass(frozen=True)
class FourthOrder(ForceConstants):
    """Fourth-order force constants in eV/Å⁴.

    Source: ours.
    """

    constants: Float[np.ndarray, "n N N N 3 3 3 3"]


class FoldedQuartic:
    """Squared elements of four phonons of a mesh, from force constants folded for each pair of wave vectors.

    The first atom lies in the home cell, as in phono3py. Each quartet is turned and reordered so that one of the last
    three wave vectors is irreducible, and that few pairs of it with the first one occur: force constants are contracted
    with an irreducible phonon once, folded once for a pair.

    Source: ours; the choice of the home cell is phono3py's.
    """

    def __init__(
        self,
        fourth: FourthOrder,
        mesh: Mesh,
        amplitudes: Complex[np.ndarray, "q bands bands"],
        device: str = "cpu",
    ) -> None:
        self.mesh, self.device, self.bands = mesh, device, amplitudes.shape[2]
        self.amplitudes = phased(fourth.positions, mesh.points, amplitudes)
        self.primitive = fourth.primitive
        homes, atoms = range(len(fourth.positions)), len(fourth.primitive)
        counted = [np.any(home.reshape(atoms, atoms, atoms, 81), axis=(2, 3)) for home in fourth.constants]
        # rows: two atoms and coordinates of three; columns: the atom that is contracted first, and its coordinate
        self.constants = [
            np.ascontiguousarray(fourth.constants[k][chosen].transpose(0, 2, 3, 4, 1, 5)).reshape(-1, 3 * atoms)
            for k, chosen in enumerate(counted)
        ]
        self.shares = [fourth.shares(k) for k in homes]
        self._fold(counted)
        self.kept: OrderedDict[int, list[np.ndarray]] = OrderedDict()

    def _fold(self, counted: list[np.ndarray]) -> None:
        """The cells D of all pairs of atoms, and where each pair goes: `into` are rows and columns of a sparse matrix.

        Rows count D and the atoms of the primitive cell, columns pairs of atoms of the supercell.
        """
        n, codes, pairs = len(self.shares), [], []
        half = 2 * max(int(np.abs(cell).max()) for _, cell, _ in self.shares)
        for (atom, cell, share), chosen in zip(self.shares, counted, strict=True):
            x, y = np.nonzero(chosen[np.ix_(atom, atom)])
            place = np.cumsum(chosen.ravel()).reshape(chosen.shape) - 1
            apart, box = cell[x] - cell[y] + half, 2 * half + 1
            codes.append(apart @ [box * box, box, 1])
            kinds = self.primitive[atom[x]] * n + self.primitive[atom[y]]
            pairs.append((kinds, place[atom[x], atom[y]], share[x] * share[y], cell[y]))
        cells = np.unique(np.concatenate(codes))
        self.cells = np.stack(np.unravel_index(cells, 3 * (2 * half + 1,)), axis=-1) - half
        self.sums = LatticeSum(self.cells, self.mesh)
        self.pairs = [
            (np.searchsorted(cells, code) * n * n + kinds, *rest)
            for code, (kinds, *rest) in zip(codes, pairs, strict=True)
        ]

    def order(self, point: int, quartets: Int[np.ndarray, "t 3"]) -> Int[np.ndarray, " t"]:
        """Sort quartets by the pairs for which force constants are folded.

        Source: ours.
        """
        return np.argsort(self._turned(point, quartets)[0], kind="stable")

    def __call__(self, point: int, quartets: Int[np.ndarray, "t 3"]) -> Float[np.ndarray, "t b b b b"]:
        """|element|² of one q₁ and many (q₂, q₃, q₄), in (eV/Å⁴)² (amu THz)^-4.

        Source: ours.
        """
        n, bands, squared = len(self.shares), self.bands, np.empty((len(quartets), *4 * (self.bands,)))
        key, turn, order = self._turned(point, quartets)
        for pair in np.unique(key):
            chosen = np.flatnonzero(key == pair)
            first, second = divmod(int(pair), len(self.mesh.points))
            turned = self.mesh.images[turn[chosen, None], quartets[chosen]]
            others = np.take_along_axis(turned, order[chosen], axis=1)[:, 1:]
            part = np.empty((len(chosen), bands * bands, bands, bands))
            series = self._series(first, second)
            for some, half in self.sums(series, others[:, 0]):
                half = half.reshape(-1, n, n, 3, 3, bands, bands).transpose(0, 6, 5, 1, 3, 2, 4)
                half = half.reshape(-1, bands * bands, bands, bands)
                square_into(part, some, half, self.amplitudes, others[some], self.device)
            part = part.reshape(-1, *4 * (bands,))
            for k, axes in enumerate(((0, 1, 2, 3, 4), (0, 1, 3, 2, 4), (0, 1, 4, 3, 2))):
                these = order[chosen, 0] == k
                squared[chosen[these]] = part[these].transpose(axes)
        return squared

    def _turned(self, point: int, quartets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Turn quartets to few pairs: a number for q₁ and the irreducible wave vector, the operation, the new order."""
        images = self.mesh.images
        least = images.min(axis=0)
        allowed = np.where(images == least, images[:, point, None], len(least))
        operation = allowed.argmin(axis=0)
        pair = images[operation, point] * len(least) + least
        place = pair[quartets].argmin(axis=1)
        rows = np.arange(len(quartets))
        leading = quartets[rows, place]
        order = np.array([[0, 1, 2], [1, 0, 2], [2, 1, 0]])[place]
        return pair[leading], operation[leading], order

    def _contracted(self, second: int) -> list[np.ndarray]:
        """Force constants with one phonon of an irreducible wave vector, for each home atom: pairs and coordinates."""
        if second not in self.kept:
            amplitude, point = self.amplitudes[second], self.mesh.points[second]
            parts = []
            for constants, (atom, cell, share) in zip(self.constants, self.shares, strict=True):
                phases = np.zeros(len(self.primitive), dtype=complex)
                np.add.at(phases, atom, share * np.exp(2j * np.pi * cell @ point))
                wave = phases[:, None, None] * amplitude.reshape(-1, 3, self.bands)[self.primitive]
                wave = wave.reshape(-1, self.bands)
                both = constants @ np.concatenate([wave.real, wave.imag], axis=1)
                part = (both[:, : self.bands] + 1j * both[:, self.bands :]).reshape(-1, 3, 9, self.bands)
                parts.append(part.transpose(0, 2, 3, 1).reshape(len(part), -1))
            while self.kept and sum(x.nbytes for kept in self.kept.values() for x in kept) > ROOM:
                self.kept.popitem(last=False)
            self.kept[second] = parts
        self.kept.move_to_end(second)
        return self.kept[second]

    def _series(self, first: int, second: int) -> Complex[np.ndarray, "cells width"]:
        """K(D) of two phonons: atoms j and k, coordinates of the third and fourth, bands of the second and first."""
        n, bands, rows = len(self.shares), self.bands, len(self.cells) * len(self.shares) ** 2
        total = self.mesh.points[first] + self.mesh.points[second]
        legs, series = self.amplitudes[first].reshape(n, 3, bands), 0.0
        for part, leg, (row, column, share, cell) in zip(self._contracted(second), legs, self.pairs, strict=True):
            values = share * np.exp(-2j * np.pi * cell @ total)
            folded = csr_array((values, (row, column)), shape=(rows, len(part))) @ part
            series = folded.reshape(-1, 3) @ leg + series
        return series.reshape(len(self.cells), -1)
