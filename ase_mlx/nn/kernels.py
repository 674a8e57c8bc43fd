"""Fused CPU loops of the equivariant convolution: one pass over the edges, nothing of size edges × channels in memory.

For atom i, its neighbour j along edge e, path p, components m1 (of X), m2 (of Y), m3 (of A) and channel c

    A[i, m3, c] = Σ_e Σ_p R[e, p, c] Σ_{m1 m2} C_p[m1, m2, m3] Y[e, m2] X[j, m1, c]

`edges_*` take the radial values R as an array (training); `table_*` interpolate them from a table of cubic Hermite
splines (evaluation), so that R and its derivative exist for one edge at a time only.
Every function works on the atoms first…last, so that threads share the work; the gradient of X of a range goes to its
own buffer.

Source: ours; the equation is that of Batzner et al., Nat. Commun. 13, 2453 (2022).
"""

import numpy as np

from ase_mlx.compiled import compiled

_jit = compiled(nogil=True, fastmath=True, error_model="numpy")


@_jit
def _couple(y, term_entry, term_edge, term_value, g):
    g[:] = 0
    for t in range(term_entry.size):
        g[term_entry[t]] += term_value[t] * y[term_edge[t]]


@_jit
def _accumulate(g, entry_path, entry_out, entry_in, r, x, out):
    channels = x.shape[1]
    for n in range(g.size):
        rp, xm, om, gn = r[entry_path[n]], x[entry_in[n]], out[entry_out[n]], g[n]
        for c in range(channels):
            om[c] += gn * rp[c] * xm[c]


@_jit
def _differentiate(g, entry_path, entry_out, entry_in, r, x, grad_out, grad_x, grad_r, grad_g):
    channels = x.shape[1]
    grad_r[:] = 0
    for n in range(g.size):
        p, gn = entry_path[n], g[n]
        rp, xm, om = r[p], x[entry_in[n]], grad_out[entry_out[n]]
        dx, dr = grad_x[entry_in[n]], grad_r[p]
        s = g.dtype.type(0)
        for c in range(channels):
            xo = xm[c] * om[c]
            s += rp[c] * xo
            dr[c] += gn * xo
            dx[c] += gn * rp[c] * om[c]
        grad_g[n] = s


@_jit
def _couple_back(grad_g, term_entry, term_edge, term_value, grad_y):
    grad_y[:] = 0
    for t in range(term_entry.size):
        grad_y[term_edge[t]] += term_value[t] * grad_g[term_entry[t]]


@_jit
def edges_forward(first, last, first_edge, neighbor, tables, y, r, x, out):
    """Sum messages into `out` (dimensionless arrays, see the module's equation). Source: ours."""
    entry_path, entry_out, entry_in, term_entry, term_edge, term_value = tables
    g = np.empty(entry_path.size, dtype=x.dtype)
    for i in range(first, last):
        for e in range(first_edge[i], first_edge[i + 1]):
            _couple(y[e], term_entry, term_edge, term_value, g)
            _accumulate(g, entry_path, entry_out, entry_in, r[e], x[neighbor[e]], out[i])


@_jit
def edges_backward(first, last, first_edge, neighbor, tables, y, r, x, grad_out, grad_y, grad_r, grad_x):
    """Differentiate `edges_forward` by Y, R and X (dimensionless arrays). Source: ours."""
    entry_path, entry_out, entry_in, term_entry, term_edge, term_value = tables
    g = np.empty(entry_path.size, dtype=x.dtype)
    grad_g = np.empty_like(g)
    for i in range(first, last):
        for e in range(first_edge[i], first_edge[i + 1]):
            j = neighbor[e]
            _couple(y[e], term_entry, term_edge, term_value, g)
            _differentiate(g, entry_path, entry_out, entry_in, r[e], x[j], grad_out[i], grad_x[j], grad_r[e], grad_g)
            _couple_back(grad_g, term_entry, term_edge, term_value, grad_y[e])


@_jit
def edges_second(
    first, last, first_edge, neighbor, tables, y, r, x, grad_out, hy, hr, hx, grad_grad, grad_y, grad_r, grad_x
):
    """Differentiate ⟨(hy, hr, hx), results of `edges_backward`⟩ by grad_out, Y, R, X (dimensionless). Source: ours."""
    entry_path, entry_out, entry_in, term_entry, term_edge, term_value = tables
    g = np.empty(entry_path.size, dtype=x.dtype)
    hg, grad_g, channels = np.empty_like(g), np.empty_like(g), x.shape[2]
    for i in range(first, last):
        for e in range(first_edge[i], first_edge[i + 1]):
            j = neighbor[e]
            _couple(y[e], term_entry, term_edge, term_value, g)
            _couple(hy[e], term_entry, term_edge, term_value, hg)
            grad_r[e] = 0
            for n in range(g.size):
                p, m, gn, hn = entry_path[n], entry_in[n], g[n], hg[n]
                rp, rh, xm, xh, om = r[e, p], hr[e, p], x[j, m], hx[j, m], grad_out[i, entry_out[n]]
                dr, dx, do = grad_r[e, p], grad_x[j, m], grad_grad[i, entry_out[n]]
                s = g.dtype.type(0)
                for c in range(channels):
                    mixed = rh[c] * xm[c] + rp[c] * xh[c]
                    s += mixed * om[c]
                    do[c] += hn * rp[c] * xm[c] + gn * mixed
                    dr[c] += (hn * xm[c] + gn * xh[c]) * om[c]
                    dx[c] += (hn * rp[c] + gn * rh[c]) * om[c]
                grad_g[n] = s
            _couple_back(grad_g, term_entry, term_edge, term_value, grad_y[e])


@_jit
def _interpolate(knots, position, r):
    last = knots.shape[0] - 2
    k = min(max(int(position), 0), last)
    t = position - k
    t2, t3 = t * t, t * t * t
    a, b, c, d = 2 * t3 - 3 * t2 + 1, t3 - 2 * t2 + t, 3 * t2 - 2 * t3, t3 - t2
    for p in range(r.shape[0]):
        for c_ in range(r.shape[1]):
            r[p, c_] = (
                a * knots[k, 0, p, c_]
                + b * knots[k, 1, p, c_]
                + c * knots[k + 1, 0, p, c_]
                + d * knots[k + 1, 1, p, c_]
            )


@_jit
def _slope(knots, position, grad_r):
    last = knots.shape[0] - 2
    k = min(max(int(position), 0), last)
    t = position - k
    t2 = t * t
    a, b, c, d = 6 * t2 - 6 * t, 3 * t2 - 4 * t + 1, 6 * t - 6 * t2, 3 * t2 - 2 * t
    s = grad_r.dtype.type(0)
    for p in range(grad_r.shape[0]):
        for c_ in range(grad_r.shape[1]):
            s += grad_r[p, c_] * (
                a * knots[k, 0, p, c_]
                + b * knots[k, 1, p, c_]
                + c * knots[k + 1, 0, p, c_]
                + d * knots[k + 1, 1, p, c_]
            )
    return s


@_jit
def table_forward(first, last, first_edge, neighbor, tables, y, position, knots, x, out):
    """As `edges_forward`, R interpolated at `position` (distance in units of the knot spacing). Source: ours."""
    entry_path, entry_out, entry_in, term_entry, term_edge, term_value = tables
    g = np.empty(entry_path.size, dtype=x.dtype)
    r = np.empty((knots.shape[2], knots.shape[3]), dtype=x.dtype)
    for i in range(first, last):
        for e in range(first_edge[i], first_edge[i + 1]):
            _interpolate(knots, position[e], r)
            _couple(y[e], term_entry, term_edge, term_value, g)
            _accumulate(g, entry_path, entry_out, entry_in, r, x[neighbor[e]], out[i])


@_jit
def table_backward(
    first, last, first_edge, neighbor, tables, y, position, knots, x, grad_out, grad_y, grad_position, grad_x
):
    """Differentiate `table_forward` by Y, position and X (dimensionless arrays). Source: ours."""
    entry_path, entry_out, entry_in, term_entry, term_edge, term_value = tables
    g = np.empty(entry_path.size, dtype=x.dtype)
    grad_g = np.empty_like(g)
    r = np.empty((knots.shape[2], knots.shape[3]), dtype=x.dtype)
    grad_r = np.empty_like(r)
    for i in range(first, last):
        for e in range(first_edge[i], first_edge[i + 1]):
            j = neighbor[e]
            _interpolate(knots, position[e], r)
            _couple(y[e], term_entry, term_edge, term_value, g)
            _differentiate(g, entry_path, entry_out, entry_in, r, x[j], grad_out[i], grad_x[j], grad_r, grad_g)
            _couple_back(grad_g, term_entry, term_edge, term_value, grad_y[e])
            grad_position[e] = _slope(knots, position[e], grad_r)


@_jit
def couple_pairs(first, last, row, one, two, value, x, out):
    """Sum value · x[one] · x[two] into rows, atom by atom and channel by channel (dimensionless). Source: ours."""
    channels = x.shape[2]
    for i in range(first, last):
        for t in range(row.size):
            a, b, o, v = x[i, one[t]], x[i, two[t]], out[i, row[t]], value[t]
            for c in range(channels):
                o[c] += v * a[c] * b[c]
