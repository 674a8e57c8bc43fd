"""What is on the atoms reaches every cell that a calculator is asked about: all roads against all labels."""

import functools
import importlib.util
import inspect
import pkgutil
import warnings

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import all_changes
from ase.calculators.emt import EMT
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.data import atomic_masses
from ase.neighborlist import neighbor_list
from ase.stress import full_3x3_to_voigt_6_stress
from layers import CHARGE, bare, direct, layered
from phonopy.harmonic.dynmat_to_fc import get_commensurate_points
from scipy.optimize import minimize

import ase_mlx.adapters
from ase_mlx.adapters.ase.dynamics import dynamics
from ase_mlx.adapters.ase.elastic_constants import elastic
from ase_mlx.adapters.ase.job import equation_of_state, relax
from ase_mlx.adapters.ase.sampling import Sampling, sample
from ase_mlx.adapters.ase.supercells import repeated
from ase_mlx.adapters.matminer import ThermalFeaturizer
from ase_mlx.adapters.phono3py import conductivity
from ase_mlx.adapters.phono3py.force_constants import third_order
from ase_mlx.adapters.phono3py.learned import derivatives
from ase_mlx.adapters.phonopy import (
    axial_expansion,
    gruneisen,
    load_phonons,
    phonons,
    quasi_harmonic,
    save_phonons,
)
from ase_mlx.adapters.phonopy.cells import standardized
from ase_mlx.adapters.phonopy.labelled import unitcell_of
from ase_mlx.graph import neighbor_pairs
from ase_mlx.units import EV_PER_A3_IN_GPA


class Bound(EMT):
    """EMT, and pairs that feel a label of theirs: A l_i l_j exp(-r²/2s²); and Q²/V of the cell's charge."""

    implemented_properties = ("energy", "free_energy", "forces", "stress")
    strength, width, capacity = 6.0, 0.9, 40.0

    def __init__(self, label):
        super().__init__()
        self.label = label

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, ["energy", "forces", "stress"], system_changes)
        values = np.zeros(len(atoms))
        if self.label in atoms.arrays:
            values = atoms.arrays[self.label]
        values = np.where(values == "up", 1.0, -1.0) if values.dtype.kind == "U" else values.astype(float)
        values = values / max(np.abs(values).max(), 1e-9)
        i, j, shift = neighbor_pairs(atoms.positions, atoms.cell.array, atoms.pbc, 7 * self.width)
        vector = atoms.positions[j] - atoms.positions[i] + shift @ atoms.cell.array
        d = np.linalg.norm(vector, axis=1)
        pairs = self.strength * values[i] * values[j] * np.exp(-(d**2) / 2 / self.width**2)
        charged = self.capacity * atoms.info.get("charge", 0.0) ** 2 / atoms.get_volume()
        pull = pairs[:, None] * vector / self.width**2
        forces = -np.stack([np.bincount(i, weights=column, minlength=len(atoms)) for column in pull.T], axis=1)
        stress = -np.einsum("ka,kb->ab", pull, vector) / 2 / atoms.get_volume()
        stress -= charged / atoms.get_volume() * np.eye(3)
        self.results["energy"] += pairs.sum() / 2 + charged
        self.results["free_energy"] = self.results["energy"]
        self.results["forces"] = self.results["forces"] + forces
        self.results["stress"] = self.results["stress"] + full_3x3_to_voigt_6_stress(stress)


class Watched(EMT):
    """EMT that remembers every structure it was asked about."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        self.seen.append(atoms.copy())
        super().calculate(atoms, list(properties), system_changes)


SMALL = {"supercell": (1, 1, 1)}

STRAINS = (-0.04, -0.02, 0.0, 0.02, 0.04)


def _followed(_, calculator):
    """Labels alternate along bcc copper, which is unstable."""
    atoms = Atoms("Cu2", cell=[2.87] * 3, scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], pbc=True)
    labels = layered()
    atoms.arrays |= {name: array[[0, 2]] for name, array in labels.arrays.items() if name not in atoms.arrays}
    atoms.info = labels.info | {"charge": CHARGE / 2}
    return phonons(atoms, calculator, (2, 2, 2), on_imaginary="follow")


def _derivatives(atoms, calculator):
    ph = third_order(atoms, calculator, (1, 1, 1), pairs=False)
    return derivatives(ph, calculator, 3, directions=1)


def _sampled(atoms, calculator):
    settings = Sampling((300.0,), 1, 1, equilibration=10.0, longest=20.0, alloy={"Cu": 3, "Au": 1}, strain=0.01)
    return [frame for frames in sample(atoms, calculator, settings) for frame in frames]


def _expanded(road):
    return lambda atoms, calculator: road(
        atoms, calculator, **SMALL, temperatures=np.arange(4) * 5.0, strains=STRAINS, mesh=10.0
    )


ROADS = {
    "relax": relax,
    "equation_of_state": lambda atoms, calculator: equation_of_state(atoms, calculator, points=5),
    "elastic": elastic,
    "dynamics": lambda atoms, calculator: dynamics(atoms, calculator, steps=50, length=5.0),
    "phonons": lambda atoms, calculator: phonons(atoms, calculator, (2, 1, 1)),
    "phonons, random": lambda atoms, calculator: phonons(atoms, calculator, (2, 1, 1), method="random"),
    "phonons, follow": _followed,
    "gruneisen": lambda atoms, calculator: gruneisen(atoms, calculator, **SMALL, mesh=(2, 2, 2)),
    "quasi_harmonic": _expanded(quasi_harmonic),
    "axial_expansion": _expanded(axial_expansion),
    "third_order": lambda atoms, calculator: third_order(atoms, calculator, **SMALL),
    "derivatives": _derivatives,
    "conductivity": lambda atoms, calculator: conductivity(
        atoms, calculator, (2, 2, 2), [300.0], None, supercell=(2, 2, 1)
    ),
    "ThermalFeaturizer": lambda atoms, calculator: ThermalFeaturizer(calculator, supercell=(1, 1, 1)).featurize(atoms),
    "sample": _sampled,
}

LABELS = ("masses", "tags", "initial_charges", "initial_magmoms", "site", "depth", "charge", "phase", "field")

PARTS = {
    "impose_symmetry": "within relax", "snapshot": "within relax, dynamics and sample", "relaxed": "within phonons",
    "to_phonopy": "within phonons", "space_group_serves": "within phonons", "sample_cell": "within quasi_harmonic",
    "settled_supercell": "within quasi_harmonic", "property_or_none": "asks for what it is given",
    "save_extras": "asks for what it is given", "run_marks": "computes nothing",
    "begin": "within relax, dynamics and phonons", "settled": "chooses a calculator",
}  # fmt: skip


@functools.cache
def asked(road):
    """All structures that a road asks the calculator about."""
    calculator = Watched()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # cells as small as these are warned of
        ROADS[road](layered(), calculator)
    return calculator.seen


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("road", ROADS)
def test_labels_reach_every_cell_that_is_asked_about(road, label):
    for atoms in asked(road):
        up = atoms.get_tags() == 1
        if label in atoms.info:
            value = atoms.info[label]
            assert value == {"charge": CHARGE * len(atoms) / 4, "phase": "layered", "field": [0.0, 0.0, 1.0]}[label]
            continue
        expected = {
            "masses": np.where(atoms.numbers == 29, 62.93, atomic_masses[79]),
            "tags": np.where(up, 1, 2),
            "initial_charges": np.where(up, 0.3, -0.2),
            "initial_magmoms": np.where(up, 2.0, -2.0),
            "site": np.where(up, "up", "down"),
            "depth": np.where(up, 0.25, 0.75),
        }[label]
        np.testing.assert_array_equal(atoms.arrays[label], expected)


@pytest.mark.parametrize("road", [road for road in ROADS if "follow" not in road])
def test_labels_stay_with_their_atoms(road):
    """Of twelve neighbours in fcc copper four lie in the same layer."""
    for atoms in asked(road):
        i, j = neighbor_list("ij", atoms, 3.08)
        same = np.bincount(i, weights=atoms.get_tags()[i] == atoms.get_tags()[j], minlength=len(atoms))
        assert np.all(same == 4)


def test_every_road_is_in_the_table():
    found = set()
    for module in pkgutil.walk_packages(ase_mlx.adapters.__path__, "ase_mlx.adapters."):
        if module.name.endswith(".torch_sim") and importlib.util.find_spec("torch_sim") is None:
            continue  # no program of the tests
        for name, member in vars(importlib.import_module(module.name)).items():
            own = getattr(member, "__module__", None) == module.name and not name.startswith("_")
            if own and inspect.isfunction(member) and "calculator" in inspect.signature(member).parameters:
                found |= {name} if {"atoms", "source"} & set(inspect.signature(member).parameters) else set()
    assert found - set(PARTS) - set(ROADS) == set()


def test_the_calculator_of_these_tests_is_consistent():
    atoms = repeated(layered(), np.diag([1, 1, 2]))
    atoms.rattle(0.05, seed=1)
    for label in ("tags", "initial_charges", "site"):
        calculator = Bound(label)
        atoms.calc = calculator
        np.testing.assert_allclose(calculate_numerical_forces(atoms, eps=1e-4), atoms.get_forces(), atol=1e-5)
        np.testing.assert_allclose(calculate_numerical_stress(atoms, eps=1e-5), atoms.get_stress(), atol=1e-6)


@pytest.mark.parametrize("label", ["initial_charges", "initial_magmoms", "tags", "site", "depth"])
@pytest.mark.parametrize("method", ["displacements", "random"])
def test_frequencies_are_those_of_the_labelled_supercell_moved_atom_by_atom(label, method):
    atoms, calculator = layered(), Bound(label)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ph = phonons(
            atoms, calculator, (2, 1, 1), relax=False, method=method, on_imaginary="report", displacement=0.003
        )
    whole = repeated(atoms, np.diag([2, 1, 1]))
    expected = direct(whole, calculator, 0.003)
    fitting = get_commensurate_points(np.rint(np.linalg.inv(ph.primitive.primitive_matrix)).astype(int))
    found = np.sort(ph.run_qpoints(fitting).frequencies.ravel())
    np.testing.assert_allclose(found, expected, atol=0.06 if method == "random" else 2e-3)
    assert np.abs(direct(bare(whole), calculator, 0.003) - expected).max() > 0.5


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("blind", [True, False])
def test_isotopes_of_one_element_have_their_masses_site_by_site(blind, tmp_path):
    """An isotope on one site of four, with calculators that read labels and that do not; also third order and files."""
    atoms, calculator = bulk("Cu", cubic=True, a=3.59), EMT()
    atoms.set_masses([65.0, 63.0, 63.0, 63.0])
    calculator.ignores_labels = blind
    ph = phonons(atoms, calculator, (2, 1, 1), relax=False, displacement=0.003)
    assert len(ph.primitive) == 4 and set(ph.primitive.masses) == {63.0, 65.0}
    expected = direct(repeated(atoms, np.diag([2, 1, 1])), calculator, 0.003)
    points = [[0, 0, 0], [0.5, 0, 0]]
    np.testing.assert_allclose(np.sort(ph.run_qpoints(points).frequencies.ravel()), expected, atol=2e-3)
    mean = atoms.copy()
    mean.set_masses([63.5] * 4)
    assert np.abs(direct(repeated(mean, np.diag([2, 1, 1])), calculator, 0.003) - expected).max() > 0.02
    assert set(third_order(atoms, calculator, (1, 1, 1), relax=False).primitive.masses) == {63.0, 65.0}
    save_phonons(ph, tmp_path / "ph.yaml")
    again = load_phonons(tmp_path / "ph.yaml")
    np.testing.assert_allclose(np.sort(again.run_qpoints(points).frequencies.ravel()), expected, atol=2e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(unitcell_of(again).get_masses(), atoms.get_masses())


def test_a_charged_cell_has_the_phonons_of_its_charged_supercell():
    """The charge of eight cells is eight times that of one: Q²/V is then as extensive as an energy."""
    atoms, calculator = layered(), Bound("nothing")
    atoms.info["charge"] = 2
    eight = repeated(atoms, np.diag([2, 2, 2]))
    assert eight.info["charge"] == 16
    assert calculator.get_property("energy", eight) == pytest.approx(8 * calculator.get_property("energy", atoms))
    assert standardized(eight, 1e-5, primitive=True).info["charge"] == 1


def test_a_relaxed_charged_crystal_has_the_bulk_modulus_of_its_energies():
    atoms, calculator = bulk("Cu", cubic=True), Bound("nothing")
    atoms.info["charge"] = 3
    relaxed = relax(atoms, calculator).atoms
    assert relaxed.info["charge"] == 3
    eos = equation_of_state(relaxed, calculator, strain=0.03, points=7)
    lengths = relaxed.cell.lengths()[0] * np.linspace(0.99, 1.01, 7)
    cells = [
        Atoms("Cu4", bulk("Cu", cubic=True, a=a).positions, cell=[a] * 3, pbc=True, info=atoms.info) for a in lengths
    ]
    energies = [calculator.get_property("energy", cell) for cell in cells]
    curve = np.polynomial.Polynomial.fit(lengths**3, energies, 5)
    volume = next(x.real for x in curve.deriv().roots() if abs(x.imag) < 1e-9 and 40 < x.real < 60)
    assert eos.volume.value == pytest.approx(volume, rel=1e-4)
    assert eos.bulk_modulus.value == pytest.approx(volume * curve.deriv(2)(volume) * EV_PER_A3_IN_GPA, rel=1e-2)
    neutral = equation_of_state(relax(bulk("Cu", cubic=True), calculator).atoms, calculator, strain=0.03, points=7)
    assert abs(neutral.bulk_modulus.value - eos.bulk_modulus.value) > 5


def test_elastic_constants_are_those_of_the_labelled_crystal():
    """C11 and C33 of the layered crystal, from the energies of stretched cells whose ions symmetry holds."""
    atoms, calculator = relax(layered(), Bound("site"), fmax=1e-4).atoms, Bound("site")
    found = elastic(atoms, calculator, relax=False).tensor
    strains = np.array([-0.004, -0.002, 0.0, 0.002, 0.004])
    for axis in (0, 2):
        stretch = [np.eye(3) + np.diag(np.eye(3)[axis]) * strain for strain in strains]
        cells = [atoms.copy() for _ in strains]
        for cell, matrix in zip(cells, stretch, strict=True):
            cell.set_cell(atoms.cell.array @ matrix, scale_atoms=True)
        energies = [calculator.get_property("energy", cell) for cell in cells]
        curvature = 2 * np.polyfit(strains, energies, 4)[2] / atoms.get_volume() * EV_PER_A3_IN_GPA
        assert found[axis, axis] == pytest.approx(curvature, rel=0.01)
    assert abs(found[0, 0] - found[2, 2]) > 5


@pytest.mark.parametrize(
    "label",
    ["initial_magmoms", *(pytest.param(x, marks=pytest.mark.slow) for x in ("initial_charges", "tags", "site"))],
)
def test_a_crystal_relaxes_to_the_minimum_of_its_labels(label):
    """Layers break the cubic symmetry; the minimum is that of a search without any symmetry."""
    calculator = Bound(label)
    done = relax(layered(), calculator, fmax=1e-4)

    def energy(lengths):
        cell = layered()
        cell.set_cell([lengths[0], lengths[0], lengths[1]], scale_atoms=True)
        return calculator.get_property("energy", cell)

    found = minimize(energy, done.atoms.cell.lengths()[[0, 2]] + [0.03, -0.02], method="Nelder-Mead", tol=1e-10)
    np.testing.assert_allclose(done.atoms.cell.lengths(), found.x[[0, 0, 1]], atol=2e-3)
    assert done.converged
    assert done.largest_stress < 0.05
    assert abs(found.x[1] - found.x[0]) > 0.05


def test_what_the_imposed_symmetry_hides_is_no_convergence():
    """A calculator that says it reads no labels, and does."""
    calculator = Bound("tags")
    calculator.ignores_labels = True
    held = relax(layered(), calculator)
    assert held.atoms.cell.lengths() == pytest.approx(held.atoms.cell.lengths()[0])
    true = held.atoms.copy()
    true.calc = Bound("tags")
    assert held.largest_stress == pytest.approx(np.abs(true.get_stress()).max() * EV_PER_A3_IN_GPA, rel=1e-6)
    assert held.largest_stress > 0.5
    assert not held.converged
    assert "symmetry=False" in held.notes[-1]


def test_labels_that_the_calculator_ignores_cost_nothing():
    plain, named = Watched(), Watched()
    named.ignores_labels = True
    one, other = phonons(bulk("Cu", cubic=True), plain, (2, 2, 2)), phonons(tagged(), named, (2, 2, 2))
    assert len(plain.seen) == len(named.seen)
    np.testing.assert_array_equal(one.force_constants, other.force_constants)


def tagged():
    atoms = bulk("Cu", cubic=True)
    atoms.set_tags([1, 2, 3, 4])
    return atoms
