"""From the members' variance to calibrated standard deviations: σ² = (1 + g² d²)(a² s² + b²).

Source: ours.
"""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from ase_mlx.graph import Graph

from .mechanics import sum_by_graph

CALIBRATED = ("energy", "forces", "stress", "hessian")
"""Quantities whose error bars have a scale of their own, in the order of the buffers that hold it."""


@runtime_checkable
class Bars(Protocol):
    """What bars are scaled by, one a quantity of `CALIBRATED`: a and g dimensionless, b in its unit (eV an atom, …).

    Source: ours.
    """

    std_scale: Tensor
    std_floor: Tensor
    std_growth: Tensor


def calibrated(
    bars: Bars, graph: Graph, variance: Mapping[str, Tensor], distance: Float[Tensor, " atoms"] | None
) -> dict[str, Tensor]:
    """Standard deviations of those quantities whose scale is known (eV, eV/Å, eV/Å³).

    Args:
        bars: their scales.
        graph: the structures.
        variance: s², units squared; the energy's of whole structures.
        distance: score of each atom (dimensionless), where it is known.

    Source: ours.
    """
    std = {}
    for name, raw in variance.items():
        scale, floor = (x[CALIBRATED.index(name)].to(torch.float64) for x in (bars.std_scale, bars.std_floor))
        if bool(scale > 0):
            size = graph.n_atoms.to(torch.float64) if name == "energy" else 1.0
            std[name] = torch.sqrt(scale**2 * raw + (floor * size) ** 2) * growth(bars, name, graph, distance)
    return std


def growth(
    bars: Bars, name: str, graph: Graph, distance: Float[Tensor, " atoms"] | None
) -> Float[Tensor, "*items"] | float:
    """Factor √(1 + g² d²) of a bar (dimensionless): d is the score of the atom, or the mean of a structure's.

    Source: ours.
    """
    g = bars.std_growth[CALIBRATED.index(name)].to(torch.float64)
    if distance is None or not bool(g > 0):
        return 1.0
    d = distance.to(torch.float64)
    d = d if name == "forces" else sum_by_graph(graph, d) / graph.n_atoms
    factor = torch.sqrt(1 + (g * d) ** 2)
    return factor if name == "energy" else factor.unsqueeze(-1)
