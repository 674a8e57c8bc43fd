"""Genes as arrays: nothing is lost, and what is masked says nothing."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from ase.build import bulk
from tiny_anomaly import FILE

from ase_mlx.descriptors.gene_rows import chosen_parameters, genes_of, rows_of, wyckoff_tables
from ase_mlx.descriptors.genes import FREE_PARAMETERS, Gene, Site, crystal_system, settings
from ase_mlx.descriptors.wyckoff import wyckoff_positions
from ase_mlx.structure import Structure


def crystals(count):
    """Every so many real crystals."""
    for row in pd.read_parquet(FILE).iloc[:: max(1, len(pd.read_parquet(FILE)) // count)][:count].itertuples():
        cell = np.reshape(row.lattice, (3, 3)).astype(float)
        places = np.vstack(row.frac_coords).astype(float).reshape(-1, 3)
        yield Structure(np.asarray(row.numbers, dtype=int), places @ cell, cell, np.ones(3, bool))


@pytest.fixture(scope="module")
def genes():
    return [gene for crystal in crystals(15) for gene in settings(crystal)]


def test_every_gene_comes_back(genes):
    assert len(genes) > 15
    for gene, again in zip(genes, genes_of(rows_of(genes)), strict=True):
        assert again.skeleton == gene.skeleton
        assert again.lattice == pytest.approx(gene.lattice, rel=1e-5)
        for one, other in zip(sorted(gene.sites), sorted(again.sites), strict=True):
            assert other.free == pytest.approx(one.free, abs=1e-6)


def test_some_genes_alone_are_the_same(genes):
    rows = rows_of(genes)
    few = torch.tensor([3, 1])
    assert genes_of(rows.take(few)) == [genes_of(rows)[3], genes_of(rows)[1]]
    assert rows.take(few).numbers.shape[1] == max(len(genes[3].sites), len(genes[1].sites))


def test_tables_are_those_of_the_positions():
    tables = wyckoff_tables()
    for group in (1, 14, 62, 194, 225, 230):
        for k, position in enumerate(wyckoff_positions(group)):
            symbol = int(tables.symmetry[group, k])
            assert tables.symbols[symbol] == position.site_symmetry
            assert int(tables.position[group, symbol, position.enumeration]) == k
            assert int(tables.multiplicity[group, k]) == position.multiplicity
            assert tuple(torch.nonzero(tables.free[group, k])[:, 0].tolist()) == position.free
        assert (tables.symmetry[group, len(wyckoff_positions(group)) :] == -1).all()
        chosen = torch.nonzero(chosen_parameters()[group])[:, 0].tolist()
        assert tuple(chosen) == FREE_PARAMETERS[crystal_system(group)]


def test_volumes_are_what_the_first_number_says():
    cubic = Gene(225, (Site(11, 0), Site(17, 1)), (5.6,))
    assert float(rows_of([cubic]).lattice[0, 0].exp()) == pytest.approx(5.6**3 / 8, rel=1e-6)
    volumes = [float(rows_of([Gene(225, cubic.sites, (a,))]).lattice[0, 0]) for a in (4.0, 5.0, 6.0)]
    assert all(first < second for first, second in pairwise(volumes))


def test_angles_without_a_cell_are_refused():
    rows = rows_of([Gene(1, (Site(6, 0, (0.0, 0.0, 0.0)),), (3.0, 3.0, 3.0, 90.0, 90.0, 90.0))])
    rows.lattice[0, 3:] = torch.tensor([-2.0, 0.0, 2.5])
    with pytest.raises(ValueError, match="three that fit together"):
        genes_of(rows)


def test_no_gene_is_refused():
    with pytest.raises(ValueError, match="got no gene"):
        rows_of([])


def test_substituted_genes_are_those_of_substituted_crystals():
    wurtzite = bulk("ZnS", "wurtzite", a=3.8, c=6.2)
    other = wurtzite.copy()
    other.numbers[wurtzite.numbers == 30] = 8
    other.numbers[wurtzite.numbers == 16] = 12
    table = torch.arange(119)[None]
    table = torch.where(table == 30, 8, torch.where(table == 16, 12, table))
    row = rows_of(settings(wurtzite))
    again = genes_of(row.substituted(table.expand(len(row), -1)))
    assert {gene.skeleton for gene in again} == {gene.skeleton for gene in settings(other)}
    assert [gene.key for gene in again] == row.substituted(table.expand(len(row), -1)).keys
    assert row.keys == [gene.key for gene in settings(wurtzite)]
