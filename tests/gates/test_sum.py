"""A potential with dispersion: sums and their derivatives, error bars that stay, layers that attract each other."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.calculators.lj import LennardJones
from ase.outputs import all_outputs
from dftd3.ase import DFTD3

from ase_mlx.adapters.ase import Calculator, Sum, with_dispersion
from ase_mlx.adapters.identity import identity
from ase_mlx.adapters.phonopy import members, phonons
from ase_mlx.cli import app


def silicon() -> Atoms:
    atoms = bulk("Si", a=5.45)
    atoms.rattle(0.05, seed=3)
    return atoms


def graphite(height: float = 6.7) -> Atoms:
    sites = [[0, 0, 0], [1 / 3, 2 / 3, 0], [0, 0, 0.5], [2 / 3, 1 / 3, 0.5]]
    return Atoms("C4", scaled_positions=sites, cell=[[2.46, 0, 0], [-1.23, 1.23 * 3**0.5, 0], [0, 0, height]], pbc=True)


def test_a_sum_is_the_sum_and_forces_and_stress_are_its_derivatives():
    atoms = silicon()
    model, correction = Calculator("sigesn", dtype="float64"), DFTD3(method="PBE", damping="d3bj")
    parts = [{n: one.get_property(n, atoms) for n in ("energy", "forces", "stress")} for one in (model, correction)]
    atoms.calc = total = with_dispersion(Calculator("sigesn", dtype="float64"))
    assert set(total.implemented_properties) <= set(all_outputs)
    for name in ("energy", "forces", "stress"):
        np.testing.assert_allclose(total.get_property(name, atoms), parts[0][name] + parts[1][name], atol=1e-12)
    assert set(total.results) <= set(total.implemented_properties)
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()
    np.testing.assert_allclose(atoms.get_forces(), calculate_numerical_forces(atoms, 1e-4), atol=2e-6)
    np.testing.assert_allclose(atoms.get_stress(), calculate_numerical_stress(atoms, 1e-5), atol=2e-6)


@pytest.mark.filterwarnings("ignore:The undisplaced atoms feel")  # one structure for both
def test_error_bars_stay_and_members_move():
    atoms = silicon()
    model = Calculator("sigesn", dtype="float64")
    total = with_dispersion(model)
    for name in ("energy_std", "forces_std", "stress_std", "distance"):
        np.testing.assert_array_equal(total.get_property(name, atoms), model.get_property(name, atoms))
    shift = total.correction.get_property("forces", atoms)
    moved = total.get_property("forces_members", atoms)
    np.testing.assert_allclose(moved, model.get_property("forces_members", atoms) + shift, atol=1e-12)
    crystal, forces = bulk("Si", a=5.45), []
    for calculator in (model, total):
        ph = phonons(crystal, calculator, supercell=10.0, relax=False)
        forces.append(np.array([member.forces for member in members(ph, calculator)]))
    shift = forces[1] - forces[0]
    assert len(shift) > 1 and abs(shift).max() > 1e-4
    np.testing.assert_allclose(shift, np.broadcast_to(shift[:1], shift.shape), atol=1e-12)


def test_what_would_lack_the_correction_is_refused():
    total = with_dispersion(Calculator("sigesn"))
    for name in ("energies", "heat_capacity"):
        with pytest.raises(NotImplementedError, match="would lack"):
            total.get_property(name, silicon())
    with pytest.raises(ValueError, match="with forces"):
        Sum(EMT(), type("Mute", (), {"implemented_properties": ["energy"]})())
    with pytest.raises(ValueError, match="no parameters"):
        with_dispersion(EMT(), "PBEE")


def test_any_calculator_of_ase_may_be_summed():
    water = molecule("H2O")
    total = Sum(EMT(), LennardJones(epsilon=0.01, sigma=1.0))
    lone = EMT().get_property("energy", water) + LennardJones(epsilon=0.01, sigma=1.0).get_property("energy", water)
    assert total.get_property("energy", water) == pytest.approx(lone, abs=1e-12)


def test_another_functional_is_another_calculator():
    keys = {identity(with_dispersion(Calculator("sigesn"), name)).key for name in ("PBE", "PBEsol", "PBE")}
    assert len(keys) == 2
    assert identity(Calculator("sigesn")).key not in keys


def test_layers_of_graphite_attract():
    """D3 binds the layers: the energy falls by some 0.1 eV/atom from far apart (PBE-D3: 0.05 eV/atom and more)."""
    calculator = DFTD3(method="PBE", damping="d3bj")
    near, far = (calculator.get_property("energy", graphite(height)) / 4 for height in (6.7, 20.0))
    assert 0.04 < far - near < 0.09


@pytest.mark.slow
def test_the_command_adds_dispersion_and_says_so(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    monkeypatch.chdir(tmp_path)
    bulk("Cu").write("cu.extxyz")
    call = [
        "phonons",
        "cu.extxyz",
        "-c",
        "emt",
        "--dispersion",
        "--supercell",
        "2 2 2",
        "-o",
        "out",
        "--json",
        "out.json",
    ]
    result = CliRunner().invoke(app, call)
    assert result.exit_code == 0, result.output
    assert "emt + D3(BJ)" in (tmp_path / "out.json").read_text(encoding="utf-8")
