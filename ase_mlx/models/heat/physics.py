"""What a field of temperature and flux has to obey, as dimensionless rows that are zero where it does.

Source: first-order form of the heat equation; H. S. Carslaw and J. C. Jaeger, Conduction of Heat in Solids (1959).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ase_mlx.heat import Problem
from ase_mlx.heat.expressions import Formula

from .ansatz import Fixed, Scales

Named = dict[str, Tensor]
State = tuple[Tensor, ...]


@dataclass(frozen=True)
class Block:
    """Rows of one kind at some points: the layers that meet there, and the rows as a function of their fields.

    `rows(states, unknowns)` gives (points, rows), dimensionless. The state of a layer is its field (K, W/m²) with its
    slopes by m and s, or temperatures (points, 1) with their first and second derivatives. `weight` (dimensionless) is
    that of the mean of their squares.

    Source: ours.
    """

    name: str
    window: int
    layers: tuple[int, ...]
    fixed: tuple[Fixed, ...]
    rows: Callable[[list[State], Named], Tensor]
    weight: float = 1.0

    def __len__(self) -> int:
        """Count the points."""
        return len(self.fixed[0].place)


def _values(problem: Problem, points: Tensor, unknowns: Named) -> Named:
    return dict(problem.values(points)) | {k: v.expand(len(points)) for k, v in unknowns.items()}


def conduction(problem: Problem, sizes: Scales, layer: int, points: Tensor) -> Callable[..., Tensor]:
    """Rows (dimensionless) within a layer, at points: Fourier's law along each axis, and the balance of heat."""
    d, material = len(problem.size), problem.layers[layer].material
    flux = torch.tensor(sizes.flux, dtype=torch.float64)
    source = Formula(problem.source)

    def rows(states: list[State], unknowns: Named) -> Tensor:
        u, by = states[0]
        values = _values(problem, points, unknowns) | {"T": u[:, 0]}
        kappa = material.tensor(values, d)
        fourier = (u[:, 1:] + (kappa @ by[:, :d, 0, None])[..., 0]) / flux
        balance = torch.stack([by[:, k, 1 + k] for k in range(d)], -1).sum(-1) - source(values)
        if problem.duration is not None:
            balance = balance + material.volumetric(values) * by[:, -1, 0]
        return torch.cat([fourier, balance[:, None] / sizes.heating], -1)

    return rows


def diffusion(problem: Problem, sizes: Scales, layer: int, points: Tensor) -> Callable[..., Tensor]:
    """Row (dimensionless) within a body, at points: the balance of heat, Fourier's law put in."""
    d, material = len(problem.size), problem.layers[layer].material
    source = Formula(problem.source)

    def rows(states: list[State], unknowns: Named) -> Tensor:
        (u, by, bent), place = states[0], points.clone().requires_grad_(True)
        temperature = u[:, 0]
        with torch.enable_grad():
            held = temperature if temperature.requires_grad else temperature.clone().requires_grad_(True)
            values = _values(problem, place, unknowns) | {"T": held}
            kappa = material.tensor(values, d)
            spreading = -source(values)
            for i, j in ((i, j) for i in range(d) for j in range(d)):
                spreading = spreading - kappa[:, i, j] * bent[:, i, j]
                if kappa.requires_grad and (i == j or len(material.components) == 6):
                    of_place, of_temperature = _slopes(kappa[:, i, j], place, held)
                    spreading = spreading - (of_place[:, i] + of_temperature * by[:, i]) * by[:, j]
            if problem.duration is not None:
                spreading = spreading + material.volumetric(values) * by[:, -1]
        return spreading[:, None] / sizes.heating

    return rows


def _slopes(values: Tensor, points: Tensor, temperature: Tensor) -> tuple[Tensor, Tensor]:
    parts = torch.autograd.grad(values.sum(), (points, temperature), create_graph=True, allow_unused=True)
    zeros = (torch.zeros_like(points), torch.zeros_like(temperature))
    return tuple(zero if part is None else part for part, zero in zip(parts, zeros, strict=True))


def convection(problem: Problem, sizes: Scales, name: str, points: Tensor) -> Callable[..., Tensor]:
    """Row (dimensionless) on a face with convection, at points: what flows in is transfer times difference."""
    axis, sign = problem.axes.index(name[0]), -1.0 if name[1] == "1" else 1.0
    formulas = problem.face(name).formulas

    def rows(states: list[State], unknowns: Named) -> Tensor:
        u, values = states[0][0], _values(problem, points, unknowns)
        h, ambient = formulas["transfer"](values), formulas["ambient"](values)
        size = sizes.flux[axis] + h * sizes.temperature
        return ((sign * u[:, 1 + axis] - h * (ambient - u[:, 0])) / size)[:, None]

    return rows


def interface(problem: Problem, sizes: Scales, layer: int, points: Tensor) -> Callable[..., Tensor]:
    """Rows (dimensionless) between layers, at points: flux goes on, temperature falls by resistance times it."""
    resistance = Formula(problem.layers[layer].resistance)

    def rows(states: list[State], unknowns: Named) -> Tensor:
        ((u, _), (v, _)), values = states, _values(problem, points, unknowns)
        fall = u[:, 0] - v[:, 0] - resistance(values) * u[:, 1]
        return torch.stack([fall / sizes.temperature, (u[:, 1] - v[:, 1]) / sizes.flux[0]], -1)

    return rows


def measured(values: Tensor, std: Tensor) -> Callable[..., Tensor]:
    """Rows of sensors: temperatures (K) against those measured, in standard deviations."""

    def rows(states: list[State], unknowns: Named) -> Tensor:
        return ((states[0][0][:, 0] - values) / std)[:, None]

    return rows
