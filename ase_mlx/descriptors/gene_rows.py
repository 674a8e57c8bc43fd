"""Genes as padded arrays of numbers, which networks read and write.

Source: the cascade element → site symmetry → enumeration is that of N. Kazeev et al., arXiv 2503.02407; the code is
ours.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ase_mlx.descriptors.genes import FREE_PARAMETERS, SYSTEMS, Gene, Site, cell_of, crystal_system, key_of
from ase_mlx.descriptors.wyckoff import wyckoff_positions
from ase_mlx.graph.lattice import parameters_of_cell

GROUPS, POSITIONS, ENUMERATIONS = 230, 27, 8
"""Space groups, most Wyckoff positions of one, most of them with the same site symmetry."""

ELEMENTS = 119
"""Atomic numbers with 0, which is none."""

WIDE = ("numbers", "positions", "coordinates", "free")
"""Arrays of `GeneRows` with a row a site."""

ANGLE = 30.0
"""Degrees; what angles' deviations from 90° are divided by."""


@dataclass(frozen=True)
class WyckoffTables:
    """Wyckoff positions of all space groups as arrays; group g is row g, row 0 is empty.

    `symmetry` and `enumeration` of a position (−1: there is none), its `multiplicity`, which coordinates are `free`;
    `position` of a site symmetry and an enumeration.

    Source: `descriptors.wyckoff`.
    """

    symbols: tuple[str, ...]
    symmetry: Int[Tensor, "groups positions"]
    enumeration: Int[Tensor, "groups positions"]
    multiplicity: Int[Tensor, "groups positions"]
    free: Bool[Tensor, "groups positions 3"]
    position: Int[Tensor, "groups symmetries enumerations"]


@functools.cache
def wyckoff_tables() -> WyckoffTables:
    """Give the tables.

    Source: ours.
    """
    table = {group: wyckoff_positions(group) for group in range(1, GROUPS + 1)}
    symbols = tuple(sorted({p.site_symmetry for row in table.values() for p in row}))
    symmetry = np.full((GROUPS + 1, POSITIONS), -1)
    enumeration, multiplicity = symmetry.copy(), np.zeros_like(symmetry)
    free = np.zeros((GROUPS + 1, POSITIONS, 3), dtype=bool)
    position = np.full((GROUPS + 1, len(symbols), ENUMERATIONS), -1)
    for group, row in table.items():
        for k, p in enumerate(row):
            symmetry[group, k], enumeration[group, k] = symbols.index(p.site_symmetry), p.enumeration
            multiplicity[group, k] = p.multiplicity
            free[group, k, list(p.free)] = True
            position[group, symmetry[group, k], p.enumeration] = k
    arrays = (torch.from_numpy(a) for a in (symmetry, enumeration, multiplicity, free, position))
    return WyckoffTables(symbols, *arrays)


@dataclass(frozen=True)
class GeneRows:
    """Genes as arrays; sites beyond a gene's last have the number 0.

    `coordinates` are fractional, those that are not `free` zero. `lattice`: logarithm of the volume (Å³) an atom, of
    b/a and of c/a, and what angles differ from 90° in units of `ANGLE`; those that are not `chosen` zero.

    Source: ours.
    """

    groups: Int[Tensor, " genes"]
    numbers: Int[Tensor, "genes sites"]
    positions: Int[Tensor, "genes sites"]
    coordinates: Float[Tensor, "genes sites 3"]
    free: Bool[Tensor, "genes sites 3"]
    lattice: Float[Tensor, "genes 6"]
    chosen: Bool[Tensor, "genes 6"]

    def __len__(self) -> int:
        """Count the genes."""
        return len(self.groups)

    @property
    def sites(self) -> Bool[Tensor, "genes sites"]:
        """Which places hold a site."""
        return self.numbers > 0

    @property
    def symmetries(self) -> Int[Tensor, "genes sites"]:
        """Site symmetries as numbers of `WyckoffTables.symbols`."""
        return wyckoff_tables().symmetry.to(self.groups.device)[self.groups[:, None], self.positions]

    @property
    def enumerations(self) -> Int[Tensor, "genes sites"]:
        """Which of the positions of that site symmetry."""
        return wyckoff_tables().enumeration.to(self.groups.device)[self.groups[:, None], self.positions]

    @property
    def multiplicities(self) -> Int[Tensor, "genes sites"]:
        """Atoms of each site in the conventional cell; 0 where there is no site."""
        table = wyckoff_tables().multiplicity.to(self.groups.device)
        return table[self.groups[:, None], self.positions] * self.sites

    @property
    def composition(self) -> Float[Tensor, "genes elements"]:
        """Share (dimensionless) of the atoms of each gene that each atomic number has."""
        counts = torch.zeros(len(self), ELEMENTS, device=self.groups.device)
        counts.scatter_add_(1, self.numbers, self.multiplicities.float())
        return counts / counts.sum(1, keepdim=True).clamp(min=1)

    @property
    def keys(self) -> list[int]:
        """Give the `Gene.key` of each gene."""
        sites = torch.stack([self.numbers, self.positions], -1)
        return [
            key_of(group, row[there].tolist())
            for group, row, there in zip(self.groups.tolist(), sites, self.sites, strict=True)
        ]

    def to(self, device: str | torch.device) -> "GeneRows":
        """Move all arrays to a device."""
        return replace(self, **{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    def take(self, rows: Int[Tensor, " rows"]) -> "GeneRows":
        """Give some genes, as wide as the largest of them."""
        width = int(self.sites[rows].sum(1).max()) if len(rows) else 1
        taken = {f.name: getattr(self, f.name)[rows] for f in fields(self)}
        return replace(self, **{k: v[:, :width] if k in WIDE else v for k, v in taken.items()})

    def first_sites(self, rows: Int[Tensor, " rows"], count: int) -> "GeneRows":
        """Give some genes as if they had the first sites alone, so many."""
        taken = {f.name: getattr(self, f.name)[rows] for f in fields(self)}
        return replace(self, **{k: v[:, :count] if k in WIDE else v for k, v in taken.items()})

    def moved(self, places: Float[Tensor, "genes sites 3"], lattice: Float[Tensor, "genes 6"]) -> "GeneRows":
        """Move free coordinates (fractional) and chosen lattice parameters (dimensionless, as they are here)."""
        coordinates = self.coordinates + places * self.free
        return replace(self, coordinates=coordinates % 1.0, lattice=self.lattice + lattice * self.chosen)

    def substituted(self, by: Int[Tensor, "genes elements"]) -> "GeneRows":
        """Put other elements in their places: `by` names for each gene and atomic number another one, for 0 it is 0."""
        numbers = by.gather(1, self.numbers)
        rank = torch.where(self.sites, numbers * POSITIONS + self.positions, ELEMENTS * POSITIONS)
        order = rank.argsort(dim=1, stable=True)
        gene = torch.arange(len(self), device=order.device)[:, None]
        wide = {k: getattr(self, k)[gene, order] for k in WIDE} | {"numbers": numbers[gene, order]}
        return replace(self, **wide)


@functools.cache
def chosen_parameters() -> Bool[Tensor, "groups 6"]:
    """Tell which lattice parameters each space group leaves free; row g is group g.

    Source: ours.
    """
    table = torch.zeros(GROUPS + 1, 6, dtype=torch.bool)
    for system, (first, last) in SYSTEMS.items():
        table[first : last + 1, list(FREE_PARAMETERS[system])] = True
    return table


def rows_of(genes: Sequence[Gene]) -> GeneRows:
    """Write genes (Å, degrees) as arrays.

    Raises:
        ValueError: no gene.

    Source: ours.
    """
    if not genes:
        raise ValueError("got no gene, expected at least one")
    width = max(len(gene.sites) for gene in genes)
    numbers, positions = np.zeros((2, len(genes), width), dtype=np.int64)
    coordinates = np.zeros((len(genes), width, 3), dtype=np.float32)
    lattice = np.zeros((len(genes), 6), dtype=np.float32)
    for row, gene in enumerate(genes):
        for k, (site, position) in enumerate(zip(gene.sites, gene.positions, strict=True)):
            numbers[row, k], positions[row, k] = site.number, site.position
            coordinates[row, k, list(position.free)] = site.free
        lattice[row] = _lattice_row(gene)
    groups = np.array([gene.space_group for gene in genes])
    return of_arrays(groups, numbers, positions, coordinates, lattice)


def of_arrays(
    groups: np.ndarray, numbers: np.ndarray, positions: np.ndarray, coordinates: np.ndarray, lattice: np.ndarray
) -> GeneRows:
    """Make rows of arrays, in units of `GeneRows`; what is free and chosen follows from the groups.

    Args:
        groups: numbers (dimensionless) of the space groups, (genes).
        numbers: atomic numbers (dimensionless), (genes, sites).
        positions: places in the group's list (dimensionless), (genes, sites).
        coordinates: in units of the cell, (genes, sites, 3).
        lattice: dimensionless, (genes, 6).

    Source: ours.
    """
    groups, numbers, positions = (torch.from_numpy(a).long() for a in (groups, numbers, positions))
    free = wyckoff_tables().free[groups[:, None], positions] & (numbers > 0)[..., None]
    chosen = chosen_parameters()[groups]
    lattice = torch.from_numpy(lattice) * chosen
    return GeneRows(groups, numbers, positions, torch.from_numpy(coordinates), free, lattice, chosen)


def _lattice_row(gene: Gene) -> np.ndarray:
    cell = cell_of(gene)
    a, b, c, *angles = parameters_of_cell(cell)
    atoms = sum(position.multiplicity for position in gene.positions)
    volume = abs(np.linalg.det(cell)) / atoms
    return np.array([np.log(volume), np.log(b / a), np.log(c / a), *((np.array(angles) - 90) / ANGLE)])


def genes_of(rows: GeneRows) -> list[Gene]:
    """Read genes (Å, degrees) from arrays.

    Raises:
        ValueError: angles that no cell has.

    Source: ours.
    """
    return [_gene(*(getattr(rows, f.name)[k].cpu().numpy() for f in fields(rows))) for k in range(len(rows))]


def _gene(group, numbers, positions, coordinates, free, lattice, chosen) -> Gene:
    sites = [
        Site(int(z), int(p), tuple(float(x) for x in x3[mask]))
        for z, p, x3, mask in zip(numbers, positions, coordinates.astype(float), free, strict=True)
        if z > 0
    ]
    system = crystal_system(int(group))
    table = wyckoff_positions(int(group))
    atoms = sum(table[site.position].multiplicity for site in sites)
    ratios = np.where(chosen[1:3], np.exp(lattice[1:3].astype(float)), 1.0)
    angles = 90 + ANGLE * lattice[3:].astype(float)
    if system == "hexagonal":
        angles[2] = 120.0
    cosines = np.cos(np.deg2rad(angles))
    part = 1 + 2 * cosines.prod() - np.square(cosines).sum()  # of the volume of a cell, squared
    if part <= 0:
        raise ValueError(f"got the angles {angles} of a cell, expected three that fit together")
    a = float(np.cbrt(np.exp(float(lattice[0])) * atoms / (ratios.prod() * np.sqrt(part))))
    whole = (a, a * ratios[0], a * ratios[1], *angles)
    return Gene(int(group), tuple(sorted(sites)), tuple(float(whole[k]) for k in FREE_PARAMETERS[system]))
