"""What the conditions of a problem fix by construction: u = known part + room · network, for temperature and flux.

The known part meets temperatures of faces, the begin, and fluxes of faces exactly; the room vanishes there.

Source: I. E. Lagaris, A. Likas and D. I. Fotiadis, IEEE Trans. Neural Netw. 9, 987 (1998); sums of projections of W. J.
Gordon, SIAM J. Numer. Anal. 8, 158 (1971).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ase_mlx.heat import Grid, Problem, finite_volumes
from ase_mlx.heat.expressions import Formula

COARSE, COARSE_STEPS = {1: 64, 2: 20, 3: 10}, 24
"""Cells along an axis, by the number of dimensions, and steps of time, that tell the sizes of things."""

Before = Callable[[Tensor], Tensor]
"""Temperatures (K) at points of a layer at the begin of a window."""


@dataclass(frozen=True)
class Scales:
    """Sizes by which a problem is made dimensionless: K, W/m² along each axis, W/m³.

    Source: ours.
    """

    temperature: float
    flux: tuple[float, ...]
    heating: float


def scales(problem: Problem) -> Scales:
    """Find the sizes of things on a coarse grid of finite volumes, a family's at the middle of its parameters.

    Source: ours.
    """
    d = len(problem.size)
    middle = {name: 0.5 * (low + high) for name, (low, high) in problem.parameters.items()}
    settled = problem.settled(middle)
    grid = finite_volumes(settled, COARSE[d], COARSE_STEPS)
    low, high = settled.held
    rise = float(max(high, grid.temperature.max()) - min(low, grid.temperature.min())) or high
    flux, heating = np.zeros(d), 0.0
    for k, layer in enumerate(settled.layers):
        at = grid.layer == k
        temperature = grid.temperature[..., at, *[slice(None)] * (d - 1)]
        values = _values(settled, grid, at, temperature)
        kappa = layer.material.tensor(values, d).diagonal(dim1=-2, dim2=-1).numpy()
        first = temperature.ndim - d
        lines = (grid.centres[0][at], *grid.centres[1:])
        for axis, line in enumerate(lines):
            slope = np.gradient(temperature, line, axis=first + axis)
            flux[axis] = max(flux[axis], np.abs(kappa[..., axis] * slope).max())
        heating = max(heating, float(Formula(settled.source)(values).abs().max()))
        if grid.times is not None:
            rate = np.gradient(temperature, grid.times, axis=0)
            heating = max(heating, float(np.abs(layer.material.volumetric(values).numpy() * rate).max()))
    fluxes = [
        face.formulas["flux"](problem.sample(name)) for name, face in problem.faces.items() if face.flux is not None
    ]
    largest = max([float(flux.max()), *(float(f.abs().max()) for f in fluxes)]) or rise
    flux = np.maximum(flux, 1e-3 * largest)
    return Scales(rise, tuple(flux.tolist()), max(heating, float((flux / problem.size).max())))


def _values(problem: Problem, grid: Grid, at: np.ndarray, temperature: np.ndarray) -> dict[str, Tensor]:
    """Name coordinates and temperatures of the cells of a layer as formulas ask for them (m, s, K)."""
    lines = [grid.centres[0][at], *grid.centres[1:]]
    mesh = np.meshgrid(*([] if grid.times is None else [grid.times]), *lines, indexing="ij")
    mesh = [*mesh[1:], mesh[0]] if grid.times is not None else mesh
    values = dict(problem.values(torch.from_numpy(np.stack(mesh, -1))))
    return values | {"T": torch.from_numpy(np.ascontiguousarray(temperature))}


class Ansatz:
    """Known part and room of one layer in one window of time, with their derivatives by the coordinates.

    Source: see the module.
    """

    def __init__(
        self,
        problem: Problem,
        sizes: Scales,
        layer: int,
        window: tuple[float, float] | None = None,
        before: Before | None = None,
    ):
        """Take a layer (its number) of a problem in a window of time (s) that begins as `before` says (K)."""
        self.problem, self.sizes, self.layer, self.window, self.before = problem, sizes, layer, window, before
        self.low, self.high = (list(ends) for ends in zip(*problem.box, strict=True))
        self.low[0], self.high[0] = problem.edges[layer : layer + 2]
        if window is not None:
            self.low[-1], self.high[-1] = window
        last = len(problem.layers) - 1
        outer = {"x0": layer == 0, "x1": layer == last}
        names = [f"{axis}{end}" for axis in problem.axes for end in (0, 1)]
        self.faces = {name: problem.face(name) for name in names if outer.get(name, True)}
        self.sudden = problem.sudden and before is None
        if self.sudden:
            values = dict(problem.sample(layer=layer))
            values["T"] = torch.full_like(values["x"], sum(problem.held) / 2)
            material = problem.layers[layer].material
            self.kappa = material.tensor(values, len(problem.size)).diagonal(dim1=-2, dim2=-1).mean(0)
            self.diffusivity = self.kappa / material.volumetric(values).mean()

    def place(self, points: Tensor) -> Tensor:
        """Scale points (m, s) to coordinates within [-1, 1], dimensionless."""
        low, high = torch.tensor(self.low, dtype=torch.float64), torch.tensor(self.high, dtype=torch.float64)
        return 2 * (points - low) / (high - low) - 1

    def stretch(self) -> Tensor:
        """Derivatives of these coordinates, in units of 1/m and 1/s."""
        return 2 / (torch.tensor(self.high, dtype=torch.float64) - torch.tensor(self.low, dtype=torch.float64))

    def _share(self, points: Tensor, axis: int) -> Tensor:
        return (points[:, axis] - self.low[axis]) / (self.high[axis] - self.low[axis])

    def known(self, points: Tensor) -> Tensor:
        """Temperature (K) and flux (W/m²) that meet the conditions: (points, 1 + dimensions)."""
        return torch.stack([self._held(points), *self._fluxes(points)], -1)

    def _held(self, points: Tensor) -> Tensor:
        """Temperatures that meet begin and faces."""
        return self._torn(points) if self.problem.torn else self._temperature(points, len(self.problem.size))

    def room(self, points: Tensor) -> Tensor:
        """Factors of the network, K and W/m²: (points, 1 + dimensions)."""
        room = torch.full_like(points[:, 0], self.sizes.temperature)
        for axis, name in enumerate(self.problem.axes):
            room = room * self._away(points, axis, self._ends(name, "temperature"))
        if self.window is not None:
            room = room * self._share(points, -1)
        columns = [room]
        for axis, name in enumerate(self.problem.axes):
            columns.append(self._away(points, axis, self._ends(name, "flux")) * self.sizes.flux[axis])
        return torch.stack(columns, -1)

    def _ends(self, axis: str, condition: str) -> list[int]:
        """Ends of an axis (0, 1) at which a temperature, or a flux, is fixed."""
        faces = {end: self.faces.get(f"{axis}{end}") for end in (0, 1)}
        return [end for end, face in faces.items() if face is not None and getattr(face, condition) is not None]

    def _away(self, points: Tensor, axis: int, ends: list[int]) -> Tensor:
        """Vanish at the ends, at most 1 within."""
        share = self._share(points, axis)
        if len(ends) == 2:
            return 4 * share * (1 - share)
        return share if ends == [0] else 1 - share if ends == [1] else torch.ones_like(share)

    def _temperature(self, points: Tensor, axes: int, on: str = "") -> Tensor:
        """Meet the begin and the temperatures of faces of the first `axes` axes; points may be `on` a face."""
        if axes == 0:
            return self._begin(points, on)
        lower = self._temperature(points, axes - 1, on)
        axis, name = axes - 1, self.problem.axes[axes - 1]
        ends, out = self._ends(name, "temperature"), lower
        for end in ends:
            at = self._face(points, axis, end)
            held = self.faces[f"{name}{end}"].formulas["temperature"](self.problem.values(at))
            out = out + self._weight(points, axis, end, len(ends) == 2) * (
                held - self._temperature(at, axes - 1, f"{name}{end}")
            )
        return out

    def _face(self, points: Tensor, axis: int, end: int) -> Tensor:
        """Points moved onto a face."""
        return torch.cat(
            [points[:, :axis], torch.full_like(points[:, :1], (self.low, self.high)[end][axis]), points[:, axis + 1 :]],
            1,
        )

    def _weight(self, points: Tensor, axis: int, end: int, both: bool) -> Tensor:
        """1 on a face, 0 on the opposite one where that is held, too; after a sudden begin as heat spreads from it.

        The error function solves the equation of a half space, so what is singular of the begin is in the known part.
        """
        share = self._share(points, axis)
        away = 1 - share if end else share
        if not self.sudden:
            return 1 - away if both else torch.ones_like(away)
        time = points[:, -1].clamp(min=1e-12 * self.problem.duration)
        reach = 2 * torch.sqrt(self.diffusivity[axis] * time) / (self.high[axis] - self.low[axis])
        return torch.erfc(away / reach) - (away * torch.erfc(1 / reach) if both else 0.0)

    def _torn(self, points: Tensor) -> Tensor:
        """Blend temperatures of faces that do not agree along their edges, by inverse distances."""
        begin, faces = self._begin(points), []
        for axis, name in enumerate(self.problem.axes):
            for end in self._ends(name, "temperature"):
                share, at = self._share(points, axis), self._face(points, axis, end)
                held = self.faces[f"{name}{end}"].formulas["temperature"](self.problem.values(at))
                spread = self._weight(points, axis, end, False)
                faces.append(((1 - share if end else share).clamp(min=1e-9), spread * (held - self._begin(at))))
        weights = torch.stack([1 / away for away, _ in faces])
        return begin + (weights / weights.sum(0) * torch.stack([rise for _, rise in faces])).sum(0)

    def _spreading(self, points: Tensor) -> list[Tensor]:
        """Flux of the known temperatures of a sudden begin, by the mean conductivity."""
        if not self.sudden:
            return [torch.zeros_like(points[:, 0])] * len(self.problem.size)
        with torch.enable_grad():
            at = points if points.requires_grad else points.detach().requires_grad_(True)
            (slope,) = torch.autograd.grad(self._held(at).sum(), at, create_graph=True)
        return [-self.kappa[axis] * slope[:, axis] for axis in range(len(self.problem.size))]

    def _begin(self, points: Tensor, on: str = "") -> Tensor:
        """Temperature at the begin; on a face that is held, the window before ends at what it is held at.

        So each window asks the one before once, not once for each of its faces, and so on back to the first.
        """
        if self.window is None:
            return torch.full_like(points[:, 0], sum(self.problem.held) / 2)
        at = points.clone()
        at[:, -1] = self.low[-1]
        if self.before is None:
            return Formula(self.problem.initial)(self.problem.values(at))
        return self.faces[on].formulas["temperature"](self.problem.values(at)) if on else self.before(at)

    def _fluxes(self, points: Tensor) -> list[Tensor]:
        columns = []
        for axis, (name, column) in enumerate(zip(self.problem.axes, self._spreading(points), strict=True)):
            share, ends = self._share(points, axis), self._ends(name, "flux")
            for end in ends:
                at = self._face(points, axis, end)
                inward = self.faces[f"{name}{end}"].formulas["flux"](self.problem.values(at))
                weight = torch.ones_like(share) if len(ends) == 1 else (share if end else 1 - share)
                column = column + weight * ((-inward if end else inward) - self._spreading(at)[axis])
            columns.append(column)
        return columns

    def fixed(self, points: Tensor, bent: bool = False) -> "Fixed":
        """Known part and room at points (m, s; K, W/m²), with derivatives by the coordinates, for points that stay.

        With `bent` of temperatures alone, with second derivatives.
        """
        with torch.enable_grad():
            at = points.detach().requires_grad_(True)
            parts = [part[:, :1] if bent else part for part in (self.known(at), self.room(at))]
            slopes = [_slopes(part, at, bent) for part in parts]
            twice = [_slopes(slope[..., 0], at).transpose(1, 2).detach() for slope in slopes] if bent else [None, None]
        return Fixed(
            self.place(points), *(p.detach() for p in parts), *(s.detach() for s in slopes), self.stretch(), *twice
        )


@dataclass(frozen=True)
class Fixed:
    """Points of one layer and window as its network sees them, and what of the field there is fixed.

    `place` (points, coordinates) is dimensionless; `known` and `room` (points, outputs) are K and W/m², `known_slope`
    and `room_slope` (points, coordinates, outputs) theirs by m and s; `stretch` is that of coordinates by m and s.
    Where the network is of temperatures alone, `known_bent` and `room_bent` (points, coordinates, coordinates) are K by
    m², m s and s².

    Source: see the module.
    """

    place: Tensor
    known: Tensor
    room: Tensor
    known_slope: Tensor
    room_slope: Tensor
    stretch: Tensor
    known_bent: Tensor | None = None
    room_bent: Tensor | None = None

    def field(self, value: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
        """Field (K, W/m²) and its derivatives (by m and s) from value and slopes of the network."""
        u = self.known + self.room * value
        by = self.known_slope + self.room_slope * value[:, None] + self.room[:, None] * slope * self.stretch[:, None]
        return u, by

    def back(self, by_u: Tensor, by_slope: Tensor) -> tuple[Tensor, Tensor]:
        """Turn derivatives of rows by field and slopes into those by value and slopes of the network.

        Shapes: (points, rows, outputs) and (points, rows, coordinates, outputs), in units of K and W/m².
        """
        by_value = by_u * self.room[:, None] + (by_slope * self.room_slope[:, None]).sum(2)
        return by_value, by_slope * self.room[:, None, None] * self.stretch[:, None]

    def of_temperature(self) -> "Fixed":
        """Leave the fluxes out: shapes (points, 1) and (points, coordinates, 1), in units of K, m and s."""
        known, room = self.known[:, :1], self.room[:, :1]
        return replace(
            self, known=known, room=room, known_slope=self.known_slope[..., :1], room_slope=self.room_slope[..., :1]
        )

    def bent_field(self, value: Tensor, slope: Tensor, bent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Temperatures (points, 1) in K, and first and second derivatives by m and s, from those of the network."""
        slope, bent = slope[..., 0] * self.stretch, bent[..., 0] * self.stretch[:, None] * self.stretch
        room, room_slope = self.room, self.room_slope[..., 0]
        crossed = room_slope[:, :, None] * slope[:, None]
        return (
            self.known + room * value,
            self.known_slope[..., 0] + room_slope * value + room * slope,
            self.known_bent
            + self.room_bent * value[..., None]
            + crossed
            + crossed.transpose(1, 2)
            + room[:, None] * bent,
        )

    def bent_back(self, by_u: Tensor, by_slope: Tensor, by_bent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Turn derivatives of rows by `bent_field` into those by value, slopes and second derivatives of the network.

        Shapes: (points, rows, 1), (points, rows, coordinates), (points, rows, coordinates, coordinates), units of K.
        """
        by_bent = 0.5 * (by_bent + by_bent.transpose(2, 3))
        room, room_slope = self.room[:, None], self.room_slope[:, None, :, 0]
        value = (by_u * room)[..., 0] + (by_slope * room_slope).sum(2) + (by_bent * self.room_bent[:, None]).sum((2, 3))
        slope = self.stretch * (room * by_slope + 2 * (by_bent * room_slope[:, :, None]).sum(3))
        bent = self.stretch[:, None] * self.stretch * room[..., None] * by_bent
        return value[..., None], slope[..., None], bent[..., None]


def _slopes(part: Tensor, points: Tensor, further: bool = False) -> Tensor:
    """Derivatives by the coordinates: (points, coordinates, columns); `further` ones can be taken of them."""
    columns = []
    for k in range(part.shape[1]):
        slope = None
        if part[:, k].requires_grad:
            (slope,) = torch.autograd.grad(
                part[:, k].sum(), points, retain_graph=True, create_graph=further, allow_unused=True
            )
        columns.append(torch.zeros_like(points) if slope is None else slope)
    return torch.stack(columns, -1)
