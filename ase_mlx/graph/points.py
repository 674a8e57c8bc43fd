"""Where a field is evaluated: a regular grid of the cell, or any positions.

Source: ours; the order of the points is that of numpy, Quantum ESPRESSO's FFT grid without its end points.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from .graph import Graph
from .lattice import reduced

_FACTORS = (2, 3, 5, 7)


@dataclass(frozen=True)
class Points:
    """A regular grid (`positions` is None) or scattered `positions` (Å).

    Point (i, j, k) of a grid of `shape` (n1, n2, n3) lies at i/n1 a1 + j/n2 a2 + k/n3 a3 of the structure's cell:
    the grid is periodic and has no end points. Scattered points have the shape (n,).

    Source: ours.
    """

    shape: tuple[int, ...]
    positions: Float[np.ndarray, "points 3"] | None = None

    def __post_init__(self):
        """Refuse shapes that hold no points."""
        sizes = (1,) if self.positions is not None else (3,)
        if len(self.shape) not in sizes or not all(isinstance(n, int | np.integer) and n > 0 for n in self.shape):
            raise ValueError(
                f"got a shape of {self.shape}, expected three positive integers for a grid, one for scattered points"
            )
        if self.positions is not None and self.positions.shape != (self.shape[0], 3):
            raise ValueError(f"got positions of shape {self.positions.shape}, expected ({self.shape[0]}, 3), in Å")

    def __len__(self) -> int:
        """Count the points."""
        return int(np.prod(self.shape))


def at(positions: Any) -> Points:
    """Evaluate at scattered positions in Å, of which periodic images are the same point.

    Raises:
        ValueError: not an array of finite triples.

    Source: ours.
    """
    positions = np.asarray(positions, dtype=np.float64)
    if positions.ndim != 2 or positions.shape[1] != 3 or not len(positions) or not np.isfinite(positions).all():
        raise ValueError(f"got positions of shape {positions.shape}, expected finite numbers of shape (points, 3) in Å")
    return Points((len(positions),), positions)


def grid(atoms: Any, spacing: float | None = None, shape: tuple[int, int, int] | None = None) -> Points:
    """Lay the regular grid of a cell, by the largest distance of neighbouring points or by its shape.

    Args:
        atoms: `ase.Atoms`, or anything with a `cell` (Å, rows).
        spacing: Å; the numbers of points are the next products of 2, 3, 5 and 7, so that an FFT is quick.
        shape: three numbers of points, in place of `spacing`.

    Raises:
        ValueError: a cell without volume; both or none of `spacing` and `shape`; a spacing that is not positive.

    Source: ours.
    """
    cell = np.asarray(atoms.cell, dtype=np.float64).reshape(3, 3)
    if not abs(np.linalg.det(cell)) > 1e-6:
        raise ValueError(
            f"got a cell without volume ({cell.tolist()} Å), expected three independent vectors: the grid fills the "
            "cell; for a molecule set one, for example by atoms.center(vacuum=4)"
        )
    if (spacing is None) == (shape is None):
        raise ValueError(f"got spacing={spacing} and shape={shape}, expected one of the two")
    if shape is not None:
        return Points(tuple(int(n) for n in shape))
    if not spacing > 0:
        raise ValueError(f"got spacing={spacing} Å, expected a positive number")
    return Points(tuple(_smooth(length / spacing) for length in np.linalg.norm(cell, axis=1)))


def enclosed(graph: Graph, margin: float) -> Graph:
    """Give one structure a cell that holds spheres of radius `margin` (Å) about all atoms along its open axes.

    Periodic axes stay, edges too: the same structure to a model, on whose grid nothing is cut off.

    Source: ours.
    """
    cell, pbc = graph.cell[0].cpu().numpy().astype(np.float64), graph.pbc[0].cpu().numpy()
    if pbc.all():
        return graph
    positions = graph.positions.cpu().numpy().astype(np.float64)
    full = _short_axes(cell, pbc)
    box, origin = np.where(pbc[:, None], cell, full), np.zeros(3)
    for axis in np.flatnonzero(~pbc):
        height = positions @ full[axis]
        box[axis] = full[axis] * (np.ptp(height) + 2 * margin)
        origin += full[axis] * (height.min() - margin)
    new = torch.as_tensor(box).to(graph.cell).unsqueeze(0)
    return replace(graph, positions=graph.positions - torch.as_tensor(origin).to(graph.positions), cell=new)


def encloses(graph: Graph, margin: float) -> bool:
    """Whether spheres of radius `margin` (Å) about all atoms of one structure lie within its cell along open axes.

    Source: ours.
    """
    cell, open_axes = graph.cell[0].cpu().numpy().astype(np.float64), ~graph.pbc[0].cpu().numpy()
    inverse = np.linalg.inv(cell)
    scaled = (graph.positions.cpu().numpy() @ inverse)[:, open_axes]
    room = margin * np.linalg.norm(inverse, axis=0)[open_axes]
    return bool(((scaled > room) & (scaled < 1 - room)).all())


def _smooth(least: float) -> int:
    """Find the smallest product of 2, 3, 5, 7 that is not below `least` (to 1e-9)."""
    n = max(1, int(np.ceil(least - 1e-9)))
    while True:
        rest = n
        for factor in _FACTORS:
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return n
        n += 1


def near(
    points: Float[np.ndarray, "points 3"],
    positions: Float[np.ndarray, "atoms 3"],
    cell: Float[np.ndarray, "3 3"],
    pbc: np.ndarray,
    reach: float,
) -> tuple[np.ndarray, np.ndarray, Float[np.ndarray, "pairs 3"]]:
    """Find all pairs of an atom and a point nearer than `reach` (Å), periodic images of atoms included.

    Returns:
        Atom and point of each pair, sorted by atom, and the vector from the atom's image to the point, Å.

    Source: ours.
    """
    periodic = np.asarray(pbc, dtype=bool)
    full = _short_axes(np.asarray(cell, dtype=np.float64), periodic)
    scaled = np.linalg.solve(full.T, positions.T).T
    wrapped = positions - np.where(periodic, np.floor(scaled), 0) @ full
    inside = np.linalg.solve(full.T, points.T).T
    moved = points - np.where(periodic, np.floor(inside), 0) @ full
    heights = 1 / np.linalg.norm(np.linalg.inv(full), axis=0)
    counts = np.where(periodic, np.ceil(reach / heights).astype(int) + 1, 0)
    shifts = np.stack(np.meshgrid(*[np.arange(-n, n + 1) for n in counts], indexing="ij"), -1).reshape(-1, 3) @ full
    from scipy.spatial import cKDTree

    tree = cKDTree(moved)
    images = (wrapped[:, None] + shifts[None]).reshape(-1, 3)
    low, high = moved.min(0) - reach, moved.max(0) + reach
    used = np.flatnonzero(((images > low) & (images < high)).all(1))
    reached = tree.query_ball_point(images[used], reach)
    counts = np.array([len(f) for f in reached], dtype=np.int64)
    image = np.repeat(used, counts)
    point = np.concatenate([*reached, []]).astype(np.int64)
    return image // len(shifts), point, moved[point] - images[image]


def _short_axes(cell: np.ndarray, periodic: np.ndarray) -> np.ndarray:
    """A short basis of the periodic vectors, completed by unit vectors that are perpendicular to them."""
    full = np.where(periodic[:, None], cell, 0.0)
    basis = np.linalg.svd(full)[2][::-1]
    full[~periodic] = basis[: int((~periodic).sum())]
    full[periodic] = reduced(cell[periodic])[0]
    return full
