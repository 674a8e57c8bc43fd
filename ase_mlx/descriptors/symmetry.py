"""Descriptors of a crystal's symmetry.

Source: spglib (A. Togo and I. Tanaka, arXiv:1808.01590).
"""

import warnings

import numpy as np
import spglib
from jaxtyping import Float

from ase_mlx.descriptors.cubic import cubic_symmetry
from ase_mlx.graph import Graph

SYMPREC = 0.01
"""Å."""

SYSTEMS = (2, 15, 74, 142, 167, 194)
"""The last space groups of triclinic, monoclinic, orthorhombic, tetragonal, trigonal, hexagonal crystals."""

ACENTRIC = (
    "1:1 2:2 m:2 222:4 mm2:4 4:4 -4:4 422:8 4mm:8 -42m:8 -4m2:8 3:3 32:6 3m:6 6:6 -6:6 622:12 6mm:12 -62m:12 -6m2:12 "
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
    cubic = cubic_symmetry(cell, fractional, numbers, SYMPREC)
    if cubic is not None:
        number, name, orbits, primitive = cubic
        order, centre = POINT_GROUPS[name]
        system = float(np.searchsorted(SYSTEMS, number))
        return [number, system, np.log(order), float(centre), orbits / primitive, np.log(primitive), 0, 0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            dataset = spglib.get_symmetry_dataset((cell, fractional, numbers), SYMPREC)
        except spglib.SpglibError:
            dataset = None
    if dataset is None:  # no symmetry that spglib can name: the identity is always there
        atoms = len(numbers)
        return [1, 0, 0, 0, 1, np.log(atoms), *_shape(cell)]
    order, centre = POINT_GROUPS[dataset.pointgroup]
    primitive = len(np.unique(dataset.mapping_to_primitive))
    return [
        dataset.number,
        float(np.searchsorted(SYSTEMS, dataset.number)),
        np.log(order),
        float(centre),
        len(np.unique(dataset.crystallographic_orbits)) / primitive,
        np.log(primitive),
        *_shape(dataset.std_lattice),
    ]


def _shape(cell: np.ndarray) -> tuple[float, float]:
    lengths = np.linalg.norm(cell, axis=1)
    cosines = (cell @ cell.T / np.outer(lengths, lengths))[np.triu_indices(3, 1)]
    return float(np.log(lengths.max() / lengths.min())), float(np.abs(cosines).max())
