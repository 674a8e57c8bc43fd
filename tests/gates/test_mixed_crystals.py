"""Sites shared among elements: the proportions, the order of names, and pairs as in a random alloy."""

import numpy as np
import pytest
from ase.neighborlist import neighbor_list

from ase_mlx.adapters.ase.mixed_crystals import mixed_crystal, site_volumes

VOLUMES = {"Si": 20.0, "Ge": 24.0, "Sn": 36.0}


@pytest.mark.parametrize(("crystal", "sites"), [("diamond", 8), ("fcc", 4), ("bcc", 2), ("sc", 1)])
def test_the_smallest_stack_of_cubes_that_can_be_shared_out(crystal, sites):
    atoms, cells = mixed_crystal(crystal, {"Si": 4, "Ge": 2, "Sn": 2}, VOLUMES)
    assert len(atoms) == 8 == cells * sites
    assert atoms.get_chemical_formula() == "Ge2Si4Sn2"
    assert atoms.get_volume() == pytest.approx(4 * 20 + 2 * 24 + 2 * 36)


def test_names_in_another_order_are_the_same_crystal():
    one, _ = mixed_crystal("diamond", {"Si": 2, "Ge": 3, "Sn": 3}, VOLUMES)
    other, _ = mixed_crystal("diamond", {"Sn": 3, "Si": 2, "Ge": 3}, VOLUMES)
    assert one == other


def test_neighbours_are_those_of_a_random_alloy():
    atoms, _ = mixed_crystal("diamond", {"Si": 4, "Ge": 4}, VOLUMES)
    reach = 0.5 * atoms.cell[0, 0]  # 0.43 a is the first shell, 0.71 a the second
    i, j = neighbor_list("ij", atoms, reach)
    assert len(i) == 8 * 4
    unlike = np.mean(atoms.numbers[i] != atoms.numbers[j])
    assert unlike == 0.5  # of zincblende 1, of a crystal in two halves 0.25


def test_a_pure_crystal_is_pure_and_nothing_is_none():
    atoms, cells = mixed_crystal("diamond", {"Si": 0, "Ge": 8, "Sn": 0}, VOLUMES)
    assert set(atoms.symbols) == {"Ge"} and cells == 1
    with pytest.raises(ValueError, match="expected at least one"):
        mixed_crystal("diamond", {"Si": 0, "Ge": 0}, VOLUMES)


def test_volumes_of_ground_states():
    volumes = site_volumes(("Si", "Al"))
    assert volumes["Si"] == pytest.approx(5.47**3 / 8, rel=0.01) and volumes["Al"] == pytest.approx(16.5, rel=0.01)
    with pytest.raises(ValueError, match="got Rn, whose ground state"):
        site_volumes(("Si", "Rn"))
