"""Shards hold what the frames hold, whatever stops their writing; what the index says is what the frames say."""

import json
import os
import signal
import subprocess
import sys

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.db import connect
from tiny import labelled

from ase_mlx.data import shard_files, shard_writer
from ase_mlx.data.io import read_frames, write_frames
from ase_mlx.data.samples import elements_of, name_of, reference_energies, split
from ase_mlx.data.shard_files import record
from ase_mlx.data.shard_writer import write_shards
from ase_mlx.data.shards import Shards
from ase_mlx.graph import from_atoms


def varied():
    """Frames of every kind: parts, weights, columns of the Hessian, a molecule, labels that travel."""
    frames = labelled(12)
    for k, atoms in enumerate(frames):
        atoms.info["part"] = ("train", "val", "test", "reference")[k % 4]
    frames[1].info |= {"energy_weight": 0, "note": "Å", "array": np.eye(2), "nested": {"a": [1, 2]}}
    frames[2].set_initial_charges([0.5, 0, -0.5, 0])
    frames[2].set_initial_magnetic_moments(np.arange(12.0).reshape(4, 3))
    frames[3].set_tags([1, 2, 3, 4])
    frames[3].set_masses([26, 27, 28, 190])
    frames[4].new_array("words", np.array(["a", "b", "c", "d"]))
    frames[5].set_constraint(FixAtoms([0, 2]))
    frames[6].calc.results |= {"magmoms": np.arange(4.0), "dipole": np.ones(3), "magmom": 2.0}
    moved = np.zeros((4, 3))
    moved[0] = 0.02
    frames[8].arrays |= {"displacement": moved, "force_change": -moved}
    water = molecule("H2O")
    water.calc = SinglePointCalculator(water, energy=-14.0, forces=np.zeros((3, 3), order="F"))
    water.info["part"] = "train"
    return [*frames, water]


def expect_same(one, other):
    assert one == other and np.array_equal(one.cell, other.cell)
    assert one.arrays.keys() == other.arrays.keys()
    for name in one.arrays:
        assert np.array_equal(one.arrays[name], other.arrays[name])
    assert repr(one.info) == repr(other.info) and repr(one.constraints) == repr(other.constraints)
    for name, value in other.calc.results.items():
        assert np.array_equal(one.calc.results[name], value), name


@pytest.fixture(scope="module")
def frames():
    return varied()


@pytest.fixture
def small(monkeypatch):
    """Files of three frames or so."""
    monkeypatch.setattr(shard_writer, "SHARD", 2500)


def write(tmp_path, frames):
    """Frames as they are in memory."""
    with shard_writer.ShardWriter(tmp_path / "shards", ["a"], "call") as writer:
        for k, atoms in enumerate(frames):
            name = f"{name_of(atoms, k)} of a"
            try:
                frame = record(atoms, name)
            except ValueError as error:
                writer.refuse(name, str(error), (0, k))
            else:
                writer.add(frame, (0, k))
        writer.finish()
    return Shards(tmp_path / "shards")


def test_what_is_on_a_frame_comes_back(tmp_path, small, frames):
    shards = write(tmp_path, frames)
    assert len(list((tmp_path / "shards").glob("shard-*"))) >= 3
    for k in np.random.default_rng(0).permutation(len(frames)).tolist():
        expect_same(shards[k], frames[k])
    with pytest.raises(IndexError, match="frame 13 of 13"):
        shards[13]


def test_few_files_are_open_and_each_is_compared_once(tmp_path, small, frames, monkeypatch):
    shards = write(tmp_path, frames)
    compared, check = [], shard_files.check_tensors
    monkeypatch.setattr(shard_files, "check_tensors", lambda *a, **k: compared.append(a) or check(*a, **k))
    monkeypatch.setattr("ase_mlx.data.shards.OPEN", 1)
    open_before = len(os.listdir("/proc/self/fd"))
    for k in [0, 12, 6, 0, 12, 6, 3]:
        expect_same(shards[k], frames[k])
        assert len(os.listdir("/proc/self/fd")) <= open_before + 1
    assert len(compared) == 3


def test_the_index_says_what_the_frames_say(tmp_path, small, frames):
    shards = write(tmp_path, frames)
    parts = split(frames)
    assert {part: list(places) for part, places in shards.split().items()} == parts
    used = [frames[k] for k in parts["train"] if k < 12]
    places = np.array([k for k in parts["train"] if k < 12])
    assert shards.elements(places) == elements_of(used) == (13, 79) and shards.elements() == (1, 8, 13, 79)
    expected = reference_energies(used, (13, 79))
    np.testing.assert_allclose(shards.reference_energies(places, (13, 79)), expected, atol=1e-9)
    forces = np.concatenate([atoms.calc.results["forces"] for atoms in used])
    assert shards.rms_force(places) == pytest.approx(np.sqrt((forces**2).mean()))
    edges = [len(from_atoms(atoms, 4.0).center) for atoms in frames]
    assert list(shards.edges(4.0)) == edges
    again = Shards(tmp_path / "shards")
    (tmp_path / "shards" / "shard-00000.safetensors").unlink()
    assert list(again.edges(4.0)) == edges  # kept: nothing is read
    summary = again.summary()
    assert summary["frames"] == 13 and summary["parts"]["other parts"]["frames"] == 3
    assert summary["hessian_columns"] == 1 and summary["with_stress"] == 12
    assert summary["largest_force"] == pytest.approx(
        max(np.linalg.norm(atoms.calc.results["forces"], axis=1).max() for atoms in frames)
    )
    json.dumps(summary)


def test_parts_are_drawn_as_from_a_list(tmp_path):
    frames = labelled(9)
    shards = write(tmp_path, frames)
    drawn = {part: list(places) for part, places in shards.split(3, 0.3).items()}
    assert drawn == split(frames, 3, 0.3) and len(drawn["val"]) == 3


def test_mixed_units_are_refused_by_name(tmp_path):
    frames = labelled(9)
    frames[4].calc.results["energy"] *= 13.6
    frames[4].calc.results["energy"] -= 400
    shards = write(tmp_path, frames)
    with pytest.raises(ValueError, match="1 of 9 frames far from one reference energy per element: alloy 4"):
        shards.reference_energies(np.arange(9), (13, 79))


def test_databases_labelled_files_and_shards_are_read(tmp_path, frames):
    bare = labelled(5)
    with connect(tmp_path / "a.db") as rows:
        for k, atoms in enumerate(bare):
            rows.write(atoms, part="train", config_name=f"row {k}", data={"mesh": [3, 3, 3]})
    write_frames(tmp_path / "b.extxyz.xz", bare)
    (tmp_path / "b.extxyz.xz.journal.jsonl").write_text("{}\n")
    shards = write_shards([tmp_path / "a.db", tmp_path / "b.extxyz.xz.journal.jsonl"], tmp_path / "one")
    assert shards[2].info == {"part": "train", "config_name": "row 2", "mesh": [3, 3, 3]}
    assert shards.origins == ("a.db", "b.extxyz.xz") and list(shards.columns["origin"]) == [0] * 5 + [1] * 5
    both = write_shards([tmp_path / "one", tmp_path / "a.db"], tmp_path / "two")
    assert len(both) == 15 and list(shards.summary()["origins"]) == ["a.db", "b.extxyz.xz"]
    expect_same(both[7], shards[7])


def test_labels_under_other_names(tmp_path):
    frames = labelled(3)
    for atoms in frames:
        results, atoms.calc = atoms.calc.results, None
        atoms.info |= {"REF_energy": results["energy"], "REF_stress": results["stress"]}
        atoms.arrays["REF_forces"] = results["forces"]
    write_frames(tmp_path / "frames.extxyz", frames)
    frames = read_frames(tmp_path / "frames.extxyz")
    with pytest.raises(ValueError, match="no frame with labels from frames.extxyz.*got alloy 0 .*energy = .REF_energy"):
        write_shards([tmp_path / "frames.extxyz"], tmp_path / "shards")
    assert not (tmp_path / "shards").exists()
    shards = write_shards([tmp_path / "frames.extxyz"], tmp_path / "shards", "REF_energy", "REF_forces", "REF_stress")
    assert shards[1].calc.results["energy"] == frames[1].info["REF_energy"] and "REF_energy" not in shards[1].info
    assert (shards[1].calc.results["forces"] == frames[1].arrays["REF_forces"]).all()
    assert list(shards[1].arrays) == ["numbers", "positions"] and "stress" in shards[1].calc.results


def test_frames_without_labels_are_named_and_the_others_kept(tmp_path):
    frames = labelled(6)
    frames[1].calc = None
    frames[3].calc.results["forces"][0, 0] = np.nan
    frames[4].info["odd"] = Atoms
    frames[5].positions[0] = np.inf
    shards = write(tmp_path, frames)
    assert [shards.name(k) for k in range(len(shards))] == ["alloy 0", "alloy 2"]
    reasons = shards.refused
    assert "without energy and forces" in reasons["alloy 1 of a"]
    assert "NaN" in reasons["alloy 3 of a"] and "take it off" in reasons["alloy 4 of a"]
    assert "alloy 5 of a: got NaN or infinite positions" in reasons["alloy 5 of a"]


KILLED = """
import sys
from ase_mlx.data import shard_files, shard_writer
shard_writer.SHARD = 2500
print("begin", flush=True)
def stop(frames, refused):
    if frames == 8:
        import os, signal
        os.kill(os.getpid(), signal.SIGKILL)
shard_writer.write_shards([sys.argv[1], sys.argv[2]], sys.argv[3], progress=stop)
"""


def test_a_killed_call_goes_on(tmp_path, small, frames):
    frames = [*frames]
    frames[2] = frames[2].copy()  # no labels
    ase.io.write(tmp_path / "a.traj", frames[:5])
    ase.io.write(tmp_path / "b.traj", frames[5:])
    whole = write_shards([tmp_path / "a.traj", tmp_path / "b.traj"], tmp_path / "whole")
    files = [str(tmp_path / name) for name in ("a.traj", "b.traj", "cut")]
    done = subprocess.run([sys.executable, "-c", KILLED, *files], env=os.environ, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    finished = sorted(path.name for path in (tmp_path / "cut").glob("shard-*"))
    assert finished and not (tmp_path / "cut" / "index.safetensors").exists()
    with pytest.raises(FileNotFoundError, match="repeat the call that was writing"):
        Shards(tmp_path / "cut")
    before = {name: (tmp_path / "cut" / name).stat().st_mtime_ns for name in finished}
    with pytest.raises(FileExistsError, match="beginning of another call"):
        write_shards([tmp_path / "a.traj"], tmp_path / "cut")
    cut = write_shards(files[:2], tmp_path / "cut")
    assert {name: (tmp_path / "cut" / name).stat().st_mtime_ns for name in finished} == before
    assert cut.digest == whole.digest and cut.refused == whole.refused and len(cut) == len(frames) - 1
    assert write_shards(files[:2], tmp_path / "cut").digest == whole.digest  # done: nothing to do
    with pytest.raises(FileExistsError, match=r"shards of another call.*only grew, .* FOLDER NEW -o ALL`"):
        write_shards([tmp_path / "a.traj"], tmp_path / "cut")


def test_a_grown_file_is_joined_as_the_refusal_says(tmp_path, frames, small):
    frames = [frames[0], *frames[3:6]]
    ase.io.write(tmp_path / "new.traj", frames[2:])
    ase.io.write(tmp_path / "a.traj", frames[:2])
    write_shards([tmp_path / "a.traj"], tmp_path / "old")
    joined = write_shards([tmp_path / "old", tmp_path / "new.traj"], tmp_path / "all")
    assert [atoms.get_potential_energy() for atoms in joined] == [atoms.get_potential_energy() for atoms in frames]


def test_counting_neighbours_says_how_far_it_is(tmp_path, frames, monkeypatch, caplog):
    monkeypatch.setattr("ase_mlx.data.shards.EVERY", -1.0)
    with caplog.at_level("INFO", "ase_mlx.data.shards"):
        write(tmp_path, frames).edges(4.0)
    assert f"neighbours within 4 Å counted in 1 of {len(frames)} frames" in caplog.text


def test_foreign_folders_stay(tmp_path, frames):
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "thesis.txt").write_text("all of it")
    with pytest.raises(FileExistsError, match="files that were not written here"):
        write(tmp_path, frames)
    assert (tmp_path / "shards" / "thesis.txt").read_text() == "all of it"


@pytest.mark.parametrize("name", ["index.safetensors", "shard-00001.safetensors"])
@pytest.mark.parametrize("damage", ["a bit", "its end", "all", "another"])
def test_damage_is_named(tmp_path, small, frames, name, damage):
    write(tmp_path, frames)
    path = tmp_path / "shards" / name
    data = path.read_bytes()
    if damage == "another":
        data = (tmp_path / "shards" / "shard-00000.safetensors").read_bytes()
    elif damage == "a bit":
        data = data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]
    else:
        data = data[: -10 if damage == "its end" else 0]
    path.write_bytes(data)
    with pytest.raises((ValueError, KeyError), match=name if damage != "another" else "format|another|belongs"):
        shards = Shards(tmp_path / "shards")
        for k in range(len(shards)):
            shards[k]
