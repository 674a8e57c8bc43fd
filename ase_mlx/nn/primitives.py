"""Radial primitives of an atom-centred field, as cubic splines on even intervals of a short range.

Source: ours; spherical Bessel functions with the envelope of Gasteiger et al., arXiv 2003.03123, eq. 8.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .radial import envelope

INTERVALS = 40
"""Enough that the splines follow ten Bessel functions of a range to 1e-3 of their height."""


@dataclass(frozen=True)
class Primitives:
    """R_ln(r) up to `range` (Å): degree l, number n, norm ∫R² r² dr = 1 Å³ (so R is dimensionless).

    `pieces[l, n, k]` are the four coefficients of interval k in powers of its own coordinate t = r/h − k; the splines
    themselves are the definition, so that training and every evaluation agree.

    Source: ours.
    """

    range: float
    pieces: Float[np.ndarray, "degrees n intervals 4"]

    @property
    def charges(self) -> Float[np.ndarray, " n"]:
        """Integral of each R_0n over space, in Å³."""
        return integrate(self.pieces[0], self.range)

    @property
    def moments(self) -> Float[np.ndarray, " n"]:
        """Integral over space of each R_1n times the harmonic along an axis times that coordinate, in Å⁴."""
        return integrate(self.pieces[1], self.range, 3) / math.sqrt(3)

    def __call__(self, distance: Float[Tensor, " *pairs"]) -> Float[Tensor, "*pairs degrees n"]:
        """Evaluate at distances in Å (dimensionless values), zero from `range` on."""
        n_intervals = self.pieces.shape[2]
        position = (distance * (n_intervals / self.range)).clamp(max=n_intervals - 1e-6)
        k = position.to(torch.int64)
        t = (position - k).reshape(*k.shape, 1, 1)
        table = torch.tensor(self.pieces.transpose(2, 3, 0, 1), dtype=distance.dtype, device=distance.device)[k]
        value = table.select(k.ndim, 3)
        for power in (2, 1, 0):
            value = value * t + table.select(k.ndim, power)
        return torch.where((distance < self.range).reshape(*k.shape, 1, 1), value, value.new_zeros(()))


def spline(
    values: Float[np.ndarray, " knots"], slope: float, length: float, end: float = 0.0
) -> Float[np.ndarray, "intervals 4"]:
    """Interpolate values at even knots over `length` (Å) with a given slope at zero and at the end (1/Å).

    Returns:
        Coefficients of powers of each interval's own coordinate, 0 to 1 (units of `values`).

    Source: de Boor's clamped cubic spline, by SciPy.
    """
    from scipy.interpolate import CubicSpline  # here, because it takes half as long to import as all else of a model

    n = len(values) - 1
    step = length / n
    spline = CubicSpline(np.arange(n + 1), values, bc_type=((1, slope * step), (1, end * step)))
    return np.ascontiguousarray(spline.c[::-1].T)


def integrate(
    pieces: Float[np.ndarray, "fields intervals 4"], length: float, power: int = 2
) -> Float[np.ndarray, " fields"]:
    """Integrate isotropic splines over space: 4π ∫ f r² dr (units of f times Å³), exactly; other powers of r likewise.

    Source: ours.
    """
    n = pieces.shape[-2]
    step = length / n
    k = np.arange(n)[:, None]
    p = np.arange(4)[None, :]
    # ∫ t^p (k + t)^power dt over 0…1
    moment = sum(math.comb(power, m) * k ** (power - m) / (p + m + 1) for m in range(power + 1))
    return 4 * math.pi * step ** (power + 1) * np.einsum("...kp,kp->...", pieces, moment)


@functools.cache
def primitives(n: int, l_max: int, length: float) -> Primitives:
    """Tabulate j_l(z_ln r / range) times the envelope, z_ln the zeros of j_l, for `length` the range in Å.

    Source: Gasteiger et al., arXiv 2003.03123, for the basis and its envelope; the spline is ours.
    """
    r = np.linspace(0, length, INTERVALS + 1)
    fine = np.linspace(0, length, 50 * INTERVALS + 1)
    pieces = np.empty((l_max + 1, n, INTERVALS, 4))
    for l in range(l_max + 1):
        for k, zero in enumerate(_zeros(l, n)):
            height = math.sqrt(np.trapezoid((_bessel(l, zero, fine / length) * fine) ** 2, fine))
            values = _bessel(l, zero, r / length) / height
            slope = zero / length / 3 / height if l == 1 else 0.0
            pieces[l, k] = spline(values, slope, length)
    pieces.setflags(write=False)
    return Primitives(length, pieces)


def _bessel(l: int, zero: float, x: np.ndarray) -> np.ndarray:
    from scipy.special import spherical_jn

    return spherical_jn(l, zero * x) * envelope(torch.from_numpy(x)).numpy()


def _zeros(l: int, n: int) -> list[float]:
    """Find the first n positive zeros of the spherical Bessel function of degree l."""
    from scipy.optimize import brentq
    from scipy.special import spherical_jn

    zeros: list[float] = []
    left = l + 0.5
    while len(zeros) < n:
        right = left + 0.3
        if spherical_jn(l, left) * spherical_jn(l, right) < 0:
            zeros.append(brentq(lambda x: spherical_jn(l, x), left, right, xtol=1e-14))
        left = right
    return zeros


def at_distances(
    pieces: Float[np.ndarray, "atoms intervals 4"], atom: np.ndarray, distance: np.ndarray, length: float
) -> Float[np.ndarray, " pairs"]:
    """Evaluate atoms' splines (any unit) at the distances (Å) of pairs; zero from `length` on.

    Source: ours.
    """
    n = pieces.shape[1]
    position = np.minimum(distance * (n / length), n - 1e-9)
    k = position.astype(np.int64)
    t = position - k
    a, b, c, d = pieces[atom, k].T
    return np.where(distance < length, ((d * t + c) * t + b) * t + a, 0.0)
