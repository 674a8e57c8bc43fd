import json

import ase.io
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from ase.build import bulk
from tiny_anomaly import save_tiny, screen_here, table

from ase_mlx.data.tables import open_table
from ase_mlx.screen.ranges import open_job, write_results
from ase_mlx.screen.scores import Screening

STRUCTURE = ["lattice", "numbers", "frac_coords"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("model"))


def structures(rows=6):
    return table().iloc[:rows][["material_id", *STRUCTURE]]


def as_csv(path, frame):
    lists = {c: [json.dumps(np.asarray(v).tolist()) for v in frame[c]] for c in STRUCTURE}
    frame.assign(**lists).to_csv(path, index=False)
    return path


def results(path, model, out):
    job = open_job(open_table(path), model, Screening("novelty"), out)
    screen_here(job)
    return pd.read_parquet(write_results(job))


def test_an_index_of_pandas_stays_a_column(tmp_path, folder):
    structures().set_index("material_id").to_parquet(tmp_path / "a.parquet")
    found = results(tmp_path / "a.parquet", folder, tmp_path / "out")
    assert found.material_id.tolist() == structures().material_id.tolist() and found["rank"].notna().all()


def test_structures_alone_are_enough(tmp_path, folder):
    structures()[STRUCTURE].to_parquet(tmp_path / "a.parquet", index=False)
    as_csv(tmp_path / "a.csv", structures()[STRUCTURE])
    for name in ("a.parquet", "a.csv"):
        assert results(tmp_path / name, folder, tmp_path / f"out-{name}")["rank"].notna().sum() == 6


def test_names_in_csv_stay_texts_and_types_are_those_of_whole_columns(tmp_path, folder):
    frame = structures().assign(id=["007", "1", "2", "3", "4", "mp-5"], count=[1, 2, 3, 4, 5, 6.5])
    frame["note"] = [None] * 5 + ["late"]
    path = as_csv(tmp_path / "a.csv", frame.drop(columns="material_id"))
    opened = open_table(path)
    assert [str(t) for t in opened.kept.types] == ["string", "double", "string"]
    found = results(path, folder, tmp_path / "out")
    assert found.id.tolist() == frame.id.tolist() and found.note.isna().tolist() == [True] * 5 + [False]


def test_a_csv_with_a_line_too_long_is_told_before_work_begins(tmp_path):
    path = as_csv(tmp_path / "a.csv", structures())
    path.write_text(path.read_text() + "a,b,c,d,e,f,g\n")
    with pytest.raises(ValueError, match="cannot be read as a table with commas"):
        open_table(path)


def test_parts_may_order_their_columns_otherwise_but_not_type_them(tmp_path):
    frame = structures().assign(count=1)
    frame.iloc[:2].to_parquet(tmp_path / "a.parquet")
    frame.iloc[2:4][frame.columns[::-1]].to_parquet(tmp_path / "b.parquet")
    frame.iloc[4:].assign(count=["one", "two"]).to_parquet(tmp_path / "c.parquet")
    opened = open_table(tmp_path)
    assert (
        opened.count == 4 and list(opened.problems) == ["c.parquet"] and "other types" in opened.problems["c.parquet"]
    )
    assert sum(rows for rows, _ in opened.others()) == 4
    assert pd.concat(opened.chunks(3)).material_id.tolist() == frame.material_id[:4].tolist()


def test_rows_of_a_damaged_group_keep_their_place_and_say_why(tmp_path, folder):
    path = tmp_path / "a.parquet"
    structures().to_parquet(path, row_group_size=2)
    with pq.ParquetFile(path) as opened:
        column = opened.metadata.row_group(1).column(1)
        start, size = column.dictionary_page_offset or column.data_page_offset, column.total_compressed_size
    content = bytearray(path.read_bytes())
    content[start : start + size] = b"\xff" * size
    path.write_bytes(content)
    found = results(path, folder, tmp_path / "out")
    assert found.problem.notna().tolist() == [False, False, True, True, False, False]
    assert "a.parquet: damaged" in found.problem[2] and found["rank"].max() == 4


def test_of_a_file_in_a_folder_one_crystal_counts(tmp_path):
    hot = bulk("Si")
    hot.rattle(0.1, seed=0)
    ase.io.write(tmp_path / "a.extxyz", [hot, bulk("Si")])
    ase.io.write(tmp_path / "b.extxyz", [bulk("Si"), bulk("NaCl", "rocksalt", a=5.6)])
    (frame,) = open_table(tmp_path).chunks(10)
    assert np.allclose(frame.frac_coords[0], bulk("Si").get_scaled_positions().ravel())
    assert "2 different crystals in one file" in frame.problem[1]


@pytest.mark.parametrize("name", ["members", "problem", "rank"])
def test_columns_of_results_are_refused_in_the_table(tmp_path, folder, name):
    structures().assign(**{name: "mine"}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=f"already has {name}"):
        open_job(open_table(tmp_path / "a.parquet"), folder, Screening("novelty"), tmp_path / "out")


def test_descriptors_of_somebody_else_do_not_replace_structures(tmp_path, folder):
    structures().assign(descriptors=[np.zeros(3)] * 6).to_parquet(tmp_path / "a.parquet")
    found = results(tmp_path / "a.parquet", folder, tmp_path / "out")
    assert found.problem.isna().all() and "descriptors" not in found
