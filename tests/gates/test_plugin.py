"""A package of somebody else, installed by pip, whose kinds are taught, killed, resumed and asked like ours."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny import labelled

from ase_mlx.data.io import write_frames

PACKAGE = Path(__file__).resolve().parents[1] / "plugin"
KINDS = {
    "pairs": '[data]\nfile = "frames.extxyz"\n[fit]\nepochs = {epochs}\nlearning_rate = 0.02\n',
    "cells": '[data]\nfile = "frames.extxyz"\n[fit]\nepochs = {epochs}\nlearning_rate = 0.05\n',
    "rod": "[fit]\nepochs = {epochs}\nlearning_rate = 0.01\n",
}
EPOCHS = {"pairs": 100, "cells": 400, "rod": 100}
"""Cells are sampled afterwards and have to be learned."""

DATA = {"pairs": "frames.extxyz", "cells": "frames.extxyz", "rod": "rod.csv"}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with the package as pip installs it, and data for its kinds."""
    folder = tmp_path_factory.mktemp("plugin")
    pip = ["-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-build-isolation", "--target"]
    source = folder / "source"
    subprocess.run(["cp", "-r", PACKAGE, source], check=True)
    subprocess.run([sys.executable, *pip, folder / "site", source], check=True, capture_output=True)
    write_frames(folder / "frames.extxyz", labelled(12))
    table = (
        "from my_kinds.rod_recipe import exact; import numpy as np; np.savetxt('rod.csv', exact(0.1), delimiter=',')"
    )
    python(folder, table)
    return folder


def environment(folder):
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(folder / "site"), *sys.path]), "OMP_NUM_THREADS": "1"}


def python(folder, code):
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment(folder), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def command(folder, *words):
    code = "from ase_mlx.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)], cwd=folder, env=environment(folder), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def ended(process):
    out, err = process.communicate()
    return process.returncode, out, err


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_another_package_is_trained_killed_resumed_and_evaluated(site, kind):
    settings = f'kind = "{kind}"\n' + KINDS[kind].format(epochs=EPOCHS[kind])
    (site / f"{kind}.toml").write_text(settings, encoding="utf-8")
    with command(site, "train", f"{kind}.toml", "-o", f"{kind}-killed") as process:
        end = time.monotonic() + 200
        checkpoint = site / f"{kind}-killed" / "checkpoint.safetensors"
        while not checkpoint.exists() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        err = process.stderr.read()
    assert process.returncode == -signal.SIGKILL, err
    assert not (site / f"{kind}-killed" / "card.json").exists()
    for out in (f"{kind}-killed", f"{kind}-whole"):
        code, _, err = ended(command(site, "train", f"{kind}.toml", "-o", out))
        assert code == 0, err
    same = f"""
from ase_mlx.learn.files import load_model, parameters_equal
print(parameters_equal(load_model("{kind}-killed"), load_model("{kind}-whole")))
"""
    assert python(site, same).split() == ["True"]
    code, out, err = ended(command(site, "evaluate", f"{kind}-whole", DATA[kind], "-o", f"{kind}-evaluation"))
    assert code == 0, err
    assert "MAE" in out and (site / f"{kind}-evaluation" / "parity.png").stat().st_size > 10_000
    (site / "wrong.toml").write_text(settings.replace("epochs", "epohcs"), encoding="utf-8")
    code, _, err = ended(command(site, "train", "wrong.toml", "-o", "wrong"))
    assert code == 2 and "did you mean 'epochs'" in err


USE = """
import numpy as np, pandas as pd
import ase_mlx as am
from ase.build import bulk
from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.matminer import ModelFeaturizer
from ase_mlx.testing import check_model

model = am.load("pairs-whole")
atoms = bulk("Al", cubic=True)
atoms.rattle(0.05)
atoms.calc = Calculator(model)
forces = atoms.get_forces()
assert abs(forces.sum(0)).max() < 1e-6 and abs(forces).max() > 1e-3
assert atoms.calc.get_property("forces_std", atoms).shape == (4, 3)
table = ModelFeaturizer(model).featurize_dataframe(pd.DataFrame({"structure": [bulk("Al")]}), "structure", pbar=False)
print([name for name in table if "energy" in name])
assert abs(am.predict(model, bulk("Al"))["energy"] - am.predict(model, bulk("Al", cubic=True))["energy"] / 4) < 1e-4
atoms = am.load("cells-whole").sample(100, seed=1)
edges = np.array([a.cell[0, 0] for a in atoms])
print(type(atoms[0]).__module__, edges.mean(), edges.std())
"""


def test_kinds_of_another_package_are_used_like_ours(site):
    for kind in ("pairs", "cells"):
        if not (site / f"{kind}-whole").exists():
            pytest.skip("trained by the test before")
    words = python(site, USE)
    assert "energy" in words and "ase.atoms" in words
    mean, spread = map(float, words.split()[-2:])
    assert mean == pytest.approx(4.05, abs=0.1) and spread < 0.4
