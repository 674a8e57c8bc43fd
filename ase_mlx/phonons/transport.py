"""Lattice thermal conductivity in the relaxation-time approximation.

Source: A. Togo, L. Chaput and I. Tanaka, Phys. Rev. B 91, 094306 (2015).
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int

from ase_mlx.phonons.brillouin import Mesh
from ase_mlx.phonons.compressed import CompressedTensor
from ase_mlx.phonons.couplings import Couplings, couplings_of
from ase_mlx.phonons.crystal import Crystal
from ase_mlx.phonons.four_phonon import BLOCKS, CompressedQuartic, FourPhonon, four_phonon_linewidths
from ase_mlx.phonons.fourth_order import FoldedQuartic
from ase_mlx.phonons.interaction import Interaction, ProductInteraction, interaction_of
from ase_mlx.phonons.linewidths import even_matrices, linewidths, shared
from ase_mlx.phonons.modes import Modes, occupation
from ase_mlx.phonons.tetrahedra import Tetrahedra, delta_weight, tetrahedra
from ase_mlx.phonons.thermal import mode_heat_capacity
from ase_mlx.progress import Steps, logged
from ase_mlx.threads import side_by_side
from ase_mlx.units import VOIGT, WATTS

LOWEST = 1e-4
"""THz: modes below take no part, as in phono3py; imaginary ones are refused at the gate."""

ASIDE = 1e-6
"""THz: elastic weights are taken on both sides. At equal points of a star the level lies on corners of tetrahedra."""


@dataclass(frozen=True)
class Relaxation:
    """Linewidths and conductivity on the irreducible points of a mesh.

    `kappa` in W/(m K) in the order xx yy zz yz xz xy; `gamma` in THz (half width at half maximum; lifetime 1/(4πΓ) in
    ps); `heat_capacity` in eV/K per mode; `mode_kappa` in W/(m K), its sum over points and bands is `kappa`; `weights`
    are the points of each star, dimensionless. `products` are v⊗v averaged over the point group in (THz Å)². `parts`
    are those of each triplet of `mesh.triplets` in Γ in THz, at the temperature of index `middle`; `four` is what
    four-phonon scattering adds to `gamma`, `couplings` are those between modes of each irreducible point, None where
    they were not asked for. `interaction` is what gave squared elements.

    Source: ours.
    """

    mesh: Mesh
    irreducible: Int[np.ndarray, " stars"]
    weights: Int[np.ndarray, " stars"]
    modes: Modes
    temperatures: Float[np.ndarray, " t"]
    gamma: Float[np.ndarray, "t stars bands"]
    heat_capacity: Float[np.ndarray, "t stars bands"]
    mode_kappa: Float[np.ndarray, "t stars bands 6"]
    products: Float[np.ndarray, "stars bands 6"]
    parts: tuple[Float[np.ndarray, "_ bands"], ...]
    four: FourPhonon | None = None
    couplings: tuple[Couplings, ...] | None = None
    interaction: Interaction | ProductInteraction | None = None

    @property
    def middle(self) -> int:
        """Index of the temperature closest to 300 K.

        Source: ours.
        """
        return middle(self.temperatures)

    @property
    def kappa(self) -> Float[np.ndarray, "t 6"]:
        """Conductivity in W/(m K), xx yy zz yz xz xy.

        Source: ours.
        """
        return self.mode_kappa.sum(axis=(1, 2))

    @property
    def three_phonon_kappa(self) -> Float[np.ndarray, "t 6"]:
        """What the conductivity in W/(m K) would be without four-phonon scattering, xx yy zz yz xz xy.

        Source: ours.
        """
        if self.four is None:
            return self.kappa
        rest = self.gamma - self.four.gamma
        with np.errstate(divide="ignore", invalid="ignore"):
            longer = np.where(rest > 0, self.gamma / rest, 0.0)
        return (self.mode_kappa * longer[..., None]).sum(axis=(1, 2))

    @property
    def drawn(self) -> Float[np.ndarray, "blocks t 6"]:
        """What random parts of the quartets would make of `kappa`, less `kappa`, in W/(m K); zero if none are drawn.

        Source: ours.
        """
        if self.four is None:
            return np.zeros((BLOCKS, *self.kappa.shape))
        away = (self.four.blocks - self.four.gamma) / np.where(self.gamma > 0, self.gamma, np.inf)
        return -np.einsum("otsb,tsbc->otc", away, self.mode_kappa)

    @property
    def drawn_std(self) -> Float[np.ndarray, "t 6"]:
        """Standard error of `kappa` in W/(m K) by the draw of quartets.

        Source: ours.
        """
        return self.drawn.std(axis=0, ddof=1) / np.sqrt(BLOCKS)


def relaxation_times(
    crystal: Crystal,
    numbers: tuple[int, int, int],
    temperatures: Float[np.ndarray, " t"],
    tensor: CompressedTensor | None = None,
    mass_variances: Float[np.ndarray, " atoms"] | None = None,
    boundary: float | None = None,
    device: str = "cpu",
    progress: Steps | None = None,
    quartic: CompressedTensor | Literal["exact"] | None = None,
    couplings: bool = False,
) -> Relaxation:
    """Conductivity in the relaxation-time approximation, from a compressed tensor or (None) from force constants.

    Args:
        crystal: its force constants and phonons.
        numbers: of the Γ-centred mesh, dimensionless.
        temperatures: in K.
        tensor: compressed third-order force constants.
        mass_variances: g of each atom of the primitive cell, dimensionless, for isotope scattering.
        boundary: mean free path in Å of scattering at boundaries.
        device: of torch, for the elements.
        progress: called with the number of points done and in all.
        quartic: for four-phonon scattering too: compressed fourth-order force constants, or "exact", the crystal's.
        couplings: keep what `iterative_kappa` needs.

    Raises:
        ValueError: a mesh that breaks the point group.

    Source: A. Togo, L. Chaput and I. Tanaka, Phys. Rev. B 91, 094306 (2015), eqs. 11 and 14.
    """
    temperatures = np.asarray(temperatures, dtype=float)
    mesh = Mesh(tuple(int(n) for n in numbers), crystal.group.rotations)
    modes = crystal.modes(mesh.points, False)
    occupations = occupation(modes.frequencies, temperatures, LOWEST)
    scattered = _Scattering(crystal, mesh, modes, occupations, middle(temperatures), mass_variances, couplings)
    points, scattering, threads = mesh.irreducible[0], [], torch.get_num_threads()
    interaction = interaction_of(crystal, mesh, modes.amplitudes(crystal.masses, LOWEST), tensor, device, threads)
    report = progress or logged("points of the mesh")
    runs = np.split(points, range(interaction.batch, len(points), interaction.batch))
    for part in side_by_side(lambda run: [scattered(interaction, point) for point in run.tolist()], runs, threads):
        scattering += part
        report(len(scattering), len(points))
    gamma, kept, coupled = zip(*scattering, strict=True)
    gamma = np.stack(gamma, axis=1)
    own = crystal.modes(mesh.points[points], True)
    if boundary is not None:
        gamma += np.linalg.norm(own.velocities, axis=-1) / (4 * np.pi * boundary)
    four = quartic and _four_phonon(crystal, mesh, occupations, quartic, middle(temperatures), device, progress)
    gamma += 0.0 if four is None else four.gamma
    result = _collect(crystal, mesh, own, temperatures, gamma, kept, four)
    return replace(result, couplings=coupled if couplings else None, interaction=interaction)


@dataclass(frozen=True)
class _Scattering:
    """What three phonons and the disorder of masses do to the modes of one point after the other."""

    crystal: Crystal
    mesh: Mesh
    modes: Modes
    occupations: np.ndarray
    middle: int
    mass_variances: np.ndarray | None
    couplings: bool

    def __call__(self, interaction, point: int) -> tuple[np.ndarray, np.ndarray, Couplings | None]:
        """Linewidths in THz at all temperatures, each triplet's part at the middle one, couplings."""
        cells, modes = self.cells, self.modes
        triplets, counts = self.mesh.triplets(point)
        strengths = interaction.strengths(point, triplets)
        widths = linewidths(point, triplets, counts, strengths, modes.frequencies, self.occupations, cells, LOWEST)
        both, gamma = None, widths.sum(axis=0)
        if self.couplings:
            both = couplings_of(point, triplets, counts, strengths, modes.frequencies, cells, LOWEST)
        if self.mass_variances is not None:
            gamma = gamma + isotope_linewidths(point, modes, self.mass_variances, cells)
        return shared(gamma, modes.frequencies[point]), widths[:, self.middle], both

    @cached_property
    def cells(self) -> Tetrahedra:
        return tetrahedra(self.mesh, np.linalg.inv(self.crystal.group.lattice).T)


def _four_phonon(crystal: Crystal, mesh: Mesh, occupations, quartic, at: int, device: str, progress) -> FourPhonon:
    modes = crystal.modes(mesh.points, True)
    amplitudes = modes.amplitudes(crystal.masses, LOWEST)
    if quartic == "exact":
        squares = FoldedQuartic(crystal.fourth, mesh, amplitudes, device)
    else:
        squares = CompressedQuartic(quartic, mesh, amplitudes, device)
    return four_phonon_linewidths(
        mesh, modes, crystal.group, occupations, squares, LOWEST, progress=progress, middle=at
    )  # fmt: skip


def isotope_linewidths(
    point: int, modes: Modes, mass_variances: Float[np.ndarray, " atoms"], cells: Tetrahedra
) -> Float[np.ndarray, " bands"]:
    """Half widths in THz by the disorder of masses.

    Args:
        point: index of the wave vector, dimensionless.
        modes: of the whole mesh.
        mass_variances: Σ f (1 − m/m̄)² of each atom, dimensionless.
        cells: the tetrahedra of the mesh.

    Source: S. Tamura, Phys. Rev. B 27, 858 (1983), eq. 31.
    """
    size, bands = modes.frequencies.shape
    vectors = modes.eigenvectors.reshape(size, -1, 3, bands)
    overlap = np.einsum("acj,qack->qajk", vectors[point].conj(), vectors)
    squares = np.einsum("a,qajk->qjk", mass_variances, np.abs(overlap) ** 2)
    squares = np.einsum("qjk,qkl->qjl", squares, even_matrices(modes.frequencies))
    sums = np.zeros(bands)
    around = modes.frequencies[cells.neighbours]
    for j, f in enumerate(modes.frequencies[point]):
        near = (around.min(axis=1) < f) & (f < around.max(axis=1)) & (modes.frequencies > LOWEST)
        for q, k in zip(*np.nonzero(near), strict=True):
            values = np.ascontiguousarray(around[q, :, k])
            sides = (delta_weight(values, cells.corners, f + side) for side in (-ASIDE, ASIDE))
            sums[j] += squares[q, j, k] * sum(sides) / 2
    return np.where(modes.frequencies[point] > LOWEST, np.pi / 4 * modes.frequencies[point] ** 2 * sums / size, 0.0)


def middle(temperatures: Float[np.ndarray, " t"]) -> int:
    """Index (dimensionless) of the temperature in K closest to 300 K.

    Source: ours.
    """
    return int(np.argmin(np.abs(temperatures - 300.0)))


def _collect(crystal: Crystal, mesh: Mesh, own: Modes, temperatures, gamma, parts, four) -> Relaxation:
    points, weights = mesh.irreducible
    counted = own.frequencies > LOWEST
    safe = np.where(counted, own.frequencies, 1.0)
    capacity = np.stack([np.where(counted, mode_heat_capacity(safe, float(t)), 0.0) for t in temperatures])
    moved = np.einsum("oab,qjb->oqja", crystal.group.cartesian, own.velocities)
    squares = np.stack([np.mean(moved[..., a] * moved[..., b], axis=0) for a, b in zip(*VOIGT, strict=True)], axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        lifetimes = np.where(counted & (gamma > 0), 1 / (4 * np.pi * gamma), 0.0)
    scale = WATTS / (crystal.volume * len(mesh.addresses)) * weights[:, None]
    mode_kappa = (scale * capacity * lifetimes)[..., None] * squares
    return Relaxation(mesh, points, weights, own, temperatures, gamma, capacity, mode_kappa, squares, parts, four)
