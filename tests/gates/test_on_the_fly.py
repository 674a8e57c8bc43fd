"""Dynamics that asks EMT where the surrogate of copper, silver and gold is unsure, learns, and goes on."""

import json
from pathlib import Path

import numpy as np
import pytest
from active_learning import calls, environment, labelled, quick, structures
from ase import units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import read, write
from ase.md.velocitydistribution import thermalize_momenta
from ase.md.verlet import VelocityVerlet

from ase_mlx.adapters.ase import OnTheFly, Watch
from ase_mlx.adapters.teachers import teacher
from ase_mlx.learn.active.training import train_in

FIT = {"epochs": 2, "batch_size": 2, "learning_rate": 0.002}
MODEL = {"cutoff": 3.4, "channels": 8, "layers": 1, "l_max": 1, "latent": 12, "members": 4}


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A potential of cold copper, and what it has learned from."""
    folder = tmp_path_factory.mktemp("begun")
    frames = labelled(structures(10, 5, size=0.03))
    for k, atoms in enumerate(frames):
        atoms.info["part"] = "val" if k in (3, 6) else "train"
    write(folder / "known.extxyz", frames)
    with pytest.MonkeyPatch.context() as patch:
        quick(patch.setattr)
        train_in(folder / "model", frames, {"model": MODEL, "fit": FIT | {"epochs": 8}}, {})
    return folder


@pytest.fixture
def watched(begun, tmp_path, monkeypatch):
    quick(monkeypatch.setattr)
    environment(monkeypatch, tmp_path)
    made = []

    def make(**watch):
        settings = Watch(**{"error": 1e3, "distance": 1e6, "fit": FIT} | watch)
        chosen = teacher("counted_emt:Counted")
        made.append(OnTheFly(begun / "model", chosen, begun / "known.extxyz", tmp_path / "run", settings))
        return made[-1]

    yield make
    for calculator in made:
        calculator.close()


def hot():
    atoms = bulk("Cu", cubic=True)
    thermalize_momenta(atoms, 1500, rng=np.random.default_rng(1))
    return atoms


@pytest.mark.slow
def test_dynamics_asks_where_it_doubts_and_goes_on(watched, tmp_path):
    calculator = watched(distance=1.5, calls=3)
    atoms = hot()
    atoms.calc = calculator
    positions = []
    dynamics = VelocityVerlet(atoms, 4 * units.fs)
    dynamics.attach(lambda: positions.append(atoms.positions.copy()))
    with pytest.raises(RuntimeError, match="all 3 calls of the teacher are used"):
        dynamics.run(60)
    assert len(calls(tmp_path)) == len(calculator.labels) == 3 and calculator.steps > 3
    for frame in read(tmp_path / "run/labels.extxyz", ":"):
        reference = EMT().get_property("forces", frame)
        assert np.allclose(frame.get_forces(), reference, atol=1e-6)
        assert min(np.abs(frame.positions - p).max() for p in positions + [atoms.positions]) < 1e-6
    assert len(list((tmp_path / "run/models").iterdir())) == 3
    assert len(calculator.state["ratios"]) == 3 and calculator.factor > 0
    calculator.watch = Watch(error=1e3, distance=1e6)
    dynamics.run(5)  # the atoms are where they were
    assert np.isfinite(atoms.get_potential_energy())


def test_a_second_process_knows_the_labels(watched, tmp_path):
    first = watched(distance=1e-3)
    atoms = structures(1, 8)[0]
    atoms.calc = first
    forces = atoms.get_forces()
    assert np.allclose(forces, EMT().get_property("forces", atoms), atol=1e-6)
    with pytest.raises(BlockingIOError):
        watched()
    first.close()
    second = watched(distance=1e-3)
    atoms.calc = second
    assert np.array_equal(atoms.get_forces(), forces) and len(calls(tmp_path)) == 1
    assert second.state["model"] == first.state["model"] != str(Path(second.folder))


def test_bars_that_were_too_small_lower_the_threshold(watched):
    calculator = watched()
    assert calculator.factor == 1
    calculator.state["ratios"] = [3.0] * 5
    assert calculator.factor == pytest.approx(np.sqrt(46 / 6))
    calculator.state["ratios"] = [3.0] * 5 + [0.5] * 5
    assert calculator.factor < 1


def test_a_failing_teacher_stops_and_a_label_without_its_training_is_learned(watched, tmp_path, monkeypatch):
    monkeypatch.setenv("COUNTED_FAILS", "all")
    calculator = watched(distance=1e-3)
    atoms = structures(1, 8)[0]
    atoms.calc = calculator
    with pytest.raises(RuntimeError, match="SCF not converged"):
        atoms.get_forces()
    assert not calculator.labels
    calculator.close()
    monkeypatch.setenv("COUNTED_FAILS", "")
    calculator = watched(distance=1e-3)
    monkeypatch.setattr(calculator, "_learn", lambda: 1 / 0)  # killed before the training
    atoms.calc = calculator
    with pytest.raises(ZeroDivisionError):
        atoms.get_forces()
    calculator.close()
    state = json.loads((tmp_path / "run/on_the_fly.json").read_text())
    assert state["learned"] == 0 and len(state["asked"]) == 1
    again = watched()
    assert again.state["model"] != state["model"] and again.state["learned"] == 1
