"""What DFT and experiment say stands beside the same structure alone."""

import numpy as np
import pytest
from ase.build import bulk, make_supercell
from ase.spacegroup import crystal

from ase_mlx.adapters.ase.job import spacegroup_of
from ase_mlx.adapters.ase.structure_match import same_structure
from ase_mlx.jobs.outcome import reference_of

SILICON = bulk("Si", a=5.47)


def turned(atoms):
    atoms = atoms.copy()
    atoms.rotate(33, (1, 2, 3), rotate_cell=True)
    atoms.translate([0.3, 0.2, 0.9])
    return atoms[::-1]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (SILICON, turned(bulk("Si", cubic=True, a=5.42))),
        (make_supercell(SILICON, [[2, 1, 0], [0, 1, 0], [0, 0, 1]]), SILICON),
        (bulk("SiGe", "zincblende", a=5.6), bulk("GeSi", "zincblende", a=5.6, cubic=True)),
        (bulk("Al"), turned(bulk("Al", a=4.0, cubic=True))),
    ],
)
def test_cells_orientations_and_origins_do_not_matter(one, other):
    assert same_structure(one, other) and same_structure(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (bulk("Al"), bulk("Al", "bcc", a=3.2)),
        (bulk("Al"), bulk("Al", "hcp", a=2.86, c=4.67)),
        (bulk("Al"), bulk("Al", a=4.3)),
        (SILICON, bulk("Ge", a=5.47)),
        (bulk("SiGe", "zincblende", a=5.6), bulk("SiGe", "rocksalt", a=5.6)),
        (bulk("SiGe", "zincblende", a=5.6), bulk("SiGe", "cesiumchloride", a=3.53)),
        (crystal("Si", [(0.125, 0.125, 0.125)], spacegroup=227, cellpar=[6.89] * 3 + [90] * 3), SILICON),
    ],
)
def test_other_structures_are_others(one, other):
    assert not same_structure(one, other) and not same_structure(other, one)


def reference(atoms):
    return reference_of(atoms, spacegroup_of(atoms))


@pytest.mark.parametrize(
    ("atoms", "constant"),
    [
        (bulk("Si", cubic=True, a=5.46), 5.47), (bulk("Ge", a=5.74), 5.782), (bulk("Al", a=4.05), None),
        (bulk("SiGe", "zincblende", a=5.6), None),
    ],
)  # fmt: skip
def test_the_shipped_references_are_of_these_structures(atoms, constant):
    found = reference(atoms)["quantities"]["lattice constant"]["dft"]
    assert constant is None or found == pytest.approx(constant, abs=1e-3)


def test_the_same_group_with_other_atoms_has_no_reference():
    """A CIF with the group's name alone: ASE takes origin 1 and makes 16 atoms of 8."""
    for a in (6.2145, 6.89):
        other = crystal("Si", [(0.125, 0.125, 0.125)], spacegroup=227, cellpar=[a] * 3 + [90] * 3)
        assert len(other) == 16 and spacegroup_of(other) == "Fd-3m (227)"
        assert reference(other) == {}


def test_isotopes_and_crystals_under_force_have_no_reference():
    heavy = bulk("Si", a=5.46)
    heavy.set_masses([29.97] * 2)
    assert reference(heavy) == {}
    assert reference(bulk("Si", a=5.1)) == {}
    moved = bulk("Si", cubic=True, a=5.46)
    moved.positions[0] += 0.3
    assert reference(moved) == {}
    natural = bulk("Si", a=5.46)
    natural.set_masses([28.0855] * 2)
    assert reference(natural)["formula"] == "Si" and np.isfinite(natural.get_masses()).all()
