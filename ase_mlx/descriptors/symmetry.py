"""Descriptors of a crystal's symmetry.

Source: moyopy (K. Shinohara and A. Togo, github.com/spglib/moyo).
"""

from functools import cache

import moyopy
import numpy as np
from jaxtyping import Float

from ase_mlx.graph import Graph
from ase_mlx.graph.symmetry import symmetry_of

SYMPREC = 0.01
"""Å."""

SYSTEMS = (2, 15, 74, 142, 167, 194)
"""The last space groups of triclinic, monoclinic, orthorhombic, tetragonal, trigonal, hexagonal crystals."""

ACENTRIC = (
    "1:1 2:2 m:2 222:4 mm2:4 4:4 -4:4 422:8 4mm:8 -42m:8 3:3 32:6 3m:6 6:6 -6:6 622:12 6mm:12 -6m2:12 "
    "23:12 432:24 -43m:24"
)
CENTRIC = "-1:2 2/m:4 mmm:8 4/m:8 4/mmm:16 -3:6 -3m:12 6/m:12 6/mmm:24 m-3:24 m-3m:48"
POINT_GROUPS = {
    name: (int(order), centre)
    for groups, centre in ((ACENTRIC, False), (CENTRIC, True))
    for name, order in (group.split(":") for group in groups.split())
}
"""Order of each point group, and whether it has an inversion; operations of a supercell would miss some."""

NAMES = (
    "space group",
    "crystal system",
    "log point group order",
    "centrosymmetric",
    "orbits per primitive atom",
    "log primitive atoms",
    "log conventional axes ratio",
    "conventional angle",
)


def symmetry_descriptors(graph: Graph) -> Float[np.ndarray, "crystals n"]:
    """Describe space group, orbits and the shape of the conventional cell.

    Args:
        graph: crystals (Å).

    Returns:
        Numbers in the order of `NAMES`, dimensionless; the angle is the largest cosine.

    Source: see the module.
    """
    first = np.concatenate([[0], np.cumsum(graph.n_atoms.numpy())])
    cells, numbers = graph.cell.numpy(), graph.numbers.numpy()
    fractional = np.linalg.solve(
        cells[graph.atom_graph.numpy()].swapaxes(1, 2), graph.positions.numpy()[:, :, None]
    ).squeeze(2)
    rows = []
    for k, cell in enumerate(cells):
        part = slice(first[k], first[k + 1])
        rows.append(_one(cell, fractional[part], numbers[part]))
    return np.array(rows)


def _one(cell: np.ndarray, fractional: np.ndarray, numbers: np.ndarray) -> list[float]:
    try:
        found = symmetry_of(cell, fractional, numbers, SYMPREC)
    except ValueError:  # none that has a name: the identity is always there
        return [1, 0, 0, 0, 1, np.log(len(numbers)), *_shape(cell)]
    order, centre = POINT_GROUPS[_point_group(found.number)]
    primitive = len(found.prim_std_cell.numbers)
    return [
        found.number,
        float(np.searchsorted(SYSTEMS, found.number)),
        np.log(order),
        float(centre),
        len(np.unique(found.orbits)) / primitive,
        np.log(primitive),
        *_shape(np.array(found.std_cell.basis)),
    ]


@cache
def _point_group(number: int) -> str:
    """Name the point group of a space group."""
    return moyopy.SpaceGroupType(number).geometric_crystal_class


def _shape(cell: np.ndarray) -> tuple[float, float]:
    lengths = np.linalg.norm(cell, axis=1)
    cosines = (cell @ cell.T / np.outer(lengths, lengths))[np.triu_indices(3, 1)]
    return float(np.log(lengths.max() / lengths.min())), float(np.abs(cosines).max())
