"""`ase-mlx data` as a user calls it."""

import json

import ase.io
import pytest
from tiny import labelled
from typer.testing import CliRunner

from ase_mlx.cli import app
from ase_mlx.data.io import write_frames
from ase_mlx.data.shards import Shards


def call(folder, monkeypatch, *arguments):
    monkeypatch.chdir(folder)
    run = CliRunner().invoke(app, ["data", *map(str, arguments)])
    return run.exit_code, " ".join("".join(c for c in run.output if c not in "│╭╮╰╯─").split())


@pytest.fixture
def folder(tmp_path):
    frames = labelled(6)
    for k, atoms in enumerate(frames):
        atoms.info["part"] = "train" if k else "val"
    write_frames(tmp_path / "a.extxyz.xz", frames)
    frames[2].calc = None
    write_frames(tmp_path / "b.extxyz", frames)
    return tmp_path


def test_files_become_shards_and_are_looked_at(folder, monkeypatch):
    code, words = call(folder, monkeypatch, "a.extxyz.xz", "-o", "frames")
    assert code == 0 and "part: train" in words and "from a.extxyz.xz" in words and "elements: Al Au" in words
    assert len(Shards(folder / "frames")) == 6
    code, again = call(folder, monkeypatch, "frames")
    assert code == 0 and again == words
    code, _ = call(folder, monkeypatch, "frames", "--json", "a.json")
    result = json.loads((folder / "a.json").read_text())
    assert code == 0 and result["parts"]["train"]["frames"] == 5 and result["refused"] == {}


def test_a_frame_without_labels_is_named_and_the_others_are_kept(folder, monkeypatch):
    code, words = call(folder, monkeypatch, "a.extxyz.xz", "b.extxyz", "-o", "frames")
    assert code == 1 and "left out: got alloy 2 of b.extxyz without energy and forces" in words
    assert len(Shards(folder / "frames")) == 11
    assert call(folder, monkeypatch, "frames")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("a.extxyz.xz",), "add -o FOLDER"),
        (("nothing.db", "-o", "x"), "no file of this name"),
        ((".",), "repeat the call"),
        (("a.extxyz.xz", "-o", "."), "files that were not written here"),
        (("a.extxyz.xz", "-o", "x", "--energy", "REF_energy"), "without 'REF_energy'"),
        (("bare.extxyz", "-o", "x"), "got no frame with labels from bare.extxyz"),
    ],
)
def test_a_wrong_call_writes_nothing(folder, monkeypatch, arguments, why):
    frames = labelled(2)
    for atoms in frames:
        atoms.calc = None
    ase.io.write(folder / "bare.extxyz", frames)
    before = sorted(folder.iterdir())
    code, words = call(folder, monkeypatch, *arguments)
    assert code == 2 and why in words and sorted(folder.iterdir()) == before
