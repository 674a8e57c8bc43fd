"""A kill in the middle costs what was being computed, and nothing else."""

import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import slow_emt
from ase.build import bulk
from ase.calculators.emt import EMT
from phonopy import Phonopy
from tiny import tiny_potential

from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.phonopy import ForcesError, conductivity, phonons
from ase_mlx.adapters.phonopy.cells import to_phonopy
from ase_mlx.adapters.phonopy.forces import ResidualWarning, displacement_forces
from ase_mlx.adapters.phonopy.store import Store


def start_and_kill(work: str, folder: Path, kind: str, number: int) -> None:
    """Run `work` in a process of its own and kill it as soon as `number` results of a kind are there."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "SLOW_EMT_SECONDS": "0.1"}
    process = subprocess.Popen(
        [sys.executable, "-c", f"import slow_emt; slow_emt.{work}({str(folder)!r})"], env=environment
    )
    deadline = time.time() + 120
    while len(list(folder.glob(f"{kind}-*.npz"))) < number:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.time() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()


def counted(work, folder: Path):
    """Run `work` here; return its result and the number of calculations."""
    slow_emt.SlowEMT.calls = 0
    return work(folder), slow_emt.SlowEMT.calls


def test_displacement_forces(tmp_path):
    folder, whole = tmp_path / "killed", tmp_path / "whole"
    start_and_kill("displaced", folder, "forces", 6)
    done = len(list(folder.glob("forces-*.npz")))
    expected, all_calls = counted(slow_emt.displaced, whole)
    assert 6 <= done < len(list(whole.glob("forces-*.npz"))) == all_calls - 1  # one call is at rest
    result, calls = counted(slow_emt.displaced, folder)
    assert calls == all_calls - done - 1
    np.testing.assert_array_equal(result.force_constants, expected.force_constants)
    assert counted(slow_emt.displaced, folder)[1] == 0


@pytest.mark.slow  # as test_displacement_forces, of seven volumes
def test_quasi_harmonic_volumes(tmp_path):
    folder, whole = tmp_path / "killed", tmp_path / "whole"
    start_and_kill("expanded", folder, "energy", 3)
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.npz")}
    expected, all_calls = counted(slow_emt.expanded, whole)
    result, calls = counted(slow_emt.expanded, folder)
    assert calls < all_calls
    for name in ("volume", "expansion", "gibbs_energy", "bulk_modulus"):
        np.testing.assert_array_equal(getattr(result, name), getattr(expected, name))
    after = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.npz")}
    assert {name: after[name] for name in before} == before
    assert {path.name for path in whole.glob("*.npz")} == set(after)


class Failing(EMT):
    """EMT that raises, or gives NaN, at the second call for forces of 32 atoms while FAILING says so."""

    def __init__(self):
        super().__init__()
        self.seen = 0

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        if len(self.atoms) == 32:
            self.seen += 1
            failing = os.environ.get("FAILING", "") if self.seen == 2 else ""
            if failing == "raises":
                raise RuntimeError("out of memory")
            if failing == "nan":
                self.results["forces"][3] = np.nan


@pytest.mark.parametrize(("how", "said"), [("raises", "RuntimeError: out of memory"), ("nan", "3 of them not finite")])
def test_a_calculator_that_fails_is_named_and_finished_work_stays(tmp_path, monkeypatch, how, said):
    monkeypatch.setenv("FAILING", how)
    atoms = bulk("Cu", cubic=True)
    atoms.symbols[0] = "Au"
    with pytest.raises(ForcesError, match=f"displaced supercell 2 of 2: .*{said}.*goes on from there"):
        phonons(atoms, Failing(), (2, 2, 2), folder=tmp_path)
    assert len(list(tmp_path.glob("forces-*.npz"))) == 1
    with pytest.raises(ForcesError, match="Give folder="):
        phonons(atoms, Failing(), (2, 2, 2))
    monkeypatch.delenv("FAILING")
    healthy = Failing()
    phonons(atoms, healthy, (2, 2, 2), folder=tmp_path)
    assert healthy.seen == 1


def test_the_work_of_another_calculator_is_refused(tmp_path):
    Store(tmp_path, EMT())
    with pytest.raises(ValueError, match="another calculator .class.* differ"):
        Store(tmp_path, slow_emt.SlowEMT())


def test_forces_of_our_models_are_the_same_bits_whatever_was_there_before(tmp_path):
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.03, seed=1)
    calculator = Calculator(tiny_potential(l_max=2, cutoff=5.0), dtype="float64")
    ph = Phonopy(to_phonopy(atoms), np.eye(3, dtype=int))
    ph.generate_displacements(distance=0.01)
    store = Store(tmp_path, calculator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResidualWarning)
        whole = displacement_forces(ph, calculator, store=store)
        for path in sorted(tmp_path.glob("forces-*.npz"))[::6]:
            path.unlink()  # alone in a batch it has other last digits
            np.testing.assert_array_equal(displacement_forces(ph, calculator, store=store), whole)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.filterwarnings("ignore:.*supercell:UserWarning")
def test_the_error_bar_of_a_resumed_conductivity_is_that_of_a_whole_one(tmp_path):
    calculator = Calculator("sigesn", dtype="float64")
    work = {"supercell": (2, 2, 2), "mesh": (5, 5, 5), "rank": None, "temperatures": (300.0,), "folder": tmp_path}
    whole = conductivity(bulk("Si"), calculator, **work)
    for path in sorted(tmp_path.glob("forces*.npz"))[::3]:
        path.unlink()
    resumed = conductivity(bulk("Si"), Calculator("sigesn", dtype="float64"), **work)
    np.testing.assert_array_equal(resumed.kappa, whole.kappa)
    np.testing.assert_array_equal(resumed.kappa_std, whole.kappa_std)
