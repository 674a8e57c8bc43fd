import subprocess
import sys

import ase.io
import numpy as np
import pytest
import torch
from ase import units
from ase.build import bulk, molecule
from ase.calculators.calculator import BaseCalculator, PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.calculators.lj import LennardJones
from ase.calculators.mixing import SumCalculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.md.verlet import VelocityVerlet
from ase.outputs import all_outputs
from geometries import EXTRAS, GEOMETRIES, cluster, forces_of, rattled, rattled_silicon, slab
from tiny import tiny_potential

import ase_mlx as am
from ase_mlx.adapters.ase import Calculator
from ase_mlx.learn.files import save_model
from ase_mlx.models.predict import predict
from ase_mlx.pretrained import load

NAMES = ["energy", "energies", "free_energy", "forces", "stress", "stresses"]


VOLUME = [n for n in GEOMETRIES if n not in ("wire", "molecule", "one atom", "pair")]


@pytest.fixture
def silicon():
    return rattled(bulk("Si") * (2, 1, 1))


@pytest.fixture(scope="module")
def model():
    return tiny_potential(l_max=2)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_forces_are_finite_differences_of_the_energy(model, geometry):
    atoms = rattled(GEOMETRIES[geometry]())
    atoms.calc = Calculator(model, dtype="float64")
    numerical = calculate_numerical_forces(atoms, eps=1e-4)
    assert atoms.get_forces() == pytest.approx(numerical, abs=1e-6)
    assert atoms.calc.results["forces"].shape == (len(atoms), 3)


@pytest.mark.parametrize("geometry", VOLUME)
def test_stress_is_a_finite_difference_by_the_true_volume(model, geometry):
    atoms = rattled(GEOMETRIES[geometry]())
    atoms.calc = Calculator(model, dtype="float64")
    numerical = calculate_numerical_stress(atoms, eps=1e-5)
    assert atoms.get_stress() == pytest.approx(numerical, abs=1e-8)
    assert np.abs(numerical).max() > 1e-4


@pytest.mark.parametrize("geometry", [g for g in GEOMETRIES if g not in VOLUME])
@pytest.mark.parametrize("name", ["stress", "stresses", "stress_std", "stress_members"])
def test_no_stress_without_a_volume(model, geometry, name):
    atoms = rattled(GEOMETRIES[geometry]())
    atoms.calc = Calculator(model)
    with pytest.raises(PropertyNotImplementedError, match="volume"):
        atoms.calc.get_property(name, atoms)
    assert np.isfinite(atoms.get_potential_energy())
    assert "stress" not in atoms.calc.results


def test_twice_the_vacuum_gives_half_the_stress_of_a_slab(model):
    thin = rattled(slab())
    thick = thin.copy()
    thick.cell[2] *= 2
    thin.calc, thick.calc = Calculator(model, dtype="float64"), Calculator(model, dtype="float64")
    assert thick.get_stress() == pytest.approx(thin.get_stress() / 2, abs=1e-12)


def test_only_registered_names_and_every_one_of_them(model, silicon):
    calculator = silicon.calc = Calculator(model)
    assert set(NAMES) <= set(silicon.get_properties(NAMES))
    for extra in EXTRAS:
        calculator.get_property(extra, silicon)
    assert set(calculator.results) <= set(calculator.implemented_properties) <= set(all_outputs)
    assert sorted(calculator.implemented_properties) == sorted(NAMES)
    assert silicon.get_potential_energy() == silicon.get_potential_energy(force_consistent=True)
    assert isinstance(silicon.get_potential_energy(), float)
    properties = calculator.export_properties()
    assert properties["forces"].shape == (4, 3)
    SinglePointCalculator(silicon, **calculator.results)


def test_sums(model, silicon):
    silicon.calc = Calculator(model, dtype="float64")
    assert silicon.get_potential_energies().sum() == pytest.approx(silicon.get_potential_energy(), abs=1e-10)
    assert silicon.get_stresses().sum(0) == pytest.approx(silicon.get_stress(), abs=1e-14)
    assert silicon.get_forces().sum(0) == pytest.approx(np.zeros(3), abs=1e-12)


def test_each_instance_has_its_own_list_of_properties(model):
    before = list(BaseCalculator.implemented_properties)
    first, second = Calculator(model), Calculator(model)
    first.implemented_properties.append("dipole")
    assert "dipole" not in second.implemented_properties
    assert "dipole" not in Calculator(model).implemented_properties
    assert BaseCalculator.implemented_properties == before == []


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_skin_changes_nothing_to_the_bit(model, dtype):
    plain, skinned = rattled(bulk("Si", cubic=True)), rattled(bulk("Si", cubic=True))
    plain.calc, skinned.calc = Calculator(model, dtype=dtype), Calculator(model, dtype=dtype, skin=0.8)
    lists = set()
    runs = []
    for atoms in (plain, skinned):
        atoms.info.clear()
        spread = np.sqrt(units.kB * 2500 / atoms.get_masses())[:, None]
        atoms.set_velocities(spread * np.random.default_rng(1).standard_normal((len(atoms), 3)))
        run = []
        for part in range(2):
            for _ in VelocityVerlet(atoms, 1.0 * units.fs).irun(25):
                run.append(
                    (atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress(), atoms.positions.copy())
                )
                if atoms is skinned:
                    lists.add(id(atoms.calc._listed[-1]))
            if part == 0:
                atoms.set_cell(atoms.cell * [1.02, 0.99, 1.01], scale_atoms=True)
        runs.append(run)
    assert len(runs[0]) == len(runs[1]) == 52
    for a, b in zip(*runs, strict=True):
        assert a[0] == b[0]
        assert all(np.array_equal(x, y) for x, y in zip(a[1:], b[1:], strict=True))
    assert 2 <= len(lists) < 30


def test_skin_notices_numbers_and_periodicity(model):
    atoms = rattled(bulk("Si", cubic=True))
    calculator, fresh = Calculator(model, skin=1.0), Calculator(model)
    calculator.get_potential_energy(atoms)
    atoms.numbers[3] = 50
    assert calculator.get_potential_energy(atoms) == fresh.get_potential_energy(atoms)
    atoms.pbc = [True, True, False]
    assert calculator.get_potential_energy(atoms) == fresh.get_potential_energy(atoms)
    assert calculator.get_potential_energy(atoms[:5]) == fresh.get_potential_energy(atoms[:5])


@pytest.mark.parametrize(
    ("change", "recomputed"),
    [
        (lambda a: a.positions.__setitem__((0, 0), a.positions[0, 0] + 0.1), True),
        (lambda a: a.set_cell(a.cell * 1.01), True),
        (lambda a: a.numbers.__setitem__(1, 50), True),
        (lambda a: a.set_pbc([True, True, False]), True),
        (lambda a: a.info.__setitem__("note", 1), False),
        (lambda a: a.set_momenta(np.ones((4, 3))), False),
    ],
    ids=["positions", "cell", "numbers", "pbc", "info", "momenta"],
)
def test_system_changes_are_noticed(model, silicon, monkeypatch, change, recomputed):
    calculator = silicon.calc = Calculator(model, dtype="float64")
    calls = []
    calculate = calculator.calculate
    monkeypatch.setattr(calculator, "calculate", lambda *a, **k: (calls.append(a), calculate(*a, **k)))
    energy, std = silicon.get_potential_energy(), calculator.get_property("energy_std", silicon)
    silicon.get_forces(), silicon.get_stress(), calculator.get_property("forces_std", silicon)
    before = len(calls)
    assert before == 2
    change(silicon)
    assert (silicon.get_potential_energy() != energy) == recomputed
    assert (calculator.get_property("energy_std", silicon) != std) == recomputed
    assert (len(calls) > before) == recomputed
    assert calculator.calculation_required(silicon, ["forces"]) is False or not calculator.check_state(silicon)


def test_results_are_copies(model, silicon):
    calculator = silicon.calc = Calculator(model)
    silicon.get_forces()[:] = 0
    calculator.get_property("forces_std", silicon)[:] = 0
    assert np.abs(silicon.get_forces()).max() > 0
    assert calculator.get_property("forces_std", silicon).max() > 0


def test_two_dtypes_in_one_process_and_no_global_one(model, silicon):
    default = torch.get_default_dtype()
    single, double = Calculator(model, dtype="float32"), Calculator(model, dtype="float64")
    for _ in range(2):
        a, b = single.get_property("energy", silicon), double.get_property("energy", silicon)
        assert a != b
        assert a == pytest.approx(b, abs=1e-4)
        assert single.get_property("forces", silicon) == pytest.approx(double.get_property("forces", silicon), abs=1e-4)
        silicon.rattle(0.01)
    assert torch.get_default_dtype() == default
    assert next(model.parameters()).dtype == torch.float32
    assert {p.dtype for p in double.model.parameters()} == {torch.float64}


@pytest.mark.parametrize("suffix", ["traj", "extxyz", "db"])
@pytest.mark.parametrize("extras", [False, True])
def test_round_trips(model, silicon, tmp_path, suffix, extras):
    calculator = silicon.calc = Calculator(model)
    silicon.get_stress()
    if extras:
        calculator.save_extras(silicon, prefix="mlx_")
        assert silicon.info["mlx_energy_std"] == calculator.get_property("energy_std", silicon)
    path = tmp_path / f"silicon.{suffix}"
    if suffix == "db":
        with connect(path) as db:
            db.write(silicon, data={k: v for k, v in silicon.info.items() if k.startswith("mlx_")})
        row = next(connect(path).select())
        back = row.toatoms()
        back.info.update(row.data)
    else:
        ase.io.write(path, silicon)
        back = ase.io.read(path)
    assert set(back.calc.results) <= set(all_outputs)
    for name in ("energy", "free_energy", "forces", "stress"):
        assert back.calc.results[name] == pytest.approx(calculator.results[name], abs=1e-7)
    if extras and suffix == "extxyz":
        assert back.arrays["mlx_forces_std"] == pytest.approx(calculator.get_property("forces_std", silicon), abs=1e-7)
        assert back.arrays["mlx_distance"] == pytest.approx(calculator.get_property("distance", silicon), abs=1e-7)
    if extras:
        assert back.info["mlx_stress_std"] == pytest.approx(calculator.get_property("stress_std", silicon), abs=1e-7)
    else:
        assert not [k for k in (*back.info, *back.arrays) if "std" in k or "distance" in k]


def test_save_extras_of_a_molecule_and_of_a_model_without_error_bars(model):
    atoms = cluster()
    Calculator(model).save_extras(atoms)
    assert {"energy_std"} == set(atoms.info)
    assert {"forces_std", "distance"} <= set(atoms.arrays)
    bare = cluster()
    Calculator(tiny_potential(members=0)).save_extras(bare)
    assert not bare.info and set(bare.arrays) == {"numbers", "positions"}


def test_sum_calculator(model, silicon):
    ours, pairs = Calculator(model, dtype="float64"), LennardJones(epsilon=0.01, sigma=2.0, rc=4.0)
    silicon.calc = SumCalculator([ours, pairs])
    energy, forces, stress = silicon.get_potential_energy(), silicon.get_forces(), silicon.get_stress()
    for calculator, sign in ((ours, 1), (pairs, 1)):
        energy -= sign * calculator.get_potential_energy(silicon)
        forces = forces - calculator.get_forces(silicon)
        stress = stress - calculator.get_property("stress", silicon)
    assert energy == pytest.approx(0, abs=1e-9)
    assert forces == pytest.approx(np.zeros((4, 3)), abs=1e-12)
    assert stress == pytest.approx(np.zeros(6), abs=1e-12)


def test_ase_lists_us():
    done = subprocess.run([sys.executable, "-m", "ase", "info", "--plugins"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "ase_mlx" in done.stdout


def test_the_plugin_names_the_calculator(model):
    from ase_mlx.adapters.ase.plugin import __ase_plugins__

    (plugin,) = __ase_plugins__
    assert plugin.implementation is Calculator
    assert issubclass(Calculator, BaseCalculator)


def test_extras_have_the_shapes_of_the_page(model, silicon):
    calculator = Calculator(model)
    found = {name: calculator.get_property(name, silicon) for name in EXTRAS}
    assert isinstance(found.pop("energy_std"), float)
    shapes = {name: value.shape for name, value in found.items()}
    assert shapes == {
        "forces_std": (4, 3), "stress_std": (6,), "distance": (4,),
        "energy_members": (4,), "forces_members": (4, 4, 3), "stress_members": (4, 6),
    }  # fmt: skip
    assert calculator.get_property("features", silicon).shape == (4, model.config.latent)
    assert found["energy_members"].mean() == pytest.approx(calculator.get_property("energy", silicon), abs=1e-4)
    assert found["forces_members"].mean(0) == pytest.approx(calculator.get_property("forces", silicon), abs=1e-4)


def test_bars_are_the_same_whether_or_not_members_are_asked_for(silicon):
    model = load("sigesn")
    together = predict(model, silicon, members=True)
    alone = am.predict("sigesn", silicon)
    with pytest.raises(KeyError, match="members are here of energy.*members=True"):
        alone.members["forces"]
    with_density = am.predict("sigesn", silicon, at=am.grid(silicon, shape=(2, 2, 2)), members=True)
    assert {"energy", "forces", "stress"} <= set(with_density.members)
    assert set(am.predict("sigesn", silicon, members=True).members) == {"energy", "forces", "stress"}
    assert set(alone.members) == {"energy"} and set(together.members) == {"energy", "forces", "stress"}
    for name in ("energy", "forces", "stress"):
        assert alone.std[name] == pytest.approx(together.std[name], rel=1e-5)
        assert alone[name] == pytest.approx(together[name], abs=1e-6)
    calculator = Calculator(model)
    bars = calculator.get_property("forces_std", silicon)
    assert calculator.get_property("forces_members", silicon).shape == (16, len(silicon), 3)
    assert calculator.get_property("forces_std", silicon) == pytest.approx(bars, rel=1e-5)


def test_extras_are_computed_for_the_structure_asked(model, silicon):
    calculator = silicon.calc = Calculator(model)
    first = calculator.get_property("energy_std") if silicon.get_potential_energy() else None
    other = rattled(silicon.copy(), seed=7)
    second = calculator.get_property("energy_std", other)
    assert first != second
    assert second == Calculator(model).get_property("energy_std", other)
    assert calculator.get_property("distance", silicon, allow_calculation=False) is None


def test_a_folder_serves_as_well_as_a_model(model, silicon, tmp_path):
    folder = save_model(model, tmp_path / "model", {"title": "tiny"})
    assert Calculator(folder).get_potential_energy(silicon) == Calculator(model).get_potential_energy(silicon)
    assert Calculator(str(folder)).get_potential_energy(silicon) == Calculator(model).get_potential_energy(silicon)


def test_the_given_model_is_left_alone(silicon):
    model = tiny_potential()
    model.train()
    Calculator(model, dtype="float64").get_potential_energy(silicon)
    assert model.training
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_molecule_from_ases_own_collection(model):
    atoms = molecule("SiH4")
    with pytest.raises(ValueError, match="got H, but"):
        Calculator(model).get_potential_energy(atoms)


def test_it_computes_within_inference_mode():
    expected = forces_of((Calculator("sigesn"), 5))
    with torch.inference_mode():
        assert forces_of((Calculator("sigesn"), 5)) == pytest.approx(expected, abs=1e-6)
        assert predict(Calculator("sigesn").model, rattled_silicon(5))["forces"] == pytest.approx(expected, abs=1e-6)


def test_it_says_what_it_is_and_what_it_gives():
    text = repr(Calculator("sigesn", dtype="float64", skin=0.5))
    assert text.startswith("Calculator(sigesn: energy,") and "Si Ge Sn; float64 on cpu, skin=0.5 Å" in text
    with pytest.raises(PropertyNotImplementedError, match="did you mean 'energy_std'?"):
        Calculator("sigesn").get_property("energy_sdt", bulk("Si"))


@pytest.mark.parametrize("device", ["nonsense", "cuda:77", "mps"])
def test_a_device_that_is_not_here_is_refused_when_the_calculator_is_made(model, device):
    with pytest.raises(ValueError, match="expected one of this machine: cpu"):
        Calculator(model, device=device)


FILE_NAMES = """
from ase_mlx.adapters.ase import Calculator, elastic
from ase_mlx.adapters.ase.job import relax
from ase_mlx.adapters.phonopy import phonons, quasi_harmonic
from ase_mlx.jobs import main_job
for work in (phonons, quasi_harmonic, relax, elastic, main_job):
    try:
        work("silicon.cif", Calculator("sigesn"))
    except TypeError as error:
        print(error)
"""


def test_the_name_of_a_file_in_place_of_atoms_is_refused_with_the_way_on():
    """In a process of its own: here types are checked before."""
    done = subprocess.run([sys.executable, "-c", FILE_NAMES], capture_output=True, text=True, check=True)
    assert done.stdout.count("got a str, 'silicon.cif', expected ase.Atoms; read a file by ase.io.read") == 5
