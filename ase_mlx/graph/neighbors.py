"""Neighbour lists by vesin, and the checks that a structure must pass before it becomes a graph.

Source: vesin 0.6 for the pairs; the checks are ours.
"""

from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from vesin import NeighborList

from .graph import Graph

SAME_PLACE = 1e-3
"""Å; atoms nearer than this are one atom given twice: no physics brings nuclei there."""


@runtime_checkable
class Structure(Protocol):
    """What is read of a structure: the four attributes of `ase.Atoms` (lengths in Å).

    Source: ours.
    """

    positions: np.ndarray
    numbers: np.ndarray
    cell: np.ndarray
    pbc: np.ndarray


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
        ValueError: two atoms in the same place.

    Source: vesin 0.6.
    """
    search = NeighborList(cutoff=cutoff, full_list=True, n_threads=1)
    center, neighbor, shift, distance = search.compute(
        points=positions, box=cell, periodic=[bool(p) for p in pbc], quantities="ijSd", copy=True
    )
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


def check(atoms: Structure) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Read positions (Å), numbers, cell (Å) and pbc, refusing what has no physical meaning.

    Raises:
        ValueError: no atoms, non-finite positions or cell, or a periodic direction without volume.

    Source: ours.
    """
    positions = np.asarray(atoms.positions, dtype=np.float64)
    numbers = np.asarray(atoms.numbers, dtype=np.int64)
    cell = np.asarray(atoms.cell, dtype=np.float64).reshape(3, 3)
    pbc = np.broadcast_to(np.asarray(atoms.pbc, dtype=bool), (3,))
    if len(numbers) == 0:
        raise ValueError("got a structure without atoms, expected at least one; check how it was read or built")
    bad = np.flatnonzero(~np.isfinite(positions).all(axis=1))
    if bad.size:
        raise ValueError(
            f"got NaN or infinite positions of atoms {bad[:5].tolist()}{' …' if bad.size > 5 else ''}, expected finite "
            "numbers in Å; the run that made them probably diverged: start from the last good frame"
        )
    if not np.isfinite(cell).all():
        raise ValueError("got a cell with NaN or infinite vectors, expected finite numbers in Å; set atoms.cell anew")
    periodic = cell[pbc]
    spanned = np.sqrt(max(np.linalg.det(periodic @ periodic.T), 0.0)) if pbc.any() else 1.0
    scale = float(np.prod(np.linalg.norm(periodic, axis=1))) if pbc.any() else 1.0
    if pbc.any() and spanned <= 1e-8 * max(scale, 1e-8):
        raise ValueError(
            f"got pbc={pbc.tolist()} with periodic cell vectors that are zero or parallel ({periodic.tolist()} Å), "
            "expected independent vectors; pass pbc=False for a molecule or set atoms.cell"
        )
    return positions, numbers, cell, pbc


def from_atoms(atoms: Structure, cutoff: float, dtype: torch.dtype = torch.float64) -> Graph:
    """Build the graph of one structure; edges join pairs nearer than `cutoff`.

    Args:
        atoms: anything with positions (Å), numbers, cell (Å, rows) and pbc, such as `ase.Atoms`.
        cutoff: Å.
        dtype: of the graph's floating-point arrays; pairs are always searched in float64.

    Raises:
        ValueError: no atoms, non-finite numbers, two atoms in one place, or a periodic direction without volume.

    Source: ours.
    """
    positions, numbers, cell, pbc = check(atoms)
    center, neighbor, shift = neighbor_pairs(positions, cell, pbc, cutoff)
    first_edge = np.concatenate([[0], np.cumsum(np.bincount(center, minlength=len(numbers)))])
    return Graph(
        positions=torch.tensor(positions, dtype=dtype),
        numbers=torch.tensor(numbers),
        cell=torch.tensor(cell, dtype=dtype).reshape(1, 3, 3),
        pbc=torch.tensor(pbc.copy()).reshape(1, 3),
        atom_graph=torch.zeros(len(numbers), dtype=torch.int64),
        center=torch.tensor(center),
        neighbor=torch.tensor(neighbor),
        shift=torch.tensor(shift, dtype=dtype).reshape(-1, 3),
        first_edge=torch.tensor(first_edge, dtype=torch.int64),
    )
