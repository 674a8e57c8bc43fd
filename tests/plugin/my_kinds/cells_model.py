"""A generator of simple cubic crystals of one element, whose edge is normally distributed."""

from dataclasses import dataclass

import numpy as np
import torch

from ase_mlx.models import Generates
from ase_mlx.structure import Structure


@dataclass(frozen=True)
class CellsConfig:
    """Which element."""

    elements: tuple[int, ...]


class Cells(torch.nn.Module, Generates):
    """Structures with an edge (Å) drawn from a normal distribution."""

    def __init__(self, config: CellsConfig):
        super().__init__()
        self.config, self.elements = config, tuple(config.elements)
        self.mean, self.log_spread = (torch.nn.Parameter(torch.tensor(x)) for x in (3.0, 0.0))

    def sample(self, n, seed=0, **conditions):
        edges = np.random.default_rng(seed).normal(self.mean.item(), self.log_spread.exp().item(), n)
        number = np.array(self.elements[:1])
        return [Structure(number, np.zeros((1, 3)), abs(a) * np.eye(3), np.ones(3, bool)) for a in edges]
