"""Linewidths of phonons from four-phonon scattering.

Source: T. Feng and X. Ruan, Phys. Rev. B 93, 045202 (2016).
"""

from dataclasses import dataclass
from typing import Protocol

import numba
import numpy as np
import torch
from jaxtyping import Float, Int

from ase_mlx.compiled import compiled
from ase_mlx.phonons.brillouin import Mesh
from ase_mlx.phonons.compressed import CompressedTensor
from ase_mlx.phonons.linewidths import averaged, shared
from ase_mlx.phonons.modes import Modes
from ase_mlx.phonons.orbits import SpaceGroup
from ase_mlx.progress import Steps, logged
from ase_mlx.units import AMU, HBAR

BLOCKS = 16
"""Of quartets: random parts where they are drawn, and as many as can run side by side."""

STRENGTH = (HBAR / (4 * np.pi * AMU)) ** 4
"""|V|² in eV² per |element|² in (eV/Å⁴)² (amu THz)^-4; on a mesh, over its number of points squared. Source: ours."""

RATE = np.pi / 6 / (2 * np.pi * HBAR) ** 2
"""Γ in THz per |V|² in eV² and δ in 1/THz: π/(ħ² 3!) of the loop with three lines. Source: as above, eqs. 3 to 6."""

NARROWEST = 1 / 500
"""Least width of energy conservation over the highest frequency."""

TAIL = 3.0
"""Widths at which a Gaussian ends; what lies beyond (0.3 %) is counted in."""

QUARTETS = 5_000
"""Of each point: all of them where there are fewer, so many random ones otherwise."""

CHUNK = 1024
"""Quartets at a time: 5 MB for two atoms."""

SIGNS = np.array([[a, b, c] for a in (1, -1) for b in (1, -1) for c in (1, -1)][:-1], dtype=float)
"""Created (1) or absorbed (−1) phonons; absorbing all three never conserves energy."""


class Quartic(Protocol):
    """What gives squared elements of four phonons: `CompressedQuartic`, or exactly `FoldedQuartic`.

    Source: ours.
    """

    def order(self, point: int, quartets: Int[np.ndarray, "t 3"]) -> Int[np.ndarray, " t"]:
        """In which order quartets of one q₁ are best asked for.

        Source: ours.
        """
        ...

    def __call__(self, point: int, quartets: Int[np.ndarray, "t 3"]) -> Float[np.ndarray, "t b b b b"]:
        """|element|² of one q₁ and many (q₂, q₃, q₄), in (eV/Å⁴)² (amu THz)^-4.

        Source: ours.
        """
        ...


class CompressedQuartic:
    """Squared elements of four phonons of a mesh, from compressed force constants.

    Source: ours.
    """

    def __init__(self, tensor: CompressedTensor, mesh: Mesh, amplitudes: np.ndarray, device: str = "cpu") -> None:
        self.tables = torch.from_numpy(tensor.tables(mesh.points, amplitudes).astype(np.complex64)).to(device)
        self.signs = torch.from_numpy(tensor.signs).to(self.tables)

    def order(self, point: int, quartets: Int[np.ndarray, "t 3"]) -> Int[np.ndarray, " t"]:
        """As they come: any order will do.

        Source: ours.
        """
        return np.arange(len(quartets))

    def __call__(self, point: int, quartets: Int[np.ndarray, "t 3"]) -> Float[np.ndarray, "t b b b b"]:
        """|Σ_ξ s_ξ A(q₁) A(q₂) A(q₃) A(q₄)|² in (eV/Å⁴)² (amu THz)^-4.

        Source: Y. Luo et al., arXiv 2503.05913.
        """
        tables, (bands, rank) = self.tables, self.tables.shape[1:]
        first = (tables[point] * self.signs)[:, None]
        squared = torch.empty((len(quartets), bands * bands, bands * bands), dtype=tables.real.dtype)
        for lo in range(0, len(quartets), 32):
            b, c, d = (tables[torch.from_numpy(quartets[lo : lo + 32, k]).to(tables.device)] for k in range(3))
            left = (first * b[:, None]).reshape(len(b), -1, rank)
            elements = left @ (c[:, :, None] * d[:, None]).reshape(len(b), -1, rank).mT
            squared[lo : lo + 32] = elements.real.square() + elements.imag.square()
        return squared.view(-1, *4 * (bands,)).cpu().numpy()


@dataclass(frozen=True)
class QuartetScattering:
    """What quartets of a mesh's phonons add to linewidths, energy conserved within Gaussians.

    `occupations` are dimensionless, `steps` in THz what frequencies change by along the edges of a cell of the mesh;
    modes below `lowest` in THz take no part.

    Source: T. Feng and X. Ruan, Phys. Rev. B 93, 045202 (2016); adaptive widths as W. Li et al., Phys. Rev. B 85,
    195436 (2012), over both free wave vectors.
    """

    mesh: Mesh
    frequencies: Float[np.ndarray, "q bands"]
    steps: Float[np.ndarray, "q bands 3"]
    occupations: Float[np.ndarray, "q bands temperatures"]
    lowest: float

    def __call__(
        self,
        point: int,
        quartets: Int[np.ndarray, "t 3"],
        counts: Float[np.ndarray, " t"],
        squares: Quartic,
    ) -> Float[np.ndarray, "t temperatures bands"]:
        """Give the part of each quartet (indices and how many it stands for, dimensionless) in Γ of one q₁ in THz.

        Source: as the class.
        """
        frequencies, parts = self.frequencies, np.empty((len(quartets), *self.occupations.shape[:0:-1]))
        order = squares.order(point, quartets)
        for lo in range(0, len(order), CHUNK):
            chosen = order[lo : lo + CHUNK]
            strengths = averaged(squares(point, quartets[chosen]), frequencies, quartets[chosen])
            widths = _widths(
                frequencies[point], quartets[chosen], counts[chosen], strengths, frequencies, self.steps,
                self.occupations, SIGNS, self.lowest, NARROWEST * float(frequencies.max()),
            )  # fmt: skip
            parts[chosen] = widths.transpose(0, 2, 1)
        return shared(parts, frequencies[point]) * (RATE * STRENGTH / len(frequencies) ** 2)


@dataclass(frozen=True)
class FourPhonon:
    """Half widths at half maximum in THz by four-phonon scattering on the irreducible points of a mesh.

    `blocks` are what each of several random parts of the quartets says, at points where they were sampled; equal to
    `gamma` elsewhere. `quartets` are those of each point, with how many each one stands for (dimensionless), `parts`
    their parts in Γ in THz at one temperature, by `scattering` with the elements of `squares`.

    Source: ours.
    """

    gamma: Float[np.ndarray, "t stars bands"]
    blocks: Float[np.ndarray, "blocks t stars bands"]
    quartets: tuple[tuple[Int[np.ndarray, "_ 3"], Float[np.ndarray, " _"]], ...]
    parts: tuple[Float[np.ndarray, "_ bands"], ...]
    scattering: QuartetScattering
    squares: Quartic | None

    @property
    def std(self) -> Float[np.ndarray, "t stars bands"]:
        """Standard error of sampling in THz, zero where all quartets were taken.

        Source: ours.
        """
        return self.blocks.std(axis=0, ddof=1) / np.sqrt(len(self.blocks))


def quartets(
    mesh: Mesh, point: int, rng: np.random.Generator
) -> tuple[Int[np.ndarray, "quartets 3"], Float[np.ndarray, " quartets"], bool]:
    """Find (q₂, q₃, q₄) with q₁ + q₂ + q₃ + q₄ = G, reduced by the little group of q₁ and exchanges, or draw some.

    Args:
        mesh: the mesh.
        point: the index of q₁, dimensionless.
        rng: for the draw.

    Returns:
        Indices, how many ordered pairs (q₂, q₃) each one stands for, and whether they were drawn; dimensionless.

    Source: ours; for the draw, Z. Guo et al., npj Comput. Mater. 10, 31 (2024).
    """
    size, little = len(mesh.addresses), mesh.images[mesh.images[:, point] == point]

    def fourth(second: np.ndarray, third: np.ndarray) -> np.ndarray:
        return mesh.index(-(mesh.addresses[point] + mesh.addresses[second] + mesh.addresses[third]))

    if size**2 > 6 * len(little) * QUARTETS:
        second, third = rng.integers(size, size=(2, QUARTETS))
        return np.column_stack([second, third, fourth(second, third)]), np.full(QUARTETS, size**2 / QUARTETS), True
    second, third = np.triu_indices(size)
    last = fourth(second, third)
    ordered = np.column_stack([second, third, last])[last >= third]
    exchanges = np.where(ordered[:, 0] == ordered[:, 2], 1, 6)
    exchanges[(ordered[:, 0] == ordered[:, 1]) ^ (ordered[:, 1] == ordered[:, 2])] = 3
    lowest = ordered[:, 0] * size + ordered[:, 1]
    for images in little:
        moved = np.sort(images[ordered], axis=1)
        np.minimum(lowest, moved[:, 0] * size + moved[:, 1], out=lowest)
    keys, star = np.unique(lowest, return_inverse=True)
    counts = np.bincount(star, weights=exchanges)
    return np.column_stack([keys // size, keys % size, fourth(keys // size, keys % size)]), counts, False


def four_phonon_linewidths(
    mesh: Mesh,
    modes: Modes,
    group: SpaceGroup,
    occupations: Float[np.ndarray, "q bands temperatures"],
    squares: Quartic,
    lowest: float,
    seed: int = 0,
    progress: Steps | None = None,
    middle: int = 0,
) -> FourPhonon:
    """Half widths at half maximum by four-phonon scattering on the irreducible points of a mesh.

    Energy is conserved within Gaussians as wide as the energy changes over a cell of the mesh. On large meshes each
    point takes a random part of its quartets.

    Args:
        mesh: the mesh.
        modes: of all its points, with velocities.
        group: of the primitive cell, Å.
        occupations: of all modes at each temperature, dimensionless.
        squares: gives |element|² in (eV/Å⁴)² (amu THz)^-4.
        lowest: modes below this frequency in THz take no part.
        seed: of the random part.
        progress: called with the number of points done and in all.
        middle: index of the temperature at which parts of single quartets are kept.

    Returns:
        Γ in THz; the lifetime is 1/(4πΓ) in ps.

    Source: T. Feng and X. Ruan, Phys. Rev. B 93, 045202 (2016).
    """
    points, rng = mesh.irreducible[0], np.random.default_rng(seed)
    progress = progress or logged("points of the mesh, four phonons")
    scattering = QuartetScattering(mesh, modes.frequencies, modes.velocities @ _cell(mesh, group), occupations, lowest)
    gamma = np.zeros((occupations.shape[2], len(points), modes.frequencies.shape[1]))
    blocks = np.zeros((BLOCKS, *gamma.shape))
    processes, parts = [], []
    for k, point in enumerate(points):
        chosen, counts, drawn = quartets(mesh, int(point), rng)
        widths = scattering(int(point), chosen, counts, squares)
        gamma[:, k] = widths.sum(axis=0)
        for block in range(BLOCKS):
            blocks[block, :, k] = BLOCKS * widths[block::BLOCKS].sum(axis=0) if drawn else gamma[:, k]
        processes.append((chosen, counts))
        parts.append(widths[:, middle])
        progress(k + 1, len(points))
    return FourPhonon(gamma, blocks, tuple(processes), tuple(parts), scattering, squares)


def _cell(mesh: Mesh, group: SpaceGroup) -> np.ndarray:
    """Edges of a cell of the mesh in 1/Å (columns), or rather axes with the mean of their squares over the point group.

    A parallelepiped has less symmetry than the crystal, and equivalent processes would get different widths.
    """
    edges = group.cartesian @ (np.linalg.inv(group.lattice) / np.array(mesh.numbers))
    return np.linalg.cholesky((edges @ edges.transpose(0, 2, 1)).mean(axis=0))


@compiled(fastmath=True, parallel=True)
def _widths(
    own, quartets, counts, squares, frequencies, steps, occupations, signs, lowest, narrowest
):  # pragma: no cover, compiled
    size, bands, temperatures = len(counts), len(own), occupations.shape[2]
    parts = np.zeros((size, bands, temperatures))
    for block in numba.prange(BLOCKS):
        for t in range(block, size, BLOCKS):
            sums = parts[t]
            a, b, c = quartets[t]
            for j in range(bands):
                for k in range(bands):
                    for m in range(bands):
                        fa, fb, fc = frequencies[a, j], frequencies[b, k], frequencies[c, m]
                        if min(fa, fb, fc) <= lowest:
                            continue
                        u, v, w = steps[a, j], steps[b, k], steps[c, m]
                        alone, uv, uw, vw = 0.0, 0.0, 0.0, 0.0
                        for x in range(3):
                            alone += u[x] * u[x] + v[x] * v[x] + w[x] * w[x]
                            uv += u[x] * v[x]
                            uw += u[x] * w[x]
                            vw += v[x] * w[x]
                        for s in range(len(signs)):
                            p, q, r = signs[s]
                            width = max(np.sqrt(max(alone - p * q * uv - p * r * uw - q * r * vw, 0.0)) / 3, narrowest)
                            energy = p * fa + q * fb + r * fc
                            for i in range(bands):
                                off = (own[i] - energy) / width
                                if own[i] <= lowest or abs(off) > TAIL:
                                    continue
                                weight = counts[t] * squares[t, i, j, k, m] * np.exp(-0.5 * off * off) / width
                                for x in range(temperatures):
                                    na, nb, nc = occupations[a, j, x], occupations[b, k, x], occupations[c, m, x]
                                    ahead = (na + (p > 0)) * (nb + (q > 0)) * (nc + (r > 0))
                                    back = (na + (p < 0)) * (nb + (q < 0)) * (nc + (r < 0))
                                    sums[i, x] += weight * (ahead - back)
    return parts * (1 / (np.sqrt(2 * np.pi) * 0.9973002))
