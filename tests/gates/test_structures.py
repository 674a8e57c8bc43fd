import copy
import pickle
import re
import subprocess
import sys

import ase.constraints
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.emt import EMT
from ase.spacegroup import crystal

from ase_mlx.adapters.ase import labels
from ase_mlx.adapters.ase.structures import as_atoms, as_structure, with_atoms, with_structures
from ase_mlx.graph import from_atoms
from ase_mlx.structure import Structure

CONSTRAINTS = [
    ase.constraints.FixAtoms([0, 2]),
    ase.constraints.FixCartesian([1], [True, False, True]),
    ase.constraints.FixedPlane([2], (0, 0, 1)),
    ase.constraints.FixedLine([3], (1, 1, 0)),
    ase.constraints.FixCom(),
    ase.constraints.FixBondLengths([(0, 1), (1, 2)]),
    ase.constraints.Hookean(0, 1, 3.0, rt=2.0),
    ase.constraints.FixScaled([1], [True, False, False]),
]


def labelled():
    """One of everything that ASE keeps on atoms, of the least usual type."""
    random = np.random.default_rng(0)
    atoms = bulk("Si", cubic=True)
    atoms.set_celldisp(np.array([[0.1], [0.2], [-0.3]]))
    atoms.positions += 100 * random.standard_normal((8, 3))
    atoms.set_masses([28.0855] * 7 + [29.9])
    atoms.set_initial_charges(random.standard_normal(8))
    atoms.set_initial_magnetic_moments(random.standard_normal((8, 3)))
    atoms.set_momenta(random.standard_normal((8, 3)))
    atoms.set_tags(range(8))
    atoms.set_array("own_vectors", random.standard_normal((8, 3)))
    atoms.set_array("own_tensors", random.standard_normal((8, 3, 3)).astype(np.float32))
    atoms.set_array("words", np.array(list("abcdefgh")))
    atoms.set_array("flags", np.arange(8) % 2 == 0)
    atoms.set_array("forces_std", np.full((8, 3), np.nan))
    atoms.info = {"charge": 1, "spin": 3, "source": {"name": "x", "list": [1, 2]}, "dipole": np.arange(3.0)}
    atoms.info["occupancy"] = {"0": {"Si": 0.8, "Ge": 0.2}}
    atoms.set_constraint(CONSTRAINTS)
    return atoms


CASES = {
    "everything": labelled(),
    "plain": bulk("Cu"),
    "slab": fcc111("Al", (2, 2, 3), vacuum=5.0),
    "molecule": molecule("CH3CH2OH"),
    "collinear": Atoms("Fe2", [[0, 0, 0], [0, 0, 2.5]], magmoms=[2.3, -2.3], pbc=(False, False, True), cell=[0, 0, 5]),
    "space group": crystal(("Na", "Cl"), [(0, 0, 0), (0.5, 0.5, 0.5)], spacegroup=225, cellpar=[5.64] * 3 + [90] * 3),
}


def written(constraints):
    """As files hold them; directions to 12 digits, since ASE normalises them whenever it makes one."""
    return re.sub(r"\d\.\d{13,}", lambda number: f"{float(number[0]):.12f}", str([c.todict() for c in constraints]))


@pytest.mark.parametrize("atoms", CASES.values(), ids=CASES)
def test_a_structure_goes_to_ase_and_back_losing_nothing(atoms):
    kept = atoms.copy()
    back = as_atoms(as_structure(atoms))
    for one in (atoms, back):
        assert set(one.arrays) == set(kept.arrays)
        for name, array in kept.arrays.items():
            assert one.arrays[name].dtype == array.dtype, name
            assert np.array_equal(one.arrays[name], array, equal_nan=array.dtype.kind == "f"), name
        assert np.array_equal(one.cell.array, kept.cell.array) and np.array_equal(one.pbc, kept.pbc)
        assert np.array_equal(one.get_celldisp(), kept.get_celldisp())
        assert str(one.info) == str(kept.info)
        assert written(one.constraints) == written(kept.constraints)
    assert np.array_equal(labels.species(back), labels.species(atoms))
    assert labels.distinguishing(back) == labels.distinguishing(atoms)
    assert back == atoms


@pytest.mark.parametrize("again", [copy.deepcopy, copy.copy, lambda one: pickle.loads(pickle.dumps(one))])
def test_copies_and_pickles_hold_the_same(again):
    one = as_structure(CASES["everything"])
    assert as_atoms(again(one)) == CASES["everything"]
    assert repr(again(one)) == repr(one) == "Structure(Si8, pbc=[True, True, True])"


def test_a_structure_is_frozen_and_shares_nothing():
    atoms = labelled()
    one = as_structure(atoms)
    atoms.positions += 1
    atoms.arrays["own_vectors"][:] = 0
    atoms.info["source"]["list"].append(3)
    assert as_atoms(one) == CASES["everything"] and one.info["source"]["list"] == [1, 2]
    for change in (
        lambda: setattr(one, "positions", atoms.positions),
        lambda: one.positions.__setitem__(0, 0.0),
        lambda: one.charges.__setitem__(0, 0.0),
        lambda: one.arrays["own_vectors"].__setitem__(0, 0.0),
        lambda: one.info.__setitem__("charge", 2),
        lambda: one.constraints[0].__setitem__("name", "FixCom"),
    ):
        with pytest.raises((AttributeError, TypeError, ValueError)):
            change()


@pytest.mark.filterwarnings("error")
def test_a_graph_of_a_structure_is_that_of_the_atoms():
    for atoms in (CASES["slab"], CASES["molecule"], CASES["collinear"]):
        one, other = from_atoms(as_structure(atoms), 5.0), from_atoms(atoms, 5.0)
        assert np.array_equal(one.vectors(), other.vectors()) and np.array_equal(one.numbers, other.numbers)
    with pytest.raises(ValueError, match="partial occupancy"):
        from_atoms(as_structure(CASES["everything"]), 5.0)


WRONG = """
import sys
import numpy as np
from ase_mlx.structure import Structure

place = np.zeros((1, 3))
for wrong in (
    {"positions": np.zeros((2, 3))}, {"positions": place * np.nan}, {"numbers": [300]}, {"pbc": [True] * 3},
    {"charges": [1.0, 2.0]}, {"tags": [0.5]}, {"momenta": [1.0]}, {"magnetic_moments": [[1.0, 2.0]]},
    {"masses": ["heavy"]}, {"arrays": {"mine": np.zeros(2)}},
):
    try:
        print(Structure(**{"numbers": [14], "positions": place, **wrong}))
    except ValueError as error:
        print(error)
print(Structure([14], [[0, 0, 0]], charges=[1]), "torch" in sys.modules, "ase" in sys.modules)
"""


def test_what_is_no_structure_is_refused():
    done = subprocess.run([sys.executable, "-c", WRONG], capture_output=True, text=True)
    lines = done.stdout.splitlines()
    expected = (
        "got positions of shape", "NaN or infinite", "got atomic numbers", "zero or parallel",
        "got charges of shape (2,)", "got tags of shape (1,)", "got momenta of shape (1,) and type float64, expected "
        "numbers of shape (1, 3)", "expected numbers of shape (1,) or (1, 3)", "got masses", "got an array 'mine'",
        "Structure(Si, pbc=[False, False, False]) False False",
    )  # fmt: skip
    assert len(lines) == len(expected), done.stderr
    for line, words in zip(lines, expected, strict=True):
        assert words in line


def test_constraints_that_ase_cannot_write_are_refused():
    class Wall:
        def adjust_positions(self, atoms, new):
            pass

    atoms = bulk("Si")
    atoms.set_constraint(Wall())
    with pytest.raises(ValueError, match="got a constraint Wall"):
        as_structure(atoms)


def test_a_calculator_stays_behind():
    atoms = bulk("Cu")
    atoms.calc = EMT()
    atoms.get_potential_energy()
    assert as_atoms(as_structure(atoms)).calc is None


def test_structures_in_what_a_model_returns_become_atoms():
    one = as_structure(CASES["plain"])
    value = with_atoms({"best": one, "path": [one, (one, 0.5)], "score": 1.0})
    assert value["best"] == value["path"][0] == value["path"][1][0] == CASES["plain"]
    assert value["score"] == 1.0 and value["path"][1][1] == 0.5
    assert isinstance(with_structures([CASES["plain"]])[0], Structure)
