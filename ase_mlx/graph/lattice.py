"""Short bases of lattices: the same points, whichever vectors span them.

Source: Semaev, Lect. Notes Comput. Sci. 2146, 181 (2001), for the reduction in three dimensions.
"""

import itertools
import math

import numpy as np
from jaxtyping import Bool, Float, Int

from ase_mlx.units import VOIGT

TIE = 1e-6
"""Lengths nearer than this (relative) are equal: the vectors of one lattice in two cells differ by round-off."""


def reduced(vectors: Float[np.ndarray, "k 3"]) -> tuple[Float[np.ndarray, "k 3"], Int[np.ndarray, "k k"]]:
    """Find the shortest basis (Å) of the lattice that up to three vectors (rows, Å) span (Minkowski's).

    Two bases of one lattice give the same answer: of vectors of one length the one that points to larger x (then y,
    then z) is taken.

    Returns:
        The basis, and the whole numbers (dimensionless) that make it: basis = numbers @ vectors.

    Raises:
        ValueError: vectors that are not independent.

    Source: Semaev (2001).
    """
    vectors = np.asarray(vectors, dtype=np.float64)
    count = len(vectors)
    size = np.linalg.svd(vectors, compute_uv=False) if count else np.ones(1)
    if not size.min() > 1e-12 * size.max():
        raise ValueError(f"got vectors {vectors.tolist()} Å, expected independent ones")
    numbers = np.eye(count, dtype=np.int64)
    while True:
        lengths = np.linalg.norm(numbers @ vectors, axis=1)
        numbers = numbers[np.argsort(lengths, kind="stable")]
        for k in range(1, count):
            shorter, longer = numbers[:k] @ vectors, numbers[k] @ vectors
            numbers[k] -= _nearest(shorter, longer) @ numbers[:k]
        if not np.linalg.norm(numbers @ vectors, axis=1).sum() < lengths.sum() * (1 - 1e-12):
            break
    numbers = _canonical(numbers, vectors)
    return numbers @ vectors, numbers


def completed(cell: Float[np.ndarray, "3 3"], pbc: Bool[np.ndarray, " 3"]) -> Float[np.ndarray, "3 3"]:
    """Complete the periodic vectors (rows, Å) by unit vectors that are perpendicular to them and to one another.

    Source: ours.
    """
    if pbc.all():
        return cell
    frame = np.where(pbc[:, None], cell, 0.0)
    frame[~pbc] = np.linalg.svd(frame)[2][::-1][: int((~pbc).sum())]
    return frame


def parameters_of_cell(cell: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, " 6"]:
    """Measure a cell (rows, Å): lengths a, b, c (Å) and angles alpha, beta, gamma (degrees).

    Source: International Tables for Crystallography, volume A.
    """
    lengths = np.linalg.norm(cell, axis=1)
    unit = cell / lengths[:, None]
    cosines = (unit @ unit.T)[VOIGT][3:]  # yz, xz, xy
    return np.concatenate([lengths, np.degrees(np.arccos(cosines.clip(-1, 1)))])


def cell_of_parameters(parameters: Float[np.ndarray, " 6"]) -> Float[np.ndarray, "3 3"]:
    """Build a cell (rows, Å) of lengths (Å) and angles (degrees): a along x, b in the plane of x and y.

    Raises:
        ValueError: lengths that are not positive, or angles that no cell has.

    Source: International Tables for Crystallography, volume A.
    """
    a, b, c = (float(x) for x in parameters[:3])
    alpha, beta, gamma = (float(x) for x in np.cos(np.radians(parameters[3:])))
    sine = math.sqrt(max(1 - gamma**2, 0.0))
    across = (alpha - beta * gamma) / sine if sine else math.inf
    height = 1 - beta**2 - across**2
    if not (min(a, b, c) > 0 and height > 0):
        raise ValueError(
            f"got lengths {a:g}, {b:g}, {c:g} Å and angles of {np.round(parameters[3:], 2).tolist()} degrees, expected "
            "positive lengths and three angles that a cell can have"
        )
    return np.array([[a, 0, 0], [b * gamma, b * sine, 0], [c * beta, c * across, c * math.sqrt(height)]])


def minimum_image(
    apart: Float[np.ndarray, "pairs 3"], vectors: Float[np.ndarray, "k 3"]
) -> Float[np.ndarray, "pairs 3"]:
    """Shorten vectors (Å) as far as the translations of a lattice (rows, Å) allow.

    Raises:
        ValueError: lattice vectors that are not independent.

    Source: ours; in a shortest basis the nearest lattice point is at most one step from the rounded one.
    """
    if not len(vectors):
        return apart
    basis = reduced(vectors)[0]
    apart = apart - np.round(apart @ np.linalg.pinv(basis)) @ basis
    best, square = apart, np.square(apart).sum(1)
    for shift in steps(len(basis)) @ basis:
        image = apart - shift
        length = np.square(image).sum(1)
        shorter = length < square
        best, square = np.where(shorter[:, None], image, best), np.where(shorter, length, square)
    return best


def steps(count: int, most: int = 1) -> Int[np.ndarray, "steps k"]:
    """List all tuples of `count` whole numbers from −`most` to `most`.

    Source: ours.
    """
    axes = [np.arange(-most, most + 1)] * count
    return np.array(list(itertools.product(*axes)), dtype=np.int64).reshape((2 * most + 1) ** count, count)


def _nearest(basis: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Whole numbers of the point of a lattice with a short basis that is nearest to a vector."""
    rounded = np.round(vector @ np.linalg.pinv(basis)).astype(np.int64)
    tried = rounded + steps(len(basis))
    left = np.square(vector - tried @ basis).sum(1)
    here = np.square(vector - rounded @ basis).sum()
    best = int(left.argmin())
    return tried[best] if left[best] < here * (1 - 1e-12) else rounded


def _canonical(numbers: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Of all bases of the same lengths the one whose vectors come first by direction."""
    every = steps(len(numbers), 2) @ numbers
    points = every @ vectors
    length = np.linalg.norm(points, axis=1)
    sizes = np.linalg.norm(numbers @ vectors, axis=1)
    chosen: list[np.ndarray] = []
    for size in sizes:
        tied = np.flatnonzero(np.abs(length - size) < TIE * size)
        rounded = np.round(points[tied] / (TIE * 1e2 * size))
        order = tied[np.lexsort(-rounded.T[::-1])]
        chosen.append(next(every[n] for n in order if _part_of_a_basis([*chosen, every[n]])))
    return np.array(chosen, dtype=np.int64).reshape(numbers.shape)


def _part_of_a_basis(rows: list[np.ndarray]) -> bool:
    """Whether some vectors of a lattice can be completed to one of its bases: their minors have no common divisor."""
    part = np.array(rows)
    columns = [list(c) for c in itertools.combinations(range(part.shape[1]), len(part))]
    minors = [round(float(np.linalg.det(part[:, c]))) for c in columns]
    return math.gcd(*minors) == 1
