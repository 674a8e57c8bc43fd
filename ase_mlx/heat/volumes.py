"""Finite volumes: the deterministic solution of a problem of heat conduction, which the networks are judged by.

Central cells; the conductance between two is that of their halves in series with what lies between; components of the
conductivity off its diagonal, and its change with temperature, are iterated; Crank-Nicolson in time after four halved
steps of implicit Euler, which damp what a sudden begin excites.

Source: S. V. Patankar, Numerical Heat Transfer and Fluid Flow (1980), chapter 4; R. Rannacher, Numer. Math. 43, 309
(1984).
"""

import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.interpolate import RegularGridInterpolator
from scipy.sparse import csr_matrix, diags
from scipy.sparse.linalg import splu

from .expressions import Formula
from .problem import AXES, Problem

CELLS = {1: 800, 2: 100, 3: 28}
"""Along an axis, by the number of dimensions."""
STEPS = 400
"""Of time."""
ROUNDS, CLOSE, SAME = 400, 1e-12, 1e-10
"""Iterations at most, and the change between two, of the span of temperatures, that ends them: at rest, in time."""


@dataclass(frozen=True)
class Grid:
    """Temperatures (K) of cells, `times` (s) first, None of a steady state; the last change of the iteration.

    Source: as of the module.
    """

    problem: Problem
    centres: tuple[np.ndarray, ...]
    layer: np.ndarray
    times: np.ndarray | None
    temperature: np.ndarray
    change: float

    def at(self, points: np.ndarray) -> np.ndarray:
        """Interpolate the temperature (K) at points (m, and s), linearly within each layer, and on to its ends."""
        points = np.atleast_2d(points)
        values = self.temperature if self.times is None else np.moveaxis(self.temperature, 0, -1)
        owner = np.searchsorted(self.problem.edges[1:-1], points[:, 0], side="right")
        out = np.empty(len(points))
        for k in np.unique(owner):
            at, cells = owner == k, self.layer == k
            lines = (self.centres[0][cells], *self.centres[1:], *(() if self.times is None else (self.times,)))
            out[at] = RegularGridInterpolator(lines, values[cells], bounds_error=False, fill_value=None)(points[at])
        return out


def finite_volumes(problem: Problem, cells: int | None = None, steps: int = STEPS) -> Grid:
    """Solve by finite volumes.

    Args:
        problem: m, s, K, W.
        cells: along each axis.
        steps: of time.

    Returns:
        Temperatures, K, at the centres of cells, and at all times.

    Source: as of the module.
    """
    body = _Body(problem, cells or CELLS[len(problem.size)])
    if problem.duration is None:
        temperature, change = body.rest()
        return Grid(problem, body.centres, body.layer, None, temperature, change)
    times, temperature, change = body.flow(steps)
    return Grid(problem, body.centres, body.layer, times, temperature, change)


class _Body:
    """Cells of a box, and what flows between them."""

    def __init__(self, problem: Problem, cells: int):
        self.problem, self.d = problem, len(problem.size)
        counts = [max(4, round(cells * (b - a) / problem.size[0])) for a, b in itertools.pairwise(problem.edges)]
        walls = [np.linspace(a, b, n + 1) for (a, b), n in zip(itertools.pairwise(problem.edges), counts, strict=True)]
        x = np.concatenate([walls[0], *(w[1:] for w in walls[1:])])
        lines = [x, *(np.linspace(0, length, cells + 1) for length in problem.size[1:])]
        self.widths = [np.diff(line) for line in lines]
        self.centres = tuple(0.5 * (line[1:] + line[:-1]) for line in lines)
        self.shape = tuple(len(c) for c in self.centres)
        self.size = int(np.prod(self.shape))
        self.layer = np.repeat(np.arange(len(counts)), counts)
        self.number = np.arange(self.size).reshape(self.shape)
        self.volume = self._product(range(self.d))
        self.kept: dict = {}

    def _product(self, axes) -> np.ndarray:
        """Volumes of cells, or areas of their walls (m³, m²; per unit of what is no axis)."""
        out = np.ones(self.shape)
        for axis in axes:
            out = out * self.widths[axis].reshape([-1 if k == axis else 1 for k in range(self.d)])
        return out

    @cached_property
    def _mesh(self) -> list[np.ndarray]:
        return list(np.meshgrid(*self.centres, indexing="ij"))

    def _values(self, t: float, mesh=None, **more) -> dict[str, torch.Tensor]:
        mesh = self._mesh if mesh is None else mesh
        columns = [*mesh, *((np.full_like(mesh[0], t),) if self.problem.duration is not None else ())]
        values = dict(self.problem.values(torch.from_numpy(np.stack(columns, -1))))
        return values | {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in more.items()}

    def by_layer(self, of, t: float, temperature: np.ndarray) -> np.ndarray:
        """Evaluate a property of the layers' materials at all cells."""
        parts = []
        for k in range(len(self.problem.layers)):
            at = self.layer == k
            values = self._values(t, [m[at] for m in self._mesh], T=temperature[at])
            parts.append(of(self.problem.layers[k].material, values).numpy())
        return np.concatenate(parts)

    def kappa(self, t: float, temperature: np.ndarray) -> np.ndarray:
        return self.by_layer(lambda m, values: m.tensor(values, self.d), t, temperature)

    def capacity(self, t: float, temperature: np.ndarray) -> np.ndarray:
        return self.by_layer(lambda m, values: m.volumetric(values), t, temperature)

    def source(self, t: float, temperature: np.ndarray) -> np.ndarray:
        return Formula(self.problem.source)(self._values(t, T=temperature)).numpy() * self.volume

    def wall(self, axis: int, end: int, t: float) -> dict[str, np.ndarray]:
        """What one face of the box is held at, one cell thick."""
        mesh = [np.take(m, [0 if end == 0 else -1], axis) for m in self._mesh]
        mesh[axis] = np.full_like(mesh[axis], 0.0 if end == 0 else self.problem.size[axis])
        formulas = self.problem.face(f"{AXES[axis]}{end}").formulas
        return {name: formula(self._values(t, mesh)).numpy() for name, formula in formulas.items()}

    @cached_property
    def depends(self) -> frozenset[str]:
        """Names that the matrix, and ("source T") the source, depend on."""
        problem = self.problem
        names = [layer.material.names for layer in problem.layers]
        names += [face.formulas["transfer"].names for face in problem.faces.values() if face.transfer is not None]
        names.append({"source T"} if "T" in Formula(problem.source).names else set())
        if self.d > 1 and any(len(layer.material.components) == 6 for layer in problem.layers):
            names.append({"slanted"})
        return frozenset().union(*names)

    @property
    def linear(self) -> bool:
        """Whether one solution of the equations is that of the step, with a matrix that stays."""
        return not {"T", "t", "slanted", "source T"} & self.depends

    def conduct(self, t: float, temperature: np.ndarray) -> tuple[csr_matrix, np.ndarray]:
        """Matrix and constant of the heat that flows into cells (W) at given temperatures, sources among it."""
        if "whole" in self.kept:
            return self.kept["whole"]
        kappa = self.kappa(t, temperature)
        rows, columns, entries, constant = [], [], [], np.zeros(self.shape)
        diagonal = np.zeros(self.shape)
        for axis in range(self.d):
            half = 0.5 * self._spread(axis) / kappa[..., axis, axis]
            area = self._product(k for k in range(self.d) if k != axis)
            first, second = (_slice(self.d, axis, s) for s in (slice(None, -1), slice(1, None)))
            conductance = area[first] / (half[first] + half[second] + self._between(axis))
            for a, b in ((first, second), (second, first)):
                rows.append(self.number[a].ravel())
                columns.append(self.number[b].ravel())
                entries.append(conductance.ravel())
                diagonal[a] -= conductance
            self._ends(axis, t, temperature, kappa, area, diagonal, constant)
        if "slanted" in self.depends:
            constant += self._slanted(t, temperature, kappa)
        constant += self.source(t, temperature)
        if self.linear and "matrix" in self.kept:
            return self.kept["matrix"], constant.ravel()
        rows.append(self.number.ravel())
        columns.append(self.number.ravel())
        entries.append(diagonal.ravel())
        matrix = csr_matrix(
            (np.concatenate(entries), (np.concatenate(rows), np.concatenate(columns))), (self.size, self.size)
        )
        self.kept["matrix"] = matrix
        faces = [formula.names for face in self.problem.faces.values() for formula in face.formulas.values()]
        if self.linear and "t" not in frozenset().union(Formula(self.problem.source).names, *faces):
            self.kept["whole"] = matrix, constant.ravel()
        return matrix, constant.ravel()

    def _spread(self, axis: int) -> np.ndarray:
        return np.broadcast_to(self.widths[axis].reshape([-1 if k == axis else 1 for k in range(self.d)]), self.shape)

    def _between(self, axis: int) -> np.ndarray | float:
        """Interface resistances at the walls along an axis (m² K/W)."""
        if axis:
            return 0.0
        at = np.zeros(len(self.layer) - 1)
        values = self.problem.values(torch.zeros(1, len(self.problem.coordinates), dtype=torch.float64))
        for k in np.flatnonzero(np.diff(self.layer)):
            at[k] = float(Formula(self.problem.layers[self.layer[k]].resistance)(values)[0])
        return at.reshape(-1, *[1] * (self.d - 1))

    def _ends(self, axis, t, temperature, kappa, area, diagonal, constant) -> None:
        """Add what flows through the two faces of an axis."""
        for end in (0, 1):
            at = _slice(self.d, axis, slice(0, 1) if end == 0 else slice(-1, None))
            wall, width = self.wall(axis, end, t), self._spread(axis)[at]
            if "flux" in wall:
                constant[at] += area[at] * wall["flux"]
                continue
            held = wall.get("temperature", wall.get("ambient"))
            middle = self._kappa_at(axis, end, t, 0.5 * (temperature[at] + held)) if "temperature" in wall else None
            resistance = 0.5 * width / (kappa[at][..., axis, axis] if middle is None else middle)
            if "transfer" in wall:
                resistance = resistance + 1 / wall["transfer"]
            diagonal[at] -= area[at] / resistance
            constant[at] += area[at] / resistance * held

    def _kappa_at(self, axis: int, end: int, t: float, temperature: np.ndarray) -> np.ndarray:
        """Conductivity along an axis between a face and the cells at it."""
        mesh = [np.take(m, [0 if end == 0 else -1], axis) for m in self._mesh]
        mesh[axis] = mesh[axis] + (0.25 if end else -0.25) * np.take(self._spread(axis), [0 if end == 0 else -1], axis)
        if axis == 0:
            material = self.problem.layers[0 if end == 0 else -1].material
            return material.tensor(self._values(t, mesh, T=temperature), self.d)[..., 0, 0].numpy()
        parts = []
        for k in range(len(self.problem.layers)):
            at = self.layer == k
            values = self._values(t, [m[at] for m in mesh], T=temperature[at])
            parts.append(self.problem.layers[k].material.tensor(values, self.d)[..., axis, axis].numpy())
        return np.concatenate(parts)

    def _slanted(self, t: float, temperature: np.ndarray, kappa: np.ndarray) -> np.ndarray:
        """Heat into cells by components of the conductivity off its diagonal (W)."""
        slopes = [self._slope(axis, t, temperature) for axis in range(self.d)]
        gain = np.zeros(self.shape)
        for axis in range(self.d):
            across = sum(kappa[..., axis, other] * slopes[other] for other in range(self.d) if other != axis)
            flow = -across * self._product(k for k in range(self.d) if k != axis)
            first, second = (_slice(self.d, axis, s) for s in (slice(None, -1), slice(1, None)))
            inner = 0.5 * (flow[first] + flow[second])
            gain[first] -= inner
            gain[second] += inner
            for end, sign in ((0, 1), (1, -1)):
                if "flux" not in self.problem.face(f"{AXES[axis]}{end}").formulas:
                    at = _slice(self.d, axis, slice(0, 1) if end == 0 else slice(-1, None))
                    next_at = _slice(self.d, axis, slice(1, 2) if end == 0 else slice(-2, -1))
                    gain[at] += sign * (1.5 * flow[at] - 0.5 * flow[next_at])
        return gain

    def _slope(self, axis: int, t: float, temperature: np.ndarray) -> np.ndarray:
        """Derivative of the temperature along an axis at the centres (K/m), by the faces' temperatures at the ends."""
        walls, at = [], []
        for end in (0, 1):
            wall = self.wall(axis, end, t)
            if "temperature" in wall:
                walls.append(wall["temperature"])
                at.append([0.0 if end == 0 else self.problem.size[axis]])
            else:
                walls.append(np.empty([0 if k == axis else n for k, n in enumerate(self.shape)]))
                at.append([])
        line = np.concatenate([at[0], self.centres[axis], at[1]])
        full = np.concatenate([walls[0], temperature, walls[1]], axis)
        slope = np.gradient(full, line, axis=axis, edge_order=2)
        return np.take(slope, range(len(at[0]), len(at[0]) + self.shape[axis]), axis)

    def span(self, temperature: np.ndarray) -> float:
        """Largest difference of temperatures (K), those held among them."""
        low, high = self.problem.held
        return float(max(high, temperature.max()) - min(low, temperature.min())) or high

    def rest(self) -> tuple[np.ndarray, float]:
        """Iterate to the steady state."""
        low, high = self.problem.held
        temperature, change = np.full(self.shape, 0.5 * (low + high)), np.inf
        for _ in range(ROUNDS):
            matrix, constant = self.conduct(0.0, temperature)
            new = splu(matrix.tocsc()).solve(-constant).reshape(self.shape)
            change = float(np.abs(new - temperature).max() / self.span(new))
            temperature = new
            if change < CLOSE:
                break
        return temperature, change

    def flow(self, steps: int) -> tuple[np.ndarray, np.ndarray, float]:
        """Go through time."""
        duration = self.problem.duration
        start = Formula(self.problem.initial)(self._values(0.0)).numpy()
        whole = np.linspace(0, duration, steps + 1)
        halves = np.linspace(0, whole[2], 5)[1:]
        times, states, worst, done = [0.0], [start], 0.0, start
        for k, t in enumerate([*halves, *whole[3:]]):
            before = halves[k - 1] if 0 < k < 4 else 0.0 if k == 0 else times[-1]
            done, change = self._step(done, before, t, 1.0 if k < 4 else 0.5)
            worst = max(worst, change)
            times.append(t)
            states.append(done)
        return np.array(times), np.array(states), worst

    def _step(self, old: np.ndarray, before: float, t: float, implicit: float) -> tuple[np.ndarray, float]:
        new, change, flat, explicit = old, np.inf, old.ravel(), 0.0
        if implicit < 1:
            matrix, constant = self.conduct(before, old)
            explicit = (1 - implicit) * (matrix @ flat + constant)
        for _ in range(ROUNDS):
            solve, capacity = self._implicit(t, t - before, 0.5 * (old + new), new, implicit)
            constant = self.conduct(t, new)[1]
            after = solve(capacity * flat + explicit + implicit * constant).reshape(self.shape)
            change = float(np.abs(after - new).max() / self.span(after))
            new = after
            if change < SAME or self.linear:
                return new, min(change, SAME)
        return new, change

    def _implicit(self, t: float, step: float, middle: np.ndarray, new: np.ndarray, implicit: float):
        """Solver and capacity (W/K) of one step; kept where they stay the same."""
        key = (float(f"{step:.9e}"), implicit)
        if key in self.kept:
            return self.kept[key]
        capacity = (self.capacity(t, middle) * self.volume / step).ravel()
        parts = splu((diags(capacity) - implicit * self.conduct(t, new)[0]).tocsc()).solve, capacity
        if self.linear:
            self.kept[key] = parts
        return parts


def _slice(dimensions: int, axis: int, which: slice) -> tuple[slice, ...]:
    return tuple(which if k == axis else slice(None) for k in range(dimensions))
