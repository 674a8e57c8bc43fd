import fcntl
import json
import os
import sys

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from ase_mlx.data.io import read_frames
from ase_mlx.data.label import Teacher, content_key, label

SCRIPT = """
import os, sys, time
from pathlib import Path
asked = []
for line in sys.stdin:
    folder = Path(line.strip())
    count, comment, *atoms = (folder / "frame.extxyz").read_text().splitlines()
    comment = comment.replace("pos:R:3", "pos:R:3:forces:R:3")
    energy, forces = "-1.5", " 0.1 0.2 0.3"
    kind = comment.split("kind=")[1].split()[0] if "kind=" in comment else "good"
    if kind == "nan": energy = "nan"
    if kind == "lost": count, atoms = "1", atoms[:1]
    if kind == "moved": atoms[0] = atoms[0].replace("0.00000000", "0.50000000", 1)
    if kind == "forceless": comment, forces = comment.replace(":forces:R:3", ""), ""
    if kind == "crash": os._exit(3)
    if kind == "hang": time.sleep(60)
    if kind == "failure": (folder / "failure.txt").write_text("SCF not converged")
    if kind == "silent": print("answered", flush=True); continue
    if kind == "pair":
        (folder.parent.parent / ("here" + folder.name)).touch()
        end = time.time() + 20
        while len(list(folder.parent.parent.glob("here*"))) < 2 and time.time() < end: time.sleep(0.02)
        energy = str(len(list(folder.parent.parent.glob("here*"))))
    atoms = [line + forces for line in atoms]
    comment += f" energy={energy} free_energy={energy} threads={os.environ['OMP_NUM_THREADS']}"
    (folder / "labelled.extxyz").write_text("\\n".join([count, comment, *atoms]) + "\\n")
    print("answered", flush=True)
"""


def fake(identity="one", timeout=30.0):
    return Teacher("fake", (sys.executable, "-S", "-c", SCRIPT), identity, timeout)


def structures(n, **info):
    frames = [bulk("Si", a=5.4 + 0.01 * i) for i in range(n)]
    for i, atoms in enumerate(frames):
        atoms.info.update(config_name=f"si_{i}", **info)
    return frames


def journal(out):
    return [json.loads(line) for line in (out.parent / f"{out.name}.journal.jsonl").read_text().splitlines()]


def names(out):
    return [atoms.info["config_name"] for atoms in read_frames(out)]


def test_frames_keep_order_and_info_and_get_labels(tmp_path):
    out = tmp_path / "out.extxyz"
    report = label(structures(3, family="si2", part="test"), fake(), out)
    assert (report.done, report.kept, report.failed) == (3, 0, {})
    assert names(out) == ["si_0", "si_1", "si_2"]
    atoms = read_frames(out)[1]
    assert atoms.info["family"] == "si2" and atoms.info["part"] == "test" and atoms.info["threads"] == 1
    assert atoms.get_potential_energy(force_consistent=True) == -1.5
    np.testing.assert_allclose(atoms.get_forces(), [[0.1, 0.2, 0.3]] * 2)
    assert [line.get("state") for line in journal(out)] == [None, "done", "done", "done"]


def test_a_second_call_goes_on_and_redoes_nothing(tmp_path):
    out = tmp_path / "out.extxyz"
    label(structures(2), fake(), out)
    before = out.read_bytes()
    report = label(structures(4), fake(), out)
    assert (report.done, report.kept) == (2, 2)
    assert out.read_bytes().startswith(before) and len(names(out)) == 4


def test_equal_structures_are_labelled_once_and_equal_names_are_no_matter(tmp_path):
    out = tmp_path / "out.extxyz"
    frames = structures(2)
    frames[1].info["config_name"] = "si_0"
    report = label([*frames, frames[0].copy()], fake(), out)
    assert (report.done, report.duplicates) == (2, 1)
    assert names(out) == ["si_0", "si_0"]
    assert read_frames(out)[0].cell[0, 1] != read_frames(out)[1].cell[0, 1]


@pytest.mark.parametrize("cut", [1, 30, 200])
def test_half_a_frame_is_cut_off_and_done_again(tmp_path, cut):
    out = tmp_path / "out.extxyz"
    label(structures(3), fake(), out)
    whole = out.read_bytes()
    os.truncate(out, len(whole) - cut)
    report = label(structures(3), fake(), out)
    assert (report.done, report.kept) == (1, 2)
    assert out.read_bytes() == whole


def test_half_a_journal_line_is_cut_off(tmp_path):
    out = tmp_path / "out.extxyz"
    label(structures(2), fake(), out)
    with (tmp_path / "out.extxyz.journal.jsonl").open("a") as file:
        file.write('{"key": "12')
    assert label(structures(3), fake(), out).done == 1
    assert len(journal(out)) == 4


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("nan", "NaN or infinite"),
        ("lost", "gave Si for Si2"),
        ("moved", "moved the atoms"),
        ("forceless", "no forces"),
        ("crash", "ended with code 3"),
        ("failure", "SCF not converged"),
        ("silent", "FileNotFoundError"),
    ],
)
def test_a_bad_answer_is_noted_and_never_in_the_output(tmp_path, kind, reason):
    out = tmp_path / "out.extxyz"
    frames = structures(3)
    frames[1].info["kind"] = kind
    report = label(frames, fake(), out)
    assert report.done == 2 and reason in report.failed["si_1"]
    assert names(out) == ["si_0", "si_2"]
    assert [line["name"] for line in journal(out) if line.get("state") == "failed"] == ["si_1"]


def test_a_late_frame_is_killed_and_the_next_one_served(tmp_path):
    out = tmp_path / "out.extxyz"
    frames = structures(2)
    frames[0].info["kind"] = "hang"
    report = label(frames, fake(timeout=0.8), out)
    assert report.failed == {"si_0": "timeout: not done after 0.8 s"}
    assert names(out) == ["si_1"] and report.seconds < 20


def test_what_failed_is_tried_again_only_when_asked(tmp_path):
    out = tmp_path / "out.extxyz"
    frames = structures(2)
    frames[0].info["kind"] = "failure"
    label(frames, fake(), out)
    del frames[0].info["kind"]
    again = label(frames, fake(), out)
    assert again.done == 0 and list(again.failed) == ["si_0"]
    assert label(frames, fake(), out, retry=True).done == 1
    last = label(frames, fake(), out)
    assert (last.kept, last.failed) == (2, {})


def test_two_workers_work_at_the_same_time(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    out = tmp_path / "out.extxyz"
    assert label(structures(2, kind="pair"), fake(), out, workers=2).done == 2
    assert [atoms.get_potential_energy() for atoms in read_frames(out)] == [2.0, 2.0]


def test_other_settings_and_foreign_files_are_refused_and_left_alone(tmp_path):
    out = tmp_path / "out.extxyz"
    label(structures(1), fake(), out)
    before = out.read_bytes()
    with pytest.raises(ValueError, match="other settings"):
        label(structures(2), fake("two"), out)
    assert out.read_bytes() == before
    foreign = tmp_path / "foreign.extxyz"
    foreign.write_bytes(before)
    with pytest.raises(ValueError, match="no journal"):
        label(structures(2), fake(), foreign)
    assert foreign.read_bytes() == before


def test_a_damaged_output_is_refused(tmp_path):
    out = tmp_path / "out.extxyz"
    label(structures(1), fake(), out)
    out.write_bytes(b"two\n" + out.read_bytes())
    with pytest.raises(ValueError, match="no extxyz file at byte 0"):
        label(structures(2), fake(), out)


def test_two_calls_into_one_file_are_refused(tmp_path):
    out = tmp_path / "out.extxyz"
    with (tmp_path / "out.extxyz.journal.jsonl").open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError, match="another process"):
            label(structures(1), fake(), out)


def test_a_full_disk_leaves_whole_frames(tmp_path, monkeypatch):
    out = tmp_path / "out.extxyz"
    label(structures(1), fake(), out)
    before = out.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ase_mlx.data.journal.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        label(structures(3), fake(), out)
    assert out.read_bytes() == before
    monkeypatch.undo()
    assert label(structures(3), fake(), out).done == 2


def test_an_error_of_the_caller_stops_the_work(tmp_path):
    out = tmp_path / "out.extxyz"

    def stop(name, state):
        raise KeyError(name)

    with pytest.raises(KeyError, match="si_0"):
        label(structures(3), fake(), out, progress=stop)
    assert names(out) == ["si_0"]


def test_progress_tells_each_frame(tmp_path):
    told = []
    frames = structures(2)
    frames[1].info["kind"] = "failure"
    label(frames, fake(), tmp_path / "out.extxyz", progress=lambda *seen: told.append(seen))
    assert told == [("si_0", "done"), ("si_1", "failed")]


@pytest.mark.parametrize(("frames", "workers"), [([], 1), ([Atoms("H")], 0)])
def test_nothing_to_do_is_refused(tmp_path, frames, workers):
    with pytest.raises(ValueError, match="at least one of each"):
        label(frames, fake(), tmp_path / "out.extxyz", workers=workers)


def test_the_key_sees_what_a_teacher_sees():
    atoms = bulk("Fe", cubic=True)
    atoms.set_initial_magnetic_moments([0.0, 0.0])
    same = atoms.copy()
    same.positions[0] = -0.0
    same.info["config_name"] = "other"
    assert content_key(same) == content_key(atoms)
    changed = [atoms.copy() for _ in range(5)]
    changed[0].positions[1, 2] += 1e-6
    changed[1].set_initial_magnetic_moments([1, -1])
    changed[2].info["family"] = "bcc"
    changed[3].pbc = (True, True, False)
    changed[4].numbers[0] = 27
    assert len({content_key(a) for a in [atoms, *changed]}) == 6
