"""Descriptors against matminer and pymatgen, where those have them."""

import numpy as np
import pytest
import spglib
from ase.build import bulk
from ase.spacegroup import crystal
from matminer.featurizers.composition import ElementProperty, Stoichiometry, ValenceOrbital
from pymatgen.core import Composition, Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer
from tiny_anomaly import table

from ase_mlx.descriptors import CUTOFF, NAMES, STRUCTURE, describe
from ase_mlx.descriptors.composition import CLASSES, anion_class, composition_descriptors, fractions_of
from ase_mlx.descriptors.cubic import cubic_symmetry
from ase_mlx.descriptors.symmetry import SYMPREC
from ase_mlx.graph import batch, from_atoms

pytestmark = pytest.mark.filterwarnings("ignore")  # of matminer and pymatgen
FORMULAS = ("Fe2O3", "NaCl", "Al", "LiFePO4", "GaAs", "CsPbI3", "Ti3SiC2", "UO2", "La2CuO4", "Mg2SiO4")
MAGPIE = ElementProperty.from_preset("magpie")


def described(formula):
    numbers = np.array([s.Z for s, n in Composition(formula).items() for _ in range(int(n))])
    return composition_descriptors(fractions_of(numbers, np.zeros(len(numbers), int), 1))[0]


@pytest.mark.parametrize("formula", FORMULAS)
def test_statistics_of_elements_equal_matminers(formula):
    theirs = dict(zip(MAGPIE.feature_labels(), MAGPIE.featurize(Composition(formula)), strict=True))
    theirs |= dict(zip(Stoichiometry().feature_labels(), Stoichiometry().featurize(Composition(formula)), strict=True))
    orbitals = ValenceOrbital(props=["frac"])
    theirs |= dict(zip(orbitals.feature_labels(), orbitals.featurize(Composition(formula)), strict=True))
    names = {"max": "maximum"}
    compared = 0
    for name, value in zip(NAMES, described(formula), strict=False):
        first, _, rest = name.partition(" ")
        label = name if name in theirs else f"MagpieData {names.get(first, first)} {rest}"
        if label in theirs:
            assert value == pytest.approx(theirs[label], rel=1e-8, abs=1e-7), name
            compared += 1
    assert compared == 72 + 6 + 4


@pytest.mark.parametrize(
    "formula, imbalance, oxidation",
    [("Fe2O3", 0, 2 * 6 / 5), ("NaCl", 0, 1), ("MgF", 0.5, 1.5), ("SiO2", 0, 8 / 3), ("LiFePO4", 0, 16 / 7)],
)
def test_charges_balance_where_chemistry_says_so(formula, imbalance, oxidation):
    found = dict(zip(NAMES, described(formula), strict=False))
    assert found["charge imbalance"] == pytest.approx(imbalance, abs=1e-6)
    assert found["mean oxidation"] == pytest.approx(oxidation)


def test_anion_classes_go_by_the_first_anion():
    numbers = [[11, 9], [12, 8, 9], [11, 17], [5, 7], [30, 16], [30, 34], [28, 13]]
    fractions = np.concatenate([fractions_of(np.array(n), np.zeros(len(n), int), 1) for n in numbers])
    assert [CLASSES[k] for k in anion_class(fractions)] == ["F", "F", "Cl", "N", "S", "other anion", "intermetallic"]


def test_structure_descriptors_equal_pymatgens():
    row = table().iloc[7]
    structure = Structure(np.reshape(row.lattice, (3, 3)), list(row.numbers), np.reshape(row.frac_coords, (-1, 3)))
    found = dict(zip(NAMES, describe(from_atoms(AseAtomsAdaptor.get_atoms(structure), CUTOFF))[0], strict=True))
    analyzer = SpacegroupAnalyzer(structure, 0.01)
    assert found["space group"] == analyzer.get_space_group_number()
    assert found["log volume per atom"] == pytest.approx(np.log(structure.volume / len(structure)))
    assert found["density"] == pytest.approx(structure.density / 1.66053907, rel=1e-4)  # amu/Å³ in g/cm³
    assert found["log point group order"] == pytest.approx(np.log(len(analyzer.get_point_group_operations())))


def test_known_crystals():
    rock_salt = Structure.from_spacegroup(225, Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    diamond = Structure.from_spacegroup(227, Lattice.cubic(5.431), ["Si"], [[0, 0, 0]])
    graphs = [from_atoms(AseAtomsAdaptor.get_atoms(s), CUTOFF) for s in (rock_salt, diamond)]
    salt, silicon = (dict(zip(NAMES, row, strict=True)) for row in describe(batch(graphs)))
    assert salt["unlike bonds"] > 0.9 and silicon["unlike bonds"] == 0
    assert silicon["mean coordination"] == pytest.approx(4, abs=0.1)
    assert salt["mean coordination"] == pytest.approx(6, abs=0.6)
    assert salt["mean absolute site charge"] > 0.1 and silicon["mean absolute site charge"] == 0
    assert salt["Coulomb energy per atom"] < 0
    assert silicon["orbits per primitive atom"] == 0.5 and salt["orbits per primitive atom"] == 1
    assert silicon["centrosymmetric"] == 1


def test_there_are_136():
    assert len(NAMES) == len(set(NAMES)) == 136 and STRUCTURE == 93


def by_spglib(cell, fractional, numbers):
    dataset = spglib.get_symmetry_dataset((cell, fractional, numbers), SYMPREC)
    primitive = len(np.unique(dataset.mapping_to_primitive))
    orbits = len(np.unique(dataset.crystallographic_orbits))
    return dataset.number, dataset.pointgroup, orbits, primitive


AXES = np.array([1, 1, 1])
CUBIC = {
    "fcc": (bulk("Cu"), 225), "supercell": (bulk("Cu", cubic=True), 225), "bcc": (bulk("Fe"), 229),
    "diamond": (bulk("Si"), 227), "zincblende": (bulk("GaAs", "zincblende", a=5.65), 216),
    "rocksalt": (bulk("NaCl", "rocksalt", a=5.64), 225),
    "caesium chloride": (bulk("CsCl", "cesiumchloride", a=4.1), 221),
    "pyrite": (crystal(["Fe", "S"], [(0, 0, 0), (0.385, 0.385, 0.385)], spacegroup=205, cell=5.42 * AXES), 205),
    "FeSi": (crystal(["Fe", "Si"], [(0.137,) * 3, (0.842,) * 3], spacegroup=198, cell=4.49 * AXES), 198),
    "Cu3Au": (crystal(["Au", "Cu"], [(0, 0, 0), (0, 0.5, 0.5)], spacegroup=221, cell=3.75 * AXES), 221),
}  # fmt: skip


@pytest.mark.parametrize("name", CUBIC)
def test_groups_of_small_cubic_crystals_are_spglibs(name):
    atoms, number = CUBIC[name]
    atoms = atoms.copy()
    atoms.positions += [0.11, 0.37, -0.2]
    parts = atoms.cell.array, atoms.get_scaled_positions(wrap=False), atoms.numbers
    found = cubic_symmetry(*parts, SYMPREC)
    assert found == by_spglib(*parts)
    assert found[0] == number


def test_crystals_that_are_not_cubic_beyond_doubt_are_left_to_spglib():
    atoms = bulk("NaCl", "rocksalt", a=5.64)
    for other in (bulk("Mg"), bulk("Sn", "bct", a=5.8, c=3.2)):
        assert cubic_symmetry(other.cell.array, other.get_scaled_positions(), other.numbers, SYMPREC) is None
    for moved in (5e-4, 5e-3, 5e-2):
        atoms.positions[1] = [2.82 + moved, 0, 0]
        assert cubic_symmetry(atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers, SYMPREC) is None
    strained = bulk("Cu")
    strained.set_cell(strained.cell.array * [1, 1, 1.0005], scale_atoms=True)
    assert cubic_symmetry(strained.cell.array, strained.get_scaled_positions(), strained.numbers, SYMPREC) is None
