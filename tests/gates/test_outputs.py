"""Where results go, as a user meets it: a folder holds one call's, places are looked at before the work."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from typer.testing import CliRunner

from ase_mlx.cli import app
from ase_mlx.cli.output import stem
from ase_mlx.data.io import write_frames
from ase_mlx.figures import main as figures

DATA = Path(__file__).parents[1] / "reference" / "data"
EMT_PHONONS = ("-c", "emt", "--no-relax", "--supercell", "2 2 2")
EMT_TEACHER = "ase.calculators.emt:EMT"
CONFIG = '[data]\nfile = "labelled.extxyz"\n[model]\ncutoff = 4.0\nchannels = 4\nlayers = 1\n[fit]\nepochs = 2\n'


def call(*arguments):
    done = CliRunner().invoke(app, [*map(str, arguments)])
    return done.exit_code, " ".join(done.output.replace("│", " ").split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    bulk("Al").write(folder / "al.cif")
    bulk("Cu").write(folder / "cu.cif")
    bulk("Si").write(folder / "si.cif")
    fcc111("Al", (1, 1, 3), vacuum=8).write(folder / "slab.traj")
    frames = []
    for k in range(8):
        atoms = bulk("Al", cubic=True)
        atoms.rattle(0.1, seed=k)
        results = {name: EMT().get_property(name, atoms) for name in ("energy", "forces", "stress")}
        atoms.calc = SinglePointCalculator(atoms, **results)
        frames.append(atoms)
    write_frames(folder / "labelled.extxyz", frames)
    (folder / "train.toml").write_text(CONFIG)
    si = bulk("Si", cubic=True)
    row = {"numbers": si.numbers, "frac_coords": si.get_scaled_positions().ravel(), "lattice": si.cell.array.ravel()}
    pd.DataFrame([row] * 3).to_parquet(folder / "crystals.parquet")
    return folder


def names(folder):
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


@pytest.mark.slow
def test_a_second_call_leaves_nothing_of_the_first_and_touches_nothing_else(folder, tmp_path):
    out = tmp_path / "same"
    assert call("phonons", folder / "al.cif", *EMT_PHONONS, "-o", out)[0] == 0
    phonons = {"bands.csv", "thermal.csv", "phonons.png", "thermal.png", "phonopy_params.yaml"}
    assert phonons <= names(out)
    (out / "notes.txt").write_text("mine")
    assert call("phonons", folder / "cu.cif", *EMT_PHONONS, "-o", out)[0] == 0
    assert json.loads((out / "results.json").read_text())["formula"] == "Cu"
    assert call("run", folder / "slab.traj", "-o", out, "--steps", "50")[0] == 0
    assert not phonons & names(out)
    result = json.loads((out / "results.json").read_text())
    assert result["kind"] == "slab" and set(result["files"]) == names(out) - {"notes.txt", "work"}
    assert (out / "notes.txt").read_text() == "mine"


def test_files_that_we_did_not_write_stop_the_call_before_the_work(folder, tmp_path):
    for command, arguments, name in (
        ("run", (folder / "al.cif",), "results.csv"),
        ("phonons", (folder / "al.cif", *EMT_PHONONS), "phonopy_params.yaml"),
        ("conductivity", (folder / "al.cif", "-c", "emt"), "kappa.csv"),
        ("evaluate", ("al", folder / "labelled.extxyz"), "parity.png"),
        ("screen", (folder / "crystals.parquet",), "results.parquet"),
    ):
        out = tmp_path / command
        out.mkdir()
        (out / name).write_text("weeks of work")
        code, words = call(command, *arguments, "-o", out)
        assert code == 2 and name in words, words
        assert names(out) == {name} and (out / name).read_text() == "weeks of work"


def calls(folder, place):
    """Every command that writes, into a place."""
    return {
        "run": ("run", folder / "al.cif", "-o", place / "x"),
        "phonons": ("phonons", folder / "al.cif", *EMT_PHONONS, "-o", place / "x"),
        "conductivity": ("conductivity", folder / "al.cif", "-c", "emt", "-o", place / "x"),
        "compress": ("compress", DATA / "phono3py-nacl" / "phono3py_params.yaml.xz", "-o", place / "x.safetensors"),
        "sample": ("sample", folder / "al.cif", "-c", "emt", "-o", place / "x.extxyz"),
        "evaluate": ("evaluate", "al", folder / "labelled.extxyz", "-o", place / "x"),
        "train": ("train", folder / "train.toml", "-o", place / "x"),
        "label": ("label", folder / "labelled.extxyz", "--teacher", EMT_TEACHER, "-o", place / "x.extxyz"),
        "screen": ("screen", folder / "crystals.parquet", "-o", place / "x"),
        "density": ("density", folder / "si.cif", "-o", place / "CHGCAR"),
        "density png": ("density", folder / "si.cif", "-o", place / "x.png"),
        "density restart": ("density", folder / "si.cif", "--ecut", "20", "-o", place / "x"),
        "json": ("models", "--json", place / "x.json"),
    }  # fmt: skip


@pytest.mark.parametrize("command", [*calls(Path(), Path())])
def test_a_place_that_cannot_be_written_ends_the_call_at_once(folder, command):
    code, words = call(*calls(folder, Path("/proc"))[command])  # not even root makes files there
    assert code == 2 and "/proc/" in words and "could not write" in words, words


@pytest.mark.parametrize("command", ["run", "phonons", "sample", "train", "screen"])
def test_a_second_process_is_refused(folder, tmp_path, command):
    target = calls(folder, tmp_path)[command][-1]
    if command != "sample":
        target.mkdir()
    code = (
        "import sys, time; from ase_mlx.whole import sole\nwith sole(sys.argv[1]): print(1, flush=True); time.sleep(99)"
    )
    other = subprocess.Popen([sys.executable, "-c", code, target], stdout=subprocess.PIPE)
    try:
        other.stdout.readline()
        exit_code, words = call(*calls(folder, tmp_path)[command])
    finally:
        other.kill()
        other.communicate()
    assert exit_code == 2 and "another process is writing" in words, words
    assert not [
        path
        for path in tmp_path.rglob("*.*")
        if path.is_file() and path.name[0] != "." and path.name != "screening.json"
    ]


def test_outputs_are_never_the_input(folder, tmp_path):
    for arguments in (
        ("density", "CHGCAR", "-o", "CHGCAR"),
        ("compress", "a.yaml", "-o", "a.yaml"),
        ("sample", "al.extxyz", "-o", "al.extxyz", "-c", "emt"),
        ("models", "--json", "al.extxyz"),
    ):
        source = tmp_path / next(word for word in arguments[1:] if not word.startswith("-"))
        if source.name == "CHGCAR":
            source.write_text("not looked at")
        elif source.name == "a.yaml":
            source.write_text("a: 1")
        else:
            bulk("Al").write(source)
        before = source.read_bytes()
        code, _ = call(*(tmp_path / word if word == source.name else word for word in arguments))
        assert code == 2 and source.read_bytes() == before


def test_outputs_are_named_after_the_input():
    paths = ("a/silicon.cif", "Si.v2.extxyz.xz", "POSCAR", "POSCAR.Si", "CONTCAR.gz", ".hidden")
    assert [stem(Path(path)) for path in paths] == ["silicon", "Si.v2", "POSCAR", "POSCAR.Si", "CONTCAR", ".hidden"]


def test_all_figures_are_declared():
    assert set(re.findall(r'"(\w+\.png)"', Path(figures.__file__).read_text())) == set(figures.FIGURES)
