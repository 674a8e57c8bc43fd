"""A field of temperature and heat flux: networks for the layers of a body and for windows of time.

Source: first-order form of physics-informed networks; as of `ansatz` and `physics`.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from ase_mlx.graph import Graph
from ase_mlx.heat import Problem
from ase_mlx.nn.jets import SeparableNetwork
from ase_mlx.quantities import Quantity

from ..contract import Field
from ..prediction import Prediction
from .ansatz import Ansatz, Scales, scales
from .config import HeatConfig, Unknown, problem_of
from .physics import Block, State, conduction, diffusion

TEMPERATURE = Quantity("temperature", "point", (), 1, "K")
HEAT_FLUX = Quantity("heat_flux", "point", (-1,), -1, "W/m²")
SMALL = 1e-3
"""Share of a standard deviation by which weights and unknowns move for a derivative."""


@dataclass(frozen=True)
class Linear:
    """Rows (dimensionless) and their derivatives by the weights of networks and by the unknowns.

    Source: ours.
    """

    rows: Tensor
    by_weights: Tensor


class HeatField(nn.Module, Field):
    """Temperature (K) and heat flux (W/m²) in a body, at points in m (and s): not of atoms, so without a graph.

    Unknowns of the problem are in standard deviations from their values before; `covariance` is theirs after, and the
    columns of `directions` are by how much all weights and unknowns move together within it. In a
    single layer whose faces are all held at temperatures the network is of T alone (`second`): rows are of second
    order, fewer, and Gauss-Newton comes many times closer in the same time.

    Source: see the module.
    """

    outputs = (TEMPERATURE, HEAT_FLUX)
    cutoff = 0.0
    elements = ()

    def __init__(self, config: HeatConfig):
        super().__init__()
        self.config = config
        self.priors = {name: Unknown(**table) for name, table in config.unknowns.items()}
        problem = self.problem_at({name: prior.value for name, prior in self.priors.items()})
        self.problem: Problem = problem
        if config.windows > 1 and problem.duration is None:
            raise ValueError(f"got {config.windows} windows of a steady state, expected one: no time flows")
        faces = [problem.face(f"{axis}{end}") for axis in problem.axes for end in (0, 1)]
        held = all(face.temperature is not None for face in faces)
        self.second = held and len(problem.layers) == 1 and not problem.sudden and not problem.torn
        inputs, outputs = len(problem.coordinates), 1 if self.second else 1 + len(problem.size)
        self.networks = nn.ModuleList(
            SeparableNetwork(inputs, outputs, config.rank, config.width, config.depth, config.steepness)
            for _ in range(config.windows * len(problem.layers))
        )
        self.away = nn.Parameter(torch.zeros(len(self.priors), dtype=torch.float64))
        self.register_buffer("covariance", torch.eye(len(self.priors), dtype=torch.float64))
        shape = (sum(p.numel() for p in self.weights(0)), len(self.priors))
        self.register_buffer("directions", torch.full(shape, torch.inf, dtype=torch.float64))
        self.register_buffer("residual", torch.full((), torch.inf, dtype=torch.float64))

    def problem_at(self, unknowns: dict[str, float]) -> Problem:
        """The problem with unknowns of some values."""
        return problem_of(self.config.problem, unknowns)

    @cached_property
    def sizes(self) -> Scales:
        """Sizes of things: K, W/m², W/m³."""
        return scales(self.problem)

    def network(self, window: int, layer: int) -> SeparableNetwork:
        """The network of a layer in a window."""
        return self.networks[window * len(self.problem.layers) + layer]

    def ansatz(self, window: int, layer: int) -> Ansatz:
        """What the conditions fix there; the begin of a later window is the end of the one before."""
        if self.problem.duration is None:
            return Ansatz(self.problem, self.sizes, layer)
        step = self.problem.duration / self.config.windows
        before = None if window == 0 else (lambda points: self._temperature(window - 1, layer, points))
        return Ansatz(self.problem, self.sizes, layer, (window * step, (window + 1) * step), before)

    def _temperature(self, window: int, layer: int, points: Tensor) -> Tensor:
        ansatz = self.ansatz(window, layer)
        value = self.network(window, layer)(ansatz.place(points))[:, 0]
        return ansatz.known(points)[:, 0] + ansatz.room(points)[:, 0] * value

    def _field(self, window: int, layer: int, points: Tensor) -> Tensor:
        ansatz, d = self.ansatz(window, layer), len(self.problem.size)
        if self.second:
            fixed = ansatz.fixed(points).of_temperature()
            u, by = fixed.field(*self.network(window, layer).jet(fixed.place))
            values = dict(self.problem.values(points)) | {k: v.expand(len(u)) for k, v in self.unknowns().items()}
            kappa = self.problem.layers[layer].material.tensor(values | {"T": u[:, 0]}, d)
            return torch.cat([u, -(kappa @ by[:, :d])[..., 0]], 1)
        value = self.network(window, layer)(ansatz.place(points))
        return ansatz.known(points) + ansatz.room(points) * value

    def unknowns(self) -> dict[str, Tensor]:
        """Values of the unknowns, in their own units."""
        return {name: self.value(name, self.away[k]) for k, name in enumerate(self.priors)}

    def value(self, name: str, away: Tensor) -> Tensor:
        """Value of an unknown that is so many standard deviations of its prior away."""
        prior = self.priors[name]
        if prior.spread is not None:
            return prior.value * torch.exp(prior.spread * away)
        return prior.value + prior.std * away

    def posterior(self) -> dict[str, tuple[float, float]]:
        """Value and standard deviation of each unknown, in its own unit, as the measurements tell."""
        out = {}
        for k, (name, prior) in enumerate(self.priors.items()):
            value, std = float(self.value(name, self.away[k].detach())), float(self.covariance[k, k]) ** 0.5
            out[name] = (value, std * (prior.std if prior.spread is None else prior.spread * value))
        return out

    def forward(self, points: Tensor) -> Prediction:
        """Predict at points (m, and s): temperature (K), heat_flux (W/m²).

        Raises:
            ValueError: points outside the body or the duration.
        """
        expect_inside(self.problem, points)
        layers, windows = self.owner(points)
        out = torch.empty(len(points), 1 + len(self.problem.size), dtype=torch.float64)
        for window, layer in {*zip(windows.tolist(), layers.tolist(), strict=True)}:
            at = (windows == window) & (layers == layer)
            out[at] = self._field(window, layer, points[at])
        return Prediction({"temperature": out[:, 0], "heat_flux": out[:, 1:]})

    def owner(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Number the layers and windows of time that points (units of m and s) are in."""
        inner = torch.tensor(self.problem.edges[1:-1], dtype=torch.float64)
        layers = torch.searchsorted(inner, points[:, 0].contiguous(), right=True)
        if self.problem.duration is None:
            return layers, torch.zeros_like(layers)
        share = points[:, -1] / self.problem.duration * self.config.windows
        return layers, share.long().clamp(0, self.config.windows - 1)

    def at(self, graph: Graph | None, points: np.ndarray | list, std: bool = False, **conditions) -> Prediction:
        """Predict as `forward`, as numpy arrays; a body has no atoms, so `graph` is None.

        Raises:
            ValueError: a graph, conditions, or points outside the body.
        """
        if graph is not None or conditions:
            raise ValueError("got a graph or conditions for a field of temperature, expected none: it has no atoms")
        at = torch.from_numpy(np.ascontiguousarray(points, dtype=np.float64))
        with torch.no_grad():
            prediction = self(at)
            bars = self._bars(at) if std and self.priors and bool(self.directions.isfinite().all()) else {}
        return Prediction({name: prediction[name].numpy() for name in prediction}, bars)

    def _bars(self, points: Tensor) -> dict[str, np.ndarray]:
        """Standard deviations (K, W/m²) of what unknowns leave open, by small moves along each direction.

        What is left of the equation's rows counts as an error of that share of the room that the conditions leave.
        """
        parts = dict(zip(_names(self, self.weights(0)), self.weights(0), strict=True))
        flat, sizes = torch.cat([p.reshape(-1) for p in parts.values()]), [p.numel() for p in parts.values()]

        def moved(by: Tensor) -> Prediction:
            values = zip(parts.items(), (flat + by).split(sizes), strict=True)
            return functional_call(self, {name: value.view_as(p) for (name, p), value in values}, (points,))

        ends = [(moved(SMALL * d), moved(-SMALL * d)) for d in self.directions.T]
        layers, _ = self.owner(points)
        room = torch.empty(len(points), 1 + len(self.problem.size), dtype=torch.float64)
        for layer in layers.unique().tolist():
            room[layers == layer] = self.ansatz(0, layer).room(points[layers == layer])
        squares = {
            "temperature": (self.residual * room[:, 0]).square(),
            "heat_flux": (self.residual * room[:, 1:]) ** 2,
        }
        for a, b in ends:
            for name in squares:
                squares[name] = squares[name] + ((a[name] - b[name]) / (2 * SMALL)).square()
        return {name: square.sqrt().numpy() for name, square in squares.items()}

    def off(self, points: Tensor) -> Tensor:
        """Root mean square of the equation's rows (dimensionless) at points (m, and s), where they have to be zero.

        Raises:
            ValueError: points outside the body.
        """
        expect_inside(self.problem, points)
        layers, windows = self.owner(points)
        out = torch.empty(len(points), dtype=torch.float64)
        for window, layer in {*zip(windows.tolist(), layers.tolist(), strict=True)}:
            at = (windows == window) & (layers == layer)
            with torch.no_grad():
                out[at] = self.rows(self.conduction(window, layer, points[at])).square().mean(1).sqrt()
        return out

    def conduction(self, window: int, layer: int, points: Tensor, weight: float = 1.0) -> Block:
        """Rows of the equation within a layer, at points (m, and s)."""
        rows = (diffusion if self.second else conduction)(self.problem, self.sizes, layer, points)
        fixed = self.ansatz(window, layer).fixed(points, self.second)
        return Block("conduction", window, (layer,), (fixed,), rows, weight)

    def states(self, block: Block) -> list[State]:
        """Fields of the layers of a block with their derivatives, in units of K, W/m², m and s."""
        states = []
        for fixed, layer in zip(block.fixed, block.layers, strict=True):
            network = self.network(block.window, layer)
            if self.second:
                states.append(fixed.bent_field(*network.curvatures(fixed.place)))
            else:
                states.append(fixed.field(*network.jet(fixed.place)))
        return states

    def rows(self, block: Block) -> Tensor:
        """Rows of a block, dimensionless: (points, rows)."""
        return block.rows(self.states(block), self.unknowns())

    def linear(self, block: Block) -> Linear:
        """Rows of a block with their derivatives: (points · rows), (points · rows, weights).

        Columns are the weights of the window's networks, layer by layer, then the unknowns.
        """
        with torch.no_grad():
            states = self.states(block)
            away = self.away.expand(len(block), -1)
        states = [tuple(part.clone().requires_grad_(True) for part in state) for state in states]
        away, leaves = away.clone().requires_grad_(True), [part for state in states for part in state]
        with torch.enable_grad():
            unknowns = {name: self.value(name, away[:, k]) for k, name in enumerate(self.priors)}
            rows = block.rows(states, unknowns)
            grads = [_by(rows[:, k], [*leaves, away], k < rows.shape[1] - 1) for k in range(rows.shape[1])]
        columns, count = [], len(states[0])
        for layer in range(len(self.problem.layers)):
            network = self.network(block.window, layer)
            if layer in block.layers:
                k = block.layers.index(layer)
                by_parts = [torch.stack([g[count * k + j] for g in grads], 1) for j in range(count)]
                with torch.no_grad():
                    back = block.fixed[k].bent_back if self.second else block.fixed[k].back
                    columns.append(network.rows(block.fixed[k].place, *back(*by_parts)))
            else:
                size = sum(p.numel() for p in network.parameters())
                columns.append(torch.zeros(len(block), rows.shape[1], size, dtype=torch.float64))
        columns.append(torch.stack([g[-1] for g in grads], 1))
        return Linear(rows.detach().reshape(-1), torch.cat(columns, -1).flatten(0, 1))

    def weights(self, window: int) -> list[nn.Parameter]:
        """Parameters in the order of the columns of `linear`."""
        n = len(self.problem.layers)
        return [p for layer in range(n) for p in self.network(window, layer).parameters()] + [self.away]


def _names(model: nn.Module, parameters: list[nn.Parameter]) -> list[str]:
    names = {id(p): name for name, p in model.named_parameters()}
    return [names[id(p)] for p in parameters]


def _by(row: Tensor, leaves: list[Tensor], keep: bool) -> list[Tensor]:
    if not row.requires_grad:
        return [torch.zeros_like(leaf) for leaf in leaves]
    grads = torch.autograd.grad(row.sum(), leaves, retain_graph=keep, allow_unused=True)
    return [torch.zeros_like(leaf) if g is None else g for g, leaf in zip(grads, leaves, strict=True)]


def expect_inside(problem: Problem, points: Tensor) -> None:
    """Refuse points outside a body or its time; units are m and s.

    Raises:
        ValueError: naming the first.

    Source: ours.
    """
    if points.ndim != 2 or points.shape[1] != len(problem.coordinates):
        raise ValueError(
            f"got points of shape {tuple(points.shape)}, expected (points, {len(problem.coordinates)}): "
            f"{', '.join(problem.coordinates)}"
        )
    low, high = torch.tensor(problem.box, dtype=torch.float64).T
    slack = 1e-9 * (high - low)
    off = ((points < low - slack) | (points > high + slack) | ~torch.isfinite(points)).any(1)
    if bool(off.any()):
        k = int(off.nonzero()[0, 0])
        ends = ", ".join(f"{n} {a:g} to {b:g}" for n, (a, b) in zip(problem.coordinates, problem.box, strict=True))
        raise ValueError(f"got point {k} at {points[k].tolist()}, outside the body; expected {ends} (m, s)")
