"""What comes in, what is made and what is kept of heat in a field: whether energy is conserved over the whole body.

Source: Gauss-Legendre quadrature; W. Gautschi, Orthogonal Polynomials (2004).
"""

import itertools

import numpy as np
import torch

from ase_mlx.heat.expressions import Formula

from .model import HeatField

NODES = {1: 48, 2: 24, 3: 12, 4: 10}
"""Of the quadrature along a coordinate, by the number of coordinates."""


def balance(model: HeatField) -> dict[str, float] | None:
    """Add up the heat of a body: W (steady; a unit of each missing dimension), or J over the duration.

    Returns:
        Heat in by face, `source`, `stored`, and `off`: what is missing, of all that moves (dimensionless); None for a
        family of problems.

    Source: see the module.
    """
    problem = model.problem
    if problem.parameters:
        return None
    d, heat = len(problem.size), {}
    for axis, name in enumerate(problem.axes):
        for end in (0, 1):
            points, weights = _nodes(model, axis, end)
            flux = model.at(None, points)["heat_flux"][:, axis]
            heat[f"{name}{end}"] = float(weights @ flux) * (-1 if end else 1)
    points, weights = _nodes(model)
    temperature = model.at(None, points)["temperature"]
    values = dict(model.problem.values(torch.from_numpy(points))) | model_unknowns(model, len(points))
    values["T"] = torch.from_numpy(temperature)
    heat["source"] = float(weights @ Formula(problem.source)(values).numpy())
    heat["stored"] = 0.0
    if problem.duration is not None:
        heat["stored"] = _stored(model, d)
    came = sum(value for name, value in heat.items() if name != "stored")
    moved = sum(abs(value) for value in heat.values()) / 2
    return heat | {"off": abs(came - heat["stored"]) / moved if moved else 0.0}


def model_unknowns(model: HeatField, count: int) -> dict[str, torch.Tensor]:
    """Values of the unknowns as formulas ask for them, in their own units."""
    return {name: value.detach().expand(count) for name, value in model.unknowns().items()}


def _stored(model: HeatField, d: int) -> float:
    """Enthalpy at the end less that at the begin, J: the heat capacity integrated over temperature at each point."""
    points, weights = _nodes(model, -1, 1)
    begin = points.copy()
    begin[:, -1] = 0.0
    start, end = (model.at(None, p)["temperature"] for p in (begin, points))
    knots, shares = np.polynomial.legendre.leggauss(8)
    layers, _ = model.owner(torch.from_numpy(points))
    total = 0.0
    for knot, share in zip(knots, shares, strict=True):
        middle = start + (knot + 1) / 2 * (end - start)
        values = dict(model.problem.values(torch.from_numpy(points))) | model_unknowns(model, len(points))
        values["T"] = torch.from_numpy(middle)
        capacity = torch.empty(len(points), dtype=torch.float64)
        for k, layer in enumerate(model.problem.layers):
            at = layers == k
            capacity[at] = layer.material.volumetric({name: v[at] for name, v in values.items()})
        total += share / 2 * float(weights @ (capacity.numpy() * (end - start)))
    return total


def _nodes(model: HeatField, axis: int | None = None, end: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points and weights of a quadrature over the body and its time, layer by layer, window by window.

    With an `axis` (-1: time) at one end of it.
    """
    problem = model.problem
    knots, weights = np.polynomial.legendre.leggauss(NODES[len(problem.box)])
    lines = []
    for k, (low, high) in enumerate(problem.box):
        of_time = problem.duration is not None and k == len(problem.box) - 1
        if axis is not None and k == axis % len(problem.box):
            lines.append([((low, high)[end], 1.0)])
            continue
        edges = problem.edges if k == 0 else np.linspace(low, high, (model.config.windows if of_time else 1) + 1)
        line = []
        for a, b in itertools.pairwise(edges):
            shares = [((x + 1) / 2, w / 2) for x, w in zip(knots, weights, strict=True)]
            if of_time and a == 0 and problem.sudden:  # fluxes begin as 1/√t
                shares = [(x * x, 2 * x * w) for x, w in shares]
            line += [(a + x * (b - a), w * (b - a)) for x, w in shares]
        lines.append(line)
    every = list(itertools.product(*lines))
    points = np.array([[x for x, _ in node] for node in every])
    return points, np.array([np.prod([w for _, w in node]) for node in every])
