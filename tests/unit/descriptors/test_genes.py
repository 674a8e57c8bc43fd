"""Crystals and their genes: what symmetry leaves free, and back."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import spglib
from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal
from tiny import turn

from ase_mlx.descriptors.genes import Gene, Site, crystal_system, gene_of, settings, structure_of
from ase_mlx.descriptors.wyckoff import operations, orbit, wyckoff_positions
from ase_mlx.graph.lattice import cell_of_parameters, parameters_of_cell
from ase_mlx.structure import Structure

TABLE = Path(__file__).resolve().parents[3] / "data" / "mp_crystals.parquet"


def some_crystals(count):
    rows = pd.read_parquet(TABLE).sample(count, random_state=3)
    for row in rows.itertuples():
        cell = np.asarray(row.lattice, dtype=float).reshape(3, 3)
        places = np.vstack(row.frac_coords).astype(float).reshape(-1, 3)
        yield Structure(np.asarray(row.numbers, dtype=int), places @ cell, cell, np.ones(3, dtype=bool))


def spectrum(structure, reach=6.0):
    """All distances of pairs of elements, an atom: equal for equal crystals, however they are written."""
    from ase.neighborlist import neighbor_list

    atoms = Atoms(structure.numbers, structure.positions, cell=structure.cell, pbc=True)
    first, second, length = neighbor_list("ijd", atoms, reach)
    pairs = atoms.numbers[first] * 200 + atoms.numbers[second]
    order = np.lexsort((np.round(length, 3), pairs))
    return pairs[order], length[order], len(atoms)


def same(one, other):
    (a, x, n), (b, y, m) = spectrum(one), spectrum(other)
    if len(a) * m != len(b) * n:
        return False
    a, x, b, y = np.repeat(a, m), np.repeat(x, m), np.repeat(b, n), np.repeat(y, n)
    return bool((a == b).all() and np.abs(x - y).max() < 0.03)


def test_positions_are_those_of_the_tables():
    assert sum(len(wyckoff_positions(number)) for number in range(1, 231)) == 1731
    diamond = [(p.letter, p.multiplicity, p.site_symmetry, len(p.free)) for p in wyckoff_positions(227)]
    assert diamond[:3] == [("a", 8, "-43m", 0), ("b", 8, "-43m", 0), ("c", 16, ".-3m", 0)]
    assert diamond[-1] == ("i", 192, "1", 3)
    with pytest.raises(ValueError, match="got space group 231, expected a number from 1 to 230"):
        wyckoff_positions(231)


@pytest.mark.parametrize("number", [2, 14, 19, 62, 88, 148, 167, 194, 205, 227])
def test_orbits_have_the_multiplicity_of_their_position(number):
    order = len(operations(number)[0])
    for position in wyckoff_positions(number):
        whole = np.zeros(3)
        whole[list(position.free)] = np.array([0.1234, 0.2345, 0.3719])[: len(position.free)]
        assert len(orbit(number, position.matrix @ whole + position.shift)) == position.multiplicity
        assert order % position.multiplicity == 0


@pytest.mark.filterwarnings("ignore:Set OLD_ERROR_HANDLING:DeprecationWarning")  # spglib, of its own call
def test_real_crystals_come_back_from_their_genes():
    for structure in some_crystals(25):
        gene = gene_of(structure)
        again = structure_of(gene)
        assert same(structure, again)
        cell = (again.cell, again.positions @ np.linalg.inv(again.cell), again.numbers)
        assert spglib.get_symmetry_dataset(cell, symprec=0.01).number == gene.space_group


def test_a_gene_is_of_the_crystal_not_of_its_cell():
    rutile = crystal("TiO", [(0, 0, 0), (0.305, 0.305, 0)], spacegroup=136, cellpar=[4.59, 4.59, 2.96, 90, 90, 90])
    gene = gene_of(rutile)
    assert gene.space_group == 136 and gene.lattice == pytest.approx((4.59, 2.96))
    assert [p.site_symmetry for p in gene.positions] == ["m.2m", "m.mm"]  # oxygen first
    assert gene.sites[0].free == pytest.approx((0.305,))
    large = rutile * (2, 1, 1)
    large.set_cell(large.cell.array @ turn().numpy().T, scale_atoms=True)
    large.positions += [0.3, 0.1, 0.7]
    large.wrap()
    other = gene_of(large)
    assert other.space_group == 136 and other.lattice == pytest.approx(gene.lattice)
    assert other.skeleton in {g.skeleton for g in settings(rutile)}


def test_settings_are_one_crystal():
    salt = bulk("NaCl", "rocksalt", a=5.64)
    both = settings(salt)
    assert len(both) == 2 and len({g.skeleton for g in both}) == 2
    assert all(same(structure_of(g), salt) for g in both)
    zincblende = bulk("GaAs", "zincblende", a=5.65)
    assert len(settings(zincblende)) > 2 and all(same(structure_of(g), zincblende) for g in settings(zincblende))


@pytest.mark.parametrize("number", [1, 5, 20, 80, 150, 220])
def test_lattices_have_the_free_parameters_of_their_system(number):
    chosen = {"triclinic": (3.1, 4.2, 5.3, 81.0, 85.0, 73.0), "monoclinic": (3.1, 4.2, 5.3, 98.0)}
    lattice = chosen.get(crystal_system(number), (3.1, 4.2, 5.3))
    lattice = lattice[: {"tetragonal": 2, "hexagonal": 2, "cubic": 1}.get(crystal_system(number), 6)]
    general = len(wyckoff_positions(number)) - 1
    gene = Gene(number, (Site(14, general, (0.11, 0.23, 0.37)), Site(8, general, (0.31, 0.07, 0.19))), lattice)
    again = gene_of(structure_of(gene))
    assert again.space_group == number and sorted(again.lattice) == pytest.approx(sorted(lattice))


def test_parameters_and_cells():
    parameters = np.array([3.0, 4.0, 5.0, 80.0, 95.0, 110.0])
    assert parameters_of_cell(cell_of_parameters(parameters)) == pytest.approx(parameters)
    with pytest.raises(ValueError, match="three angles that a cell can have"):
        cell_of_parameters(np.array([3.0, 4.0, 5.0, 30.0, 30.0, 90.0]))


def test_what_is_no_crystal_or_no_gene_is_refused():
    slab = bulk("Si", cubic=True)
    slab.pbc = [True, True, False]
    with pytest.raises(ValueError, match="expected a crystal that is periodic in three directions"):
        gene_of(slab)
    with pytest.raises(ValueError, match="position of more symmetry"):
        structure_of(Gene(227, (Site(14, 8, (0.0, 0.0, 0.0)),), (5.4,)))
    with pytest.raises(ValueError, match="expected 3"):
        structure_of(Gene(227, (Site(14, 8, ()),), (5.4,)))
    with pytest.raises(ValueError, match="got 2 lattice parameters of a cubic crystal, expected 1"):
        structure_of(Gene(227, (Site(14, 0, ()),), (5.4, 5.4)))
