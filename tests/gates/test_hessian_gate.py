import copy

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from phonopy import Phonopy
from tiny import tiny_potential

from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.phonopy import members as phonon_members
from ase_mlx.adapters.phonopy import phonons
from ase_mlx.adapters.phonopy.cells import to_ase, to_phonopy
from ase_mlx.adapters.phonopy.hessian import hessian_force_constants
from ase_mlx.graph import from_atoms
from ase_mlx.models.hessian import hessian_columns

X = [[0.5, 0.5, 0]]


@pytest.fixture(scope="module")
def calculator():
    return Calculator("sigesn", dtype="float64")


@pytest.fixture(scope="module")
def silicon():
    return Phonopy(to_phonopy(bulk("Si", cubic=True, a=5.468)), np.diag([2, 2, 2]), primitive_matrix="F")


def by_displacements(ph, calculator, distance, name="forces"):
    """Make force constants as phonopy does, without anything of ours but the calculator."""
    ph = copy.copy(ph)
    ph.generate_displacements(distance=distance)
    forces = [calculator.get_property(name, to_ase(cell)) for cell in ph.supercells_with_displacements]
    found = []
    for each in np.moveaxis(np.array(forces).reshape(len(forces), -1, len(ph.supercell), 3), 1, 0):
        ph.forces = each
        ph.produce_force_constants(calculate_full_force_constants=False, fc_calculator="traditional", show_drift=False)
        found.append(ph.force_constants)
    return np.array(found)


def test_finite_displacements_tend_to_the_hessian_as_their_square(silicon, calculator):
    exact = hessian_force_constants(silicon, calculator)
    networks = copy.deepcopy(calculator)  # `eval()` would add the error of its tables, which no step takes away
    networks.model.train()
    coarse, fine = (by_displacements(silicon, networks, distance)[0] for distance in (0.02, 0.01))
    errors = [np.abs(found - exact).max() for found in (coarse, fine)]
    assert 3.8 < errors[0] / errors[1] < 4.2
    assert errors[1] < 1e-3
    np.testing.assert_allclose((4 * fine - coarse) / 3, exact, atol=3e-6)


def test_tables_of_the_radial_functions_move_force_constants_little(silicon, calculator):
    exact = hessian_force_constants(silicon, calculator)
    np.testing.assert_allclose(by_displacements(silicon, calculator, 1e-3)[0], exact, atol=3e-4)


@pytest.mark.filterwarnings("ignore:The supercell of")
def test_frequencies_of_silicon_are_those_of_finite_displacements(calculator):
    ph = phonons(bulk("Si", cubic=True, a=5.468), calculator, (2, 2, 2), displacement=0.005, relax=False)
    kept, displacements = ph.force_constants.copy(), copy.deepcopy(ph.dataset)
    exact = copy.copy(ph)
    exact.force_constants = hessian_force_constants(ph, calculator)
    ours, theirs = (each.run_qpoints(X).frequencies for each in (exact, ph))
    np.testing.assert_allclose(ours, theirs, atol=1e-3)
    assert np.abs(exact.run_qpoints([[0, 0, 0]]).frequencies[0, :3]).max() < 1e-5
    np.testing.assert_array_equal(ph.force_constants, kept)
    np.testing.assert_equal(ph.dataset, displacements)


def test_members_are_those_of_finite_displacements(silicon, calculator):
    mean, members = hessian_force_constants(silicon, calculator, members=True)
    theirs = by_displacements(silicon, calculator, 0.005, "forces_members")
    assert members.shape == theirs.shape == (16, 2, 64, 3, 3)
    assert np.ptp(theirs, axis=0).max() > 0.1
    np.testing.assert_allclose(members, theirs, atol=1e-3)
    np.testing.assert_allclose(members.mean(axis=0), mean, atol=1e-6)


def hexagonal():
    atoms = bulk("SiGe", "wurtzite", a=4.0, c=6.6)
    assert len(atoms) == 4
    return atoms


def alloy():
    atoms = bulk("Si", "diamond", a=5.6)
    atoms.symbols[1] = "Sn"
    atoms.set_cell(atoms.cell @ [[1, 0.03, 0], [0, 1.02, 0.01], [0.04, 0, 0.99]], scale_atoms=True)
    atoms.positions[1] += [0.05, -0.02, 0.04]
    return atoms


@pytest.mark.parametrize(
    ("atoms", "multiples", "products"), [(hexagonal(), (2, 2, 1), 2), (alloy(), (2, 2, 2), 6)], ids=["wurtzite", "P1"]
)
def test_symmetry_spreads_what_columns_of_all_atoms_give(atoms, multiples, products):
    calculator = Calculator(tiny_potential(l_max=2), dtype="float64")
    ph = Phonopy(to_phonopy(atoms), np.diag(multiples), primitive_matrix="P")
    graph = from_atoms(to_ase(ph.supercell), calculator.model.cutoff)
    every = hessian_columns(calculator.model, graph, np.arange(len(ph.supercell)))
    found = hessian_force_constants(ph, calculator)
    every = every.transpose(0, 2, 1, 3)[ph.primitive.p2s_map]
    np.testing.assert_allclose(found, every, atol=1e-10 * np.abs(every).max())
    ph.generate_displacements(is_plusminus=False)
    assert len(ph.dataset["first_atoms"]) == products


def test_a_model_without_members_gives_none():
    calculator = Calculator(tiny_potential(members=0), dtype="float64")
    ph = Phonopy(to_phonopy(hexagonal()), np.diag([1, 1, 1]), primitive_matrix="P")
    assert hessian_force_constants(ph, calculator, members=True)[1].shape == (0, 4, 4, 3, 3)


@pytest.mark.filterwarnings("ignore")  # random weights know no minimum
@pytest.mark.parametrize("method", ["displacements", "hessian"])
def test_members_of_phonons_are_as_wide_as_held_out_columns_ask(method):
    calculator = Calculator(tiny_potential(l_max=1), dtype="float64")
    ph = phonons(hexagonal(), calculator, (1, 1, 1), relax=False, method=method, on_imaginary="report")
    wide = np.array([member.force_constants for member in phonon_members(ph, calculator)]) - ph.force_constants
    calculator.model.std_scale[3] = 0.0  # unknown: members as they are
    plain = np.array([member.force_constants for member in phonon_members(ph, calculator)]) - ph.force_constants
    np.testing.assert_allclose(wide, 1.3 * plain, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("calculator", "message"),
    [
        (EMT(), "one of our potentials, got EMT. Finite displacements serve every calculator"),
        (Calculator(tiny_potential()), r'expected torch.float64.*make the calculator with dtype="float64"'),
    ],
    ids=["not ours", "float32"],
)
def test_wrong_calculators_are_refused(silicon, calculator, message):
    with pytest.raises(ValueError, match=message):
        hessian_force_constants(silicon, calculator)
