"""Charges of atoms by zero-flux surfaces of the density.

Source: Tang, Sanville and Henkelman, J. Phys.: Condens. Matter 21, 084204 (2009), near-grid; Henkelman, Arnaldsson and
Jónsson, Comput. Mater. Sci. 36, 354 (2006), on-grid.
"""

from dataclasses import dataclass
from typing import Literal

import numba
import numpy as np
from jaxtyping import Float, Int

_jit = numba.njit(cache=True, error_model="numpy")
_UNKNOWN, _VACUUM = -1, -2

VACUUM = 1e-6
"""e/Å³; points below belong to no atom."""


@dataclass(frozen=True)
class BaderCharges:
    """Electrons (a number) and volume (Å³) of every atom, and how the basins were found.

    `basins` holds the number of the maximum that each grid point belongs to (-2 in vacuum), `maxima` their grid points,
    `atom` the atom nearest to each and `distance` how far it is (Å).

    Source: ours.
    """

    electrons: Float[np.ndarray, " atoms"]
    volumes: Float[np.ndarray, " atoms"]
    basins: Int[np.ndarray, "n1 n2 n3"]
    maxima: Int[np.ndarray, "maxima 3"]
    atom: Int[np.ndarray, " maxima"]
    distance: Float[np.ndarray, " maxima"]


@_jit
def _uphill(rho, i, j, k, weight):
    """The neighbour to which the density rises most steeply, or the point itself."""
    n1, n2, n3 = rho.shape
    best, bi, bj, bk = 0.0, i, j, k
    for a in range(-1, 2):
        for b in range(-1, 2):
            for c in range(-1, 2):
                x, y, z = (i + a) % n1, (j + b) % n2, (k + c) % n3
                slope = (rho[x, y, z] - rho[i, j, k]) * weight[a + 1, b + 1, c + 1]
                if slope > best:
                    best, bi, bj, bk = slope, x, y, z
    return bi, bj, bk


@_jit
def _gradient(rho, i, j, k, metric, out):
    """Gradient in grid steps along the cell vectors, zero along an axis on which the point is the highest."""
    n1, n2, n3 = rho.shape
    here = rho[i, j, k]
    up = (rho[(i + 1) % n1, j, k], rho[i, (j + 1) % n2, k], rho[i, j, (k + 1) % n3])
    down = (rho[(i - 1) % n1, j, k], rho[i, (j - 1) % n2, k], rho[i, j, (k - 1) % n3])
    for a in range(3):
        out[a] = 0.0
    for b in range(3):
        if up[b] <= here and down[b] <= here:
            continue
        slope = 0.5 * (up[b] - down[b])
        for a in range(3):
            out[a] += metric[a, b] * slope


@_jit
def _near_step(rho, i, j, k, metric, weight, rest, direction):
    """One step along the gradient, rounded to the grid; what rounding leaves is carried along in `rest`."""
    n1, n2, n3 = rho.shape
    _gradient(rho, i, j, k, metric, direction)
    size = max(abs(direction[0]), abs(direction[1]), abs(direction[2]))
    if size < 1e-30:
        rest[:] = 0.0
        return _uphill(rho, i, j, k, weight)
    step = np.zeros(3, np.int64)
    for a in range(3):
        exact = direction[a] / size
        whole = round(exact)
        rest[a] += exact - whole
        more = round(rest[a])
        rest[a] -= more
        step[a] = int(whole + more)
    return (i + step[0]) % n1, (j + step[1]) % n2, (k + step[2]) % n3


@_jit
def _climb(rho, i, j, k, metric, weight, near_grid, basin, settled, path, seen, mark):
    """Follow the density upwards to a maximum or to a settled point; the path is in `path`, its end is returned."""
    rest, direction, count = np.zeros(3), np.zeros(3), 0
    while True:
        path[count, 0], path[count, 1], path[count, 2] = i, j, k
        seen[i, j, k] = mark
        count += 1
        if near_grid:
            x, y, z = _near_step(rho, i, j, k, metric, weight, rest, direction)
            if seen[x, y, z] == mark:
                rest[:] = 0.0
                x, y, z = _uphill(rho, i, j, k, weight)
        else:
            x, y, z = _uphill(rho, i, j, k, weight)
        if (x == i and y == j and z == k) or count == path.shape[0]:
            return count, i, j, k
        if settled[x, y, z]:
            return count, x, y, z
        if seen[x, y, z] == mark and near_grid:
            return count, i, j, k
        i, j, k = x, y, z


@_jit
def _assign(rho, metric, weight, near_grid, basin, maxima):
    """Give every point the number of its maximum; on the grid all points of a path share it."""
    n1, n2, n3 = rho.shape
    path = np.empty((4 * (n1 + n2 + n3), 3), np.int64)
    seen = np.full((n1, n2, n3), -1, np.int64)
    settled = np.zeros((n1, n2, n3), np.bool_)
    found, mark = 0, 0
    for i in range(n1):
        for j in range(n2):
            for k in range(n3):
                if basin[i, j, k] != _UNKNOWN:
                    continue
                count, x, y, z = _climb(rho, i, j, k, metric, weight, near_grid, basin, settled, path, seen, mark)
                mark += 1
                if basin[x, y, z] == _UNKNOWN:
                    if found == maxima.shape[0]:
                        return -1
                    maxima[found, 0], maxima[found, 1], maxima[found, 2] = x, y, z
                    basin[x, y, z] = found
                    settled[x, y, z] = True
                    found += 1
                for p in range(count):
                    a, b, c = path[p]
                    if basin[a, b, c] == _UNKNOWN:
                        basin[a, b, c] = basin[x, y, z]
                        settled[a, b, c] = not near_grid
    return found


@_jit
def _refine(rho, metric, weight, basin, maxima, found):
    """Climb again from all points at the surface of a basin; returns how many changed."""
    n1, n2, n3 = rho.shape
    path = np.empty((4 * (n1 + n2 + n3), 3), np.int64)
    seen = np.full((n1, n2, n3), -1, np.int64)
    settled = np.zeros((n1, n2, n3), np.bool_)
    surface = np.zeros((n1, n2, n3), np.bool_)
    for i in range(n1):
        for j in range(n2):
            for k in range(n3):
                mine = basin[i, j, k]
                if mine == _VACUUM:
                    continue
                for a in range(-1, 2):
                    for b in range(-1, 2):
                        for c in range(-1, 2):
                            if basin[(i + a) % n1, (j + b) % n2, (k + c) % n3] != mine:
                                surface[i, j, k] = True
    for m in range(found):
        surface[maxima[m, 0], maxima[m, 1], maxima[m, 2]] = False
        settled[maxima[m, 0], maxima[m, 1], maxima[m, 2]] = True
    changed, mark = 0, 0
    for i in range(n1):
        for j in range(n2):
            for k in range(n3):
                if surface[i, j, k]:
                    _, x, y, z = _climb(rho, i, j, k, metric, weight, True, basin, settled, path, seen, mark)
                    mark += 1
                    if basin[x, y, z] != basin[i, j, k]:
                        basin[i, j, k] = basin[x, y, z]
                        changed += 1
    return changed


def bader(
    density: Float[np.ndarray, "n1 n2 n3"],
    cell: Float[np.ndarray, "3 3"],
    positions: Float[np.ndarray, "atoms 3"],
    reference: Float[np.ndarray, "n1 n2 n3"] | None = None,
    method: Literal["near-grid", "on-grid"] = "near-grid",
) -> BaderCharges:
    """Divide a periodic density into basins of its maxima and sum it over each atom's.

    Args:
        density: e/Å³, what is summed.
        cell: rows, Å.
        positions: atoms, Å; a basin belongs to the atom nearest to its maximum.
        reference: what is climbed, e/Å³; the density where None. A valence density has no maxima at its nuclei: give
            one that has, such as the density plus the cores.
        method: near-grid follows the gradient between grid points and is exact in the limit of fine grids; on-grid
            steps from point to point, faster, with a bias along the axes.

    Raises:
        ValueError: arrays of different shapes, an unknown method.

    Source: Tang, Sanville and Henkelman, J. Phys.: Condens. Matter 21, 084204 (2009).
    """
    climbed = density if reference is None else reference
    if climbed.shape != density.shape or method not in ("near-grid", "on-grid"):
        raise ValueError(
            f"got a reference of shape {climbed.shape} for a density of {density.shape} and method={method!r}, "
            "expected equal shapes and 'near-grid' or 'on-grid'"
        )
    rho = np.ascontiguousarray(climbed, dtype=np.float64)
    steps = np.asarray(cell, dtype=np.float64) / np.array(rho.shape)[:, None]
    metric = np.linalg.inv(steps @ steps.T)
    offsets = np.stack(np.meshgrid(*[np.arange(-1, 2)] * 3, indexing="ij"), -1)
    length = np.linalg.norm(offsets @ steps, axis=-1)
    weight = np.divide(1.0, length, out=np.zeros_like(length), where=length > 0)
    basin = np.where(rho > VACUUM, _UNKNOWN, _VACUUM)
    maxima = np.empty((rho.size // 8 + 8, 3), dtype=np.int64)
    found = _assign(rho, metric, weight, method == "near-grid", basin, maxima)
    if found < 0:
        raise ValueError("got a field of many equal values, expected a density with maxima at atoms; look at its unit")
    if method == "near-grid":
        for _ in range(100):
            if _refine(rho, metric, weight, basin, maxima, found) == 0:
                break
    return _summed(density, np.asarray(cell), positions, basin, maxima[:found].copy())


def _summed(
    density: np.ndarray, cell: np.ndarray, positions: np.ndarray, basin: np.ndarray, maxima: np.ndarray
) -> BaderCharges:
    n = len(maxima)
    volume = abs(float(np.linalg.det(cell))) / density.size
    scaled = maxima / np.array(density.shape) - (positions @ np.linalg.inv(cell))[:, None]
    nearest = scaled - np.round(scaled)
    images = np.stack(np.meshgrid(*[np.arange(-1, 2)] * 3, indexing="ij"), -1).reshape(-1, 1, 1, 3)
    apart = np.linalg.norm((nearest + images) @ cell, axis=-1).min(0)
    atom = apart.argmin(0)
    mine = basin.reshape(-1) >= 0
    electrons = np.bincount(basin.reshape(-1)[mine], density.reshape(-1)[mine], n) * volume
    points = np.bincount(basin.reshape(-1)[mine], minlength=n) * volume
    return BaderCharges(
        np.bincount(atom, electrons, len(positions)),
        np.bincount(atom, points, len(positions)),
        basin,
        maxima,
        atom,
        apart[atom, np.arange(n)],
    )
