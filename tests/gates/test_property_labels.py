"""Labels under strain differ from those at rest by what the teacher says."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ase_mlx as am
from ase_mlx.learn.recipes.labelled_crystals import read_table

DATA = Path(__file__).resolve().parents[2] / "data"


@pytest.fixture
def labels(monkeypatch):
    monkeypatch.syspath_prepend(str(DATA))
    import property_labels

    yield property_labels
    for name in ("property_labels", "universal_labels"):
        sys.modules.pop(name, None)


def test_strained_crystals_are_training_rows_with_the_teachers_difference(labels, tmp_path):
    table, model = pd.read_parquet(DATA / "mp_crystals.parquet").head(60), am.load("universal")
    rows = pd.DataFrame(labels.strained(model, table))
    rest = table.set_index("material_id")
    assert len(rows) > 5 and set(rows.part) == {"train"}
    assert set(rest.loc[rows.material_id].part) == {"train"} and rows.nsites.max() <= labels.LARGEST
    both = [labels.crystal(row) for frame in (rows, rest.loc[rows.material_id]) for row in frame.itertuples()]
    moved, still = np.split(labels.energies(model, both), 2)
    for column in ("formation_energy_per_atom", "e_above_hull"):
        change = rows[column].to_numpy() - rest.loc[rows.material_id, column].to_numpy()
        np.testing.assert_allclose(change, moved - still, atol=1e-5)
    assert rows.band_gap.isna().all() and np.ptp(moved - still) > 0.01
    pd.concat([table, rows], ignore_index=True).to_parquet(tmp_path / "labelled.parquet")
    properties = {"formation_energy": "formation_energy_per_atom", "band_gap": "band_gap", "metal_probability": ""}
    samples, parts = read_table(tmp_path / "labelled.parquet", properties, 5.0)
    assert len(samples) == len(parts) == len(table) + len(rows)
    assert all(float(s.weight["metal_probability"]) == 0 for s in samples[len(table) :])
