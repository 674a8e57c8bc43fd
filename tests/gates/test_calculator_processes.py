"""Copies of a calculator, threads that share one, forks and pools of processes."""

import copy
import multiprocessing
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ase.build import bulk
from geometries import forces_of, rattled
from tiny import tiny_potential

from ase_mlx.adapters.ase import Calculator


@pytest.fixture
def silicon():
    return rattled(bulk("Si") * (2, 1, 1))


@pytest.fixture(scope="module")
def model():
    return tiny_potential(l_max=2)


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))], ids=["deepcopy", "pickle"]
)
@pytest.mark.parametrize("skin", [0.0, 0.5])
def test_copies_of_the_calculator(model, silicon, duplicate, skin):
    calculator = silicon.calc = Calculator(model, skin=skin)
    energy = silicon.get_potential_energy()
    twin = duplicate(calculator)
    assert twin.get_potential_energy(silicon) == energy
    moved = rattled(silicon.copy(), seed=4)
    assert twin.get_potential_energy(moved) == Calculator(model).get_potential_energy(moved)
    assert calculator.get_potential_energy(silicon) == energy
    assert duplicate(silicon).get_potential_energy() == energy


def forces_in_a_fork(seed):
    return forces_of((FORKED, seed))


FORKED = None


def test_threads_that_share_a_calculator_get_their_own_structures_forces():
    shared, expected = Calculator("sigesn"), [forces_of((Calculator("sigesn"), k)) for k in range(12)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(forces_of, [(shared, k) for k in range(12)] * 3))
    for k, forces in enumerate(found):
        assert forces == pytest.approx(expected[k % 12], abs=1e-6)


@pytest.mark.parametrize("name", ["sigesn", "al"])
def test_shipped_models_with_densities_pickle_and_copy(name):
    calculator = Calculator(name)
    atoms = bulk("Al" if name == "al" else "Si", cubic=True)
    atoms.rattle(0.05, seed=1)
    expected = calculator.get_property("forces_std", atoms)
    for other in (pickle.loads(pickle.dumps(calculator)), copy.deepcopy(calculator)):
        assert other.get_property("forces_std", atoms) == pytest.approx(expected, abs=1e-6)
        assert repr(other) == repr(calculator)


def test_a_fork_of_a_process_with_several_threads_computes(monkeypatch):
    """Torch's threads do not exist in a fork: without a word it would wait for them for ever."""
    code = (
        "import sys, torch; sys.path[:0] = sys.argv[1:]; torch.set_num_threads(2)\n"
        "import multiprocessing, numpy as np, test_calculator_processes as t\n"
        "t.FORKED = t.Calculator('sigesn'); expected = [t.forces_in_a_fork(k) for k in range(2)]\n"
        "with multiprocessing.get_context('fork').Pool(2) as pool:\n"
        "    found = pool.map_async(t.forces_in_a_fork, range(2)).get(timeout=60)\n"
        "assert np.allclose(found, expected, atol=1e-6); assert torch.get_num_threads() == 2\n"
    )
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(here), str(here.parent)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_pool_of_new_processes_takes_calculators():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        (found,) = pool.map_async(forces_of, [(Calculator("sigesn"), 3)]).get(timeout=120)
    assert found == pytest.approx(forces_of((Calculator("sigesn"), 3)), abs=1e-6)
