"""Atom-centred fields on regular grids: a fused CPU kernel; `collocation_torch` has the same for accelerators.

The field of atom i is Σ_lm f_i,lm(r) Y_lm with splines f of a common short range. All points of one interval of the
splines are taken together: there the coefficients are constants and the loops run over points.

Where the grid is coarse, the sum over points of a smooth function is not its integral: `collocate` adds to each atom's
values a smooth bump that makes the sum over points exactly the atom's electrons, and says how much that was.

Source: ours.
"""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Float

from ase_mlx.compiled import compiled

_jit = compiled(nogil=True, fastmath=True, error_model="numpy")
_CHUNK = 64


@_jit
def _harmonics(x, y, z, count, l_max, out):
    """Real spherical harmonics of unit vectors, as in `angular.spherical_harmonics`, component by component."""
    t = x.dtype.type
    for p in range(count):
        out[0, p] = t(1)
    if l_max >= 1:
        c = t(math.sqrt(3.0))
        for p in range(count):
            out[1, p], out[2, p], out[3, p] = c * x[p], c * y[p], c * z[p]
    if l_max >= 2:
        a, b = t(math.sqrt(15.0)), t(math.sqrt(5.0))
        for p in range(count):
            out[4, p] = a * x[p] * z[p]
            out[5, p] = a * x[p] * y[p]
            out[6, p] = b * (y[p] * y[p] - t(0.5) * (x[p] * x[p] + z[p] * z[p]))
            out[7, p] = a * y[p] * z[p]
            out[8, p] = t(0.5) * a * (z[p] * z[p] - x[p] * x[p])
    if l_max >= 3:
        a, b, c, d = t(math.sqrt(35 / 8)), t(math.sqrt(105.0)), t(math.sqrt(21 / 8)), t(math.sqrt(7.0) / 2)
        for p in range(count):
            xx, yy, zz = x[p] * x[p], y[p] * y[p], z[p] * z[p]
            out[9, p] = a * x[p] * (t(3) * zz - xx)
            out[10, p] = b * x[p] * y[p] * z[p]
            out[11, p] = c * x[p] * (t(5) * yy - t(1))
            out[12, p] = d * y[p] * (t(5) * yy - t(3))
            out[13, p] = c * z[p] * (t(5) * yy - t(1))
            out[14, p] = t(0.5) * b * y[p] * (zz - xx)
            out[15, p] = a * z[p] * (zz - t(3) * xx)
    if l_max >= 4:
        a, b = t(1.5 * math.sqrt(35.0)), t(0.75 * math.sqrt(70.0))
        c, d = t(1.5 * math.sqrt(5.0)), t(0.75 * math.sqrt(10.0))
        for p in range(count):
            xx, yy, zz = x[p] * x[p], y[p] * y[p], z[p] * z[p]
            out[16, p] = a * x[p] * z[p] * (zz - xx)
            out[17, p] = b * x[p] * y[p] * (t(3) * zz - xx)
            out[18, p] = c * x[p] * z[p] * (t(7) * yy - t(1))
            out[19, p] = d * x[p] * y[p] * (t(7) * yy - t(3))
            out[20, p] = t(0.375) * (t(35) * yy * yy - t(30) * yy + t(3))
            out[21, p] = d * y[p] * z[p] * (t(7) * yy - t(3))
            out[22, p] = t(0.5) * c * (zz - xx) * (t(7) * yy - t(1))
            out[23, p] = b * y[p] * z[p] * (zz - t(3) * xx)
            out[24, p] = t(0.25) * a * (zz * (zz - t(3) * xx) - xx * (t(3) * zz - xx))


@_jit
def _sphere(center, axes, length, step, plane0, n_planes, n2, n3, wrap, open2, open3, target, xyz, position):
    """List the grid points within `length` of an atom: index in the window (-1 outside), vector, r in knot units."""
    e0, e1, e2 = axes[0], axes[1], axes[2]
    t = xyz.dtype.type
    s22 = e2[0] * e2[0] + e2[1] * e2[1] + e2[2] * e2[2]
    s12 = (e1[0] * e2[0] + e1[1] * e2[1] + e1[2] * e2[2]) / s22
    s02 = (e0[0] * e2[0] + e0[1] * e2[1] + e0[2] * e2[2]) / s22
    f1 = e1 - s12 * e2
    f0 = e0 - s02 * e2
    s11 = f1[0] * f1[0] + f1[1] * f1[1] + f1[2] * f1[2]
    s01 = (f0[0] * f1[0] + f0[1] * f1[1] + f0[2] * f1[2]) / s11
    g0 = f0 - s01 * f1
    height = math.sqrt(g0[0] * g0[0] + g0[1] * g0[1] + g0[2] * g0[2])
    count = 0
    for p in range(math.ceil(center[0] - length / height), math.floor(center[0] + length / height) + 1):
        d0 = p - center[0]
        left = length * length - d0 * d0 * height * height
        half1 = math.sqrt(max(left, 0.0) / s11)
        middle1 = center[1] - d0 * s01
        for j in range(math.ceil(middle1 - half1), math.floor(middle1 + half1) + 1):
            d1 = j - center[1]
            bx, by, bz = d0 * e0[0] + d1 * e1[0], d0 * e0[1] + d1 * e1[1], d0 * e0[2] + d1 * e1[2]
            along = (bx * e2[0] + by * e2[1] + bz * e2[2]) / s22
            rest = length * length - (bx * bx + by * by + bz * bz) + along * along * s22
            if rest <= 0:
                continue
            half2 = math.sqrt(rest / s22)
            low, high = math.ceil(center[2] - along - half2), math.floor(center[2] - along + half2)
            n = high - low + 1
            if n <= 0:
                continue
            for k in range(n):
                d2 = low + k - center[2]
                x, y, z = bx + d2 * e2[0], by + d2 * e2[1], bz + d2 * e2[2]
                r = math.sqrt(x * x + y * y + z * z)
                inverse = 1.0 / max(r, 1e-12)
                xyz[0, count + k], xyz[1, count + k], xyz[2, count + k] = t(x * inverse), t(y * inverse), t(z * inverse)
                position[count + k] = t(r / step)
            row, plane = -1, (p - plane0) % n_planes if wrap else p - plane0
            if 0 <= plane < n_planes and (not open2 or 0 <= j < n2):
                row = (plane * n2 + j % n2) * n3
            k3 = low % n3
            for k in range(n):
                inside = row >= 0 and (not open3 or 0 <= low + k < n3)
                target[count + k] = row + k3 if inside else -1
                k3 += 1
                if k3 == n3:
                    k3 = 0
            count += n
    return count


@_jit
def _sort(count, n_intervals, target, xyz, position, first, target_, xyz_, t_):
    """Bring the points of one interval together; t is the coordinate inside it."""
    t = xyz.dtype.type
    first[:] = 0
    for p in range(count):
        first[min(int(position[p]), n_intervals - 1) + 1] += 1
    for k in range(n_intervals):
        first[k + 1] += first[k]
    for p in range(count):
        k = min(int(position[p]), n_intervals - 1)
        q = first[k]
        first[k] += 1
        target_[q], t_[q] = target[p], position[p] - t(k)
        xyz_[0, q], xyz_[1, q], xyz_[2, q] = xyz[0, p], xyz[1, p], xyz[2, p]
    for k in range(n_intervals, 0, -1):
        first[k] = first[k - 1]
    first[0] = 0


@_jit
def _evaluate(first, table, l_max, xyz, t, y, value):
    """Sum the splines of each field times harmonics, interval by interval."""
    for k in range(first.size - 1):
        for low in range(first[k], first[k + 1], _CHUNK):
            n = min(_CHUNK, first[k + 1] - low)
            _harmonics(xyz[0, low : low + n], xyz[1, low : low + n], xyz[2, low : low + n], n, l_max, y)
            s = t[low : low + n]
            for h in range(table.shape[1]):
                v = value[h, low : low + n]
                for p in range(n):
                    v[p] = 0
                for m in range(table.shape[0]):
                    a, b, c, d = table[m, h, k, 0], table[m, h, k, 1], table[m, h, k, 2], table[m, h, k, 3]
                    ym = y[m]
                    for p in range(n):
                        v[p] += ym[p] * (((d * s[p] + c) * s[p] + b) * s[p] + a)


@_jit
def _restore(first, n_intervals, t, value, electrons, volume):
    """Add a bump (1 − r²/range²)² so that the values sum to `electrons`; returns what was missing."""
    total, weight = 0.0, 0.0
    for p in range(first[n_intervals]):
        total += value[p]
    for k in range(n_intervals):
        for p in range(first[k], first[k + 1]):
            x = (k + t[p]) / n_intervals
            weight += (1.0 - x * x) ** 2
    missing = electrons - total * volume
    if weight > 0:
        for k in range(n_intervals):
            for p in range(first[k], first[k + 1]):
                x = (k + t[p]) / n_intervals
                value[p] += (1.0 - x * x) ** 2 * missing / (weight * volume)
    return missing


@_jit
def grid_range(
    first, last, centers, tables, electrons, restore, axes, length, l_max, plane0, wrap, open2, open3, capacity, out
):
    """Add the fields of atoms first…last (units of `tables`) to a window of planes; returns what restoring added.

    Source: ours.
    """
    n_fields, n_planes, n2, n3 = out.shape
    n_intervals = tables.shape[3]
    flat = out.reshape(n_fields, -1)
    target, target_ = np.empty(capacity, np.int64), np.empty(capacity, np.int64)
    xyz, xyz_ = np.empty((3, capacity), out.dtype), np.empty((3, capacity), out.dtype)
    position, t = np.empty(capacity, out.dtype), np.empty(capacity, out.dtype)
    value = np.empty((n_fields, capacity), out.dtype)
    y = np.empty((tables.shape[1], _CHUNK), out.dtype)
    starts = np.empty(n_intervals + 1, np.int64)
    volume = abs(np.linalg.det(axes))
    added = 0.0
    for i in range(first, last):
        count = _sphere(
            centers[i], axes, length, length / n_intervals, plane0, n_planes, n2, n3, wrap, open2, open3, target, xyz,
            position,
        )  # fmt: skip
        _sort(count, n_intervals, target, xyz, position, starts, target_, xyz_, t)
        _evaluate(starts, tables[i], l_max, xyz_, t, y, value)
        if restore:
            added += abs(_restore(starts, n_intervals, t, value[0], electrons[i], volume))
        for h in range(n_fields):
            for p in range(count):
                if target_[p] >= 0:
                    flat[h, target_[p]] += value[h, p]
    return added


def collocate(
    window: Float[np.ndarray, "fields planes n2 n3"],
    plane0: int,
    centers: Float[np.ndarray, "atoms 3"],
    tables: Float[np.ndarray, "atoms components fields intervals 4"],
    electrons: Float[np.ndarray, " atoms"] | None,
    axes: Float[np.ndarray, "3 3"],
    length: float,
    periodic: tuple[bool, bool, bool] = (False, True, True),
    threads: int = 1,
) -> float:
    """Add atoms' fields to a window of planes of a grid; several fields of the same atoms share the geometry.

    Args:
        window: changed in place, in the field's unit and in the dtype of `tables`.
        plane0: number of its first plane.
        centers: in units of grid steps, sorted by the first.
        tables: splines of every component (l, m) of every field, in the field's unit.
        electrons: that each atom's values of the first field sum to (field's unit times Å³), or None.
        axes: one step of the grid along each axis, rows, Å.
        length: range of the splines, Å.
        periodic: axes along which what leaves the window comes in again; along the first only if it has all planes.
        threads: CPU threads, each on its own range of atoms and planes.

    Returns:
        The sum over atoms of what restoring the electrons added or took (field's unit times Å³).

    Source: ours.
    """
    if len(centers) == 0:
        return 0.0
    l_max, capacity = math.isqrt(tables.shape[1]) - 1, _capacity(axes, length)
    charges = np.zeros(len(centers)) if electrons is None else np.asarray(electrons, dtype=np.float64)
    reach = length / plane_distance(axes) + 1
    threads = max(1, min(threads, len(centers) // 32))
    cuts = np.linspace(0, len(centers), threads + 1).astype(int)

    def work(a: int, b: int, low: int, out: np.ndarray) -> float:
        return grid_range(
            a, b, centers, tables, charges, electrons is not None, axes, length, l_max, low,
            periodic[0], not periodic[1], not periodic[2], capacity, out,
        )  # fmt: skip

    if threads == 1:
        return work(0, len(centers), plane0, window)

    def apart(a: int, b: int) -> tuple[int, np.ndarray, float]:
        low, high = plane0, plane0 + window.shape[1]
        if not periodic[0]:
            low = min(max(plane0, math.floor(centers[a, 0] - reach)), high)
            high = max(low, min(high, math.ceil(centers[b - 1, 0] + reach) + 1))
        out = np.zeros((len(window), high - low, *window.shape[2:]), dtype=window.dtype)
        return low, out, work(a, b, low, out)

    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(apart, cuts[:-1], cuts[1:]))
    for low, out, _ in parts:
        window[:, low - plane0 : low - plane0 + out.shape[1]] += out
    return sum(part[2] for part in parts)


def plane_distance(axes: Float[np.ndarray, "3 3"]) -> float:
    """Distance (Å) of neighbouring planes of the first axis; axes are rows in Å.

    Source: ours.
    """
    return float(1 / np.linalg.norm(np.linalg.inv(axes)[:, 0]))


def _capacity(axes: np.ndarray, length: float) -> int:
    """Bound the number of grid points in a sphere of `length` (Å)."""
    diagonal = np.abs(axes).sum()
    return int(4 / 3 * math.pi * (length + diagonal) ** 3 / abs(np.linalg.det(axes))) + 8
