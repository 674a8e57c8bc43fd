"""Fourier series over lattice vectors at the points of a mesh, and the elements between phonons that they make.

Source: ours.
"""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Complex, Float, Int

from ase_mlx.compiled import compiled
from ase_mlx.phonons.brillouin import Mesh

FEW = 3.0
"""A sum is taken for each wave vector, not axis by axis, up to so many times the products that an axis would take."""

LOOPS = 12
"""Bands up to which compiled loops over bands are faster than products of small matrices."""


class LatticeSum:
    """Σ_S W(S) e^(2πi q·S) at points of a mesh.

    The wave is a product over the axes of the mesh: the sum over the first one is shared by all points of a level.

    Source: ours.
    """

    def __init__(self, cells: Int[np.ndarray, "cells 3"], mesh: Mesh) -> None:
        numbers = np.array(mesh.numbers)
        axis = int(np.argmin([len(np.unique(np.delete(cells, k, axis=1), axis=0)) for k in range(3)]))
        rest = [k for k in range(3) if k != axis]
        columns, column = np.unique(cells[:, rest], axis=0, return_inverse=True)
        steps, step = np.unique(cells[:, axis], return_inverse=True)
        self.cells, self.points = cells, mesh.points
        self.shape, self.place = (len(steps), len(columns)), step * len(columns) + column.ravel()
        self.along = np.exp(2j * np.pi * np.outer(np.arange(numbers[axis]), steps) / numbers[axis])
        plane = np.stack(np.meshgrid(*(np.arange(numbers[k]) for k in rest), indexing="ij"), -1).reshape(-1, 2)
        self.across = np.exp(2j * np.pi * (plane / numbers[rest]) @ columns.T)
        self.level = mesh.addresses[:, axis]
        self.spot = mesh.addresses[:, rest[0]] * numbers[rest[1]] + mesh.addresses[:, rest[1]]

    def __call__(
        self, series: Complex[np.ndarray, "cells width"], points: Int[np.ndarray, " t"]
    ) -> Iterator[tuple[Int[np.ndarray, " some"], Complex[np.ndarray, "some width"]]]:
        """Give some of the points after the other: their places in `points` (dimensionless), and their sums.

        Args:
            series: coefficients, in any unit.
            points: indices of the mesh, dimensionless.

        Source: ours.
        """
        if len(points) * len(self.cells) <= FEW * len(self.along) * self.shape[0] * self.shape[1]:
            yield np.arange(len(points)), np.exp(2j * np.pi * self.points[points] @ self.cells.T) @ series
            return
        dense = np.zeros((self.shape[0] * self.shape[1], series.shape[1]), dtype=complex)
        dense[self.place] = series
        lines = (self.along @ dense.reshape(self.shape[0], -1)).reshape(len(self.along), self.shape[1], -1)
        level = self.level[points]
        for k in np.unique(level):
            chosen = np.flatnonzero(level == k)
            yield chosen, self.across[self.spot[points[chosen]]] @ lines[k]


def phased(
    positions: Float[np.ndarray, "n 3"],
    points: Float[np.ndarray, "q 3"],
    amplitudes: Complex[np.ndarray, "q bands bands"],
) -> Complex[np.ndarray, "q bands bands"]:
    """Amplitudes in 1/√(amu THz) with the phases of atoms' positions (fractional, as the points; dimensionless).

    Source: A. Togo, L. Chaput and I. Tanaka, Phys. Rev. B 91, 094306 (2015), eq. 41.
    """
    return amplitudes * np.exp(2j * np.pi * points @ np.repeat(positions, 3, axis=0).T)[:, :, None]


def square_into(
    squared: Float[np.ndarray, "t lead bands bands"],
    chosen: Int[np.ndarray, " some"],
    half: Complex[np.ndarray, "some lead bands bands"],
    amplitudes: Complex[np.ndarray, "q bands bands"],
    pairs: Int[np.ndarray, "some 2"],
    device: str = "cpu",
) -> None:
    """Contract elements with their last two phonons, and put |element|² into their places.

    Args:
        squared: where they go, in the square of the elements' unit.
        chosen: which places, dimensionless.
        half: elements that are contracted with all phonons but the last two, in any unit.
        amplitudes: of all points of the mesh, with their phases, in 1/√(amu THz).
        pairs: indices of the last two points, dimensionless.
        device: of torch, for many bands or a GPU.

    Source: ours.
    """
    if device == "cpu" and half.shape[-1] <= LOOPS:
        _squares(half, amplitudes, pairs, chosen, squared)
        return
    left, right = (torch.from_numpy(amplitudes[pairs[:, k]]).to(device) for k in range(2))
    elements = left[:, None].transpose(2, 3) @ torch.from_numpy(half).to(device) @ right[:, None]
    squared[chosen] = (elements.real.square() + elements.imag.square()).cpu().numpy()


@compiled(fastmath=True, nogil=True)
def _squares(half, amplitudes, pairs, chosen, out):  # pragma: no cover, compiled
    size, lead, n = half.shape[:3]
    real, imag = np.empty((n, n)), np.empty((n, n))
    ar, ai, br, bi = np.empty((n, n)), np.empty((n, n)), np.empty((n, n)), np.empty((n, n))
    for t in range(size):
        for x in range(n):
            for y in range(n):
                ar[x, y], ai[x, y] = amplitudes[pairs[t, 0], x, y].real, amplitudes[pairs[t, 0], x, y].imag
                br[x, y], bi[x, y] = amplitudes[pairs[t, 1], x, y].real, amplitudes[pairs[t, 1], x, y].imag
        for i in range(lead):
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
