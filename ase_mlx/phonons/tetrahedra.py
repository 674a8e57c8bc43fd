"""The linear tetrahedron method on a mesh: weights of δ(ω − f) at each of its points.

Source: P. E. Blöchl, O. Jepsen and O. K. Andersen, Phys. Rev. B 49, 16223 (1994);
A. H. MacDonald, S. H. Vosko and P. T. Coleridge, J. Phys. C 12, 2991 (1979).
"""

import itertools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from ase_mlx.compiled import compiled
from ase_mlx.phonons.brillouin import Mesh

FLAT = 1e-10
"""Tetrahedra in which f changes by less (in its own unit) are left out: rounding alone puts a level inside them."""


@dataclass(frozen=True)
class Tetrahedra:
    """The 24 tetrahedra around each point of a mesh, the cells cut along their shortest diagonal.

    `neighbours` are the 15 points that they touch, the point itself first; `opposite` is where −step of each step
    stands; `corners` index `neighbours`, the point itself first in each tetrahedron.

    Source: P. E. Blöchl, O. Jepsen and O. K. Andersen, Phys. Rev. B 49, 16223 (1994).
    """

    neighbours: Int[np.ndarray, "points 15"]
    opposite: Int[np.ndarray, " 15"]
    corners: Int[np.ndarray, "24 4"]


def tetrahedra(mesh: Mesh, reciprocal: Float[np.ndarray, "3 3"]) -> Tetrahedra:
    """Cut the cells of a mesh into tetrahedra.

    Args:
        mesh: the mesh.
        reciprocal: reciprocal vectors as rows, in 1/Å, with or without 2π.

    Returns:
        The tetrahedra, dimensionless.

    Source: P. E. Blöchl, O. Jepsen and O. K. Andersen, Phys. Rev. B 49, 16223 (1994).
    """
    step = np.asarray(reciprocal) / np.array(mesh.numbers)[:, None]
    signs = np.array([(1, 1, 1), (-1, 1, 1), (1, -1, 1), (1, 1, -1)])
    along = signs[np.argmin(np.round(np.linalg.norm(signs @ step, axis=1), 9))]
    start = (along < 0).astype(int)
    cells = []
    for order in itertools.permutations(range(3)):
        corners = [start]
        for axis in order:
            corners.append(corners[-1] + along[axis] * np.eye(3, dtype=int)[axis])
        for centre in range(4):
            around = [corners[centre], *(c for k, c in enumerate(corners) if k != centre)]
            cells.append([tuple(c - corners[centre]) for c in around])
    steps = sorted({s for cell in cells for s in cell}, key=lambda s: (s != (0, 0, 0), s))
    index_of = {s: k for k, s in enumerate(steps)}
    corners = np.array([[index_of[s] for s in cell] for cell in cells])
    opposite = np.array([index_of[tuple(-x for x in s)] for s in steps])
    return Tetrahedra(mesh.index(mesh.addresses[:, None] + np.array(steps)), opposite, corners)


@compiled(fastmath=True, nogil=True)
def delta_weight(values: np.ndarray, corners: np.ndarray, level: float) -> float:  # pragma: no cover, compiled
    """Weight of δ(level − f) at a point whose neighbours have `values` of f, in 1/(unit of f).

    The plane f = level cuts a tetrahedron in a triangle or a quadrangle; the share of a corner is the mean of its
    linear shape function over that cut, and so over the corners of the (one or two) triangles.

    Source: A. H. MacDonald, S. H. Vosko and P. T. Coleridge, J. Phys. C 12, 2991 (1979).
    """
    total = 0.0
    own = values[0]
    for k in range(corners.shape[0]):
        x, y, z = values[corners[k, 1]], values[corners[k, 2]], values[corners[k, 3]]
        low, high, lower, higher = min(own, x), max(own, x), min(y, z), max(y, z)
        e0, e3 = min(low, lower), max(high, higher)
        if not e0 < level < e3 or e3 - e0 < FLAT:
            continue
        inner, outer = max(low, lower), min(high, higher)
        e1, e2 = min(inner, outer), max(inner, outer)
        rank = (x < own) + (y < own) + (z < own)
        if level < e1:
            a = (level - e0) / (e1 - e0)
            b = (level - e0) / (e2 - e0)
            c = (level - e0) / (e3 - e0)
            size = a * b / (e3 - e0)
            share = 3.0 - a - b - c if rank == 0 else (a if rank == 1 else (b if rank == 2 else c))
        elif level >= e2:
            a = (e3 - level) / (e3 - e2)
            b = (e3 - level) / (e3 - e1)
            c = (e3 - level) / (e3 - e0)
            size = a * b / (e3 - e0)
            share = 3.0 - a - b - c if rank == 3 else (a if rank == 2 else (b if rank == 1 else c))
        else:
            p02 = (level - e0) / (e2 - e0)
            p03 = (level - e0) / (e3 - e0)
            p12 = (level - e1) / (e2 - e1)
            p13 = (level - e1) / (e3 - e1)
            first = (1.0 - p12) * p02
            second = p12 * (1.0 - p13)
            size = (first + second) / (e3 - e0)
            first /= first + second
            second = 1.0 - first
            if rank == 0:
                share = 1.0 - p03 + (1.0 - p02) * first
            elif rank == 1:
                share = 1.0 - p12 + (1.0 - p13) * second
            elif rank == 2:
                share = p12 + p02 * first
            else:
                share = p03 + p13 * second
        total += size * share
    return total / 6.0
