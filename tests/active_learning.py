"""A small active learning of copper and gold by EMT: files, settings, calls of its teacher."""

import functools
import os
from pathlib import Path

import commands
import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from ase_mlx import cli
from ase_mlx.learn import uncertainty

CONFIG = """
pool = ["pool.extxyz"]
validation = "validation.extxyz"
test = "test.extxyz"
acquisition = "{acquisition}"
costs = "{costs}"
batch = 3
first = 4
rounds = {rounds}
{more}
[teacher]
name = "counted_emt:Counted"
config = "teacher.toml"

[model]
cutoff = 3.4
channels = 8
layers = 1
l_max = 1
latent = 12
members = 4

[fit]
epochs = 3
batch_size = 2
learning_rate = 0.005
{tables}
"""


def structures(count, seed, size=0.1, kinds=()):
    """Make rattled cells of four atoms of copper, every other one with an atom of gold."""
    random = np.random.default_rng(seed)
    frames = []
    for k in range(count):
        atoms = bulk("Cu", cubic=True)
        atoms.symbols[0] = "Au" if k % 2 else "Cu"
        atoms.positions += size * random.standard_normal((4, 3))
        atoms.info = {"config_name": f"frame {seed}-{k}", "kind": kinds[k] if k < len(kinds) else "bulk"}
        frames.append(atoms)
    return frames


def labelled(frames):
    for atoms in frames:
        results = {name: EMT().get_property(name, atoms) for name in ("energy", "forces", "stress")}
        atoms.calc = SinglePointCalculator(atoms, **results)
    return frames


def prepared(folder, count=10, acquisition="variance", costs="counted", rounds=2, kinds=(), more="", tables=""):
    """Write pool, validation (unlabelled), test (labelled) and settings."""
    folder.mkdir(exist_ok=True)
    write(folder / "pool.extxyz", structures(count, 1, kinds=kinds))
    write(folder / "validation.extxyz", structures(2, 2))
    write(folder / "test.extxyz", labelled(structures(2, 3)))
    seconds = 15.0 if "hang" in kinds else 300.0  # a loaded machine takes long to start a teacher
    (folder / "teacher.toml").write_text(f"timeout_s = {seconds}\n")
    text = CONFIG.format(acquisition=acquisition, costs=costs, rounds=rounds, more=more, tables=tables)
    (folder / "active.toml").write_text(text)
    return folder / "active.toml"


def environment(monkeypatch, folder, **more):
    """Let the teacher's process find its module, and count into a file of the folder."""
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("COUNTED", str(folder / "calls.txt"))
    for name, value in more.items():
        monkeypatch.setenv(name, value)


def calls(folder):
    """Name the frames that the teacher was asked for, in order."""
    path = folder / "calls.txt"
    return path.read_text().splitlines() if path.exists() else []


def quick(change=setattr):
    """Fit members in few steps: their fit takes most of the time of such small trainings."""
    change(uncertainty, "fit_members", functools.partial(uncertainty.fit_members, steps=40))


def main():
    """Run the command line as quickly as this process learns."""
    quick()
    return cli.main()


def start(folder, *arguments):
    """Run the command line in a process of its own, as quick as this one."""
    return commands.start(folder, *arguments, program=main)
