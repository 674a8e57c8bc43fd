"""Active learning with EMT as the teacher: killed anywhere, failing teachers, ask and tell, ends."""

import json

import pytest
from active_learning import calls, environment, labelled, prepared, quick, start, structures
from ase.io import read, write
from commands import call, kill

from ase_mlx.adapters.ase import Calculator
from ase_mlx.jobs.active import ActiveLearning, active
from ase_mlx.learn.files import load_model, parameters_equal
from ase_mlx.whole import files

pytestmark = pytest.mark.timeout(1200)  # 10 s of CPU each; a loaded machine takes a hundred times as long


@pytest.fixture(scope="module", autouse=True)
def few_steps():
    with pytest.MonkeyPatch.context() as patch:
        quick(patch.setattr)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A learning that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        environment(patch, folder)
        return folder, active(prepared(folder), folder / "out")


def weights(folder):
    return (folder / "out" / "model.safetensors").read_bytes()


def state(folder):
    return json.loads((folder / "out/work/state.json").read_text())


def test_it_chooses_labels_learns_and_reports(whole):
    folder, done = whole
    assert [line["labels"] for line in done.rounds] == [4, 7] and done.ended == "2 rounds are done"
    assert all(line["forces_rmse_meV_A"] > 0 and line["predicted_meV_A"] > 0 for line in done.rounds)
    assert {"bulk"} == {read(folder / "out/work/labels.extxyz", k).info["kind"] for k in range(9)}
    asked = [name for name in calls(folder) if name.startswith("frame 1-")]
    assert len(asked) == len(set(asked)) == 7
    assert not [name for name in calls(folder) if name.startswith("frame 3-")], "test frames have labels"
    out = {path.name for path in (folder / "out").iterdir()}
    assert {"card.json", "learning_curve.csv", "learning_curve.png", "report.json"} <= out
    rounds = state(folder)["rounds"]
    assert [len(line["why"]) for line in rounds] == [4, 3] and set(rounds[1]["why"]) == {"variance"}
    atoms = structures(1, 9)[0]
    atoms.calc = Calculator(folder / "out")
    assert atoms.calc.get_property("energy_std", atoms) > 0


def test_a_second_call_asks_for_nothing(whole, monkeypatch):
    folder, done = whole
    environment(monkeypatch, folder)
    before, asked = weights(folder), calls(folder)
    again = active(folder / "active.toml", folder / "out")
    assert weights(folder) == before and calls(folder) == asked and again.rounds == done.rounds


@pytest.mark.slow  # without a kill: test_dying_at_any_write_changes_nothing
def test_killed_while_labelling_and_while_training_it_ends_with_the_same_weights(whole, tmp_path, monkeypatch):
    environment(monkeypatch, tmp_path, COUNTED_SECONDS="0.3")
    prepared(tmp_path)

    def killed(ready):
        with start(tmp_path, "active", "active.toml", "-o", "out") as process:
            assert kill(process, ready, 600)

    killed(lambda: len(calls(tmp_path)) > 5)
    killed(lambda: any((tmp_path / "out/work").glob("models/*/checkpoint*")))
    monkeypatch.setenv("COUNTED_SECONDS", "0")
    done = call(tmp_path, "active", "active.toml", "-o", "out")
    assert done.returncode == 0, done.stderr
    assert parameters_equal(load_model(tmp_path / "out"), load_model(whole[0] / "out"))
    assert weights(tmp_path) == weights(whole[0])
    kept = [line["label_key"] for line in (a.info for a in read(tmp_path / "out/work/labels.extxyz", ":"))]
    assert len(kept) == len(set(kept)) == 9
    assert len(calls(tmp_path)) <= 10, "only the frame that was with the teacher is asked for again"


class Died(BaseException):
    """The process is gone."""


@pytest.mark.slow
def test_dying_at_any_write_changes_nothing(whole, tmp_path, monkeypatch):
    environment(monkeypatch, tmp_path)
    prepared(tmp_path)
    left, place = 0, files._take_place

    def dying(part, path):
        nonlocal left
        left -= 1
        if left < 0:
            raise Died
        place(part, path)

    monkeypatch.setattr(files, "_take_place", dying)
    for lives in range(1, 30):
        left = 5 + lives % 4
        try:
            active(tmp_path / "active.toml", tmp_path / "out")
            break
        except Died:
            pass
    assert 2 < lives < 29
    assert weights(tmp_path) == weights(whole[0]) and len(calls(tmp_path)) == len(set(calls(tmp_path)))
    assert [line["keys"] for line in state(tmp_path)["rounds"]] == [line["keys"] for line in state(whole[0])["rounds"]]


@pytest.mark.slow
def test_failures_are_kept_never_learned_from_and_the_loop_goes_on(tmp_path, monkeypatch):
    kinds = ("scf", "nan", "dead", "hang", "fewer", "absurd")
    environment(monkeypatch, tmp_path)
    done = active(prepared(tmp_path, kinds=kinds, rounds=0), tmp_path / "out")
    assert done.ended == "all 10 structures of the pool were asked for"
    reasons = {int(name.split("-")[1]): reason for name, reason in done.failed.items()}
    assert sorted(reasons) == list(range(6))
    for k, words in enumerate(["SCF not converged", "NaN", "crash", "timeout", "shape", "of 1.0e+05"]):
        assert words in reasons[k], reasons[k]
    last = done.rounds[-1]
    assert last["labels"] == 4 and last["failed"] == 6
    learned = read(tmp_path / "out/work/models" / last["model"] / "frames.extxyz", ":")
    assert {a.info["kind"] for a in learned if a.info["part"] == "train"} == {"bulk"}
    asked = [name for name in calls(tmp_path) if name.startswith("frame 1-")]
    assert len(set(asked)) == 10 and len(asked) == 10


@pytest.mark.slow
def test_a_teacher_that_fails_on_everything_ends_it_and_a_mended_one_goes_on(tmp_path, monkeypatch):
    environment(monkeypatch, tmp_path, COUNTED_FAILS="all")
    prepared(tmp_path)
    write(tmp_path / "validation.extxyz", labelled(structures(2, 2)))
    done = call(tmp_path, "active", "active.toml", "-o", "out")
    assert done.returncode == 1 and "SCF not converged" in done.stderr and "--retry" in done.stderr
    assert call(tmp_path, "active", "active.toml", "-o", "out").returncode == 1, "nothing is tried again"
    assert len(calls(tmp_path)) == 7
    monkeypatch.setenv("COUNTED_FAILS", "")
    assert call(tmp_path, "active", "active.toml", "-o", "out", "--retry").returncode == 0
    assert len(state(tmp_path)["rounds"]) == 2 and (tmp_path / "out/card.json").is_file()


def test_a_second_loop_and_another_learning_are_refused(whole, tmp_path, monkeypatch):
    folder, _ = whole
    environment(monkeypatch, folder)
    with ActiveLearning(folder / "active.toml", folder / "out"):
        done = call(folder, "active", "active.toml", "-o", "out")
        assert done.returncode == 2, done.stderr
    other = (folder / "active.toml").read_text().replace("learning_rate = 0.005", "learning_rate = 0.004")
    (folder / "other.toml").write_text(other)
    done = call(folder, "active", "other.toml", "-o", "out")
    said = " ".join(done.stderr.replace("│", " ").split())
    assert done.returncode == 2 and "of another active learning (differ: fit" in said


def test_labels_come_from_elsewhere(whole, tmp_path, monkeypatch):
    environment(monkeypatch, tmp_path)
    config = prepared(tmp_path)
    text = config.read_text()
    config.write_text(text[: text.index("[teacher]")] + text[text.index("[model]") :])
    assert "--ask" in call(tmp_path, "active", "active.toml", "-o", "out").stderr
    for count, waited in ((4, 2), (4, 4), (3, 3)):  # validation first, then rounds of the same sizes
        done = call(tmp_path, "active", "active.toml", "-o", "out", "--ask", count)
        assert done.returncode == 0, done.stderr
        asked = read(tmp_path / "out/asked.extxyz", ":")
        assert len(asked) == waited
        for atoms in asked:
            atoms.positions = atoms.positions.round(5)
        write(tmp_path / "labels.extxyz", labelled(asked))
        done = call(tmp_path, "active", "active.toml", "-o", "out", "--tell", "labels.extxyz")
        assert done.returncode == 0 and f"took {waited} labels" in done.stdout, done.stderr
    assert "took 0 labels" in call(tmp_path, "active", "active.toml", "-o", "out", "--tell", "labels.extxyz").stdout
    done = call(tmp_path, "active", "active.toml", "-o", "out", "--ask", 3)
    assert "2 rounds are done" in done.stdout
    assert [line["keys"] for line in state(tmp_path)["rounds"]][0] == state(whole[0])["rounds"][0]["keys"]
    stranger = labelled(structures(1, 77))
    write(tmp_path / "strange.extxyz", stranger)
    done = call(tmp_path, "active", "active.toml", "-o", "out", "--tell", "strange.extxyz")
    assert done.returncode == 2 and "none of the" in done.stderr


def test_failures_from_elsewhere(tmp_path, monkeypatch):
    config = prepared(tmp_path)
    text = config.read_text()
    config.write_text(text[: text.index("[teacher]")] + text[text.index("[model]") :])
    with ActiveLearning(config, tmp_path / "out") as learning:
        waiting = learning.ask()
        labels = labelled([atoms.copy() for atoms in waiting])
        labels[0].info["failed"] = "SCF not converged"
        labels[1].calc = None
        report = learning.tell(labels)
        assert report.done == 0 and sorted(report.failed.values()) == ["SCF not converged", "there is no energy"]
        assert len(learning.ask()) == 4, "the first round"


@pytest.mark.slow
def test_a_pool_smaller_than_a_batch_gives_what_is_left(tmp_path, monkeypatch):
    environment(monkeypatch, tmp_path)
    done = active(prepared(tmp_path, count=6, rounds=0), tmp_path / "out")
    assert [line["labels"] for line in done.rounds] == [4, 6]
    assert done.ended == "all 6 structures of the pool were asked for"


@pytest.mark.slow
def test_a_full_disk_costs_nothing(whole, tmp_path, monkeypatch):
    environment(monkeypatch, tmp_path)
    prepared(tmp_path)
    from ase_mlx.data import journal

    append, room = journal._append, [6]

    def full(path, text):
        room[0] -= 1
        if room[0] < 0:
            raise OSError(28, "No space left on device", str(path))
        append(path, text)

    monkeypatch.setattr(journal, "_append", full)
    done = call(tmp_path, "active", "active.toml", "-o", "out")
    assert done.returncode == 1 and "No space left" in done.stderr
    monkeypatch.setattr(journal, "_append", append)
    assert call(tmp_path, "active", "active.toml", "-o", "out").returncode == 0
    assert weights(tmp_path) == weights(whole[0])
