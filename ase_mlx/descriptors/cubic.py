"""Space groups of small cubic crystals, where nobody can doubt them.

spglib takes up to 30 ms for a cubic crystal of a few atoms, most of it for what is not asked here. Operations that are
right to a hundredth of its tolerance, while all others miss by ten of them, are found by it, too: then their group is
all that is left to ask of it.

Source: ours.
"""

import functools
import warnings

import numpy as np
import spglib
from jaxtyping import Float, Int

EXACT, MISSED = 0.01, 10.0
"""Of the tolerance: operations that are off by less than the first are there, by more than the second they are not."""

CUBIC = 195
"""The first cubic space group."""

OPERATIONS = 48
"""Of a cubic lattice."""

MOST = 100_000
"""Pairs of atoms and operations, above which spglib is as fast."""

VECTORS = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), -1).reshape(-1, 3)


def cubic_symmetry(
    cell: Float[np.ndarray, "3 3"], fractional: Float[np.ndarray, "atoms 3"], numbers: Int[np.ndarray, " atoms"],
    tolerance: float,
) -> tuple[int, str, int, int] | None:  # fmt: skip
    """Find space group, point group, orbits and atoms of the primitive cell (numbers of them) of a cubic crystal.

    Args:
        cell: rows, Å; a short basis of the lattice.
        fractional: coordinates (dimensionless).
        numbers: atomic numbers.
        tolerance: of spglib, Å.

    Returns:
        None where the crystal is not cubic, large, or its symmetry depends on the tolerance.

    Source: ours; the name of the group by spglib.
    """
    kinds, counts = np.unique(numbers, return_counts=True)
    origin = np.flatnonzero(numbers == kinds[counts.argmin()])
    if OPERATIONS * len(origin) * len(numbers) ** 2 > MOST:
        return None
    rotations = _lattice_operations(cell, EXACT * tolerance)
    if len(rotations) != OPERATIONS:
        return None
    turned = fractional @ rotations
    shift = fractional[origin] - turned[:, origin[:1]]
    apart = (turned[:, None] + shift[:, :, None])[:, :, :, None] - fractional
    apart = np.where(numbers[:, None] == numbers, np.linalg.norm((apart - np.rint(apart)) @ cell, axis=-1), np.inf)
    missed = apart.min(-1).max(-1)
    there = missed < EXACT * tolerance
    if (there != (missed < MISSED * tolerance)).any():
        return None
    which, moved = np.nonzero(there)
    translations = shift[which, moved]
    group = _group(rotations[which].tobytes(), np.round(translations % 1, 3).tobytes())
    if group is None or group[0] < CUBIC:
        return None
    images = apart[there].argmin(-1)
    primitive = len(numbers) // int(there[(rotations == np.eye(3)).all((1, 2))].sum())
    return *group, len(np.unique(images.min(0))), primitive


def _lattice_operations(cell: np.ndarray, tolerance: float) -> np.ndarray:
    """Whole matrices that turn the rows of a cell into others of the same lengths and angles, to a tolerance (Å)."""
    metric = cell @ cell.T
    dots = VECTORS @ metric @ VECTORS.T
    near = 2 * tolerance * np.sqrt(metric.diagonal().min())
    length = np.abs(dots.diagonal()[:, None] - metric.diagonal()) < near
    first, second, third = (np.flatnonzero(one) for one in length.T)
    off = [np.abs(dots - metric[i, j]) < near for i, j in ((0, 1), (0, 2), (1, 2))]
    fits = off[0][first][:, second][:, :, None] & off[1][first][:, third][:, None] & off[2][second][:, third][None]
    i, j, k = np.nonzero(fits)
    return np.stack([VECTORS[first[i]], VECTORS[second[j]], VECTORS[third[k]]], 1).astype(float)


@functools.lru_cache(maxsize=1000)
def _group(rotations: bytes, translations: bytes) -> tuple[int, str] | None:
    turns = np.frombuffer(rotations).reshape(-1, 3, 3).swapaxes(1, 2).astype(np.int32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            shifts = np.frombuffer(translations).reshape(-1, 3)
            group = spglib.get_spacegroup_type_from_symmetry(turns, shifts, symprec=0.01)
        except spglib.SpglibError:
            group = None
    return None if group is None else (int(group.number), str(group.pointgroup_international))
