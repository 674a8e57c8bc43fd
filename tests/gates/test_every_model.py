"""Every model is a calculator: scores go along in dynamics, trajectories, files and databases."""

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.db import connect
from ase.io import read, write
from ase.io.trajectory import Trajectory
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from ase.outputs import all_outputs
from tiny import tiny_potential
from tiny_density import tiny_density

import ase_mlx as am
from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.ase.anomaly import anomaly_of
from ase_mlx.adapters.identity import identity
from ase_mlx.adapters.phonopy import harmonic, members, phonons
from ase_mlx.models import Model, Prediction
from ase_mlx.models.anomaly import AnomalyConfig, AnomalyModel
from ase_mlx.models.crystal_property import CrystalPropertyConfig
from ase_mlx.quantities import SCREENED, Quantity

SCORES = {f"{q.name}{end}" for q in SCREENED for end in ("", "_std")}
SAVED = SCORES - {"tail_probability_std", "novelty_probability_std"} | {"reasons"}


@pytest.fixture(scope="module")
def anomaly():
    """Untrained, of the two elements of the tests."""
    torch.manual_seed(0)
    sizes = CrystalPropertyConfig(("formation_energy", "hull_distance"), (14, 32), members=2, width=8, hyper_width=8)
    return AnomalyModel(AnomalyConfig(sizes, novelty_members=2, novelty_width=8))


@pytest.fixture
def silicon():
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.02, seed=1)
    return atoms


def test_the_shipped_model_of_anomalies_is_a_calculator_without_an_energy(silicon):
    calculator = Calculator("bhnaa")
    silicon.calc = calculator
    assert calculator.implemented_properties == [] and calculator.name == "bhnaa" and calculator.dtype == "float64"
    for ask in (silicon.get_potential_energy, silicon.get_forces, silicon.get_stress):
        with pytest.raises(PropertyNotImplementedError, match="'bhnaa' does not give; it gives formation_energy"):
            ask()
    expected = am.predict(am.load("bhnaa").double(), silicon)
    for name in expected:
        assert calculator.get_property(name, silicon) == pytest.approx(float(expected[name]), rel=1e-9)
    for name in expected.std:
        assert calculator.get_property(f"{name}_std", silicon) == pytest.approx(float(expected.std[name]), rel=1e-9)
    assert calculator.get_property("reasons", silicon) == anomaly_of(silicon).reasons
    assert calculator.results == {}
    saved = calculator.save_extras(silicon)
    assert set(saved) == SAVED <= set(silicon.info)
    assert silicon.info["novelty"] == float(expected["novelty"])
    with pytest.raises(PropertyNotImplementedError, match="did you mean 'novelty'"):
        calculator.get_property("noveltie", silicon)
    with pytest.raises(ValueError, match="depends on the structure alone"):
        calculator.get_property("novelty", silicon, temperature=300)


def test_scores_belong_to_the_structure_asked_for(anomaly, silicon):
    calculator, other = Calculator(anomaly), bulk("Si")
    scores = [calculator.get_property("novelty", one) for one in (silicon, other, silicon)]
    assert scores[0] == scores[2] != scores[1]
    assert calculator.get_property("novelty", other, allow_calculation=False) is None


def test_scores_go_along_in_dynamics_and_come_back_from_a_trajectory(anomaly, silicon, tmp_path):
    silicon.calc = Calculator(tiny_potential(), also=(anomaly,))
    silicon.set_momenta(np.random.default_rng(0).standard_normal((8, 3)))
    with VelocityVerlet(silicon, 1 * units.fs, trajectory=str(tmp_path / "md.traj")) as dynamics:
        dynamics.run(3)
    with Trajectory(tmp_path / "md.traj") as trajectory:
        frames = list(trajectory)
    alone = Calculator(anomaly)
    assert len(frames) == 4 and len({frame.info["novelty"] for frame in frames}) == 4
    for frame in frames:
        assert set(frame.info) >= SAVED and set(frame.calc.results) <= set(all_outputs)
        assert frame.info["novelty"] == pytest.approx(alone.get_property("novelty", frame), rel=1e-9)
        assert frame.calc.name == "Potential"


def test_scores_go_along_in_a_relaxation_a_file_and_a_database(anomaly, silicon, tmp_path):
    silicon.calc = Calculator(tiny_potential(), also=(anomaly,))
    BFGS(silicon, logfile=None).run(fmax=1e-4, steps=2)
    score = Calculator(anomaly).get_property("novelty", silicon)
    assert silicon.info["novelty"] == pytest.approx(score, rel=1e-9)
    write(tmp_path / "a.extxyz", silicon)
    back = read(tmp_path / "a.extxyz")
    assert back.info["novelty"] == pytest.approx(score, rel=1e-7) and back.info["reasons"] == silicon.info["reasons"]
    assert set(back.calc.results) <= set(all_outputs)
    with connect(tmp_path / "a.db") as db:
        saved = silicon.calc.save_extras(silicon)
        db.write(silicon, **saved)
    row = connect(tmp_path / "a.db").get(f"novelty>{score - 1e-6}")
    assert row.novelty == pytest.approx(score) and row.energy == pytest.approx(silicon.get_potential_energy())
    assert row.energy_std == pytest.approx(silicon.calc.get_property("energy_std")) and row.calculator == "potential"


def test_results_hold_names_of_ase_alone(anomaly, silicon):
    silicon.calc = Calculator(tiny_potential(), also=(anomaly,))
    silicon.get_forces()
    silicon.calc.get_property("novelty_std", silicon)
    assert set(silicon.calc.results) <= set(all_outputs)
    assert silicon.get_properties(["energy", "forces"])["energy"] == silicon.get_potential_energy()


def test_models_that_give_the_same_are_refused(anomaly):
    with pytest.raises(ValueError, match="got 'AnomalyModel' and 'AnomalyModel', which both give formation_energy"):
        Calculator(anomaly, also=(anomaly,))


def test_what_an_accompanying_model_refuses_is_refused(anomaly):
    atoms = Atoms("Si2", [[0, 0, 0], [0, 0, 2.3]], calculator=Calculator(tiny_potential(), also=(anomaly,)))
    with pytest.raises(ValueError, match="crystal|periodic|three"):
        atoms.get_potential_energy()


def test_thermal_functions_take_the_road_of_phonopy_once(silicon, tmp_path, monkeypatch):
    atoms, calculator = bulk("Si"), Calculator("sigesn")
    atoms.calc = calculator
    value = calculator.get_property("heat_capacity", atoms, temperature=300)
    precise = Calculator("sigesn", dtype="float64")
    ph = phonons(atoms, precise, 10.0)
    expected = harmonic(ph, members(ph, precise), np.array([300.0]))
    joule = units.kJ / units.mol / 1000  # eV of J/mol
    assert value == pytest.approx(expected.heat_capacity[0] * joule, rel=1e-6)
    monkeypatch.setattr("ase_mlx.adapters.phonopy.phonons", None)
    std = calculator.get_property("heat_capacity_std", atoms, temperature=300)
    assert std == pytest.approx(expected.std["heat_capacity"][0] * joule, rel=1e-4) and 0 < std < 0.1 * value
    assert calculator.get_property("entropy", atoms, temperature=300) == pytest.approx(expected.entropy[0] * joule)
    free = calculator.get_property("vibrational_free_energy", atoms.copy(), temperature=300)
    assert free == pytest.approx(1000 * expected.free_energy[0] * joule)
    assert calculator.get_property("heat_capacity", atoms, temperature=2000) > value
    assert calculator.get_property("heat_capacity", bulk("Ge"), False, temperature=300) is None
    saved = calculator.save_extras(atoms, names=["heat_capacity"], temperature=300)
    assert saved == {"heat_capacity": pytest.approx(value), "heat_capacity_std": pytest.approx(std)}
    write(tmp_path / "a.traj", atoms)
    assert read(tmp_path / "a.traj").info["heat_capacity"] == pytest.approx(value)
    with connect(tmp_path / "a.db") as db:
        db.write(atoms, **saved)
    assert connect(tmp_path / "a.db").get(1).heat_capacity_std == pytest.approx(std)
    with pytest.raises(ValueError, match="got temperature=None"):
        calculator.get_property("heat_capacity", atoms)


def test_auto_takes_the_shipped_model_that_knows_the_structure(tmp_path):
    calculator = Calculator("auto")
    assert "auto" in repr(calculator)
    with pytest.raises(ValueError, match="has chosen no model yet"):
        identity(calculator)
    with pytest.raises(ValueError, match="got no structure for Calculator"):
        calculator.get_property("energy")
    atoms = bulk("Al")
    atoms.calc = calculator
    assert atoms.get_potential_energy() == Calculator("al").get_potential_energy(bulk("Al"))
    assert calculator.name == "al" and identity(calculator).key == identity(Calculator("al")).key
    write(tmp_path / "a.traj", atoms)
    assert read(tmp_path / "a.traj").calc.name == "al"
    with pytest.raises(ValueError, match="got Si, but"):
        calculator.get_potential_energy(bulk("Si"))
    assert Calculator("auto", atoms=bulk("Ge")).name == "sigesn"
    with pytest.raises(ValueError, match=r"got He; no model that is here knows all of these \(al: Al; sigesn: Si"):
        Calculator("auto").get_potential_energy(bulk("He", "fcc", a=4.2))


@pytest.mark.filterwarnings("ignore::ase_mlx.models.electron_count.CoarseGridWarning")  # of random weights
def test_large_structures_go_block_by_block_on_request(anomaly, monkeypatch):
    model = tiny_density(elements=(13, 14), cutoff=3.2).to(dtype=torch.float64)
    atoms = bulk("Al", cubic=True) * (8, 2, 2)
    atoms.rattle(0.1, seed=2)
    whole, blocks = Calculator(model, dtype="float64"), Calculator(model, dtype="float64", blocks=True)
    points = am.grid(atoms, shape=(20, 10, 10))
    together = am.predict(model, atoms, at=points)
    for name in ("FIELD_BLOCK", "FORCE_BLOCK"):
        monkeypatch.setattr(f"ase_mlx.models.large.{name}", 60)
    for name in ("energy", "energies", "forces", "stress", "distance"):
        assert blocks.get_property(name, atoms) == pytest.approx(whole.get_property(name, atoms), abs=1e-10)
    parts = am.predict(model, atoms, at=points, blocks=True)
    for name in ("energy", "forces", "density"):
        assert parts[name] == pytest.approx(together[name], abs=1e-9)
    assert parts.std["density"] == pytest.approx(together.std["density"], abs=1e-9)
    assert blocks.get_pseudo_density(atoms, shape=(20, 10, 10)) == pytest.approx(together["density"], abs=1e-9)
    with pytest.raises(PropertyNotImplementedError, match="and no blocks"):
        blocks.get_property("energy_std", atoms)
    with pytest.raises(ValueError, match="got blocks=True for a AnomalyModel"):
        Calculator(anomaly, blocks=True)


@pytest.mark.filterwarnings("ignore::ase_mlx.models.electron_count.CoarseGridWarning")  # of random weights
def test_a_density_has_the_charge_of_the_atoms():
    atoms, calculator = bulk("Al", cubic=True), Calculator(tiny_density())
    electrons = lambda: calculator.get_pseudo_density(atoms).mean() * atoms.cell.volume  # noqa: E731
    neutral = electrons()
    atoms.info["charge"] = 2
    assert electrons() - neutral == pytest.approx(-2, abs=1e-4)


class Dipole(Model):
    """A plug-in that gives what ASE knows and what it does not."""

    outputs = (Quantity("dipole", "graph", (3,), -1, "e Å"), Quantity("softness", "atom", (), 1, "Å³"))
    cutoff, elements = 3.0, (1, 8)

    def forward(self, graph):
        return Prediction({"dipole": graph.positions.sum(0)[None], "softness": graph.numbers.double()})

    with_std = forward


def test_a_plug_ins_outputs_are_results_or_extras():
    atoms = molecule("H2O")
    atoms.calc = Calculator(Dipole())
    assert atoms.get_dipole_moment() == pytest.approx(atoms.positions.sum(0))
    assert atoms.calc.get_property("softness", atoms).tolist() == [8, 1, 1]
    assert set(atoms.calc.results) == {"dipole"} and atoms.calc.save_extras(atoms) == {}
    assert atoms.arrays["softness"].tolist() == [8, 1, 1]
