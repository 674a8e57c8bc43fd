"""Kept work serves the calculator that did it, and none that would give another number."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.mixing import LinearCombinationCalculator
from typer.testing import CliRunner

import ase_mlx
from ase_mlx.adapters.ase.job import relax
from ase_mlx.adapters.identity import identity
from ase_mlx.adapters.phonopy import phonons
from ase_mlx.adapters.phonopy.store import Store
from ase_mlx.cli import app
from ase_mlx.keep import DamagedWarning


class Network(Calculator):
    """As MACE: networks in a list `models`; forces −(Σ weights) times displacements."""

    implemented_properties = ("energy", "forces")

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.models = [torch.nn.Linear(2, 2)]


class Wrapped(Calculator):
    implemented_properties = ("energy", "forces")

    def __init__(self, inner):
        super().__init__()
        self.inner = {"potential": [inner]}

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        (inner,) = self.inner["potential"]
        self.results = {name: inner.get_property(name, atoms) for name in self.implemented_properties}


class Scaled(EMT):
    factor = 1.0

    def calculate(self, *arguments):
        super().calculate(*arguments)
        for name in ("energy", "free_energy", "forces"):
            self.results[name] = self.results[name] * self.factor


def scaled_by(value):
    return type("Scaled", (Scaled,), {"factor": value})()


def closing_over(value):
    class Closed(EMT):
        def calculate(self, *arguments):
            super().calculate(*arguments)
            self.results["forces"] = self.results["forces"] * value

    return Closed()


PAIRS = {
    "parameters": (lambda: LennardJones(sigma=2.3), lambda: LennardJones(sigma=2.4)),
    "networks in a list": (lambda: Network(0), lambda: Network(1)),
    "wrapped": (lambda: Wrapped(LennardJones(epsilon=1.0)), lambda: Wrapped(LennardJones(epsilon=4.0))),
    "wrapped network": (lambda: Wrapped(Network(0)), lambda: Wrapped(Network(1))),
    "mixed": (
        lambda: LinearCombinationCalculator([EMT(), EMT()], [0.5, 0.5]),
        lambda: LinearCombinationCalculator([EMT(), EMT()], [0.5, 0.7]),
    ),
    "value of a class": (lambda: scaled_by(1.0), lambda: scaled_by(4.0)),
    "closed over": (lambda: closing_over(1.0), lambda: closing_over(4.0)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_another_calculator_is_another_and_an_equal_one_the_same(name):
    one, other = PAIRS[name]
    assert identity(one()).key == identity(one()).key != identity(other()).key
    assert not identity(one()).unstable


@pytest.mark.parametrize("make", [EMT, LennardJones, lambda: Wrapped(EMT()), lambda: scaled_by(2.0)])
def test_work_of_ours_does_not_change_a_calculator_but_a_user_does(tmp_path, make):
    atoms, calculator = bulk("Al", cubic=True), make()
    store = Store(tmp_path, calculator)
    before = store.identity.key
    for size in ((1, 1, 1), (2, 1, 1)):
        store.keep("forces", atoms, {"forces": calculator.get_property("forces", atoms * size)})
        assert Store(tmp_path, calculator).identity.key == before
    calculator.label_of_mine = 3.0
    assert Store(tmp_path, calculator).identity.key != before


def stiffness(calculator, folder):
    ph = phonons(bulk("Al", cubic=True), calculator, (2, 2, 2), relax=False, on_imaginary="report", folder=folder)
    return float(np.linalg.norm(ph.force_constants))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", ["wrapped", "value of a class", "closed over"])
def test_forces_of_one_are_not_used_for_another(tmp_path, name):
    one, other = PAIRS[name]
    soft, hard = stiffness(one(), tmp_path), stiffness(other(), tmp_path)
    assert hard == pytest.approx(4 * soft, rel=1e-6)  # forces four times as large
    assert hard == pytest.approx(stiffness(other(), None), rel=1e-12)


class Charged(EMT):
    """EMT whose atoms lie further apart the more charge `info` says."""

    def calculate(self, atoms=None, *arguments):
        super().calculate(atoms, *arguments)
        push = 0.05 * atoms.info.get("charge", 0) * len(atoms)
        self.results["energy"] -= push * np.log(atoms.cell.volume)
        self.results["free_energy"] = self.results["energy"]
        self.results["stress"] = self.results["stress"] - push / atoms.cell.volume * np.array([1, 1, 1, 0, 0, 0])


def test_a_cation_is_not_given_the_numbers_of_its_neutral_twin():
    calculator = Charged()
    neutral = relax(bulk("Al", cubic=True), calculator).atoms
    cation = neutral.copy()
    cation.info["charge"] = 1
    shared, own = relax(cation, calculator), relax(cation, Charged())
    assert shared.atoms.cell.volume == pytest.approx(own.atoms.cell.volume, rel=1e-6)
    assert shared.atoms.cell.volume > 1.005 * neutral.cell.volume


MYCALC = """
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
class Spring(EMT):
    implemented_properties = ["energy", "forces"]
    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, list(properties), list(system_changes))
        for name in ("energy", "free_energy", "forces"):
            self.results[name] = self.results[name] * self.strength
        self.results.pop("stress", None)
def soft():
    made = Spring(); made.strength = 1.0; return made
def hard():
    made = Spring(); made.strength = 4.0; return made
"""


@pytest.fixture
def mycalc(tmp_path, monkeypatch):
    (tmp_path / "mycalc_of_identity.py").write_text(MYCALC)
    monkeypatch.chdir(tmp_path)
    bulk("Al", cubic=True).write("al.cif")
    yield "mycalc_of_identity"
    sys.modules.pop("mycalc_of_identity", None)


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.filterwarnings("ignore")
def test_another_factory_is_refused_by_name(mycalc):
    common = ("phonons", "al.cif", "--no-relax", "--supercell", "8", "-o", "out")
    done = run(*common, "-c", f"{mycalc}:soft")
    assert done.exit_code == 0, done.output
    other = run(*common, "-c", f"{mycalc}:hard")
    assert other.exit_code != 0 and "factory" in " ".join(other.output.split())


def test_a_changed_file_of_the_factory_is_another_calculator(mycalc):
    def key():
        text = "from ase_mlx.adapters.factories import made_by; from ase_mlx.adapters.identity import identity\n"
        text += f"print(identity(made_by('{mycalc}:soft')).key)"
        return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout

    before = key()
    assert key() == before
    path = Path(f"{mycalc}.py")
    path.write_text(path.read_text().replace("strength = 1.0", "strength = 2.0"))
    assert key() != before


KEPT = """
import sys
import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.mixing import SumCalculator
from ase_mlx.adapters import teachers
from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.ase.sampled_file import run_marks
from ase_mlx.adapters.ase.sampling import Sampling
from ase_mlx.adapters.factories import made_by
from ase_mlx.adapters.phonopy.store import Store

silicon, out = bulk("Si"), sys.argv[1]
ours = made_by("ase_mlx.adapters.ase:Calculator", {"model": "sigesn"})
for name, calculator in {"ours": ours, "sum": SumCalculator([Calculator("sigesn"), EMT()])}.items():
    store = Store(f"{out}/{name}", calculator)
    print("new" if store.fetch("forces", silicon) is None else "old", run_marks(Sampling(), silicon, calculator))
    store.keep("forces", silicon, {"forces": np.zeros((2, 3))})
print(teachers.calculator("ase_mlx.adapters.ase:Calculator", {"model": "sigesn"}).identity)
"""


@pytest.mark.slow
def test_an_edit_of_this_package_refuses_no_work(tmp_path):
    package = Path(ase_mlx.__file__).parent
    shutil.copytree(package, tmp_path / "ase_mlx", ignore=shutil.ignore_patterns("weights", "__pycache__", ".*"))
    (tmp_path / "ase_mlx/weights").symlink_to(package / "weights")

    def kept():
        command = [sys.executable, "-c", KEPT, str(tmp_path / "out")]
        environment = os.environ | {"PYTHONPATH": str(tmp_path)}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=tmp_path)
        return [line.split(" ", 1) for line in done.stdout.splitlines()]

    first, again = kept(), kept()
    for path in (tmp_path / "ase_mlx").rglob("*.py"):
        path.write_text(path.read_text() + "\n# another line\n")
    edited = kept()
    assert [[word for word, *_ in lines[:2]] for lines in (first, again)] == [["new"] * 2, ["old"] * 2]
    assert [word for word, *_ in edited[:2]] == ["new"] * 2  # forces are other work, and not refused
    assert [rest for _, rest in edited] == [rest for _, rest in again]  # samples and labels go on


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        (lambda atoms: atoms.set_tags([1, 0, 0, 0]), True),
        (lambda atoms: atoms.set_initial_charges([1, 0, 0, 0]), True),
        (lambda atoms: atoms.set_initial_magnetic_moments([1, 0, 0, 0]), True),
        (lambda atoms: atoms.set_masses([1, 2, 3, 4]), True),
        (lambda atoms: atoms.info.update(charge=1), True),
        (lambda atoms: atoms.set_array("mine", np.arange(4)), True),
        (lambda atoms: atoms.set_pbc((True, True, False)), True),
        (lambda atoms: atoms.copy(), False),
    ],
)
def test_what_is_on_the_atoms_counts(tmp_path, change, differs):
    store = Store(tmp_path, EMT())
    atoms = bulk("Al", cubic=True)
    store.keep("forces", atoms, {"forces": np.ones((4, 3))})
    change(atoms)
    assert (store.fetch("forces", atoms) is None) is differs


def test_damaged_work_is_named_and_done_again(tmp_path):
    store, atoms = Store(tmp_path, EMT()), bulk("Al", cubic=True)
    store.keep("forces", atoms, {"forces": np.ones((4, 3))})
    (path,) = tmp_path.glob("forces-*.npz")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.warns(DamagedWarning, match=path.name):
        assert store.fetch("forces", atoms) is None
    (tmp_path / "calculator.json").write_text("{damaged")
    with pytest.warns(DamagedWarning, match="calculator.json"):
        again = Store(tmp_path, EMT())
    again.keep("forces", atoms, {"forces": np.full((4, 3), 2.0)})
    assert Store(tmp_path, EMT()).fetch("forces", atoms)["forces"][0, 0] == 2.0
    assert json.loads((tmp_path / "calculator.json").read_text())["content"]["class"].endswith("EMT")
