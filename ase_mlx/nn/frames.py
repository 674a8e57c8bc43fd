"""Descriptors of points by what surrounds them, in coordinates of frames that are attached to the neighbours.

A frame has its first axis from the point to one neighbour i, its second towards another, j. In it a neighbour k has the
coordinates p, q and r; p² + q² + r² is known, so p and q say all but the sign of r: descriptors do not change under
rotation, nor under a mirror. A single frame, of the nearest two, would flip where two distances cross. Here every pair
is a frame, with a weight that falls steeply with distance and vanishes where the pair is collinear or a neighbour is at
the point:

D_cnab = Σ_k e_c(k) R_n(d_k) Σ_ij w_ij p_k^a q_k^b

so that descriptors are smooth wherever the neighbours are.

Source: ours; body-attached frames after arXiv 2410.08294, weights over frames after Pozdnyakov and Ceriotti, NeurIPS
36 (2023).
"""

import numba
import numpy as np
from jaxtyping import Float, Int

from ase_mlx.compiled import compiled

SOFT = 0.5
"""Å; distances below this do not resolve directions."""

LEAST = 1e-3
"""What is taken off a frame's weight (the weights' sum is 1 at most), and no less than zero left."""


def powers(degree: int) -> Int[np.ndarray, "polynomials 2"]:
    """List the powers (a, b) of p and q up to a degree.

    Source: ours.
    """
    return np.array([(a, n - a) for n in range(degree + 1) for a in range(n, -1, -1)], dtype=np.int64)


def descriptors(
    first: Int[np.ndarray, " points1"],
    vectors: Float[np.ndarray, "pairs 3"],
    channels: Float[np.ndarray, "pairs c"],
    reach: float,
    n_radial: int,
    degree: int,
    decay: float,
    near: float,
) -> Float[np.ndarray, "points c n polynomials"]:
    """Describe points by their neighbours (dimensionless).

    Args:
        first: where each point's pairs begin, and the number of pairs at the end.
        vectors: from the point to its neighbours, Å.
        channels: what is summed over neighbours, dimensionless.
        reach: beyond this, Å, neighbours do not count.
        n_radial: number of radial functions.
        degree: highest a + b.
        decay: Å; a neighbour's weight in frames falls to 1/e over this distance.
        near: Å; neighbours beyond this make no frames.

    Source: see the module.
    """
    out = np.zeros((len(first) - 1, channels.shape[1], n_radial, len(powers(degree))))
    _describe(first, np.ascontiguousarray(vectors), np.ascontiguousarray(channels), reach, decay, near, degree, out)
    return out


@compiled(fastmath=True, parallel=True)
def _describe(first, vectors, channels, reach, decay, near, degree, out):
    for point in numba.prange(len(first) - 1):
        a, b = first[point], first[point + 1]
        if b > a:
            _one(vectors[a:b], channels[a:b], reach, decay, near, degree, out[point])


@compiled(fastmath=True)
def _one(u, channels, reach, decay, near, degree, out):
    n, n_radial, n_poly = len(u), out.shape[1], out.shape[2]
    distance, weight, soft = np.empty(n), np.empty(n), np.empty((n, 3))
    nearest = 1e30
    for k in range(n):
        distance[k] = np.sqrt(u[k, 0] ** 2 + u[k, 1] ** 2 + u[k, 2] ** 2)
        nearest = min(nearest, distance[k])
    total = 0.0
    for k in range(n):
        d = distance[k]
        fall = 1 - (d / near) ** 2
        # the common factor exp(nearest / decay) drops out of all ratios
        away = np.exp((nearest - np.sqrt(d * d + SOFT * SOFT)) / decay)
        weight[k] = (1 - np.exp(-((d / SOFT) ** 2))) * away * max(fall, 0.0) ** 3
        total += weight[k]
        for x in range(3):
            soft[k, x] = u[k, x] / np.sqrt(d * d + SOFT * SOFT)
    norm = 1 / (total + np.exp((nearest - near) / decay))
    angular = np.zeros((n, n_poly))
    _frames(u, distance, weight * norm, soft, degree, angular)
    width = reach / n_radial
    for k in range(n):
        fall = max(1 - (distance[k] / reach) ** 2, 0.0) ** 3
        for r in range(n_radial):
            # even in the distance, so that there is no cusp at a neighbour
            value = np.exp(-0.5 * (distance[k] / width - r) ** 2) + np.exp(-0.5 * (distance[k] / width + r) ** 2)
            value *= fall
            if value > 1e-7:
                for c in range(channels.shape[1]):
                    for p in range(n_poly):
                        out[c, r, p] += value * channels[k, c] * angular[k, p]


@compiled(fastmath=True)
def _frames(u, distance, weight, soft, degree, angular):
    """Add up Σ w p^a q^b over frames: of one axis where b = 0, of two where b > 0."""
    n = len(u)
    second, ps, pk, qk = np.empty(3), np.empty(n), np.ones(degree + 1), np.ones(degree + 1)
    for k in range(n):
        angular[k, 0] = 1.0
    for i in range(n):
        if weight[i] == 0:
            continue
        x, y, z = u[i, 0] / distance[i], u[i, 1] / distance[i], u[i, 2] / distance[i]
        for k in range(n):
            ps[k] = soft[k, 0] * x + soft[k, 1] * y + soft[k, 2] * z
            value, start = weight[i], 0
            for total in range(1, degree + 1):
                start += total
                value *= ps[k]
                angular[k, start] += value
        for j in range(n):
            if j == i or weight[i] * weight[j] <= LEAST:
                continue
            along = (u[j, 0] * x + u[j, 1] * y + u[j, 2] * z) / distance[j]
            square = 1 - along * along
            if square < 1e-12:
                continue
            root = np.sqrt(square)
            second[0] = (u[j, 0] / distance[j] - along * x) / root
            second[1] = (u[j, 1] / distance[j] - along * y) / root
            second[2] = (u[j, 2] / distance[j] - along * z) / root
            w = weight[i] * weight[j] * square
            w *= (1 - LEAST / (weight[i] * weight[j])) ** 2
            for k in range(n):
                q = soft[k, 0] * second[0] + soft[k, 1] * second[1] + soft[k, 2] * second[2]
                for m in range(1, degree + 1):
                    pk[m], qk[m] = pk[m - 1] * ps[k], qk[m - 1] * q
                start = 0
                for total in range(1, degree + 1):
                    start += total
                    for b in range(1, total + 1):
                        angular[k, start + b] += w * pk[total - b] * qk[b]
