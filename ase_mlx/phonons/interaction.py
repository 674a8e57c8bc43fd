"""Squared elements of third-order force constants between the phonons of a mesh.

Source: ours; A. Togo, L. Chaput and I. Tanaka, Phys. Rev. B 91, 094306 (2015), eq. 41.
"""

import threading

import numpy as np
import torch
from jaxtyping import Complex, Float, Int

from ase_mlx.compiled import compiled
from ase_mlx.phonons.brillouin import Mesh
from ase_mlx.phonons.compressed import CompressedTensor, strengths
from ase_mlx.phonons.crystal import Crystal
from ase_mlx.phonons.folded import FoldedTensor, fold, fold_products

BATCH = 16
"""First wave vectors folded at a time, as long as they fit into `ROOM`."""

ROOM = 64_000_000
"""Bytes of the series of a batch."""

FEW = 128
"""Triplets of one first wave vector up to which the lattice sum is taken for each; above, axis by axis of the mesh."""

LOOPS = 12
"""Bands up to which compiled loops over bands are faster than products of small matrices."""


WRITTEN = 20
"""Time to write one number of a compressed tensor out, over that of a product of one element."""


def interaction_of(
    crystal: Crystal,
    mesh: Mesh,
    amplitudes: Complex[np.ndarray, "q bands bands"],
    tensor: CompressedTensor | None = None,
    device: str = "cpu",
    threads: int = 1,
) -> "Interaction | ProductInteraction":
    """Choose how elements are computed on a mesh; a compressed tensor is written out where that pays.

    Args:
        crystal: its force constants in eV/Å³, where there is no tensor.
        mesh: the mesh.
        amplitudes: of its phonons, as `Modes.amplitudes` gives them, in 1/√(amu THz).
        tensor: compressed force constants.
        device: of torch.
        threads: that will share the irreducible points, in runs of `batch`.

    Source: ours.
    """
    if tensor is None:
        return Interaction(fold(crystal.third), mesh, amplitudes, device, threads)
    written = sum(len(orbit.operations) * (3 * len(orbit.sites)) ** 3 for orbit in tensor.orbits)
    elements = len(mesh.irreducible[0]) * len(mesh.points) / 2 * amplitudes.shape[2] ** 3
    if WRITTEN * written < elements * tensor.rank:
        return Interaction(fold_products(tensor), mesh, amplitudes, device, threads)
    return ProductInteraction(tensor, mesh, amplitudes, device)


class Interaction:
    """Squared elements between the phonons of a mesh, from force constants folded for each first wave vector.

    Source: ours.
    """

    def __init__(
        self,
        tensor: FoldedTensor,
        mesh: Mesh,
        amplitudes: Complex[np.ndarray, "q bands bands"],
        device: str = "cpu",
        threads: int = 1,
    ) -> None:
        self.tensor, self.mesh = tensor, mesh
        self.amplitudes, self.bands = tensor.phased(mesh.points, amplitudes), amplitudes.shape[2]
        self.device = device if device != "cpu" or self.bands > LOOPS else None
        share = BATCH if threads == 1 else -(-len(mesh.irreducible[0]) // (2 * threads))
        self.batch = max(1, min(BATCH, share, ROOM // (16 * len(tensor.second) * self.bands**3)))
        self.kept = threading.local()
        # e^(2πi q₂·S) is a product over the axes of the mesh: the sum over the first one is shared by all q₂ of a level
        cells, numbers = tensor.second, np.array(mesh.numbers)
        axis = int(np.argmin([len(np.unique(np.delete(cells, k, axis=1), axis=0)) for k in range(3)]))
        rest = [k for k in range(3) if k != axis]
        columns, column = np.unique(cells[:, rest], axis=0, return_inverse=True)
        steps, step = np.unique(cells[:, axis], return_inverse=True)
        self.shape, self.place = (len(steps), len(columns)), step * len(columns) + column.ravel()
        self.along = np.exp(2j * np.pi * np.outer(np.arange(numbers[axis]), steps) / numbers[axis])
        plane = np.stack(np.meshgrid(*(np.arange(numbers[k]) for k in rest), indexing="ij"), -1).reshape(-1, 2)
        self.across = np.exp(2j * np.pi * (plane / numbers[rest]) @ columns.T)
        self.level = mesh.addresses[:, axis]
        self.spot = mesh.addresses[:, rest[0]] * numbers[rest[1]] + mesh.addresses[:, rest[1]]

    def strengths(self, point: int, triplets: Int[np.ndarray, "t 2"]) -> Float[np.ndarray, "t bands bands bands"]:
        """|element|² of triplets (indices of q₂ and q₃, dimensionless) with one q₁, in (eV/Å³)² (amu THz)^-3.

        Source: ours.
        """
        series, bands = self._series(point).reshape(len(self.place), -1), self.bands
        squared = np.empty((len(triplets), bands, bands, bands))
        if len(triplets) <= FEW:
            waves = np.exp(2j * np.pi * self.mesh.points[triplets[:, 0]] @ self.tensor.second.T)
            self._square(waves @ series, triplets, squared, np.arange(len(triplets)))
            return squared
        dense = np.zeros((self.shape[0] * self.shape[1], bands**3), dtype=complex)
        dense[self.place] = series
        lines = (self.along @ dense.reshape(self.shape[0], -1)).reshape(len(self.along), self.shape[1], -1)
        level = self.level[triplets[:, 0]]
        for k in np.unique(level):
            chosen = np.flatnonzero(level == k)
            pairs = triplets[chosen]
            self._square(self.across[self.spot[pairs[:, 0]]] @ lines[k], pairs, squared, chosen)
        return squared

    def _series(self, point: int) -> np.ndarray:
        """The series of a first wave vector; those that follow on the mesh's irreducible points are folded with it."""
        kept = getattr(self.kept, "series", {})
        if point not in kept:
            points = self.mesh.irreducible[0]
            at = np.flatnonzero(points == point)
            batch = points[at[0] : at[0] + self.batch] if len(at) else np.array([point])
            series = self.tensor.series(self.mesh.points[batch], self.amplitudes[batch])
            kept = self.kept.series = dict(zip(batch.tolist(), series, strict=True))
        return kept[point]

    def _square(self, half: np.ndarray, pairs: np.ndarray, squared: np.ndarray, chosen: np.ndarray) -> None:
        """Contract elements (t, bands³) of one phonon with the other two, and square them into their places."""
        half = half.reshape(len(pairs), self.bands, self.bands, self.bands)
        if self.device is None:
            _squares(half, self.amplitudes, pairs, chosen, squared)
            return
        left, right = (torch.from_numpy(self.amplitudes[pairs[:, k]]).to(self.device) for k in range(2))
        elements = left[:, None].transpose(2, 3) @ torch.from_numpy(half).to(self.device) @ right[:, None]
        squared[chosen] = (elements.real.square() + elements.imag.square()).cpu().numpy()


class ProductInteraction:
    """The same from a compressed tensor's products, for tensors too large to be written out.

    Source: Y. Luo et al., arXiv 2503.05913.
    """

    batch = BATCH

    def __init__(
        self,
        tensor: CompressedTensor,
        mesh: Mesh,
        amplitudes: Complex[np.ndarray, "q bands bands"],
        device: str = "cpu",
    ) -> None:
        self.device = device
        self.tables = torch.from_numpy(tensor.tables(mesh.points, amplitudes).astype(np.complex64)).to(device)
        self.signs = torch.from_numpy(tensor.signs).to(self.tables)

    def strengths(self, point: int, triplets: Int[np.ndarray, "t 2"]) -> Float[np.ndarray, "t bands bands bands"]:
        """|element|² of triplets (indices of q₂ and q₃, dimensionless) with one q₁, in (eV/Å³)² (amu THz)^-3.

        Source: Y. Luo et al., arXiv 2503.05913.
        """
        pairs = torch.from_numpy(triplets).to(self.device)
        return strengths(self.tables, self.signs, point, pairs).double().cpu().numpy()


@compiled(fastmath=True, nogil=True)
def _squares(half, amplitudes, pairs, chosen, out):  # pragma: no cover, compiled
    size, n = len(pairs), half.shape[1]
    real, imag = np.empty((n, n)), np.empty((n, n))
    ar, ai, br, bi = np.empty((n, n)), np.empty((n, n)), np.empty((n, n)), np.empty((n, n))
    for t in range(size):
        for x in range(n):
            for y in range(n):
                ar[x, y], ai[x, y] = amplitudes[pairs[t, 0], x, y].real, amplitudes[pairs[t, 0], x, y].imag
                br[x, y], bi[x, y] = amplitudes[pairs[t, 1], x, y].real, amplitudes[pairs[t, 1], x, y].imag
        for i in range(n):
            real[:], imag[:] = 0.0, 0.0
            for x in range(n):
                for y in range(n):
                    u, v = half[t, i, x, y].real, half[t, i, x, y].imag
                    for k in range(n):
                        real[x, k] += u * br[y, k] - v * bi[y, k]
                        imag[x, k] += u * bi[y, k] + v * br[y, k]
            for j in range(n):
                for k in range(n):
                    u, v = 0.0, 0.0
                    for x in range(n):
                        u += ar[x, j] * real[x, k] - ai[x, j] * imag[x, k]
                        v += ar[x, j] * imag[x, k] + ai[x, j] * real[x, k]
                    out[chosen[t], i, j, k] = u * u + v * v
