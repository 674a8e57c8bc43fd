"""Structures too large for one graph: blocks of atoms, each with the neighbours that its features reach.

Source: ours.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Bool, Float, Int

from ase_mlx.structure import Structure


@dataclass(frozen=True)
class Block:
    """Some atoms (`core`, numbers in the whole structure) and a structure (Å) of them and all within reach.

    `atom` says which atom of the whole structure each atom of the block is, or is an image of; the first ones are the
    core, in its order.

    Source: ours.
    """

    core: Int[np.ndarray, " core"]
    atom: Int[np.ndarray, " atoms"]
    structure: Structure


def blocks(
    positions: Float[np.ndarray, "atoms 3"],
    numbers: Int[np.ndarray, " atoms"],
    cell: Float[np.ndarray, "3 3"],
    pbc: Bool[np.ndarray, " 3"],
    reach: float,
    size: int,
    axis: int = 0,
) -> Iterator[Block]:
    """Cut a structure into blocks in the order of their place along one cell vector.

    Args:
        positions: Å.
        numbers: atomic numbers.
        cell: rows, Å.
        pbc: periodic axes.
        reach: how far the atoms of a block see, Å.
        size: about how many atoms are a block's own.
        axis: the cell vector along which the blocks are ordered.

    Source: ours.
    """
    if len(positions) <= size or abs(np.linalg.det(cell)) < 1e-6:
        whole = np.arange(len(positions))
        yield Block(whole, whole, Structure(numbers, positions, cell, pbc))
        return
    scaled = positions @ np.linalg.inv(cell)
    scaled = np.where(pbc, scaled - np.floor(scaled), scaled)
    low, span = scaled.min(0), np.ptp(scaled, axis=0)
    low, span = np.where(pbc, 0.0, low), np.where(pbc, 1.0, span + 1e-9)
    halo = reach * np.linalg.norm(np.linalg.inv(cell), axis=0)
    counts = _counts(span / halo, len(positions) / size)
    width = span / counts
    order = (axis, *(k for k in range(3) if k != axis))
    box = np.minimum(((scaled - low) / width).astype(np.int64), counts - 1)
    box = np.ravel_multi_index(box.T, counts)
    sorted_atoms = np.argsort(box, kind="stable")
    first = np.searchsorted(box[sorted_atoms], np.arange(counts.prod() + 1))
    around = [np.arange(-n, n + 1) for n in np.ceil(halo / width).astype(int)]
    for place in product(*(range(counts[k]) for k in order)):
        index = np.array([place[order.index(k)] for k in range(3)])
        near = [np.unique((index[k] + around[k]) % counts[k]) for k in range(3)]
        boxes = np.ravel_multi_index(np.meshgrid(*near, indexing="ij"), counts).ravel()
        some = np.sort(np.concatenate([sorted_atoms[first[b] : first[b + 1]] for b in boxes]))
        yield _block(some, numbers, cell, pbc, scaled[some], low + index * width, width, halo, counts)


def _counts(lengths: np.ndarray, least: float) -> np.ndarray:
    """Cut the longest piece again until blocks are small; never so thin that a halo meets itself."""
    counts = np.ones(3, dtype=int)
    while counts.prod() < least:
        pieces = lengths / counts
        allowed = lengths / (counts + 1) + 2 < lengths
        if not allowed.any():
            break
        counts[int(np.argmax(np.where(allowed, pieces, -1.0)))] += 1
    return counts


def _block(
    kept: np.ndarray,
    numbers: np.ndarray,
    cell: np.ndarray,
    pbc: np.ndarray,
    scaled: np.ndarray,
    start: np.ndarray,
    width: np.ndarray,
    halo: np.ndarray,
    counts: np.ndarray,
) -> Block:
    """One block, of the atoms `kept` whose scaled positions are `scaled`: no others are near it."""
    place, inside = scaled, np.ones(len(scaled), dtype=bool)
    for k in range(3):
        if counts[k] == 1:
            continue
        images = (-1, 0, 1) if pbc[k] else (0,)
        parts = []
        for shift in images:
            value = place[:, k] + shift
            near = np.flatnonzero((value >= start[k] - halo[k]) & (value < start[k] + width[k] + halo[k]))
            moved = place[near].copy()
            moved[:, k] = value[near]
            own = inside[near] & (value[near] >= start[k]) & (value[near] < start[k] + width[k])
            parts.append((kept[near], moved, own))
        kept, place, inside = (np.concatenate(p) for p in zip(*parts, strict=True))
    order = np.argsort(~inside, kind="stable")
    kept, place = kept[order], place[order]
    core = kept[: int(inside.sum())]
    return Block(core, kept, Structure(numbers[kept], place @ cell, cell, np.asarray(pbc) & (counts == 1)))
