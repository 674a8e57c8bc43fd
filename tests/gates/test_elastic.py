"""Elastic constants against second differences of the energy of relaxed cells, pymatgen and closed forms."""

import numpy as np
import pytest
from ase.build import bulk, fcc111, molecule
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.constraints import FixAtoms
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from ase.stress import voigt_6_to_full_3x3_stress
from ase.units import GPa
from ensemble_emt import EnsembleEMT
from pymatgen.analysis.elasticity import ElasticTensor
from scipy.spatial.transform import Rotation

from ase_mlx.adapters.ase import Calculator, elastic
from ase_mlx.adapters.ase.imposed_symmetry import CellFilter
from ase_mlx.adapters.ase.job import equation_of_state, relax
from ase_mlx.adapters.ase.sum import Sum
from ase_mlx.adapters.batched_labels import label_frames
from ase_mlx.phonons.elasticity import strain_matrix


def relaxed_energy(atoms, calculator, strain):
    cell = atoms.copy()
    cell.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    cell.calc = calculator
    BFGS(cell, logfile=None).run(fmax=1e-6, steps=300)
    return cell.get_potential_energy()


def by_energies(atoms, calculator, size=4e-3):
    """All 21 constants in GPa from energies alone, ions relaxed by an optimiser at every strain."""

    def energy(strain):
        return relaxed_energy(atoms, calculator, strain)

    rest, volume, tensor = energy(np.zeros((3, 3))), atoms.get_volume(), np.zeros((6, 6))
    single = [[energy(strain_matrix(k, sign * size)) for sign in (1, -1)] for k in range(6)]
    for k in range(6):
        tensor[k, k] = (sum(single[k]) - 2 * rest) / size**2
        for m in range(k):
            both = [energy(strain_matrix(k, s * size) + strain_matrix(m, s * size)) for s in (1, -1)]
            tensor[k, m] = tensor[m, k] = (sum(both) - sum(single[k]) - sum(single[m]) + 2 * rest) / (2 * size**2)
    return tensor / volume / GPa


def hexagonal():
    """An ordered hexagonal alloy whose ions move under strain."""
    atoms = bulk("Cu", "hcp", a=2.6, c=4.3)
    atoms.numbers[1] = 79
    return atoms


def test_an_alloy_with_ions_that_give_way_agrees_with_energies_of_relaxed_cells():
    atoms = relax(hexagonal(), EMT(), fmax=1e-6).atoms
    found = elastic(atoms, EMT(), relax=False)
    known = by_energies(atoms, EMT())
    np.testing.assert_allclose(found.tensor, known, atol=0.3)
    assert np.abs(found.clamped - found.tensor).max() > 1  # the ions' part is there
    assert set(found.constants()) == {"C11", "C12", "C13", "C33", "C44", "C66"}
    assert found.tensor[5, 5] == pytest.approx((found.tensor[0, 0] - found.tensor[0, 1]) / 2, rel=1e-6)
    assert found.std is None
    assert found.debye_temperature_std is None


def test_a_crystal_without_any_symmetry():
    atoms = bulk("Cu", cubic=True)
    atoms.numbers[:] = [29, 79, 47, 46]
    atoms.set_cell([[3.9, 0.1, 0.05], [0.0, 4.0, 0.2], [0.1, -0.1, 4.1]], scale_atoms=True)
    atoms = relax(atoms, EMT(), fmax=1e-6, symmetry=False).atoms
    found = elastic(atoms, EMT(), relax=False)
    np.testing.assert_allclose(found.tensor, by_energies(atoms, EMT()), atol=0.4)


def test_input_axes_and_cells_do_not_matter():
    atoms = relax(hexagonal(), EMT(), fmax=1e-6).atoms
    reference = elastic(atoms, EMT(), relax=False)
    supercell = elastic(atoms * (1, 2, 1), EMT(), relax=False)
    np.testing.assert_allclose(supercell.tensor, reference.tensor, atol=0.02)
    turn = Rotation.from_rotvec([0.3, -0.4, 0.9]).as_matrix()
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ turn.T, scale_atoms=True)
    found = elastic(turned, EMT(), relax=False)
    rotated = ElasticTensor.from_voigt(reference.tensor).rotate(turn, tol=1e-5).voigt
    np.testing.assert_allclose(found.tensor, rotated, rtol=1e-3, atol=0.02)
    assert found.debye_temperature == pytest.approx(reference.debye_temperature, rel=1e-3)


def test_pair_forces_obey_cauchy():
    found = elastic(bulk("Ar", cubic=True, a=5.3), LennardJones(sigma=3.4, epsilon=0.0104, rc=12.0, smooth=True))
    assert found.tensor[0, 1] == pytest.approx(found.tensor[3, 3], rel=2e-3)
    assert found.stable


def test_members_have_known_error_bars():
    strengths = np.array([0.9, 1.0, 1.2])
    found = elastic(bulk("Cu"), EnsembleEMT(strengths))
    share = np.std(strengths, ddof=1)
    np.testing.assert_allclose(found.std, share * found.tensor, atol=1e-6)
    assert found.moduli_std.shear == pytest.approx(share * found.moduli.shear)
    assert found.moduli_std.poisson == pytest.approx(0, abs=1e-9)
    spread = np.std(np.sqrt(strengths), ddof=1)  # every velocity of a member is √λ times the mean's
    assert found.debye_temperature_std == pytest.approx(spread * found.debye_temperature)


@pytest.mark.parametrize(("symbol", "debye"), [("Si", 630), ("Ge", 314)])
def test_shipped_model_against_constants_of_relaxed_strained_cells(symbol, debye):
    calculator = Calculator("sigesn", dtype="float64")
    found = elastic(bulk(symbol), calculator)
    atoms = relax(bulk(symbol), calculator, fmax=1e-5).atoms
    by_hand = []
    for sign in (1, -1):
        cell = atoms.copy()
        cell.set_cell(atoms.cell.array @ (np.eye(3) + strain_matrix(3, sign * 1e-3)), scale_atoms=True)
        cell.calc = calculator
        BFGS(cell, logfile=None).run(fmax=1e-6, steps=300)
        by_hand.append(cell.get_stress()[3])
    assert found.tensor[3, 3] == pytest.approx((by_hand[0] - by_hand[1]) / 2e-3 / GPa, rel=2e-3)
    eos = equation_of_state(atoms, calculator)
    assert found.moduli.bulk == pytest.approx(eos.bulk_modulus.value, rel=0.02)
    assert found.debye_temperature == pytest.approx(debye, abs=2 * found.debye_temperature_std)
    assert 2 < found.debye_temperature_std < 20


def test_an_unstable_crystal_is_said():
    found = elastic(bulk("Cu", "bcc", a=2.9), EMT())
    assert not found.stable
    assert "Elastically unstable" in found.notes[-1]
    assert found.moduli is None
    assert found.debye_temperature is None


def test_what_has_no_elastic_constants_is_refused():
    with pytest.raises(ValueError, match="got a slab"):
        elastic(fcc111("Al", (1, 1, 3), vacuum=8), EMT())
    with pytest.raises(ValueError, match="got a molecule"):
        elastic(molecule("N2"), EMT())
    held = bulk("Cu", cubic=True)
    held.set_constraint(FixAtoms([0]))
    with pytest.raises(ValueError, match="free to move, got FixAtoms"):
        elastic(held, EMT())

    class WithoutStress(EMT):
        def get_property(self, name, atoms=None, allow_calculation=True):
            if name == "stress":
                raise NotImplementedError
            return super().get_property(name, atoms, allow_calculation)

    with pytest.raises(ValueError, match=r"derivatives of the stress.*WithoutStress"):
        elastic(bulk("Cu"), WithoutStress(), relax=False)
    with pytest.raises(ValueError, match="not at a minimum: a motion"):
        elastic(bulk("Cu", "sc", a=2.4) * (2, 1, 1), EMT(), relax=False)


def test_a_cell_under_stress_is_said():
    found = elastic(bulk("Cu", a=3.5), EMT(), relax=False)
    assert "held by force" in found.notes[0]


class MatrixEMT(EMT):
    """EMT that gives its stress as a matrix, as CHGNet's calculator does."""

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        if "stress" in self.results:
            self.results["stress"] = voigt_6_to_full_3x3_stress(self.results["stress"])


def test_a_stress_may_be_a_matrix(tmp_path):
    atoms = bulk("CuAu", "cesiumchloride", a=3.1)
    plain, matrix = elastic(atoms, EMT()), elastic(atoms, MatrixEMT())
    np.testing.assert_allclose(matrix.tensor, plain.tensor, rtol=1e-9)
    summed = Sum(MatrixEMT(), EMT()).get_property("stress", atoms)
    np.testing.assert_allclose(summed, 2 * EMT().get_property("stress", atoms))
    (label,), _ = label_frames([atoms], MatrixEMT(), tmp_path)
    np.testing.assert_allclose(label.get_stress(), EMT().get_property("stress", atoms))


def test_a_cell_filter_is_ases_own():
    atoms = bulk("CuAu", "cesiumchloride", a=3.1)
    atoms.rattle(0.05, seed=0)
    ours, theirs = (which(atoms.copy()) for which in (CellFilter, FrechetCellFilter))
    ours.atoms.calc, theirs.atoms.calc = EMT(), EMT()
    moved = ours.get_positions() + 0.01 * np.random.default_rng(0).normal(size=(5, 3))
    for one in (ours, theirs):
        one.set_positions(moved)
    np.testing.assert_array_equal(ours.get_positions(), theirs.get_positions())
    np.testing.assert_array_equal(ours.get_forces(), theirs.get_forces())
