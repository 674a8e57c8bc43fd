"""Compositions on the lattice of a simplex, and the tessellation that is laid down before any calculation.

Source: the tessellation of composition space after arXiv 2410.08294; the nesting is ours.
"""

import itertools
from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Int

DIVISIONS = (1, 2, 4, 8)
"""Parts that an edge of the simplex is cut into, level by level: each lattice holds those before it."""


def lattice(corners: int, divisions: int) -> Int[np.ndarray, "points corners"]:
    """List the points of a simplex whose edges are cut into equal parts, as numbers of parts, in lexicographic order.

    Raises:
        ValueError: no corner or no part.

    Source: ours.
    """
    if corners < 1 or divisions < 1:
        raise ValueError(f"got {corners} corners and {divisions} parts of an edge, expected at least one of each")
    rows = itertools.product(range(divisions + 1), repeat=corners)
    return np.array([row for row in rows if sum(row) == divisions])


def levels(
    counts: Int[np.ndarray, "candidates corners"], divisions: Sequence[int] = DIVISIONS
) -> Int[np.ndarray, " candidates"]:
    """Find the coarsest of nested lattices that holds each composition: its place in `divisions`, −1 where none does.

    Args:
        counts: atoms of each element; candidates may differ in their number of atoms.
        divisions: parts of an edge, each a multiple of the one before.

    Raises:
        ValueError: lattices that are not nested, negative numbers of atoms, a candidate without atoms.

    Source: ours.
    """
    counts = np.asarray(counts)
    if list(divisions) != sorted(set(divisions)) or any(b % a for a, b in zip(divisions, divisions[1:], strict=False)):
        raise ValueError(f"got divisions {tuple(divisions)}, expected each to be a multiple of the one before")
    atoms = counts.sum(axis=1, keepdims=True)
    if counts.min(initial=0) < 0 or atoms.min(initial=1) < 1:
        raise ValueError("got a composition without atoms or with a negative number, expected counts of atoms")
    on = np.stack([((counts * k) % atoms == 0).all(axis=1) for k in divisions])
    return np.where(on.any(axis=0), on.argmax(axis=0), -1)


def tessellation(
    counts: Int[np.ndarray, "candidates corners"],
    conditions: Sequence[Hashable] | None = None,
    divisions: Sequence[int] = DIVISIONS,
    seed: int = 0,
) -> Int[np.ndarray, " picks"]:
    """Order candidates by nested lattices of their composition: one a vertex and condition, level after level.

    Which candidate of a vertex and condition is taken, and the order within a level, are random. Candidates beside the
    lattices, and further ones of the same vertex and condition, are left out. The order depends on no label.

    Args:
        counts: atoms of each element.
        conditions: what a vertex has one candidate each of (a temperature, for example); one a vertex where None.
        divisions: parts of an edge, each a multiple of the one before.
        seed: of the random choices.

    Raises:
        ValueError: no candidate on the lattices, or as in `levels`.

    Source: ours.
    """
    level = levels(counts, divisions)
    if not (level >= 0).any():
        raise ValueError(
            f"got {len(level)} candidates, none with a composition on a lattice of {divisions[-1]} parts of an edge; "
            "give other divisions, or another acquisition"
        )
    share = np.asarray(counts) / np.asarray(counts).sum(axis=1, keepdims=True)
    seen: set[tuple[Hashable, ...]] = set()
    order = []
    for k in np.random.default_rng(seed).permutation(len(level)):
        vertex = (
            *np.round(share[k] * divisions[-1]).astype(int).tolist(),
            None if conditions is None else conditions[k],
        )
        if level[k] >= 0 and vertex not in seen:
            seen.add(vertex)
            order.append(k)
    return np.array(order)[np.argsort(level[order], kind="stable")]
