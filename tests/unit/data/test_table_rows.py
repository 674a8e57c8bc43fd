import json

import numpy as np
import pandas as pd
import pytest
from ase.build import bulk
from ase.db import connect
from ase.io import write

from ase_mlx.data.table_rows import structures_at
from ase_mlx.data.tables import open_table

CRYSTALS = [bulk(name, cubic=True) for name in ("Cu", "Al", "Si", "Au", "Ag")]


def arrays(atoms):
    return atoms.cell.array.ravel(), atoms.numbers, atoms.get_scaled_positions().ravel()


def written(kind, folder):
    rows = [dict(zip(("lattice", "numbers", "frac_coords"), arrays(atoms), strict=True)) for atoms in CRYSTALS]
    if kind == "parquet":
        pd.DataFrame(rows).to_parquet(folder / "t.parquet", row_group_size=2)
    elif kind == "csv":
        lists = [{name: json.dumps(np.asarray(x).tolist()) for name, x in row.items()} for row in rows]
        lists[3]["numbers"] = "none"
        pd.DataFrame(lists).to_csv(folder / "t.csv", index=False)
    elif kind == "frames":
        write(folder / "t.extxyz", CRYSTALS)
    elif kind == "database":
        with connect(folder / "t.db") as database:
            for atoms in CRYSTALS:
                database.write(atoms)
    else:
        for k, atoms in enumerate(CRYSTALS):
            write(folder / f"{k}.cif", atoms)
        return folder
    return next(folder.iterdir())


@pytest.mark.parametrize("kind", ["parquet", "csv", "frames", "database", "files"])
def test_some_rows_of_any_table_are_those_of_the_whole_table(kind, tmp_path):
    frame = structures_at(open_table(written(kind, tmp_path)), np.array([4, 1, 3, 1]))
    rows = [1, 4] if kind == "csv" else [1, 3, 4]  # a csv's damaged row is left out
    assert frame["row"].tolist() == rows
    for row, numbers, lattice, places in frame[["row", "numbers", "lattice", "frac_coords"]].itertuples(index=False):
        assert set(numbers) == set(CRYSTALS[row].numbers)
        np.testing.assert_allclose(lattice, CRYSTALS[row].cell.array.ravel(), atol=1e-5)
        np.testing.assert_allclose(places, CRYSTALS[row].get_scaled_positions().ravel(), atol=1e-5)


def test_no_rows_give_an_empty_table(tmp_path):
    frame = structures_at(open_table(written("parquet", tmp_path)), np.array([], dtype=int))
    assert list(frame.columns) == ["row", "lattice", "numbers", "frac_coords"] and not len(frame)
