"""Neighbour lists by vesin, and the checks that a structure must pass before it becomes a graph.

Source: vesin 0.6 for the pairs; the checks are ours.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from vesin import NeighborList

from ase_mlx.structure import AtomsLike, check
from ase_mlx.threads import after_fork

from .graph import Graph
from .lattice import completed

SAME_PLACE = 1e-3
"""Å; atoms nearer than this are one atom given twice: no physics brings nuclei there."""

SHORTEST = 0.1
"""Å; of a periodic cell vector."""

MOST_NEIGHBORS = 10_000
"""Of an atom: 0.05 Å³ an atom at a cutoff of 5 Å, a hundredth of diamond's."""

MOST_IMAGES = 100_000
"""Of the cell, within the cutoff."""

CELLS = 100_000
"""Of one cutoff's edge, which vesin 0.6 makes at most; it makes them larger where there would be more."""


def neighbor_pairs(
    positions: Float[np.ndarray, "atoms 3"], cell: Float[np.ndarray, "3 3"], pbc: Bool[np.ndarray, " 3"], cutoff: float
) -> tuple[Int[np.ndarray, " edges"], Int[np.ndarray, " edges"], Int[np.ndarray, "edges 3"]]:
    """Find all directed pairs nearer than `cutoff`, periodic images included.

    The order (centre, neighbour, shift) is unique, so sums over a longer list, cut back, are the same to the bit.

    Args:
        positions: Å, wrapped or not.
        cell: row vectors, Å; zero vectors on open axes are fine.
        pbc: three booleans.
        cutoff: Å.

    Returns:
        Centre, neighbour and lattice shift (dimensionless integers).

    Raises:
        ValueError: two atoms in the same place, or so many in so little space that no list of pairs can be made.

    Source: vesin 0.6; where its cells would be too many, trees of SciPy.
    """
    frame = completed(cell, pbc)
    heights = 1 / np.linalg.norm(np.linalg.inv(frame), axis=0)
    _refuse_crowds(positions, cell, pbc, frame, heights, cutoff)
    if _fits_cells(positions, pbc, frame, heights, cutoff):
        search = NeighborList(cutoff=cutoff, full_list=True, n_threads=1)
        center, neighbor, shift, distance = search.compute(
            points=positions, box=cell, periodic=[bool(p) for p in pbc], quantities="ijSd", copy=True
        )
    else:
        center, neighbor, shift, distance = _by_trees(positions, pbc, frame, heights, cutoff)
    if len(distance) and distance.min() < SAME_PLACE:
        i, j = sorted((int(center[distance.argmin()]), int(neighbor[distance.argmin()])))
        raise ValueError(
            f"got atoms {i} and {j} in the same place ({distance.min():.1e} Å apart), expected distinct atoms; "
            "remove one: a structure was probably read or joined twice"
        )
    center, neighbor = center.astype(np.int64), neighbor.astype(np.int64)
    low, span = (
        shift.min(0, initial=0),
        np.ptp(shift, axis=0).astype(np.int64) + 1 if len(shift) else np.ones(3, np.int64),
    )
    image = np.ravel_multi_index(tuple((shift - low).T), tuple(span))
    order = np.argsort((center * len(positions) + neighbor) * span.prod() + image)
    return center[order], neighbor[order], shift[order]


def _refuse_crowds(positions, cell, pbc, frame, heights, cutoff: float) -> None:
    """Refuse what would take minutes and gigabytes: images of flat cells, and atoms denser than any matter."""
    lengths = np.linalg.norm(cell, axis=1)
    if pbc.any() and lengths[pbc].min() < SHORTEST:
        raise ValueError(
            f"got periodic cell vectors of {lengths[pbc].tolist()} Å, expected none shorter than {SHORTEST} Å, where "
            "an atom would lie in its own image; set atoms.cell in Å"
        )
    images = float(np.prod(2 * np.ceil(cutoff / heights[pbc]) + 1))
    crowd = len(positions)
    if crowd > 1 and not pbc.all():
        open_bins = np.floor(np.linalg.solve(frame.T, positions.T).T[:, ~pbc] / cutoff)
        crowd = int(np.unique(open_bins, axis=0, return_counts=True)[1].max())
    periodic = int(pbc.sum())
    measure = float(np.sqrt(np.linalg.det(frame[pbc] @ frame[pbc].T))) if periodic else 1.0
    neighbors = crowd * (1.0, 2.0, np.pi, 4 / 3 * np.pi)[periodic] * cutoff**periodic / measure
    if neighbors > MOST_NEIGHBORS:
        raise ValueError(
            f"got {len(positions)} atoms in a cell of {', '.join(f'{x:.3g}' for x in lengths)} Å and about "
            f"{neighbors:.0f} neighbours of an atom within {cutoff:g} Å, expected matter, with some hundred; set "
            "atoms.cell and positions in Å"
        )
    if images > MOST_IMAGES:
        raise ValueError(
            f"got periodic cell vectors that are nearly parallel ({images:.0e} images of the cell within {cutoff:g} Å: "
            f"{cell[pbc].tolist()} Å), expected shorter ones of the same lattice; ase.build.niggli_reduce finds them"
        )


def _fits_cells(positions, pbc, frame, heights, cutoff: float) -> bool:
    """Whether vesin 0.6 cuts this space into cells quickly and without dividing by zero, of which Python dies."""
    extents = heights
    if not pbc.all():
        extents = np.where(pbc, heights, np.ptp(np.linalg.solve(frame.T, positions.T).T, axis=0))
    cells = np.maximum(np.floor(extents / cutoff), 1.0)
    thick = cells.min() ** 3 * CELLS > 8 * cells.prod()
    return bool(cells.prod() <= 1000 + 10 * len(positions) and (cells.prod() <= CELLS or thick))


def _by_trees(positions, pbc, frame, heights, cutoff: float):
    """Pairs as vesin gives them, by trees over the atoms and over their images near the cell."""
    scaled = np.linalg.solve(frame.T, positions.T).T
    home = np.where(pbc, np.floor(scaled), 0.0)
    inside, reach = positions - home @ frame, cutoff / heights
    counts = np.where(pbc, np.ceil(reach), 0).astype(int)
    shifts = np.stack(np.meshgrid(*[np.arange(-n, n + 1) for n in counts], indexing="ij"), -1).reshape(-1, 3)
    image = (scaled - home)[None] + shifts[:, None]
    near = ((image > -reach) & (image < 1 + reach) | ~pbc).all(-1)
    which, atom = np.nonzero(near)
    from scipy.spatial import cKDTree

    pairs = cKDTree(inside).sparse_distance_matrix(
        cKDTree(inside[atom] + shifts[which] @ frame), cutoff, output_type="ndarray"
    )
    center, neighbor, moved = pairs["i"], atom[pairs["j"]], shifts[which[pairs["j"]]]
    other = ((center != neighbor) | moved.any(1)) & (pairs["v"] < cutoff)
    shift = moved - home[neighbor].astype(int) + home[center].astype(int)
    return center[other], neighbor[other], shift[other].astype(np.int32), pairs["v"][other]


def from_atoms(atoms: AtomsLike, cutoff: float, dtype: torch.dtype = torch.float64) -> Graph:
    """Build the graph of one structure; edges join pairs nearer than `cutoff`.

    Args:
        atoms: anything with positions (Å), numbers, cell (Å, rows) and pbc, such as a `Structure` or `ase.Atoms`.
        cutoff: Å.
        dtype: of the graph's floating-point arrays; pairs are always searched in float64.

    Raises:
        ValueError: no atoms, non-finite numbers, two atoms in one place, or a periodic direction without volume.

    Source: ours.
    """
    after_fork()  # all that a model computes begins here
    positions, numbers, cell, pbc = check(atoms)
    center, neighbor, shift = neighbor_pairs(positions, cell, pbc, cutoff)
    first_edge = np.concatenate([[0], np.cumsum(np.bincount(center, minlength=len(numbers)))])
    return Graph(
        positions=torch.tensor(positions, dtype=dtype),
        numbers=torch.tensor(numbers),
        cell=torch.tensor(cell, dtype=dtype).reshape(1, 3, 3),
        pbc=torch.tensor(pbc).reshape(1, 3),
        atom_graph=torch.zeros(len(numbers), dtype=torch.int64),
        center=torch.tensor(center),
        neighbor=torch.tensor(neighbor),
        shift=torch.tensor(shift, dtype=dtype).reshape(-1, 3),
        first_edge=torch.tensor(first_edge, dtype=torch.int64),
    )
