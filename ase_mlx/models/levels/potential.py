"""The potential along one mode: a smooth curve through computed energies, or a formula.

Source: ours.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from scipy.interpolate import make_interp_spline
from scipy.optimize import minimize_scalar

from ase_mlx.heat.expressions import Formula
from ase_mlx.units import AMU

LEAST, QUINTIC = 5, 8
"""Points of a curve at least, and from how many on its spline is of degree five."""
FINE = 4001
"""Points at which extrema are looked for."""
EVEN = 1e-9
"""Of the span: what the two sides of an even potential may differ by."""


@dataclass(frozen=True)
class ModePotential:
    """V in eV against Q in Å √amu: through points (a spline of degree five), or a formula of Q from `low` to `high`.

    Beyond its ends it goes on by value, slope and, where that is positive, curvature: it has to rise there.

    Source: ours.
    """

    displacement: tuple[float, ...] = ()
    energy: tuple[float, ...] = ()
    formula: str = ""
    range: tuple[float, ...] = ()

    def __post_init__(self):
        """Refuse what binds nothing (units: Å √amu, eV).

        Raises:
            ValueError: saying what is wrong.
        """
        points = bool(self.displacement or self.energy)
        if points == bool(self.formula):
            raise ValueError(
                "got a potential of points and a formula, or of none, expected displacement and energy, or formula and "
                "range"
            )
        if points:
            self._expect_points()
        else:
            if len(self.range) != 2 or not (np.isfinite(self.range).all() and self.range[0] < self.range[1]):
                raise ValueError(f"got range = {list(self.range)}, expected [low, high] in Å √amu")
            if Formula(self.formula).names - {"Q"}:
                names = ", ".join(sorted(Formula(self.formula).names - {"Q"}))
                raise ValueError(f"got a formula of {names}, expected one of Q (Å √amu) that gives eV")
        values = self._inside(np.linspace(self.low, self.high, FINE))
        if not np.isfinite(values).all():
            raise ValueError("got a potential that is no number within its range, expected eV everywhere")
        for where, slope in (("low", -self._ends[0][1]), ("high", self._ends[1][1])):
            if not slope > 0:
                raise ValueError(
                    f"got a potential that does not rise outwards at its {where} end, "
                    f"{getattr(self, where):g} Å √amu: it binds nothing; expected energies further out"
                )

    def _expect_points(self) -> None:
        q, v = np.asarray(self.displacement, float), np.asarray(self.energy, float)
        if len(q) != len(v) or len(q) < LEAST:
            raise ValueError(
                f"got {len(q)} displacements and {len(v)} energies, expected as many of both, {LEAST} or more"
            )
        if not (np.isfinite(q).all() and np.isfinite(v).all()):
            raise ValueError("got displacements or energies that are no numbers, expected Å √amu and eV")
        if not (np.diff(q) > 0).all():
            k = int(np.flatnonzero(np.diff(q) <= 0)[0])
            raise ValueError(f"got displacements {q[k]:g} and then {q[k + 1]:g}, expected them rising, in Å √amu")

    @property
    def low(self) -> float:
        """Where it begins, Å √amu."""
        return float((self.displacement or self.range)[0])

    @property
    def high(self) -> float:
        """Where it ends, Å √amu."""
        return float((self.displacement or self.range)[-1])

    @cached_property
    def _spline(self):
        return make_interp_spline(self.displacement, self.energy, k=5 if len(self.energy) >= QUINTIC else 3)

    def _inside(self, q: np.ndarray) -> np.ndarray:
        if self.displacement:
            return self._spline(q)
        return Formula(self.formula)({"Q": torch.from_numpy(np.ascontiguousarray(q))}).numpy()

    @cached_property
    def _ends(self) -> tuple[tuple[float, float, float], ...]:
        """Value (eV), slope and curvature at both ends."""
        if self.displacement:
            return tuple(tuple(float(self._spline(q, k)) for k in range(3)) for q in (self.low, self.high))
        out = []
        for q in (self.low, self.high):
            at = torch.tensor(q, dtype=torch.float64, requires_grad=True)
            value = Formula(self.formula)({"Q": at})
            slope = torch.autograd.grad(value, at, create_graph=True)[0] if value.requires_grad else 0.0 * at
            curvature = torch.autograd.grad(slope, at)[0] if slope.requires_grad else 0.0
            out.append((float(value.detach()), float(slope.detach()), float(curvature)))
        return tuple(out)

    def __call__(self, q: Float[np.ndarray, " points"]) -> Float[np.ndarray, " points"]:
        """Evaluate at displacements (Å √amu), in eV, beyond the ends too."""
        q = np.asarray(q, dtype=np.float64)
        values = self._inside(np.clip(q, self.low, self.high))
        for (_, slope, curvature), off in zip(
            self._ends, (np.minimum(q - self.low, 0.0), np.maximum(q - self.high, 0.0)), strict=True
        ):
            values = values + (slope + max(curvature, 0.0) / 2 * off) * off
        return values

    @cached_property
    def even(self) -> bool:
        """Whether V(-Q) = V(Q), so that levels are even and odd by turns."""
        if not np.isclose(self.low, -self.high, rtol=1e-9):
            return False
        values = self(np.linspace(self.low, self.high, FINE))
        return bool(np.abs(values - values[::-1]).max() <= EVEN * np.ptp(values))

    @cached_property
    def minima(self) -> tuple[tuple[float, float], ...]:
        """Local minima: displacement (Å √amu) and energy (eV), the lowest first."""
        q = np.linspace(self.low, self.high, FINE)
        v = self(q)
        at = np.flatnonzero((v[1:-1] <= v[:-2]) & (v[1:-1] < v[2:])) + 1
        return tuple(sorted((self._extremum(q[k - 1], q[k + 1], 1) for k in at), key=lambda one: one[1]))

    def _extremum(self, left: float, right: float, sign: int) -> tuple[float, float]:
        optimum = minimize_scalar(
            lambda q: sign * float(self(np.array([q]))[0]), bounds=(left, right), method="bounded",
            options={"xatol": 1e-10},
        )  # fmt: skip
        return float(optimum.x), sign * float(optimum.fun)

    @cached_property
    def barrier(self) -> float:
        """Height (eV) of the wall between the two lowest minima, above the lowest; 0 where there is one minimum."""
        if len(self.minima) < 2:
            return 0.0
        (a, lowest), (b, _) = self.minima[:2]
        q = np.linspace(min(a, b), max(a, b), FINE)
        k = int(np.argmax(self(q)))
        return self._extremum(q[max(k - 1, 0)], q[min(k + 1, FINE - 1)], -1)[1] - lowest

    @cached_property
    def frequency(self) -> float:
        """Frequency (THz) of small vibrations about the lowest minimum."""
        place, step = self.minima[0][0], 2e-3 * (self.high - self.low)
        v = self(place + step * np.arange(-2, 3))
        curvature = float(v @ [-1, 16, -30, 16, -1]) / (12 * step**2)
        return float(np.sqrt(max(curvature, 0.0) / AMU)) / (2 * np.pi)
