"""Columns of the Hessian in the script that merges DFT frames, `data/build.py`."""

import importlib.util
import lzma
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from ase_mlx.data.io import read_frames, write_frames

DATA = Path(__file__).resolve().parents[3] / "data"


@pytest.fixture(scope="module")
def build():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DATA))
        spec = importlib.util.spec_from_file_location("data_build", DATA / "build.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


def frame(name, family="si8", part="train", seed=None, **info):
    random = np.random.default_rng(seed)
    atoms = bulk("Si", "diamond", a=5.43, cubic=True)
    if seed is not None:
        atoms.positions += np.round(0.02 * random.standard_normal((8, 3)), 8)
    forces = np.round(random.standard_normal((8, 3)), 8)
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, free_energy=-2.0, forces=forces, stress=np.zeros(6))
    atoms.info = {"config_name": name, "family": family, "part": part, "source": "label"} | info
    return atoms


def test_columns_are_differences_from_the_base(build, tmp_path):
    base, moved = frame("a", seed=1), frame("a_hv", seed=2, base="a")
    frames = [build.slim(atoms) for atoms in (moved, base)]
    build.add_columns(frames)
    assert "displacement" not in frames[1].arrays
    expected = moved.positions - base.positions
    assert frames[0].arrays["displacement"] == pytest.approx(expected, abs=1e-8)
    assert frames[0].arrays["force_change"] == pytest.approx(moved.get_forces() - base.get_forces(), abs=1e-8)
    write_frames(tmp_path / "first.extxyz", frames)
    again = [build.slim(atoms) for atoms in read_frames(tmp_path / "first.extxyz")]
    build.add_columns(again)
    write_frames(tmp_path / "second.extxyz", again)
    assert (tmp_path / "first.extxyz").read_bytes() == (tmp_path / "second.extxyz").read_bytes()


def test_columns_without_their_base_are_refused(build):
    base = frame("a", seed=1)
    with pytest.raises(ValueError, match="got a_hv without its base a"):
        build.add_columns([frame("a_hv", seed=2, base="a")])
    with pytest.raises(ValueError, match="got a_hv in test, its base in train"):
        build.add_columns([base, frame("a_hv", seed=2, base="a", part="test")])
    for change in ("cell", "far", "other"):
        moved = frame("a_hv", seed=2, base="a")
        if change == "cell":
            moved.set_cell(1.01 * moved.cell)
        elif change == "far":
            moved.positions[0] += moved.cell[0]
        else:
            moved.numbers[0] = 32
        with pytest.raises(ValueError, match="not a with all atoms displaced a little"):
            build.add_columns([base, moved])


def test_labelled_frames_get_weights_and_the_base_that_the_data_has(build, tmp_path):
    frames = [
        frame("si8_perfect_0", energy_weight=0),
        frame("si8_perfect_0_hv", base="si8_perfect_0", energy_weight=0, seed=1),
        frame("ge2_eos_0", family="ge2_eos", part="reference"),
        frame("si64ph_v1_0", family="si64ph", part="reference"),
    ]
    write_frames(tmp_path / "labelled.extxyz", frames)
    found = build.labelled_frames((str(tmp_path / "labelled.extxyz"),))
    assert [a.info["config_name"] for a in found] == ["si8_perfect_0_hv", "ge2_eos_0", "si64ph_v1_0"]
    assert [a.info["energy_weight"] for a in found] == [1, 0, 0]
    assert found[0].info["base"] == "si8_eos_3"
    with lzma.open(DATA / "sigesn.extxyz.xz", "rt") as data:
        assert "config_name=si8_eos_3 " in data.read()
