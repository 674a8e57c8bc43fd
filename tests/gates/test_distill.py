"""A student of EMT's copper, and of the shipped potential's aluminium; teachers that hang or fail; what is kept."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.io import read, write
from odd_emt import Odd

import ase_mlx as am
from ase_mlx.adapters import batched_labels
from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.ase.hot_frames import hot_frames
from ase_mlx.adapters.ase.supercells import heights, repeated
from ase_mlx.adapters.ase.teaching_frames import Share, matrix_of_height, teaching_frames
from ase_mlx.adapters.batched_labels import label_frames
from ase_mlx.adapters.distillation import teaching_calculator
from ase_mlx.adapters.phonopy import phonons
from ase_mlx.adapters.phonopy.thermal_cell import thermal_cell
from ase_mlx.cli import app
from ase_mlx.jobs.distill import Distillation, distill_job
from ase_mlx.whole.tables import json_text

SMALL = Distillation(minutes=0.1, cutoff=3.2, channels=8, layers=1, l_max=1, members=2, temperature=600.0)


class Clock:
    """Seconds by the number of times that somebody looks, so that a busy machine changes nothing."""

    def __init__(self, tick=0.008):
        self.looks, self.tick = 0, tick

    def __call__(self):
        self.looks += 1
        return self.tick * self.looks


@pytest.fixture(scope="module")
def copper(tmp_path_factory):
    folder = tmp_path_factory.mktemp("copper")
    return folder, distill_job([bulk("Cu")], EMT(), folder, SMALL, name="emt", now=Clock())


@pytest.mark.slow
def test_the_student_is_an_ordinary_model_with_its_origin(copper):
    folder, done = copper
    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    atoms.rattle(0.05, seed=2)
    atoms.calc = Calculator(folder, dtype="float64")
    reference = EMT().get_property("forces", atoms)
    assert np.sqrt(np.mean((atoms.get_forces() - reference) ** 2)) < 0.6 * np.sqrt(np.mean(reference**2))
    assert atoms.calc.get_property("energy_std", atoms) > 0
    card = json.loads((folder / "card.json").read_text())
    assert card["origin"]["teacher"] == "emt" and card["origin"]["materials"] == ["Cu"]
    assert card["comparison"][0]["formula"] == "Cu" and am.load(folder).elements == (29,)


@pytest.mark.slow
def test_the_report_compares_both(copper):
    (report,) = copper[1].crystals
    assert report["forces"][0]["temperature_K"] == 300.0 and report["hottest_K"] == 600
    assert report["volume_teacher_A3"] == pytest.approx(11.565, abs=0.01)
    assert abs(report["lattice_share"]) < 0.1 and report["cost_ratio"] > 0
    assert report["frequencies_mae_THz"] < report["highest_THz"] == pytest.approx(8.1, abs=0.3)
    assert "vacancies" in report["not_taught"]
    assert set(copper[1].seconds) >= {"labels", "first_training", "dynamics", "training", "comparison"}


@pytest.mark.slow
def test_a_second_call_goes_on_and_another_job_is_refused(copper):
    folder, done = copper
    weights = (folder / "model.safetensors").read_bytes()
    again = distill_job([bulk("Cu")], EMT(), folder, SMALL, name="emt")
    assert (folder / "model.safetensors").read_bytes() == weights
    assert again.crystals == json.loads(json_text(done.crystals)) and again.notes == done.notes
    with pytest.raises(ValueError, match="another distillation"):
        distill_job([bulk("Al")], EMT(), folder, SMALL, name="emt")


@pytest.mark.slow
def test_a_comparison_that_is_made_again_gives_the_same_bars(copper):
    folder, _ = copper
    weights = (folder / "model.safetensors").read_bytes()
    state = json.loads((folder / "work/state.json").read_text())
    del state["plan"]["finished"]
    (folder / "work/state.json").write_text(json.dumps(state))
    distill_job([bulk("Cu")], EMT(), folder, SMALL, name="emt")
    assert (folder / "model.safetensors").read_bytes() == weights
    notes = json.loads((folder / "card.json").read_text())["notes"]
    assert len(notes) == len(set(notes))


@pytest.mark.slow
def test_a_training_that_was_ended_goes_on(tmp_path):
    def ended(stage, done, total):
        if stage == "first training":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distill_job([bulk("Cu")], EMT(), tmp_path, SMALL, progress=ended, now=Clock())
    assert (tmp_path / "work/first/checkpoint.safetensors").exists()
    used = json.loads((tmp_path / "work/state.json").read_text())["plan"]["first_used"]
    shutil.rmtree(tmp_path / "work/forces-0")  # would be computed again
    done = distill_job([bulk("Cu")], EMT(), tmp_path, SMALL, now=Clock())
    assert json.loads((tmp_path / "work/state.json").read_text())["plan"]["first_used"] > used > 0
    assert done.crystals[0]["formula"] == "Cu"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ase_mlx.models.extrapolation.ExtrapolationWarning")  # bcc is none of al's
def test_two_crystals_by_a_model_of_ours_from_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("fcc.cif", bulk("Al"))
    write("bcc.cif", bulk("Al", "bcc", a=3.2))
    arguments = ["distill", "fcc.cif", "bcc.cif", "--teacher", "al", "-o", "al2", "--minutes", "0.1", "--cutoff", "3.2"]
    app([*arguments, "--channels", "8", "--vacancies", "--json", "out.json"], standalone_mode=False)
    done = json.loads((tmp_path / "out.json").read_text())
    assert [report["formula"] for report in done["crystals"]] == ["Al", "Al"]
    assert len(json.loads((tmp_path / "al2/card.json").read_text())["origin"]["sha256"]) == 64
    frames = read("al2/work/frames.extxyz", ":")
    assert {"rest", "hot", "rattled"} <= {a.info["taught"] for a in frames}
    assert "faster" in capsys.readouterr().out


def test_refusals(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("salt.cif", bulk("NaCl", "rocksalt", a=5.6))
    with pytest.raises(Exception, match="Cl, Na, but al knows Al only"):
        app(["distill", "salt.cif", "--teacher", "al", "-o", "out"], standalone_mode=False)
    with pytest.raises(ValueError, match="expected crystals"):
        distill_job([molecule("H2O")], EMT(), tmp_path / "water", SMALL)
    with pytest.raises(ValueError, match="Si2, which the teacher cannot"):
        distill_job([bulk("Si"), bulk("Cu")], EMT(), tmp_path / "silicon", SMALL)
    magnet, cation = bulk("Ni"), bulk("Cu")
    magnet.set_initial_magnetic_moments([1.0])
    cation.info["charge"] = 1
    for atoms, name in ((magnet, "initial_magmoms"), (cation, "charge of the cell")):
        with pytest.raises(ValueError, match=f"with {name}, which its teacher may read"):
            distill_job([atoms], EMT(), tmp_path / "labels", SMALL)
    assert not (tmp_path / "labels").exists()


def test_a_watched_teacher_sees_the_labels_on_atoms(monkeypatch):
    in_teachers_path(monkeypatch)
    calculator, _ = teaching_calculator("odd_emt:Charged", timeout=60.0)
    plain, charged = bulk("Cu"), bulk("Cu")
    charged.set_initial_charges([0.5])
    energies = []
    for atoms in (plain, charged):
        calculator.reset()
        energies.append(calculator.get_property("energy", atoms))
    calculator.close()
    assert energies[1] - energies[0] == pytest.approx(0.5, abs=1e-9)


def in_teachers_path(monkeypatch):
    """Let the teachers' processes import from the tests."""
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    )


@pytest.mark.slow
def test_a_teacher_that_hangs_is_ended(monkeypatch):
    monkeypatch.setenv("ODD", "hang")
    in_teachers_path(monkeypatch)
    calculator, origin = teaching_calculator("odd_emt:Odd", timeout=8.0)
    assert "odd_emt:Odd" in origin["identity"]
    with pytest.raises(RuntimeError, match="not done after 8 s"):
        calculator.get_property("energy", bulk("Cu"))
    calculator.close()


def test_labels_that_are_nan_or_far_off_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setenv("ODD", "nan")
    monkeypatch.setattr(batched_labels, "LARGEST", 1.0)
    frames = [bulk("Cu", a=3.6), bulk("Cu", a=3.4), bulk("Si"), bulk("Cu", a=3.7)]
    frames[3].positions += 0.01
    frames.append(bulk("Cu", cubic=True))
    frames[-1].positions[0] += 1.5
    done, reasons = label_frames(frames, Odd(), tmp_path)
    assert len(done) == 2 and set(reasons) == {1, 2, 4}
    assert "NaN" in reasons[1] and "come apart" in reasons[4]
    kept, _ = label_frames(frames, None, tmp_path)  # read from the folder: nobody is asked
    assert kept[0].get_potential_energy() == done[0].get_potential_energy()


def test_cells_are_high_and_hot_as_asked():
    copper = bulk("Cu", a=3.5898)
    cell = repeated(copper, matrix_of_height(copper, 9.0))
    assert heights(cell).min() >= 9
    assert 64 <= len(repeated(copper, matrix_of_height(copper, 5.0, 64))) <= 128
    ph = phonons(copper, EMT(), (3, 3, 3), relax=False, on_imaginary="report")
    thermal, rng = thermal_cell(ph), np.random.default_rng(0)
    rest = EMT().get_property("energy", thermal.atoms)
    energies = [EMT().get_property("energy", thermal.displaced(50.0, rng)) - rest for _ in range(60)]
    modes = 3 * len(thermal.atoms) - 3
    assert np.mean(energies) == pytest.approx(modes * 8.617e-5 * 50 / 2, rel=0.06)  # equipartition
    frames = teaching_frames(copper, cell, lambda t, r: cell.copy(), 500.0, Share(6, 2, 1, 2, 1, 3), rng)
    kinds = [a.info["taught"] for a in frames]
    assert [kinds.count(k) for k in ("rest", "hot", "rattled", "base", "column", "vacancy", "surface")] == [
        6, 2, 1, 2, 2, 1, 3,
    ]  # fmt: skip
    assert len(frames[kinds.index("vacancy")]) == len(cell) - 1
    assert all(a.get_volume() > cell.get_volume() * 1.2 for a in frames if a.info["taught"] == "surface")


def test_a_crystal_that_falls_apart_is_noticed():
    start = bulk("Cu", cubic=True) * (2, 2, 2)
    run = hot_frames(start, EMT(), 20000.0, 300, 9, np.random.default_rng(0))
    assert "20000 K" in run.apart and len(run.frames) < 9
    whole = hot_frames(start, EMT(), 300.0, 60, 3, np.random.default_rng(0))
    assert not whole.apart and len(whole.frames) == 3
