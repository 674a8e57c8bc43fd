"""How cells are taught: the likelihood of the edges in a file of structures."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import torch

from ase_mlx.data.io import read_frames
from ase_mlx.learn.batches import Rows, TableBatches
from ase_mlx.learn.config import FitConfig
from ase_mlx.learn.fit import Stage
from ase_mlx.learn.methods import network
from ase_mlx.learn.metrics import Residuals
from ase_mlx.learn.recipe import Recipe
from ase_mlx.nn.terms import Term

from .cells_model import Cells, CellsConfig


@dataclass(frozen=True)
class Crystals:
    """A file of structures."""

    file: str


@dataclass(frozen=True)
class CellsTraining:
    """The whole TOML file."""

    data: Crystals
    model: dict[str, Any] = field(default_factory=dict)
    fit: FitConfig = field(default_factory=FitConfig)
    kind: Literal["cells"] = "cells"


class CellsRecipe(Recipe):
    """See the module."""

    Config = CellsTraining

    def __init__(self, config):
        self.config = config
        frames = read_frames(config.data.file)
        self.edges = torch.tensor(edges_of(frames), dtype=torch.float32)
        self.model = Cells(CellsConfig((int(frames[0].numbers[0]),)))

    def stages(self):
        def loss(model, rows: Rows, random):
            z = (self.edges[rows.places[0].cpu()].to(model.mean) - model.mean) * (-model.log_spread).exp()
            nats = 0.5 * z.square() + model.log_spread
            return {"nats": Term(nats.sum(), len(z))}

        fit = self.config.fit
        table = TableBatches((self.edges,), 1, fit.batch_size, fit.seed)
        yield Stage(self.model, loss, table, network(fit), settings=asdict(fit))

    def finish(self):
        return {"title": "cells", "elements": [], "licence": "MIT", "errors": {}, "errors_on": "none"}

    @classmethod
    def read(cls, model, path, part="all"):
        return read_frames(path)

    @classmethod
    def residuals(cls, model, data):
        """Quantiles of the edges in the file beside those of as many that are drawn."""
        drawn = sorted(s.cell[0, 0] for s in model.sample(len(data)))
        std = np.full(len(data), float(model.log_spread.exp()) / math.sqrt(len(data)))
        return {"edge": Residuals("Å", np.sort(edges_of(data)), np.array(drawn), std)}


def edges_of(frames):
    """Mean edges of the cells (Å)."""
    return np.array([a.cell.lengths().mean() for a in frames])


CELLS = (CellsConfig, Cells, CellsRecipe)
