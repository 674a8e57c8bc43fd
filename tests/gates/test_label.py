import fcntl
import json
import os
import sys

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.constraints import FixAtoms, FixBondLength

from ase_mlx.data.io import read_frames
from ase_mlx.data.journal import Journal
from ase_mlx.data.label import Teacher, content_key, label

SCRIPT = """
import os, sys, time
from pathlib import Path
asked = []
for line in sys.stdin:
    folder = Path(line.strip())
    count, comment, *atoms = (folder / "frame.extxyz").read_text().splitlines()
    columns = comment.split("Properties=")[1].split()[0]
    comment = comment.replace(columns, columns + ":forces:R:3")
    energy, forces = "-1.5", " 0.1 0.2 0.3"
    kind = comment.split("kind=")[1].split()[0] if "kind=" in comment else "good"
    if kind == "nan": energy = "nan"
    if kind == "lost": count, atoms = "1", atoms[:1]
    if kind == "moved": atoms[0] = atoms[0].replace("0.00000000", "0.50000000", 1)
    if kind == "forceless": comment, forces = comment.replace(":forces:R:3", ""), ""
    if kind == "crash": os._exit(3)
    if kind == "hang": time.sleep(60)
    if kind == "failure" and "HEALED" not in os.environ: (folder / "failure.txt").write_text("SCF not converged")
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


def test_what_failed_is_tried_again_only_when_asked(tmp_path, monkeypatch):
    out = tmp_path / "out.extxyz"
    frames = structures(2)
    frames[0].info["kind"] = "failure"
    label(frames, fake(), out)
    monkeypatch.setenv("HEALED", "1")
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
    with pytest.raises(ValueError, match="line 1 .*number of atoms"):
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


def changed(out, line, text):
    """Put another text in the place of a line, counted from 1."""
    lines = out.read_bytes().split(b"\n")
    lines[line - 1] = text
    out.write_bytes(b"\n".join(lines))


@pytest.mark.parametrize(
    ("line", "text", "said"),
    [
        (9, b"3200", "line 9 .*not theirs"),  # the count of the third frame, of lines 1 to 20
        (9, b"999999999", "line 9 .*not theirs"),
        (9, b"99999999999999999999", "line 9 .*not theirs"),
        (9, b"3", "line 14 .*number of atoms"),
        (9, b"1", "line 12 .*number of atoms"),
        (9, b"x", "line 9 .*number of atoms"),
        (10, b"a comment", "line 10 .*label_key"),
        (11, b"Si 0.0 0.0 0.0 9.9 0.2 0.3", "line 9 .*sha256"),
        (1, b"7", "line 1 .*not theirs"),
        (1, b"6", "line 1 .*not theirs"),  # the second frame would be atoms of the first
        (17, b"1", "line 20 .*number of atoms"),
    ],
)
def test_damage_in_the_middle_is_refused_by_line_and_nothing_is_lost(tmp_path, line, text, said):
    out = tmp_path / "out.extxyz"
    label(structures(5), fake(), out)
    changed(out, line, text)
    before = out.read_bytes(), out.with_name("out.extxyz.journal.jsonl").read_bytes()
    for call in (lambda: label(structures(5), fake(), out), Journal(out, "fake", "one").look):
        with pytest.raises(ValueError, match=said) as error:
            call()
        assert str(out) in str(error.value)
    assert (out.read_bytes(), out.with_name("out.extxyz.journal.jsonl").read_bytes()) == before


@pytest.mark.parametrize("count", [b"3200", b"999999999"])
def test_no_more_than_the_last_frame_is_ever_cut(tmp_path, count):
    out = tmp_path / "out.extxyz"
    label(structures(5), fake(), out)
    whole = out.read_bytes()
    changed(out, 17, count)
    report = label(structures(5), fake(), out)
    assert (report.kept, report.done) == (4, 1) and out.read_bytes() == whole


@pytest.mark.parametrize(
    "text", [b"my notes", b"my notes\n", b"4", b"\xff\x00", b"{}\n", b'{"a": 1}\n', b"[" * 90000 + b"\n"]
)
@pytest.mark.parametrize("which", ["output", "journal"])
def test_files_that_are_not_ours_stay_as_they_are(tmp_path, text, which):
    out = tmp_path / "out.extxyz"
    path = out if which == "output" else tmp_path / "out.extxyz.journal.jsonl"
    path.write_bytes(text)
    with pytest.raises(ValueError, match="no journal"):
        label(structures(1), fake(), out)
    assert path.read_bytes() == text and list(tmp_path.iterdir()) == [path]


def test_looking_changes_nothing(tmp_path):
    out = tmp_path / "out.extxyz"
    Journal(out, "fake", "one").look()
    assert list(tmp_path.iterdir()) == []
    label(structures(2), fake(), out)
    os.truncate(out, out.stat().st_size - 9)
    with (tmp_path / "out.extxyz.journal.jsonl").open("a") as file:
        file.write('{"key": "12')
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    Journal(out, "fake", "one").look()
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_damaged_journal_is_refused_by_line(tmp_path):
    out = tmp_path / "out.extxyz"
    label(structures(3), fake(), out)
    path = tmp_path / "out.extxyz.journal.jsonl"
    for damage in (b'{"key": 3, "state": "done"}', b"junk", b'["key"]', b'{"key": "a", "state": "failed"}'):
        changed(path, 3, damage)
        with pytest.raises(ValueError, match="damaged at line 3"):
            label(structures(3), fake(), out)


def on_the_atoms():
    """Changes of what is on a structure, none of its positions."""
    yield lambda a: a.info.update(charge=1)
    yield lambda a: a.info.update(spin=3)
    yield lambda a: a.info.update(anything=[1, 2])
    yield lambda a: a.set_tags([1, 0])
    yield lambda a: a.set_masses([28.0, 30.0])
    yield lambda a: a.set_initial_charges([0.5, -0.5])
    yield lambda a: a.set_initial_magnetic_moments([1.0, -1.0])
    yield lambda a: a.set_momenta(np.full((2, 3), 0.1))
    yield lambda a: a.set_array("displacement", np.full((2, 3), 0.01))
    yield lambda a: a.set_constraint(FixAtoms([0]))


def test_twins_that_differ_in_what_is_on_them_are_two_frames_and_it_comes_out_again(tmp_path):
    frames = structures(1)
    for change in on_the_atoms():
        frames.append(frames[0].copy())
        change(frames[-1])
    out = tmp_path / "out.extxyz"
    report = label(frames, fake(), out)
    assert (report.done, report.duplicates, report.failed) == (len(frames), 0, {})
    for asked, atoms in zip(frames, read_frames(out), strict=True):
        assert all(np.array_equal(atoms.info[name], value) for name, value in asked.info.items())
        assert all(np.allclose(atoms.arrays[name], value, atol=1e-8) for name, value in asked.arrays.items())
        assert [c.todict() for c in atoms.constraints] == [c.todict() for c in asked.constraints]
        np.testing.assert_allclose(atoms.calc.results["forces"], [[0.1, 0.2, 0.3]] * 2)
    again = read_frames(out)
    for atoms in again:
        del atoms.info["threads"]  # that the teacher noted
    assert label(again, fake(), out).kept == len(frames)  # what a file gives back is the same frame


def test_what_no_extxyz_file_can_hold_is_refused_or_named(tmp_path):
    bonded, named, odd = structures(3)
    bonded.set_constraint(FixBondLength(0, 1))
    named.set_array("site", np.array(["8 a", "8 a"]))
    odd.info["note"] = object()
    with pytest.warns(UserWarning, match="note.* of type object"):
        report = label([bonded, named, odd], fake(), tmp_path / "out.extxyz")
    assert report.done == 1 and "FixBondLength" in report.failed["si_0"] and "si_1" in report.failed
