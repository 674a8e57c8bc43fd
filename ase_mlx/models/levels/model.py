"""Wave functions of one coordinate: one network of sines, zero at the ends of a box, its outputs the span of levels.

Where the potential is even, half of the outputs are even and half are odd by construction: the two levels of a
tunnelling doublet then never mix. Levels are those of the Hamiltonian within the span: bounds from above.

Source: W. Ritz, J. Reine Angew. Math. 135, 1 (1909); parts apart by parity, and the rows, are ours.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ase_mlx.graph import Graph
from ase_mlx.nn.jets import WaveNetwork
from ase_mlx.quantities import Quantity
from ase_mlx.units import KINETIC

from ..contract import Field
from ..prediction import Prediction
from ..ranges import expect_ranges
from .box import Box, box_of, levels_below
from .potential import ModePotential

WAVE_FUNCTIONS = Quantity("wave_functions", "point", (-1,), 1, "(Å √amu)^-1/2")
MARGIN = 6.0
"""Wave numbers beyond the largest, dimensionless: walls and tails are made of them."""
EACH = 0.85
"""Features for each unit of the largest wave number in the box."""
CUT = 1e-10
"""Of the overlap's largest eigenvalue: what counts as independent among the features of the start."""
APART = 1e-2
"""Of the spacing: how far below the highest level others are counted."""
SMALL = 1e-2
"""Of the largest value: where the outermost lobe of a wave function begins, which is positive."""


@dataclass(frozen=True)
class LevelsConfig:
    """A potential (eV, Å √amu), the number of `states`, and the network by `WaveNetwork`'s sizes.

    With a `width` of 0 it is what the states need. `steepness` is in units of the largest wave number.

    Source: ours.
    """

    potential: ModePotential
    states: int = 8
    width: int = 0
    depth: int = 1
    steepness: float = 1.5

    def __post_init__(self):
        """Refuse sizes that are none."""
        expect_ranges(self, "model.", states=(1, 64), width=(0, 256), depth=(1, 4), steepness=(1e-3, 10))


@dataclass(frozen=True)
class LevelPoints:
    """Points of a quadrature in [-1, 1], of an even potential in the upper half; weights; potential over the spacing.

    All are dimensionless.

    Source: ours.
    """

    s: Tensor
    weights: Tensor
    potential: Tensor


class Levels(nn.Module, Field):
    """Levels (eV) and wave functions ((Å √amu)^-1/2) at displacements in Å √amu: not of atoms, so without a graph.

    `energies` are the levels in eV, and `bounds` the lengths of (H - E) ψ in eV: within them lies an exact level.

    Source: see the module.
    """

    outputs = (WAVE_FUNCTIONS,)
    cutoff = 0.0
    elements = ()

    def __init__(self, config: LevelsConfig):
        super().__init__()
        self.config = config
        k = config.states
        self.network = WaveNetwork(1, k, self.width, config.depth, config.steepness * self.box.waves)
        self.register_buffer("energies", torch.full((k,), torch.inf, dtype=torch.float64))
        self.register_buffer("bounds", torch.full((k,), torch.inf, dtype=torch.float64))
        self.register_buffer("mixing", torch.eye(k, dtype=torch.float64))

    @property
    def potential(self) -> ModePotential:
        """Potential along the mode, eV against Å √amu."""
        return self.config.potential

    @cached_property
    def box(self) -> Box:
        """Where the wave functions live, Å √amu."""
        return box_of(self.potential, self.config.states)

    @cached_property
    def parts(self) -> tuple[tuple[slice, float], ...]:
        """Outputs that are even (1), odd (-1), or all of them without parity (0)."""
        k = self.config.states
        if not self.potential.even:
            return ((slice(0, k), 0.0),)
        return tuple(
            part for part in ((slice(0, (k + 1) // 2), 1.0), (slice((k + 1) // 2, k), -1.0)) if k > 1 or part[1] > 0
        )

    @cached_property
    def width(self) -> int:
        """Width of the network: without a setting, features for each half of the shortest wave in the box."""
        share = EACH if self.potential.even else 1.25 * EACH
        return self.config.width or 6 + math.ceil(share * self.box.waves)

    @property
    def residual(self) -> float:
        """Largest of the bounds over the mean spacing of levels, dimensionless."""
        return float(self.bounds.max()) / self.box.spacing

    def points(self, count: int) -> LevelPoints:
        """Lay the points of Gauss and Legendre over the box."""
        s, weights = np.polynomial.legendre.leggauss(2 * count if self.potential.even else count)
        if self.potential.even:
            s, weights = s[count:], 2 * weights[count:]
        v = self.potential(self.box.centre + self.box.half * s) / self.box.spacing
        return LevelPoints(*(torch.from_numpy(np.ascontiguousarray(x)) for x in (s, weights, v)))

    def functions(self, network: WaveNetwork, s: Tensor, whole: bool = False) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Values, slopes and curvatures (dimensionless) of each part; `whole`: of every output in every part."""
        sides = [network.curvatures(s[:, None])]
        if self.potential.even:
            sides.append(network.curvatures(-s[:, None]))
        jets = [(value, slope[:, 0], curvature[:, 0, 0]) for value, slope, curvature in sides]
        wall, s, out = (1 - s**2)[:, None], s[:, None], []
        for columns, parity in self.parts:
            chosen = slice(None) if whole else columns
            value, slope, curvature = (x[:, chosen] for x in jets[0])
            if parity:
                other = [x[:, chosen] for x in jets[1]]
                value, slope, curvature = (
                    value + parity * other[0],
                    slope - parity * other[1],
                    curvature + parity * other[2],
                )
            out.append((wall * value, wall * slope - 2 * s * value, wall * curvature - 4 * s * slope - 2 * value))
        return out

    def applied(self, network: WaveNetwork, points: LevelPoints, whole: bool = False) -> list[tuple[Tensor, Tensor]]:
        """ψ and H ψ of each part, in units of the spacing."""
        factor = KINETIC / (self.box.half**2 * self.box.spacing)
        jets = self.functions(network, points.s, whole)
        return [(value, points.potential[:, None] * value - factor * curvature) for value, _, curvature in jets]

    def rows(self, points: LevelPoints) -> dict[str, Tensor]:
        """What has to be zero: H ψ apart from the span, and overlaps apart from one (dimensionless)."""
        out, root = {}, points.weights.sqrt()[:, None]
        for (_, parity), (psi, h_psi) in zip(self.parts, self.applied(self.network, points), strict=True):
            name = {1.0: "even", -1.0: "odd", 0.0: "all"}[parity]
            overlap, energy = _matrices(points, psi, h_psi)
            off = root * (h_psi - psi @ torch.linalg.solve(overlap, energy))
            out[f"equation, {name}"] = off / self.config.states**0.5
            out[f"orthonormality, {name}"] = overlap - torch.eye(len(overlap), dtype=overlap.dtype)
        return out

    @torch.no_grad()
    def begin(self, points: LevelPoints) -> None:
        """Set the last layer to the lowest states within the span of the features that it has at first."""
        network, width = self.network, self.width
        self._lay_waves()
        last = len(network.weights) - 1
        all_features = WaveNetwork(1, width + 1, width, last, 1.0)
        for k in range(last):
            all_features.weights[k].copy_(network.weights[k])
            all_features.offsets[k].copy_(network.offsets[k])
        all_features.weights[last].copy_(torch.eye(width + 1, width, dtype=torch.float64))
        all_features.offsets[last].copy_(torch.eye(width + 1, dtype=torch.float64)[-1])
        applied = self.applied(all_features, points, whole=True)
        for (columns, _), (psi, h_psi) in zip(self.parts, applied, strict=True):
            size = (points.weights @ psi.square()).sqrt()
            size = torch.where(size > CUT * size.max(), size, torch.inf)  # a constant has no odd part
            overlap, energy = _matrices(points, psi / size, h_psi / size)
            lengths, axes = torch.linalg.eigh(overlap)
            axes = axes[:, lengths > CUT * lengths[-1]] / lengths[lengths > CUT * lengths[-1]].sqrt()
            count = columns.stop - columns.start
            if axes.shape[1] < count:
                raise ValueError(
                    f"got a network of width {width} for {self.config.states} states, expected a wider one"
                )
            lowest = torch.linalg.eigh(_symmetric(axes.T @ energy @ axes))[1][:, :count]
            mixing = (axes @ lowest) / size[:, None]
            network.weights[last][columns] = mixing[:-1].T
            network.offsets[last][columns] = mixing[-1]

    def _lay_waves(self) -> None:
        """Set the first layer to waves of even steps up to beyond the shortest one, of both parities."""
        number = torch.arange(self.width, dtype=torch.float64)
        top = self.config.steepness * self.box.waves + MARGIN
        if self.potential.even:
            wave, phase = (number + 0.5) / self.width * top, torch.full_like(number, math.pi / 4)
        else:
            half = math.ceil(self.width / 2)
            wave, phase = (torch.div(number, 2, rounding_mode="floor") + 0.5) / half * top, number % 2 * math.pi / 2
        self.network.weights[0].copy_(wave[:, None])
        self.network.offsets[0].copy_(phase)

    @torch.no_grad()
    def settle(self, points: LevelPoints) -> None:
        """Set `energies`, `bounds` (eV) and how outputs are mixed to wave functions."""
        states, mixing = [], torch.zeros_like(self.mixing)
        for (columns, parity), (psi, h_psi) in zip(self.parts, self.applied(self.network, points), strict=True):
            overlap, energy = _matrices(points, psi, h_psi)
            factor = torch.linalg.cholesky(overlap)
            inner = torch.linalg.solve_triangular(factor, _symmetric(energy), upper=False)
            inner = torch.linalg.solve_triangular(factor, inner.T, upper=False)
            energies, axes = torch.linalg.eigh(_symmetric(inner))
            axes = torch.linalg.solve_triangular(factor.T, axes, upper=True)
            functions = psi @ axes
            off = (points.weights @ (h_psi @ axes - energies * functions).square()).sqrt()
            for k in range(len(energies)):
                order = 2 * k + (parity < 0) if parity else k
                states.append((order, columns, axes[:, k] * _sign(functions[:, k]), energies[k], off[k]))
        for order, columns, axis, energy, off in states:
            mixing[columns, order] = axis
            self.energies[order], self.bounds[order] = energy * self.box.spacing, off * self.box.spacing
        self.mixing.copy_(mixing)

    def forward(self, points: Float[Tensor, " points"]) -> Prediction:
        """Predict at displacements (Å √amu): wave_functions ((Å √amu)^-1/2), normalised to one."""
        s = (points.reshape(-1) - self.box.centre) / self.box.half
        inside = s.abs() <= 1
        values = torch.cat([value for value, _, _ in self.functions(self.network, s.clamp(-1, 1))], 1)
        return Prediction({"wave_functions": inside[:, None] * (values @ self.mixing) / self.box.half**0.5})

    def at(self, graph: Graph | None, points: np.ndarray | list, std: bool = False, **conditions) -> Prediction:
        """Predict as `forward`, as numpy arrays (Å √amu); a mode has no atoms, so `graph` is None.

        Raises:
            ValueError: a graph, conditions, or displacements that are no numbers.
        """
        if graph is not None or conditions:
            raise ValueError("got a graph or conditions for the levels of a mode, expected none: it has no atoms")
        points = np.asarray(points, dtype=np.float64).reshape(-1)
        if not np.isfinite(points).all():
            raise ValueError("got displacements that are no numbers, expected Å √amu")
        with torch.no_grad():
            prediction = self(torch.from_numpy(points))
        return Prediction({name: prediction[name].numpy() for name in prediction})

    def missing(self) -> int:
        """Count levels that lie below the highest one and are not among these.

        Source: Sturm sequences as of `levels_below`.
        """
        energy = float(self.energies[-1]) - APART * self.box.spacing
        return max(0, levels_below(self.potential, self.box, energy) - (self.config.states - 1))


def _matrices(points: LevelPoints, psi: Tensor, h_psi: Tensor) -> tuple[Tensor, Tensor]:
    left = (points.weights[:, None] * psi).T
    return left @ psi, left @ h_psi


def _symmetric(matrix: Tensor) -> Tensor:
    return (matrix + matrix.T) / 2


def _sign(function: Tensor) -> float:
    large = function[function.abs() > SMALL * function.abs().max()]
    return float(large[-1].sign())
