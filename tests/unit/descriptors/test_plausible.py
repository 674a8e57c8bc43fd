"""Distances and charges by which a crystal is plausible."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from ase_mlx.descriptors.plausible import CLOSEST, balanced, closest, counted

NA, CL, O, FE, CU, AL = 11, 17, 8, 26, 29, 13


@pytest.mark.parametrize(
    "atoms", [bulk("NaCl", "rocksalt", a=5.64), bulk("C"), bulk("Cu"), bulk("GaN", "wurtzite", a=3.19, c=5.19)]
)
def test_crystals_of_the_textbook_are_far_from_too_close(atoms):
    assert 0.85 < closest(atoms) < 1.25
    assert closest(atoms.repeat(2)) == pytest.approx(closest(atoms))


def test_a_squeezed_crystal_is_too_close_and_scales():
    salt = bulk("NaCl", "rocksalt", a=5.64)
    small = salt.copy()
    small.set_cell(salt.cell * 0.55, scale_atoms=True)
    assert closest(small) == pytest.approx(0.55 * closest(salt)) and closest(small) < CLOSEST


def test_what_has_no_neighbours_or_too_many_is_told():
    assert closest(Atoms("Na", cell=30 * np.eye(3), pbc=True)) == float("inf")
    assert closest(Atoms("Na2", [[0, 0, 0], [0, 0, 0]], cell=5 * np.eye(3), pbc=True)) == 0.0
    assert closest(Atoms("Na", cell=0.01 * np.eye(3), pbc=True)) == 0.0


@pytest.mark.parametrize(
    ("formula", "right"),
    [
        (((NA, 1), (CL, 1)), True),
        (((NA, 1), (CL, 2)), False),
        (((FE, 3), (O, 4)), True),  # two valences at once
        (((FE, 2), (O, 3)), True),
        (((AL, 2), (O, 3)), True),
        (((AL, 1), (O, 1)), False),
        (((CU, 3), (AL, 1)), True),  # an alloy
        (((O, 1),), True),
    ],
)
def test_charges(formula, right):
    assert balanced(formula) is right


def test_formulas_are_in_lowest_terms():
    assert counted(bulk("NaCl", "rocksalt", a=5.6, cubic=True)) == ((NA, 1), (CL, 1))
