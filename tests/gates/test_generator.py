"""A plug-in that generates, as somebody else's package brings it: an entry point, found where Python looks."""

import os
import subprocess
import sys

import pytest

MODEL = '''
from dataclasses import dataclass

import numpy as np
import torch

from ase_mlx.models import Generates
from ase_mlx.structure import Structure


@dataclass(frozen=True)
class LatticeConfig:
    elements: tuple[int, ...]


class Lattices(torch.nn.Module, Generates):
    """Simple cubic crystals of one element: the latent is the length of the edge (Å)."""

    def __init__(self, config):
        super().__init__()
        self.config, self.elements = config, config.elements
        self.mean = torch.nn.Parameter(torch.tensor(3.0))

    def decode(self, latents):
        number = np.array(self.elements[:1])
        return [
            Structure(number, np.zeros((1, 3)), a * np.eye(3), np.ones(3, bool), tags=np.array([7]), info={"a": a})
            for a in map(float, latents)
        ]

    def encode(self, structures):
        return torch.tensor([s.cell[0, 0] for s in structures])

    def sample(self, n, seed=0, length=None):
        random, mean = np.random.default_rng(seed), float(self.mean.detach())
        return self.decode(random.normal(mean, 0.1, n) if length is None else random.uniform(*length, n))

    def interpolate(self, start, end, n):
        return self.decode(np.linspace(start.cell[0, 0], end.cell[0, 0], n))

    def optimize(self, structures, target):
        return [(one, abs(one.cell[0, 0] - target)) for one in self.decode([target] * len(structures))]
'''

USE = """
import sys
import ase_mlx as am
from ase_mlx.learn.files import save_model
from ase_mlx_lattices import LatticeConfig, Lattices

save_model(Lattices(LatticeConfig((14,))), "model", {"title": "lattices"})
model = am.load("model")
assert "ase_mlx.adapters.ase.structures" not in sys.modules  # the gate proper; vesin imports ASE by itself
assert float(model.mean.detach()) == 3.0 and model.elements == (14,)
assert "Lattices" in repr(model) and "sample" in dir(model)

atoms = model.sample(5, seed=1)
from ase import Atoms
assert all(type(one) is Atoms for one in atoms) and len(atoms) == 5
assert atoms[0].get_tags().tolist() == [7] and atoms[0].info["a"] == atoms[0].cell[0, 0]
assert model.sample(5, seed=1) == atoms != model.sample(5)
assert all(4 < one.cell[0, 0] < 5 for one in model.sample(9, length=(4, 5)))
latents = model.encode(atoms)
assert model.decode(latents)[3].cell[0, 0] == latents[3]
path = model.interpolate(atoms[0], end=atoms[1], n=3)
assert path[0] == atoms[0] and path[2] == atoms[1]
(best, off), = model.optimize(atoms[:1], target=3.3)
assert type(best) is Atoms and best.cell[0, 0] == 3.3 and off == 0
import copy, pickle
assert copy.deepcopy(model).sample(2)[0] == pickle.loads(pickle.dumps(model)).sample(2)[0]

for wrong in (lambda: model.forward(atoms), lambda: model.paint, lambda: am.predict(model, atoms)):
    try:
        wrong()
    except (AttributeError, NotImplementedError, ValueError) as error:
        print(type(error).__name__, error)
"""


@pytest.fixture
def plugin(tmp_path):
    """The package and its metadata as pip would leave them."""
    (tmp_path / "ase_mlx_lattices.py").write_text(MODEL)
    info = tmp_path / "ase_mlx_lattices-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ase-mlx-lattices\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ase_mlx.models]\nlattices = ase_mlx_lattices:KIND\n")
    with (tmp_path / "ase_mlx_lattices.py").open("a") as file:
        file.write("\n\nKIND = (LatticeConfig, Lattices)\n")
    return tmp_path


def test_a_plug_in_that_generates_speaks_ase(plugin):
    path = os.pathsep.join([str(plugin), *sys.path])
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", USE], cwd=plugin, env=os.environ | {"PYTHONPATH": path},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "AttributeError" in done.stdout and "got a Lattices, which predicts nothing" in done.stdout
