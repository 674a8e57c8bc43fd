"""How pairs are taught: labelled frames, least squares by the common loop."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import torch

from ase_mlx.data.graph_batches import GraphBatches
from ase_mlx.data.io import read_frames
from ase_mlx.data.samples import batches, elements_of, name_of, sample, split
from ase_mlx.learn.config import FitConfig, build
from ase_mlx.learn.fit import Stage
from ase_mlx.learn.methods import network
from ase_mlx.learn.metrics import Residuals, errors
from ase_mlx.learn.recipe import Recipe
from ase_mlx.nn.terms import Term

from .pairs_model import Pairs, PairsConfig

UNITS = {"energy": "eV/atom", "forces": "eV/Å", "stress": "eV/Å³"}


@dataclass(frozen=True)
class Frames:
    """A file of labelled frames."""

    file: str


@dataclass(frozen=True)
class PairsTraining:
    """The whole TOML file."""

    data: Frames
    model: dict[str, Any] = field(default_factory=dict)
    fit: FitConfig = field(default_factory=FitConfig)
    kind: Literal["pairs"] = "pairs"


class PairsRecipe(Recipe):
    """See the module."""

    Config = PairsTraining

    def __init__(self, config):
        self.config = config
        frames = read_frames(config.data.file)
        atom = float(np.mean([a.get_potential_energy() / len(a) for a in frames]))
        sizes = {"elements": elements_of(frames), "atom": atom} | config.model
        self.model = Pairs(build(PairsConfig, sizes, "model"))
        parts = split(frames, config.fit.seed)
        self.samples = {part: [sample(frames[k], self.model.cutoff, name_of(frames[k], k)) for k in places]
                        for part, places in parts.items()}  # fmt: skip

    def stages(self):
        fit = self.config.fit
        train = GraphBatches(self.samples["train"], fit.batch_size, seed=fit.seed)
        yield Stage(self.model, loss, train, network(fit), GraphBatches(self.samples["val"], 64), settings=asdict(fit))

    def finish(self):
        table = self.residuals(self.model, self.samples["val"])
        rms = [float(np.sqrt(np.mean((r.predicted - r.reference) ** 2))) for r in table.values()]
        self.model.rms.copy_(torch.tensor(rms))
        part = "test" if self.samples["test"] else "val"
        lines = {"title": "pairs", "elements": [], "licence": "MIT", "errors_on": part, "fit": asdict(self.config.fit)}
        return lines | {"errors": errors(self.residuals(self.model, self.samples[part]))}

    @classmethod
    def read(cls, model, path, part="all"):
        frames = [a for a in read_frames(path) if part in ("all", str(a.info.get("part")))]
        return [sample(a, model.cutoff, name_of(a, k)) for k, a in enumerate(frames)]

    @classmethod
    def residuals(cls, model, data):
        whole = batches(data, len(data))[0]
        p, n = model.with_std(whole.graph), whole.graph.n_atoms.numpy()
        table = {}
        for name, unit in UNITS.items():
            scale = n if name == "energy" else 1.0
            flat = [np.ravel(values.numpy() / scale) for values in (whole.targets[name], p[name])]
            std = np.ravel(p.std[name].numpy() / scale) if name in p.std else None
            table[name] = Residuals(unit, *flat, std)
        return table


def loss(model, group, random):
    """Squares of errors of energy an atom (eV) and forces (eV/Å)."""
    p, n = model(group.graph), group.graph.n_atoms
    energy = ((p["energy"] - group.targets["energy"]) / n).square()
    forces = (p["forces"] - group.targets["forces"]).square().sum(-1)
    return {"energy": Term(energy.sum(), len(energy), 4.0), "forces": Term(forces.sum(), len(forces))}


PAIRS = (PairsConfig, Pairs, PairsRecipe)
