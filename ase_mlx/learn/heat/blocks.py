"""Where a field of temperature must obey what: points within layers, on faces, between layers, at sensors.

Source: I. M. Sobol, USSR Comput. Math. Math. Phys. 7, 86 (1967), for the points.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ase_mlx.keep import digest
from ase_mlx.models.heat import HeatField
from ase_mlx.models.heat.physics import Block, convection, interface, measured

from ..equations import Sample

ON_FACES = 8
"""Points of a layer for one on a face or between layers."""


@dataclass(frozen=True)
class Sensors:
    """Temperatures (K) measured at points (m, and s), with standard deviations (K).

    Source: ours.
    """

    points: np.ndarray
    temperature: np.ndarray
    std: np.ndarray

    def __len__(self) -> int:
        """Count the sensors' readings."""
        return len(self.temperature)


Blocks = tuple[Block, ...]
"""All rows of one window."""


def physics(model: HeatField, window: int, count: int, seed: int, weight: float = 1.0) -> list[Block]:
    """Rows of a window at `count` points of each layer, and fewer on faces and between layers; all is dimensionless.

    Source: as of the module.
    """
    problem, blocks = model.problem, []
    few = max(16, count // ON_FACES) if len(problem.coordinates) > 1 else 1
    ansaetze = [model.ansatz(window, layer) for layer in range(len(problem.layers))]
    for layer, ansatz in enumerate(ansaetze):
        points = _points(ansatz.low, ansatz.high, count, seed + layer)
        blocks.append(model.conduction(window, layer, points, weight))
        for name, face in ansatz.faces.items():
            if face.transfer is not None:
                points = _points(ansatz.low, ansatz.high, few, seed + layer, name)
                rows = convection(problem, model.sizes, name, points)
                blocks.append(Block("convection", window, (layer,), (ansatz.fixed(points),), rows, weight))
    for layer in range(len(problem.layers) - 1):
        points = _points(ansaetze[layer].low, ansaetze[layer].high, few, seed + layer, "x1")
        fixed = tuple(ansaetze[k].fixed(points) for k in (layer, layer + 1))
        rows = interface(problem, model.sizes, layer, points)
        blocks.append(Block("interfaces", window, (layer, layer + 1), fixed, rows, weight))
    return blocks


def sensors(model: HeatField, readings: Sensors) -> list[Block]:
    """Rows of measured temperatures (K), layer by layer.

    Source: ours.
    """
    points = torch.from_numpy(readings.points)
    layers, _ = model.owner(points)
    blocks = []
    for layer in layers.unique().tolist():
        at = layers == layer
        values, std = (torch.from_numpy(part)[at] for part in (readings.temperature, readings.std))
        fixed = (model.ansatz(0, layer).fixed(points[at], model.second),)
        blocks.append(Block("sensors", 0, (layer,), fixed, measured(values, std)))
    return blocks


def _points(low: list[float], high: list[float], count: int, seed: int, face: str = "") -> Tensor:
    engine = torch.quasirandom.SobolEngine(len(low), scramble=True, seed=seed)
    unit = engine.draw(count, dtype=torch.float64)
    if face:
        unit = unit.clone()
        unit[:, "xyz".index(face[0])] = float(face[1])
    low_, high_ = torch.tensor(low, dtype=torch.float64), torch.tensor(high, dtype=torch.float64)
    return low_ + unit * (high_ - low_)


def whole(blocks: list[Block]) -> Sample:
    """Make one batch of blocks.

    Source: ours.
    """
    parts = [part for b in blocks for fixed in b.fixed for part in (fixed.place, fixed.known, fixed.room)]
    return Sample(tuple(blocks), digest(parts)[:16])
