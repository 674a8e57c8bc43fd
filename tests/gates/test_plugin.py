"""A package of somebody else, installed by pip, whose kinds are taught, killed, resumed and asked like ours."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ase.build import bulk
from commands import call, kill, start
from tiny import labelled

import ase_mlx as am
from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.matminer import ModelFeaturizer
from ase_mlx.data.io import write_frames
from ase_mlx.learn.files import load_model, parameters_equal

PACKAGE = Path(__file__).resolve().parents[1] / "plugin"
KINDS = {
    "pairs": '[data]\nfile = "frames.extxyz"\n[fit]\nepochs = {epochs}\nlearning_rate = 0.02\n',
    "cells": '[data]\nfile = "frames.extxyz"\n[fit]\nepochs = {epochs}\nlearning_rate = 0.05\n',
    "rod": "[fit]\nepochs = {epochs}\nlearning_rate = 0.01\n",
}
EPOCHS = {"pairs": 40, "cells": 400, "rod": 40}
"""Cells are sampled afterwards and have to be learned."""

DATA = {"pairs": "frames.extxyz", "cells": "frames.extxyz", "rod": "rod.csv"}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with data for the kinds of the package, which pip has installed where this process finds it."""
    folder = tmp_path_factory.mktemp("plugin")
    pip = ["-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-build-isolation", "--target"]
    source = folder / "source"
    subprocess.run(["cp", "-r", PACKAGE, source], check=True)
    subprocess.run([sys.executable, *pip, folder / "site", source], check=True, capture_output=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder / "site")
        from my_kinds.rod_recipe import exact

        write_frames(folder / "frames.extxyz", labelled(12))
        np.savetxt(folder / "rod.csv", exact(0.1), delimiter=",")
        yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == "my_kinds"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def trained(site):
    """One model of each kind, trained when it is first asked for."""
    folders = {}

    def folder(kind):
        if kind not in folders:
            settings = f'kind = "{kind}"\n' + KINDS[kind].format(epochs=EPOCHS[kind])
            (site / f"{kind}.toml").write_text(settings, encoding="utf-8")
            done = call(site, "train", f"{kind}.toml", "-o", f"{kind}-whole")
            assert done.returncode == 0, done.stderr
            folders[kind] = site / f"{kind}-whole"
        return folders[kind]

    return folder


@pytest.mark.parametrize("kind", ["pairs", *[pytest.param(k, marks=pytest.mark.slow) for k in ("cells", "rod")]])
def test_a_training_of_another_package_is_killed_and_resumed(site, trained, kind):
    whole = trained(kind)
    with start(site, "train", f"{kind}.toml", "-o", f"{kind}-killed") as process:
        assert kill(process, (site / f"{kind}-killed" / "checkpoint.safetensors").exists, 200)
    assert not (site / f"{kind}-killed" / "card.json").exists()
    done = call(site, "train", f"{kind}.toml", "-o", f"{kind}-killed")
    assert done.returncode == 0, done.stderr
    assert parameters_equal(load_model(site / f"{kind}-killed"), load_model(whole))


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_another_package_is_trained_and_evaluated(site, trained, kind):
    done = call(site, "evaluate", trained(kind), DATA[kind], "-o", f"{kind}-evaluation")
    assert done.returncode == 0, done.stderr
    assert "MAE" in done.stdout and (site / f"{kind}-evaluation" / "parity.png").stat().st_size > 10_000
    settings = (site / f"{kind}.toml").read_text(encoding="utf-8")
    (site / "wrong.toml").write_text(settings.replace("epochs", "epohcs"), encoding="utf-8")
    done = call(site, "train", "wrong.toml", "-o", "wrong")
    assert done.returncode == 2 and "did you mean 'epochs'" in " ".join(done.stderr.replace("│", " ").split())


def test_kinds_of_another_package_are_used_like_ours(trained):
    model = am.load(trained("pairs"))
    atoms = bulk("Al", cubic=True)
    atoms.rattle(0.05)
    atoms.calc = Calculator(model)
    forces = atoms.get_forces()
    assert abs(forces.sum(0)).max() < 1e-6 and abs(forces).max() > 1e-3
    assert atoms.calc.get_property("forces_std", atoms).shape == (4, 3)
    crystals = pd.DataFrame({"structure": [bulk("Al")]})
    table = ModelFeaturizer(model).featurize_dataframe(crystals, "structure", pbar=False)
    assert any("energy" in name for name in table)
    assert abs(am.predict(model, bulk("Al"))["energy"] - am.predict(model, bulk("Al", cubic=True))["energy"] / 4) < 1e-4
    atoms = am.load(trained("cells")).sample(100, seed=1)
    assert type(atoms[0]).__module__ == "ase.atoms"
    edges = np.array([a.cell[0, 0] for a in atoms])
    assert edges.mean() == pytest.approx(4.05, abs=0.1) and edges.std() < 0.4
