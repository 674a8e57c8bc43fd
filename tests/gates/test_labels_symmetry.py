"""Labels and symmetry: standard cells, magnetic moments, constraints, vectors of ones own."""

import warnings

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import all_changes
from ase.calculators.emt import EMT
from ase.calculators.fd import calculate_numerical_forces
from ase.constraints import FixAtoms, FixBondLength
from layers import bare, direct, layered
from phonopy.harmonic.dynmat_to_fc import get_commensurate_points

from ase_mlx.adapters.ase.dynamics import dynamics
from ase_mlx.adapters.ase.job import equation_of_state, relax
from ase_mlx.adapters.ase.labels import may_point
from ase_mlx.adapters.ase.supercells import repeated
from ase_mlx.adapters.phono3py import conductivity
from ase_mlx.adapters.phono3py.crystal import mass_variances_of
from ase_mlx.adapters.phono3py.force_constants import third_order
from ase_mlx.adapters.phonopy import (
    phonons,
)
from ase_mlx.adapters.phonopy.cells import standardized
from ase_mlx.graph import neighbor_pairs


@pytest.mark.parametrize("primitive", [False, True])
def test_standard_cells_keep_labels_and_the_directions_of_vectors(primitive):
    atoms = layered()
    del atoms.arrays["initial_magmoms"]
    atoms.rotate(37, (1, 2, 3), rotate_cell=True)
    axis = atoms.cell[2] / np.linalg.norm(atoms.cell[2])
    atoms.set_initial_magnetic_moments(np.outer(atoms.get_initial_charges(), axis))
    found = standardized(repeated(atoms, np.diag([2, 1, 1])), 1e-4, primitive)
    assert len(found) == 2
    np.testing.assert_allclose(np.abs(found.cell[2] @ axis), 3.61, atol=1e-6)
    np.testing.assert_allclose(
        found.get_initial_magnetic_moments(), np.outer(found.get_initial_charges(), axis), atol=1e-12
    )
    assert set(found.arrays["site"]) == {"up", "down"}


def test_an_antiferromagnet_keeps_its_moments_on_the_way_to_its_conventional_cell():
    iron = Atoms("Fe2", cell=[2.5, 2.5, 3.3], scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], pbc=True)
    iron.set_initial_magnetic_moments([2, -2])
    assert sorted(standardized(iron, 1e-3).get_initial_magnetic_moments()) == [-2, 2]
    ferro = iron.copy()
    ferro.set_initial_magnetic_moments([2, 2])
    assert len(standardized(ferro, 1e-3, primitive=True)) == 1


def test_noncollinear_moments_lower_the_symmetry_that_a_relaxation_keeps():
    class Striction(EMT):
        """Moments along z stretch the crystal along z."""

        def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
            super().calculate(atoms, list(properties), system_changes)
            pull = 0.02 * (atoms.get_initial_magnetic_moments() ** 2).sum(axis=0)
            self.results["energy"] -= pull @ np.diag(atoms.cell.array)
            self.results["stress"] = self.results["stress"].copy()
            self.results["stress"][:3] -= pull * np.diag(atoms.cell.array) / atoms.get_volume()

    atoms = bulk("Cu", cubic=True)
    atoms.set_initial_magnetic_moments([[0, 0, 1.0]] * 4)
    lengths = relax(atoms, Striction(), fmax=1e-4).atoms.cell.lengths()
    free = relax(atoms, Striction(), fmax=1e-4, symmetry=False).atoms.cell.lengths()
    np.testing.assert_allclose(lengths, free, atol=1e-3)
    assert lengths[2] - lengths[0] > 0.02


def test_constraints_go_into_supercells_or_are_refused():
    atoms = layered()
    atoms.set_constraint(FixAtoms([1]))
    whole = repeated(atoms, np.diag([2, 1, 1]))
    assert whole.constraints[0].index.tolist() == [1, 5]
    run = dynamics(atoms, EMT(), steps=50, length=5.0)
    fixed = run.frames[0].constraints[0].index
    np.testing.assert_array_equal(run.frames[-1].positions[fixed], run.frames[0].positions[fixed])
    assert len(fixed) == len(run.frames[0]) // 4
    atoms.set_constraint(FixBondLength(0, 1))
    with pytest.raises(ValueError, match="FixBondLengths?, which has no image"):
        repeated(atoms, np.diag([2, 1, 1]))


def test_multiplicities_are_those_of_parallel_spins_and_said_aloud():
    atoms = bulk("Cu", cubic=True)
    atoms.info["spin"] = 3
    with pytest.warns(UserWarning, match="multiplicity 2S . 1 of the cell.* 5 for 8 atoms"):
        assert repeated(atoms, np.diag([2, 1, 1])).info["spin"] == 5
    atoms.info["spin"] = 1
    assert repeated(atoms, np.diag([2, 1, 1])).info["spin"] == 1


class Pointing(EMT):
    """EMT, and pairs that feel a vector of their own: A (v_i r)(v_j r) exp(-r²/2s²)."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, ["energy", "forces", "stress"], system_changes)
        own = atoms.arrays.get("own", np.zeros((len(atoms), 3)))
        i, j, shift = neighbor_pairs(atoms.positions, atoms.cell.array, atoms.pbc, 6.3)
        vector = atoms.positions[j] - atoms.positions[i] + shift @ atoms.cell.array
        weight = 0.5 * np.exp(-(vector**2).sum(axis=1) / 2 / 0.81)
        first, second = np.sum(own[i] * vector, axis=1), np.sum(own[j] * vector, axis=1)
        pull = own[i] * second[:, None] + own[j] * first[:, None] - vector * (first * second / 0.81)[:, None]
        pull *= weight[:, None]
        forces = np.stack([np.bincount(i, weights=column, minlength=len(atoms)) for column in pull.T], axis=1)
        self.results["energy"] += (weight * first * second).sum() / 2
        self.results["free_energy"] = self.results["energy"]
        self.results["forces"] = self.results["forces"] + forces


def test_vectors_of_ones_own_keep_translations_alone():
    """They point out of the axes, so no rotation of the crystal leaves them alone."""
    atoms, calculator = bulk("Cu", cubic=True), Pointing()
    atoms.set_array("own", np.tile([0.3, 0.7, 1.1], (4, 1)))
    moved = atoms.copy()
    moved.rattle(0.05, seed=3)
    moved.calc = calculator
    np.testing.assert_allclose(calculate_numerical_forces(moved, eps=1e-4), moved.get_forces(), atol=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ph = phonons(atoms, calculator, (2, 1, 1), relax=False, on_imaginary="report", displacement=0.003)
    expected = direct(repeated(atoms, np.diag([2, 1, 1])), calculator, 0.003)
    fitting = get_commensurate_points(np.rint(np.linalg.inv(ph.primitive.primitive_matrix)).astype(int))
    np.testing.assert_allclose(np.sort(ph.run_qpoints(fitting).frequencies.ravel()), expected, atol=2e-3)
    assert np.abs(direct(bare(repeated(atoms, np.diag([2, 1, 1]))), calculator, 0.003) - expected).max() > 0.3


def test_an_antiferromagnet_conducts_heat_as_the_same_layers_by_name():
    """EMT reads neither; time reversal saves half of the supercells."""
    up = bulk("Cu", cubic=True).positions[:, 2] < 0.1
    found = []
    for label in ("tags", "initial_magmoms"):
        atoms = bulk("Cu", cubic=True)
        atoms.set_array(label, np.where(up, 1.0, -1.0) if label == "initial_magmoms" else np.where(up, 1, 2))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found.append(conductivity(atoms, EMT(), (3, 3, 3), [300.0], None, supercell=(2, 2, 1)))
    np.testing.assert_allclose(found[0].kappa, found[1].kappa, rtol=1e-3, atol=1e-3)
    assert len(found[0].phono3py.dataset["first_atoms"]) > len(found[1].phono3py.dataset["first_atoms"])


def test_isotopes_scatter_in_crystals_of_natural_masses_alone():
    atoms = layered()
    atoms.set_masses(None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        named = third_order(atoms, EMT(), (1, 1, 1), relax=False)
        plain = third_order(bulk("Cu", cubic=True), EMT(), (1, 1, 1), relax=False)
        atoms.set_masses([62.93] * 4)
        chosen = third_order(atoms, EMT(), (1, 1, 1), relax=False)
    assert list(named.primitive.symbols) == ["Cu1", "Cu2"]
    np.testing.assert_allclose(mass_variances_of(named), np.tile(mass_variances_of(plain), 2))
    with pytest.raises(ValueError, match="got Cu of 62.93 amu, expected 63.546; leave isotopes out"):
        mass_variances_of(chosen)


def test_moments_that_are_missing_on_some_atoms_are_refused():
    atoms = bulk("Cu", cubic=True)
    atoms.set_initial_magnetic_moments([1.0, np.nan, 1.0, 1.0])
    for road in (relax, phonons, equation_of_state):
        with pytest.raises(ValueError, match="initial magnetic moments are not finite"):
            road(atoms, EMT())


def test_ragged_information_is_no_vector():
    atoms = bulk("Cu", cubic=True)
    atoms.info |= {"ragged": [[1], [1, 2]], "empty": [], "one": np.array(3.0), "text": "abc"}
    assert not may_point(atoms)
    for vector in ([0.0, 0.0, 1.0], np.eye(3), [[0, 0, 1]], np.zeros(9)):
        atoms.info["vector"] = vector
        assert may_point(atoms)
