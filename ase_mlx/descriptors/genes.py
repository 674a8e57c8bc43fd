"""A crystal as its gene: space group, occupied Wyckoff positions with their free coordinates, free lattice parameters.

What follows from symmetry is not in it, so that every gene is a crystal with at least the symmetry that it names.

Source: the description of crystals of International Tables for Crystallography, volume A; as a representation to
generate from, N. Kazeev et al., arXiv 2503.02407 (Wyckoff transformer); the code is ours.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from ase_mlx.descriptors.wyckoff import WyckoffPosition, orbit, wyckoff_positions
from ase_mlx.graph.lattice import cell_of_parameters, parameters_of_cell
from ase_mlx.graph.symmetry import symmetry_of
from ase_mlx.occupancy import check_occupancy
from ase_mlx.structure import AtomsLike, Structure

SYMPREC = 0.01
"""Å, how far atoms may be from symmetric places."""

NEAR = 1e-3
"""Fractional; places of a refined crystal that are the same."""

SYSTEMS = {
    "triclinic": (1, 2), "monoclinic": (3, 15), "orthorhombic": (16, 74), "tetragonal": (75, 142),
    "hexagonal": (143, 194), "cubic": (195, 230),
}  # fmt: skip
"""First and last space group of each; the hexagonal ones include the trigonal."""

FREE_PARAMETERS = {
    "triclinic": (0, 1, 2, 3, 4, 5), "monoclinic": (0, 1, 2, 4), "orthorhombic": (0, 1, 2), "tetragonal": (0, 2),
    "hexagonal": (0, 2), "cubic": (0,),
}  # fmt: skip
"""Which of a, b, c (Å), alpha, beta, gamma (degrees) may be chosen."""


@dataclass(frozen=True, order=True)
class Site:
    """An occupied Wyckoff position: element, place among the group's positions, `free` coordinates (dimensionless).

    Source: ours.
    """

    number: int
    position: int
    free: tuple[float, ...] = ()


@dataclass(frozen=True)
class Gene:
    """A crystal by what symmetry leaves free: lattice parameters in Å and degrees, as `FREE_PARAMETERS` lists them.

    Source: see the module.
    """

    space_group: int
    sites: tuple[Site, ...]
    lattice: tuple[float, ...]

    @property
    def positions(self) -> tuple[WyckoffPosition, ...]:
        """The Wyckoff positions of the sites."""
        table = wyckoff_positions(self.space_group)
        return tuple(table[site.position] for site in self.sites)

    @property
    def skeleton(self) -> tuple[int, tuple[tuple[int, int], ...]]:
        """Space group and what occupies which position, without any length: equal for crystals of one prototype."""
        return self.space_group, tuple(sorted((site.number, site.position) for site in self.sites))

    @property
    def key(self) -> int:
        """Give a number of 63 bits for the skeleton, the same everywhere."""
        return key_of(*self.skeleton)


def key_of(space_group: int, sites: Sequence[Sequence[int]]) -> int:
    """Give a number of 63 bits for a space group and pairs of atomic number and position, in whatever order.

    Source: ours.
    """
    skeleton = (int(space_group), tuple(sorted((int(number), int(position)) for number, position in sites)))
    return int.from_bytes(hashlib.sha256(repr(skeleton).encode()).digest()[:8], "big") >> 1


def crystal_system(space_group: int) -> str:
    """Name the crystal system of a space group's number; trigonal ones are hexagonal here.

    Source: see the module.
    """
    return next(name for name, (first, last) in SYSTEMS.items() if first <= space_group <= last)


def gene_of(crystal: AtomsLike, symprec: float = SYMPREC) -> Gene:
    """Read a crystal's gene; atoms are moved to their symmetric places, by less than `symprec`.

    Args:
        crystal: periodic in three directions, Å.
        symprec: how far atoms may be from symmetric places, Å.

    Raises:
        ValueError: not periodic in three directions, sites that are shared, or no symmetry could be determined.

    Source: the symmetry is found by moyopy; the rest is ours.
    """
    return _read(*_standard(crystal, symprec)[:4])


def settings(crystal: AtomsLike, symprec: float = SYMPREC) -> list[Gene]:
    """List the genes of a crystal in all equivalent settings of its space group, without repetition.

    Origins and axes may be chosen in several ways that leave the group's operations as they are (its Euclidean
    normaliser); positions then change their letters. Which of these a file has says nothing of the crystal.

    Args:
        crystal: periodic in three directions, Å.
        symprec: how far atoms may be from symmetric places, Å.

    Raises:
        ValueError: as of `gene_of`.

    Source: the normaliser by moyopy.
    """
    number, cell, places, numbers, data = _standard(crystal, symprec)
    genes: dict[tuple, Gene] = {}
    for transformation, _ in data.normalizer_wyckoff_positions().coset_representatives:
        moved = places @ np.array(transformation.linear, dtype=float).T + np.array(transformation.origin_shift)
        gene = _read(number, cell, moved, numbers)
        genes.setdefault(gene.skeleton, gene)
    return list(genes.values())


def structure_of(gene: Gene) -> Structure:
    """Build the crystal of a gene, in the conventional cell (Å).

    Raises:
        ValueError: free coordinates at which a site has more symmetry than its position, or not as many as it needs.

    Source: ours.
    """
    cell, places, numbers = cell_of(gene), [], []
    for site, position in zip(gene.sites, gene.positions, strict=True):
        if len(site.free) != len(position.free):
            raise ValueError(
                f"got {len(site.free)} coordinates of a site on {position.multiplicity}{position.letter} of group "
                f"{gene.space_group}, expected {len(position.free)}"
            )
        images = orbit(gene.space_group, _place(position, site.free))
        if len(images) != position.multiplicity:
            raise ValueError(
                f"got {len(images)} images of a site on {position.multiplicity}{position.letter} of group "
                f"{gene.space_group} at {site.free}: it lies on a position of more symmetry; move it"
            )
        places.append(images)
        numbers += [site.number] * len(images)
    positions = np.concatenate(places) @ cell
    return Structure(np.array(numbers), positions, cell, np.ones(3, dtype=bool))


def cell_of(gene: Gene) -> Float[np.ndarray, "3 3"]:
    """Build the conventional cell of a gene (rows, Å).

    Source: ours.
    """
    system = crystal_system(gene.space_group)
    which = FREE_PARAMETERS[system]
    if len(gene.lattice) != len(which):
        raise ValueError(f"got {len(gene.lattice)} lattice parameters of a {system} crystal, expected {len(which)}")
    whole = np.array([0.0, 0.0, 0.0, 90.0, 90.0, 120.0 if system == "hexagonal" else 90.0])
    whole[list(which)] = gene.lattice
    if system == "cubic":
        whole[1:3] = whole[0]
    elif system in ("tetragonal", "hexagonal"):
        whole[1] = whole[0]
    return cell_of_parameters(whole)


def _place(position: WyckoffPosition, free: Sequence[float]) -> np.ndarray:
    whole = np.zeros(3)
    whole[list(position.free)] = free
    return position.matrix @ whole + position.shift


def _standard(crystal: AtomsLike, symprec: float):
    """Number, conventional cell, places and atomic numbers of a crystal in the standard setting, and moyopy's data."""
    if not np.all(crystal.pbc):
        raise ValueError(
            f"got a structure with pbc = {np.asarray(crystal.pbc).tolist()}, expected a crystal that is periodic in "
            "three directions; set pbc, or leave it out"
        )
    check_occupancy(crystal)
    cell = np.asarray(crystal.cell, dtype=float)
    places = np.asarray(crystal.positions, dtype=float) @ np.linalg.inv(cell)
    data = symmetry_of(cell, places, np.asarray(crystal.numbers), symprec)
    std = data.std_cell
    return data.number, np.array(std.basis), np.array(std.positions), np.array(std.numbers, dtype=int), data


def _read(
    number: int,
    cell: Float[np.ndarray, "3 3"],
    places: Float[np.ndarray, "atoms 3"],
    numbers: Int[np.ndarray, " atoms"],
) -> Gene:
    """Read the gene of a crystal in its group's standard setting (rows in Å; fractional places)."""
    left, sites = np.ones(len(numbers), dtype=bool), []
    while left.any():
        first = int(np.flatnonzero(left)[0])
        images = orbit(number, places[first], near=NEAR)
        apart = places[:, None] - images[None]
        here = (np.abs(apart - np.rint(apart)) < 2 * NEAR).all(-1).any(1) & (numbers == numbers[first]) & left
        if here.sum() != len(images):
            raise ValueError(
                f"got {here.sum()} atoms on an orbit of {len(images)} places in group {number}, expected as many; use "
                "another symprec"
            )
        left &= ~here
        sites.append(_site(number, int(numbers[first]), images))
    which = FREE_PARAMETERS[crystal_system(number)]
    return Gene(number, tuple(sorted(sites)), tuple(float(parameters_of_cell(cell)[k]) for k in which))


SHIFTS = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), -1).reshape(-1, 3)
"""Lattice vectors by which an image may be away from what its position's coordinates say."""


def _site(group: int, number: int, images: Float[np.ndarray, "images 3"]) -> Site:
    """Find the position of an orbit, and the smallest coordinates that make it."""
    for k, position in enumerate(wyckoff_positions(group)):
        if position.multiplicity != len(images):
            continue
        matrix, columns = position.matrix, list(position.free)
        offsets = (images[:, None] - position.shift + SHIFTS).reshape(-1, 3)
        if not columns:
            if (np.abs(offsets) < 2 * NEAR).all(1).any():
                return Site(number, k)
            continue
        part = matrix[:, columns]
        free = offsets @ np.linalg.pinv(part).T
        fits = (np.abs(free @ part.T - offsets) < 2 * NEAR).all(1)
        if fits.any():
            inside = free[fits] % 1.0
            inside[inside > 1 - NEAR / 10] = 0.0
            order = np.lexsort(np.round(inside, 4).T[::-1])
            return Site(number, k, tuple(float(x) for x in inside[order[0]]))
    raise ValueError(f"got an orbit of {len(images)} places on no Wyckoff position of group {group}")
