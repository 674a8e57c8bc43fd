"""Charges of atoms by zero-flux surfaces of the density.

Source: Yu and Trinkle, J. Chem. Phys. 134, 064111 (2011), weights; Tang, Sanville and Henkelman, J. Phys.: Condens.
Matter 21, 084204 (2009), near-grid; Henkelman, Arnaldsson and Jónsson, Comput. Mater. Sci. 36, 354 (2006), on-grid.
"""

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import ConvexHull, Voronoi

from ase_mlx.compiled import compiled
from ase_mlx.graph.lattice import minimum_image, reduced
from ase_mlx.graph.lattice import steps as lattice_steps

_jit = compiled(error_model="numpy")
_UNKNOWN, _VACUUM = -1, -2

METHODS = ("weight", "near-grid", "on-grid")

VACUUM = 1e-6
"""e/Å³; points below belong to no atom."""


FAR = 0.5
"""Å; the maximum of an atom is nearer to it than this."""

LEAST_HELD = 1e-3
"""Share of the electrons that maxima far from atoms hold, above which the user is told."""


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


def _facets(steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours of a grid point across the facets of its Voronoi cell, and area over distance (Å) of each.

    The steps between grid points are a short basis, of which two each way are enough.
    """
    offsets = lattice_steps(3, 2)
    cells = Voronoi(offsets @ steps)
    centre, facets = len(offsets) // 2, []
    for pair, corners in zip(cells.ridge_points, cells.ridge_vertices, strict=True):
        if centre in pair and -1 not in corners:
            other = offsets[pair[0] if pair[1] == centre else pair[1]]
            apart = other @ steps
            length = np.linalg.norm(apart)
            plane = np.linalg.svd(apart[None])[2][1:]
            flat = cells.vertices[corners] @ plane.T
            area = ConvexHull(flat, qhull_options="QJ").volume if len(np.unique(flat.round(9), axis=0)) > 2 else 0.0
            facets.append((other, area / length))
    largest = max(share for _, share in facets)
    kept = [(other, share) for other, share in facets if share > 1e-6 * largest]
    return np.array([other for other, _ in kept]), np.array([share for _, share in kept])


@_jit
def _flow(rho, order, offsets, share, basin, maxima, charge, points):
    """Let charge and volume of every point, from the lowest to the highest, flow uphill across the facets.

    At the end they stand at the maxima. A second pass, downwards, gives every point the basin of its largest flow.
    """
    n1, n2, n3 = rho.shape
    flat = rho.reshape(-1)
    uphill, flow = np.empty(len(offsets), np.int64), np.empty(len(offsets))
    main = np.empty(len(flat), np.int64)
    for p in order:
        i, j, k = p // (n2 * n3), p // n3 % n2, p % n3
        count, total = 0, 0.0
        for f in range(len(offsets)):
            x, y, z = (i + offsets[f, 0]) % n1, (j + offsets[f, 1]) % n2, (k + offsets[f, 2]) % n3
            q = (x * n2 + y) * n3 + z
            if flat[q] > flat[p]:
                uphill[count], flow[count] = q, share[f] * (flat[q] - flat[p])
                total += flow[count]
                count += 1
        main[p] = p
        best = 0.0
        for f in range(count):
            part = flow[f] / total
            charge[uphill[f]] += part * charge[p]
            points[uphill[f]] += part * points[p]
            if flow[f] > best:
                best, main[p] = flow[f], uphill[f]
    peaks = 0
    labels = basin.reshape(-1)
    for n in range(len(order) - 1, -1, -1):
        p = order[n]
        if main[p] != p:
            labels[p] = labels[main[p]]
            continue
        if peaks == maxima.shape[0]:
            return -1
        maxima[peaks, 0], maxima[peaks, 1], maxima[peaks, 2] = p // (n2 * n3), p // n3 % n2, p % n3
        labels[p] = peaks
        peaks += 1
    return peaks


@_jit
def _uphill(rho, i, j, k, around, weight):
    """The neighbour to which the density rises most steeply, or the point itself."""
    n1, n2, n3 = rho.shape
    best, bi, bj, bk = 0.0, i, j, k
    for f in range(len(around)):
        x, y, z = (i + around[f, 0]) % n1, (j + around[f, 1]) % n2, (k + around[f, 2]) % n3
        slope = (rho[x, y, z] - rho[i, j, k]) * weight[f]
        if slope > best:
            best, bi, bj, bk = slope, x, y, z
    return bi, bj, bk


@_jit
def _gradient(rho, i, j, k, axes, metric, out):
    """Gradient in short steps of the grid, zero along an axis on which the point is the highest."""
    n1, n2, n3 = rho.shape
    here = rho[i, j, k]
    for a in range(3):
        out[a] = 0.0
    for b in range(3):
        up = rho[(i + axes[b, 0]) % n1, (j + axes[b, 1]) % n2, (k + axes[b, 2]) % n3]
        down = rho[(i - axes[b, 0]) % n1, (j - axes[b, 1]) % n2, (k - axes[b, 2]) % n3]
        if up <= here and down <= here:
            continue
        slope = 0.5 * (up - down)
        for a in range(3):
            out[a] += metric[a, b] * slope


@_jit
def _near_step(rho, i, j, k, axes, metric, around, weight, rest, direction):
    """One step along the gradient, rounded to the grid; what rounding leaves is carried along in `rest`."""
    n1, n2, n3 = rho.shape
    _gradient(rho, i, j, k, axes, metric, direction)
    size = max(abs(direction[0]), abs(direction[1]), abs(direction[2]))
    if size < 1e-30:
        rest[:] = 0.0
        return _uphill(rho, i, j, k, around, weight)
    step = np.zeros(3, np.int64)
    for a in range(3):
        exact = direction[a] / size
        whole = round(exact)
        rest[a] += exact - whole
        more = round(rest[a])
        rest[a] -= more
        for b in range(3):
            step[b] += int(whole + more) * axes[a, b]
    return (i + step[0]) % n1, (j + step[1]) % n2, (k + step[2]) % n3


@_jit
def _climb(rho, i, j, k, axes, metric, around, weight, near_grid, settled, path, seen, mark):
    """Follow the density upwards to a maximum or to a settled point; the path is in `path`, its end is returned."""
    rest, direction, count = np.zeros(3), np.zeros(3), 0
    while True:
        path[count, 0], path[count, 1], path[count, 2] = i, j, k
        seen[i, j, k] = mark
        count += 1
        if near_grid:
            x, y, z = _near_step(rho, i, j, k, axes, metric, around, weight, rest, direction)
            if seen[x, y, z] == mark:
                rest[:] = 0.0
                x, y, z = _uphill(rho, i, j, k, around, weight)
        else:
            x, y, z = _uphill(rho, i, j, k, around, weight)
        if (x == i and y == j and z == k) or count == path.shape[0]:
            return count, i, j, k
        if settled[x, y, z]:
            return count, x, y, z
        if seen[x, y, z] == mark and near_grid:
            return count, i, j, k
        i, j, k = x, y, z


@_jit
def _assign(rho, axes, metric, around, weight, near_grid, basin, maxima):
    """Give every point the number of its maximum; on the grid all points of a path share it."""
    n1, n2, n3 = rho.shape
    path = np.empty((4 * (n1 + n2 + n3), 3), np.int64)
    seen = np.full((n1, n2, n3), -1, np.int64)
    settled = np.zeros((n1, n2, n3), np.bool_)
    peaks, mark = 0, 0
    for i in range(n1):
        for j in range(n2):
            for k in range(n3):
                if basin[i, j, k] != _UNKNOWN:
                    continue
                count, x, y, z = _climb(
                    rho, i, j, k, axes, metric, around, weight, near_grid, settled, path, seen, mark
                )
                mark += 1
                if basin[x, y, z] == _UNKNOWN:
                    if peaks == maxima.shape[0]:
                        return -1
                    maxima[peaks, 0], maxima[peaks, 1], maxima[peaks, 2] = x, y, z
                    basin[x, y, z] = peaks
                    settled[x, y, z] = True
                    peaks += 1
                for p in range(count):
                    a, b, c = path[p]
                    if basin[a, b, c] == _UNKNOWN:
                        basin[a, b, c] = basin[x, y, z]
                        settled[a, b, c] = not near_grid
    return peaks


@_jit
def _refine(rho, axes, metric, around, weight, basin, maxima, count):
    """Climb again from all points at the surface of a basin; returns how many changed."""
    n1, n2, n3 = rho.shape
    path = np.empty((4 * (n1 + n2 + n3), 3), np.int64)
    seen = np.full((n1, n2, n3), -1, np.int64)
    settled = np.zeros((n1, n2, n3), np.bool_)
    surface = np.zeros((n1, n2, n3), np.bool_)
    for i in range(n1):
        for j in range(n2):
            for k in range(n3):
                own = basin[i, j, k]
                if own == _VACUUM:
                    continue
                for a, b, c in around:
                    if basin[(i + a) % n1, (j + b) % n2, (k + c) % n3] != own:
                        surface[i, j, k] = True
    for m in range(count):
        surface[maxima[m, 0], maxima[m, 1], maxima[m, 2]] = False
        settled[maxima[m, 0], maxima[m, 1], maxima[m, 2]] = True
    changed, mark = 0, 0
    for i in range(n1):
        for j in range(n2):
            for k in range(n3):
                if surface[i, j, k]:
                    _, x, y, z = _climb(rho, i, j, k, axes, metric, around, weight, True, settled, path, seen, mark)
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
    method: Literal["weight", "near-grid", "on-grid"] = "weight",
) -> BaderCharges:
    """Divide a periodic density into basins of its maxima and sum it over each atom's.

    Args:
        density: e/Å³, what is summed.
        cell: rows, Å.
        positions: atoms, Å; a basin belongs to the atom nearest to its maximum.
        reference: what is climbed, e/Å³; the density where None. A valence density has no maxima at its nuclei: give
            one that has, such as the density plus the cores.
        method: "weight" divides points at a surface between basins and converges steadily with the grid's step; the
            others give whole points to one basin: "near-grid" follows the gradient between grid points, "on-grid" steps
            from point to point, with a bias along the axes.

    Raises:
        ValueError: arrays of different shapes, an unknown method.

    Warns where maxima far from all atoms (0.5 Å) hold more than a thousandth of the electrons.

    Source: those of the module.
    """
    climbed = density if reference is None else reference
    if climbed.shape != density.shape or method not in METHODS:
        raise ValueError(
            f"got a reference of shape {climbed.shape} for a density of {density.shape} and method={method!r}, "
            f"expected equal shapes and one of {', '.join(METHODS)}"
        )
    rho = np.ascontiguousarray(climbed, dtype=np.float64)
    steps = np.asarray(cell, dtype=np.float64) / np.array(rho.shape)[:, None]
    short, axes = reduced(steps)
    basin = np.where(rho > VACUUM, _UNKNOWN, _VACUUM)
    maxima = np.empty((rho.size // 8 + 8, 3), dtype=np.int64)
    volume = abs(float(np.linalg.det(steps)))
    if method == "weight":
        order = np.argsort(rho, axis=None, kind="stable")
        order = order[rho.reshape(-1)[order] > VACUUM]
        charge = np.ascontiguousarray(density, dtype=np.float64).reshape(-1) * volume
        points = np.full(rho.size, volume)
        offsets, share = _facets(short)
        count = _flow(rho, order, offsets @ axes, share, basin, maxima, charge, points)
    else:
        count = _followed(rho, short, axes, method == "near-grid", basin, maxima)
    if count < 0:
        raise ValueError("got a field of many equal values, expected a density with maxima at atoms; look at its unit")
    if method == "weight":
        at = tuple(maxima[:count].T)
        gathered = charge.reshape(rho.shape)[at], points.reshape(rho.shape)[at]
    else:
        gathered = _gathered(density, basin, count, volume)
    atom, apart = _owners(density.shape, np.asarray(cell), positions, maxima[:count])
    _warn_of_far_maxima(gathered[0], atom, apart)
    electrons, volumes = (np.bincount(atom, part, len(positions)) for part in gathered)
    return BaderCharges(electrons, volumes, basin, maxima[:count].copy(), atom, apart)


def _gathered(density: np.ndarray, basin: np.ndarray, count: int, volume: float) -> tuple[np.ndarray, np.ndarray]:
    """Electrons and volume of whole points in each basin."""
    inside = basin.reshape(-1) >= 0
    labels = basin.reshape(-1)[inside]
    electrons = np.bincount(labels, density.reshape(-1)[inside], count)
    return electrons * volume, np.bincount(labels, minlength=count) * volume


def _warn_of_far_maxima(electrons: np.ndarray, atom: np.ndarray, apart: np.ndarray) -> None:
    far = apart > FAR
    held = float(electrons[far].sum())
    if held > LEAST_HELD * float(electrons.sum()):
        warnings.warn(
            f"got {int(far.sum())} of {len(far)} maxima of the density more than {FAR} Å from any atom (the farthest "
            f"{apart.max():.2f} Å from atom {int(atom[apart.argmax()])}), with {held:.3g} of {electrons.sum():.6g} "
            "electrons, which went to the nearest atom: these are no charges of atoms. A valence density has its "
            "maxima on bonds: give `reference`, a density with its maxima at the nuclei (valence plus cores)",
            stacklevel=3,
        )


def _followed(
    rho: np.ndarray, short: np.ndarray, axes: np.ndarray, near_grid: bool, basin: np.ndarray, maxima: np.ndarray
) -> int:
    metric, around = np.linalg.inv(short @ short.T), lattice_steps(3)
    around = around[np.abs(around).sum(1) > 0]
    weight = 1 / np.linalg.norm(around @ short, axis=1)
    where = axes, metric, around @ axes, weight
    count = _assign(rho, *where, near_grid, basin, maxima)
    if near_grid and count >= 0:
        for _ in range(100):
            if _refine(rho, *where, basin, maxima, count) == 0:
                break
    return count


def _owners(
    shape: tuple[int, ...], cell: np.ndarray, positions: np.ndarray, maxima: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The atom nearest to each maximum, and how far it is (Å)."""
    places = (maxima / np.array(shape)) @ cell
    apart = [np.linalg.norm(minimum_image(places - position, cell), axis=1) for position in positions]
    atom = np.argmin(apart, axis=0)
    return atom, np.min(apart, axis=0)
