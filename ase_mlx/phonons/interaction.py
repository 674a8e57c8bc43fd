"""Squared elements of third-order force constants between the phonons of a mesh.

Source: ours; A. Togo, L. Chaput and I. Tanaka, Phys. Rev. B 91, 094306 (2015), eq. 41.
"""

import threading

import numpy as np
import torch
from jaxtyping import Complex, Float, Int

from ase_mlx.phonons.brillouin import Mesh
from ase_mlx.phonons.compressed import CompressedTensor, strengths
from ase_mlx.phonons.crystal import Crystal
from ase_mlx.phonons.folded import FoldedTensor, fold, fold_products
from ase_mlx.phonons.lattice_sum import LatticeSum, square_into

BATCH = 16
"""First wave vectors folded at a time, as long as they fit into `ROOM`."""

ROOM = 64_000_000
"""Bytes of the series of a batch."""

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
        self.device = device
        share = BATCH if threads == 1 else -(-len(mesh.irreducible[0]) // (2 * threads))
        self.batch = max(1, min(BATCH, share, ROOM // (16 * len(tensor.second) * self.bands**3)))
        self.kept, self.sums = threading.local(), LatticeSum(tensor.second, mesh)

    def strengths(self, point: int, triplets: Int[np.ndarray, "t 2"]) -> Float[np.ndarray, "t bands bands bands"]:
        """|element|² of triplets (indices of q₂ and q₃, dimensionless) with one q₁, in (eV/Å³)² (amu THz)^-3.

        Source: ours.
        """
        series, bands = self._series(point).reshape(len(self.tensor.second), -1), self.bands
        squared = np.empty((len(triplets), bands, bands, bands))
        for chosen, half in self.sums(series, triplets[:, 0]):
            half = half.reshape(-1, bands, bands, bands)
            square_into(squared, chosen, half, self.amplitudes, triplets[chosen], self.device)
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
