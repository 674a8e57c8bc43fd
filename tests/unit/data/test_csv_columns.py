"""Words stay words, whole numbers keep their digits: the right values are those of Python's csv module."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ase.build import bulk

from ase_mlx.data.tables import open_table


def rows(**columns):
    si = bulk("Si")
    structure = {
        "lattice": json.dumps(si.cell.array.ravel().tolist()),
        "numbers": "[14, 14]",
        "frac_coords": json.dumps(si.get_scaled_positions().ravel().tolist()),
    }
    return pd.DataFrame({**columns, **dict.fromkeys(structure, "")}).assign(**structure)


def write(tmp_path, **columns):
    path = tmp_path / "a.csv"
    rows(**columns).to_csv(path, index=False)
    return open_table(path)


def both(table, name):
    """A column as chunks give it to the screening, and as the results keep it."""
    chunk = pd.concat(table.chunks(2))[name].tolist()
    kept = pa.concat_tables([part for _, part in table.others()]).column(name).to_pylist()
    return [None if x is pd.NA or x != x else x for x in chunk], kept


@pytest.mark.parametrize("name", ["material_id", "id", "formula", "comment"])
def test_words_that_look_empty_are_words(tmp_path, name):
    words = ["NA", "null", "None", "NaN", "Si"]
    for values in both(write(tmp_path, **{name: words}), name):
        assert values == words


@pytest.mark.parametrize(
    ("texts", "values", "kind"),
    [
        (["9007199254740993", "", "9007199254740995"], [9007199254740993, None, 9007199254740995], pa.int64()),
        (["1", "NA", "-3"], [1, None, -3], pa.int64()),
        (["18446744073709551617", "1"], ["18446744073709551617", "1"], pa.string()),
        (["9007199254740993", "0.5"], ["9007199254740993", "0.5"], pa.string()),
        (["1.5", "", "2"], [1.5, None, 2.0], pa.float64()),
        (["True", "", "False"], [True, None, False], pa.bool_()),
        (["00123", "7"], ["00123", "7"], pa.string()),
        (["2024-01-02", ""], ["2024-01-02", None], pa.string()),
        (["1e400", "1"], [float("inf"), 1.0], pa.float64()),
    ],
)
def test_columns_keep_what_stands_there(tmp_path, texts, values, kind):
    table = write(tmp_path, quantity=texts)
    assert table.schema.field("quantity").type == kind
    for column in both(table, "quantity"):
        assert column == values and [type(x) for x in column] == [type(x) for x in values]


def test_whole_numbers_beside_a_gap_keep_their_digits_in_parquet_too(tmp_path):
    si = bulk("Si")
    frame = {
        "lattice": [si.cell.array.ravel()] * 2,
        "numbers": [si.numbers] * 2,
        "frac_coords": [si.get_scaled_positions().ravel()] * 2,
        "oqmd": pa.array([9007199254740993, None], pa.int64()),
    }
    pq.write_table(pa.table(frame), tmp_path / "a.parquet")
    for column in both(open_table(tmp_path / "a.parquet"), "oqmd"):
        assert column == [9007199254740993, None]


def test_names_in_extxyz_keep_their_zeros(tmp_path):
    text = '1\nLattice="4 0 0 0 4 0 0 0 4" id=00123 weight=00123\nSi 0 0 0\n'
    (tmp_path / "a.extxyz").write_text(text)
    assert pd.concat(open_table(tmp_path / "a.extxyz").chunks(9))["id"].tolist() == ["00123"]


def test_reported_energies_may_have_gaps(tmp_path):
    table = write(tmp_path, energy=["1", "", "2"])
    (chunk,) = table.chunks(9)
    reported = pd.to_numeric(chunk["energy"], errors="coerce").to_numpy(dtype=np.float64)
    np.testing.assert_array_equal(reported, [1.0, np.nan, 2.0])
