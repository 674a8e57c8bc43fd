"""Genes of tables of crystals: kept by content, and what cannot be read is said."""

from dataclasses import fields

import numpy as np
import pandas as pd
import pytest
import torch
from ase.build import bulk

from ase_mlx.descriptors.gene_rows import rows_of
from ase_mlx.descriptors.genes import settings
from ase_mlx.learn.crystals import samples
from ase_mlx.learn.crystals.samples import GeneData, read_genes


def write(path, crystals, part="train"):
    frame = pd.DataFrame(
        {
            "lattice": [atoms.cell.array.ravel() for atoms in crystals],
            "numbers": [atoms.numbers for atoms in crystals],
            "frac_coords": [atoms.get_scaled_positions().ravel() for atoms in crystals],
            "part": [part] * len(crystals),
            "gap": np.arange(len(crystals), dtype=float),
        }
    )
    frame.to_parquet(path)
    return str(path)


@pytest.fixture
def crystals():
    return [bulk("ZnS", "wurtzite", a=3.8, c=6.2), bulk("NaCl", "rocksalt", a=5.6), bulk("Po", "sc", a=3.3)]


def test_genes_that_were_kept_are_those_that_were_read(tmp_path, monkeypatch, crystals):
    monkeypatch.setattr(samples, "CHUNK", 2)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data = GeneData(write(tmp_path / "t.parquet", crystals), {"band_gap": "gap"})
    first, left = read_genes(data)
    assert len(list((tmp_path / "cache").rglob("*.npz"))) == 1
    monkeypatch.setattr(samples, "pool", None)
    again, left_again = read_genes(data)
    assert left == left_again == {"no symmetry found": 0, "too many sites or atoms": 0}
    for field in fields(first["train"].rows):
        assert torch.equal(getattr(first["train"].rows, field.name), getattr(again["train"].rows, field.name))
    assert again["train"].settings.tolist() == [len(settings(atoms)) for atoms in crystals]
    whole = rows_of([gene for atoms in crystals for gene in settings(atoms)])
    assert again["train"].rows.keys == whole.keys
    assert again["train"].take(np.array([2, 0])).properties["band_gap"].tolist() == [2.0, 0.0]
    assert len(again["test"]) == 0


def test_a_folder_that_cannot_be_written_costs_minutes_and_no_more(tmp_path, monkeypatch, crystals):
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert len(read_genes(GeneData(write(tmp_path / "t.parquet", crystals)))[0]["train"]) == 3


def test_large_crystals_are_left_out_and_counted(tmp_path, crystals):
    parts, left = read_genes(GeneData(write(tmp_path / "t.parquet", crystals), most_atoms=4), ["all"])
    assert left["too many sites or atoms"] == 1 and len(parts["all"]) == 2


def test_volumes_and_densities_are_those_of_the_structures(tmp_path, crystals):
    crystals = [*crystals, bulk("Cf", "fcc", a=4.9)]  # no mass of californium in the table
    known = read_genes(GeneData(write(tmp_path / "t.parquet", crystals)))[0]["train"]
    for k, atoms in enumerate(crystals):
        assert known.properties["volume_per_atom"][k] == pytest.approx(atoms.get_volume() / len(atoms), rel=1e-5)
    expected = crystals[1].get_masses().sum() / crystals[1].get_volume() / 0.602214076
    assert known.properties["density"][1] == pytest.approx(expected, rel=1e-3)
    assert np.isnan(known.properties["density"][3])


def test_a_table_without_a_crystal_is_refused(tmp_path, monkeypatch, crystals):
    monkeypatch.setattr(samples, "_settings_of", lambda piece: [[] for _ in range(len(piece))])
    with pytest.raises(ValueError, match="got 3 crystals, and symmetry was found in none"):
        read_genes(GeneData(write(tmp_path / "t.parquet", crystals)))
