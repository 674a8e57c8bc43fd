"""Third-order force constants with the cells of two atoms counted from that of the third, for sums over a mesh.

The three wave vectors of an element add up to a reciprocal vector. What stands between q₁ and all q₂ is then a Fourier
series in one lattice vector, V(q₁, q₂) = Σ_S W(S) e^(2πi q₂·S) with W(S) = Σ_S' F(S', S) e^(2πi q₁·S'): folded once for
each first wave vector, it serves all second ones.

Source: ours.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex, Float, Int

from ase_mlx.compiled import compiled
from ase_mlx.phonons.compressed import CompressedTensor
from ase_mlx.phonons.lattice_sum import phased
from ase_mlx.phonons.third_order import ThirdOrder


@dataclass(frozen=True)
class FoldedTensor:
    """F(S', S): third-order force constants in eV/Å³ by the cells of atoms 1 and 2, counted from that of atom 3.

    `second` are the cells S of atom 2, `first` the cells S' of atom 1 (dimensionless). Blocks of 3×3×3 numbers of three
    atoms stand in the order of S, from `start` of one cell to that of the next; `cell` says which S' a block has, and
    `atoms` which atoms of the primitive cell. `positions` are fractional coordinates of the primitive cell.

    Source: ours.
    """

    positions: Float[np.ndarray, "n 3"]
    first: Int[np.ndarray, "early 3"]
    second: Int[np.ndarray, "cells 3"]
    start: Int[np.ndarray, " cells_and_1"]
    cell: Int[np.ndarray, " blocks"]
    atoms: Int[np.ndarray, "blocks 3"]
    blocks: Float[np.ndarray, "blocks 27"]

    def phased(
        self, points: Float[np.ndarray, "q 3"], amplitudes: Complex[np.ndarray, "q bands bands"]
    ) -> Complex[np.ndarray, "q bands bands"]:
        """Amplitudes in 1/√(amu THz) with the phase of each atom's position at fractional wave vectors (dimensionless).

        Source: A. Togo, L. Chaput and I. Tanaka, Phys. Rev. B 91, 094306 (2015), eq. 41.
        """
        return phased(self.positions, points, amplitudes)

    def series(
        self, points: Float[np.ndarray, "q 3"], amplitudes: Complex[np.ndarray, "q bands bands"]
    ) -> Complex[np.ndarray, "q cells bands others"]:
        """Coefficients W(S) of first wave vectors, contracted with their amplitudes.

        Args:
            points: in fractional coordinates, dimensionless.
            amplitudes: with their phases, as `phased` gives them, in 1/√(amu THz).

        Returns:
            eV/Å³ (amu THz)^(-1/2), the coordinates of atoms 2 and 3 in one axis.

        Source: ours.
        """
        waves = np.exp(2j * np.pi * self.first @ points.T)
        parts = np.concatenate([waves.real, waves.imag], axis=1)
        return _series(self.start, self.cell, self.atoms, self.blocks, parts, amplitudes, len(self.positions))


def fold(third: ThirdOrder) -> FoldedTensor:
    """Count cells from that of the third atom, in the mean over which of the three atoms is in the home cell.

    Args:
        third: force constants in eV/Å³; equally short vectors share them.

    Source: ours; the average is phono3py's.
    """
    n = len(third.positions)
    first, second, atoms, blocks = [], [], [], []
    for home in range(n):
        atom, cell, share = third.shares(home)
        a, b = (x.ravel() for x in np.meshgrid(np.arange(len(atom)), np.arange(len(atom)), indexing="ij"))
        values = third.constants[home][atom[a], atom[b]] * (share[a] * share[b] / 3)[:, None, None, None]
        ends = np.full(len(a), home), third.primitive[atom[a]], third.primitive[atom[b]]
        # the home cell's atom is the first, the second, the third; a and b are the other two in their order
        for order, early, late in (
            ((0, 1, 2), -cell[b], cell[a] - cell[b]),
            ((1, 0, 2), cell[a] - cell[b], -cell[b]),
            ((1, 2, 0), cell[a], cell[b]),
        ):
            first.append(early)
            second.append(late)
            atoms.append(np.stack([ends[k] for k in order], axis=1))
            blocks.append(values.transpose(0, *(1 + k for k in order)).reshape(-1, 27))
    return _sorted(third.positions, *(np.concatenate(x) for x in (first, second, atoms, blocks)))


def fold_products(tensor: CompressedTensor) -> FoldedTensor:
    """Write a compressed tensor of third order out, with cells counted from that of the third atom: no approximation.

    Args:
        tensor: mode functions in (eV/Å³)^(1/3).

    Source: ours.
    """
    group, members = tensor.group, []
    for orbit in tensor.orbits:
        for operation in orbit.operations:
            sites = group.move(int(operation), np.zeros(3, dtype=int), orbit.sites)
            turned = orbit.functions @ group.cartesian[operation].T
            members.append((sites, turned.reshape(len(turned), -1), orbit.signs))
    n, half = len(group.positions), max(int(np.ptp(sites[:, :3], axis=0).max()) for sites, _, _ in members)
    apart = [_code(sites[:, None, :3] - sites[None, :, :3], half) for sites, _, _ in members]
    codes = [codes[:, None] + codes[None] * (2 * half + 1) ** 3 for codes in apart]
    pairs = np.unique(np.concatenate([np.unique(c) for c in codes]))
    table = np.zeros((len(pairs), n, n, n, 27))
    for (sites, functions, signs), code in zip(members, codes, strict=True):
        size = functions.shape[1]
        cubes = ((functions.T[:, None] * functions.T * signs).reshape(size**2, -1) @ functions).reshape(3 * (size,))
        _scatter(table, np.searchsorted(pairs, code), cubes, sites[:, 3])
    pair, *atoms = np.nonzero(np.any(table != 0, axis=-1))
    second, first = np.divmod(pairs[pair], (2 * half + 1) ** 3)
    cells = (_cell(code, half) for code in (first, second))
    return _sorted(group.positions, *cells, np.stack(atoms, axis=1), table[pair, *atoms])


def _sorted(positions, first, second, atoms, blocks) -> FoldedTensor:
    """Add blocks of the same cells and atoms, leave those out that vanish, and sort."""
    n, half = len(positions), max(int(np.abs(x).max()) for x in (first, second))
    keys = (_code(second, half) * (2 * half + 1) ** 3 + _code(first, half)) * n**3 + atoms @ [n * n, n, 1]
    order = np.argsort(keys, kind="stable")
    keys, place = np.unique(keys[order], return_index=True)
    blocks = np.add.reduceat(blocks[order], place)
    counted = np.any(blocks != 0, axis=1)
    keys, blocks = keys[counted], blocks[counted]
    cells, atom = np.divmod(keys, n**3)
    late, early = np.divmod(cells, (2 * half + 1) ** 3)
    late, start = np.unique(late, return_index=True)
    early, cell = np.unique(early, return_inverse=True)
    atoms = np.stack(np.unravel_index(atom, (n, n, n)), axis=1)
    return FoldedTensor(
        positions, _cell(early, half), _cell(late, half), np.append(start, len(keys)), cell.ravel(), atoms, blocks
    )


def _code(cells: np.ndarray, half: int) -> np.ndarray:
    """One number for each cell of a box that reaches from −half to half."""
    box = 2 * half + 1
    return (cells + half) @ [box * box, box, 1]


def _cell(codes: np.ndarray, half: int) -> np.ndarray:
    return np.stack(np.unravel_index(codes, 3 * (2 * half + 1,)), axis=-1) - half


@compiled(fastmath=True)
def _scatter(table, place, cubes, atom):  # pragma: no cover, compiled
    for a in range(len(atom)):
        for b in range(len(atom)):
            for c in range(len(atom)):
                into = table[place[a, b, c], atom[a], atom[b], atom[c]]
                for x in range(3):
                    for y in range(3):
                        for z in range(3):
                            into[9 * x + 3 * y + z] += cubes[3 * a + x, 3 * b + y, 3 * c + z]


@compiled(fastmath=True, nogil=True)
def _series(start, cell, atoms, blocks, waves, amplitudes, n):  # pragma: no cover, compiled
    count, cells, bands, others = len(amplitudes), len(start) - 1, 3 * n, 9 * n * n
    out = np.empty((count, cells, bands, others), np.complex128)
    for k in range(cells):
        sums = np.zeros((bands, others, 2 * count))
        for r in range(start[k], start[k + 1]):
            a, b, c = atoms[r]
            wave = waves[cell[r]]
            for x in range(3):
                for y in range(3):
                    for z in range(3):
                        into, value = sums[3 * a + x, 3 * n * (3 * b + y) + 3 * c + z], blocks[r, 9 * x + 3 * y + z]
                        for q in range(2 * count):
                            into[q] += value * wave[q]
        for q in range(count):
            for i in range(bands):
                for o in range(others):
                    real, imag = 0.0, 0.0
                    for x in range(bands):
                        e = amplitudes[q, x, i]
                        real += e.real * sums[x, o, q] - e.imag * sums[x, o, count + q]
                        imag += e.real * sums[x, o, count + q] + e.imag * sums[x, o, q]
                    out[q, k, i, o] = complex(real, imag)
    return out
