import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from commands import call
from tiny_anomaly import screen_here

pytest.importorskip("pyspark")

from ase_mlx.adapters import spark as spark_gate
from ase_mlx.adapters.spark import screening as gate
from ase_mlx.data.tables import open_table
from ase_mlx.learn.anomaly.crystals import describe_crystals, split
from ase_mlx.learn.config import TableFit
from ase_mlx.learn.files import load_model, save_model
from ase_mlx.learn.recipe import read_training
from ase_mlx.learn.recipes.anomaly import train_anomaly
from ase_mlx.learn.run import run
from ase_mlx.models.anomaly import AnomalyConfig
from ase_mlx.models.crystal_property import CrystalPropertyConfig
from ase_mlx.screen.ranges import (
    RANGE,
    SCHEMA,
    done_ranges,
    double_model,
    open_job,
    read_scores,
    run_local,
    write_range,
    write_results,
)
from ase_mlx.screen.ranges import range_path as place_of
from ase_mlx.screen.scores import Screening, described

TABLE = Path(__file__).resolve().parents[2] / "data" / "mp_crystals.parquet"
TARGETS = {"formation_energy_per_atom": "formation_energy", "e_above_hull": "hull_distance"}
SIZE, PART = 150, 60

needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java")
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:pyspark"),
    pytest.mark.filterwarnings("ignore::FutureWarning:pyspark"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # py4j's sockets
    pytest.mark.timeout(300),
]


@pytest.fixture(scope="module")
def crystals():
    return pd.read_parquet(TABLE).sample(400, random_state=1).reset_index(drop=True)


@pytest.fixture(scope="module")
def table(crystals):
    return describe_crystals(crystals.rename(columns=TARGETS), tuple(TARGETS.values()), False)


@pytest.fixture(scope="module")
def model(table, tmp_path_factory):
    """A tiny one: what it says is of no use, but differs from row to row."""
    found = table.take(np.arange(200))
    parts = split(list(found.formulas), "formula")
    config = CrystalPropertyConfig(tuple(TARGETS.values()), found.elements, width=16, members=2)
    fit = TableFit(epochs=2, batch_size=32)
    trained = train_anomaly(found.take(parts == "train"), found.take(parts != "train"), AnomalyConfig(config), fit)
    folder = tmp_path_factory.mktemp("model")
    save_model(trained, folder, {})
    return folder


@pytest.fixture(scope="module")
def rows(crystals):
    """Real crystals, and each kind of row that has no score."""
    frame = crystals.iloc[:SIZE][
        ["material_id", "formation_energy_per_atom", "lattice", "numbers", "frac_coords"]
    ].copy()
    for name in ("lattice", "numbers", "frac_coords"):
        frame[name] = frame[name].astype(object)
    frame.at[3, "numbers"] = np.full_like(frame.at[3, "numbers"], 110)
    frame.at[7, "numbers"] = np.zeros_like(frame.at[7, "numbers"])
    frame.at[PART, "lattice"] = None
    frame.at[PART + 1, "frac_coords"] = np.zeros_like(frame.at[PART + 1, "frac_coords"])
    frame.at[100, "frac_coords"] = frame.at[100, "frac_coords"][:2]
    frame.at[101, "lattice"] = frame.at[101, "lattice"] * 30
    frame.at[102, "formation_energy_per_atom"] = np.nan
    return frame


@pytest.fixture(scope="module")
def parts(rows, tmp_path_factory):
    """A folder of three parts, with a name that has to be escaped."""
    folder = tmp_path_factory.mktemp("crystals [a] 100%")
    for k in range(0, SIZE, PART):
        rows.iloc[k : k + PART].to_parquet(folder / f"part {k:03d}.parquet", index=False, row_group_size=25)
    return folder


@pytest.fixture(scope="module")
def spark():
    opened = spark_gate.session("local[2]")
    yield opened
    opened.stop()


def same(one, other):
    a, b = pq.read_table(one), pq.read_table(other)
    assert a.schema.equals(b.schema)
    pd.testing.assert_frame_equal(a.to_pandas(), b.to_pandas(), check_exact=True)
    return a.to_pandas()


@needs_java
@pytest.mark.slow
@pytest.mark.parametrize(("mode", "reported"), [("novelty", None), ("residual", "formation_energy_per_atom")])
def test_spark_equals_local_row_by_row(parts, model, spark, tmp_path, mode, reported):
    wanted = Screening(mode, reported)
    a, b = (open_job(open_table(parts), model, wanted, tmp_path / name) for name in ("a", "b"))
    run_local(a, 1) if mode == "novelty" else screen_here(a)
    told = []
    gate.run_spark(b, spark=spark, rows=70, progress=lambda done, total: told.append((done, total)))
    assert told == [(70, SIZE), (140, SIZE), (SIZE, SIZE)]
    assert [(first, last) for first, last, _ in done_ranges(b)] == [(0, 70), (70, 140), (140, SIZE)]
    found = same(write_results(a), write_results(b))
    bad = [3, 7, PART, PART + 1, 100, 101] + ([102] if reported else [])
    assert found["problem"].notna().to_numpy().nonzero()[0].tolist() == bad
    assert found["anomaly_score"].nunique() > 100
    assert read_scores(b)["row"].tolist() == list(range(SIZE))
    for _, _, folder in done_ranges(b):
        assert pq.read_table(folder).schema.names == SCHEMA.names
        assert not [path for path in folder.iterdir() if path.suffix != ".parquet"]


@pytest.mark.slow
@needs_java
def test_a_folder_of_many_pieces_is_read_in_order(crystals, model, spark, tmp_path):
    frame = described(crystals.iloc[:40], double_model(str(model)))[["material_id", "numbers", "descriptors"]]
    frame = pd.concat([frame] * 30, ignore_index=True)
    frame.to_parquet(tmp_path / "described.parquet")
    table = open_table(tmp_path / "described.parquet")
    a, b = (open_job(table, model, Screening("supervised_tail"), tmp_path / name) for name in ("a", "b"))
    screen_here(a)
    gate.run_spark(b, spark=spark)
    pieces = list(done_ranges(b)[0][2].iterdir())
    assert len(pieces) == -(-len(frame) // RANGE) == 3
    assert read_scores(b)["row"].tolist() == list(range(len(frame)))
    found = same(write_results(a), write_results(b))
    assert "descriptors" not in found and found["problem"].isna().all()


@pytest.mark.slow
@needs_java
def test_a_second_run_does_nothing_and_one_engine_finishes_what_the_other_began(parts, model, spark, tmp_path):
    wanted = Screening("supervised_tail")
    a, b = (open_job(open_table(parts), model, wanted, tmp_path / name) for name in ("a", "b"))
    screen_here(a)
    scored = read_scores(a)
    for first, last in ((20, 50), (90, 100)):
        write_range(scored.iloc[first:last], place_of(b, first, last))
    (b.work / ".spark-0000000000-0000000020").mkdir()
    gate.run_spark(b, spark=spark, rows=1000)
    assert [done[:2] for done in done_ranges(b)] == [(0, 20), (20, 50), (50, 90), (90, 100), (100, SIZE)]
    same(write_results(a), write_results(b))
    before = {path: path.stat().st_mtime_ns for path in b.work.rglob("*")}
    gate.run_spark(b, spark=spark)
    run_local(b, 1)
    assert {path: path.stat().st_mtime_ns for path in b.work.rglob("*")} == before

    shutil.rmtree(done_ranges(b)[2][2])
    screen_here(b)
    same(write_results(a), write_results(b))


@pytest.mark.slow
@needs_java
def test_rows_of_other_files_are_handed_over(rows, model, spark, tmp_path):
    frame = rows.iloc[:40].copy()
    frame["formation_energy_per_atom"] = frame["formation_energy_per_atom"].astype(object)
    frame.loc[5, "formation_energy_per_atom"] = "n/a"
    for name in ("lattice", "numbers", "frac_coords"):
        frame[name] = [str(values.tolist()) for values in frame[name]]
    frame.loc[9, "numbers"] = str([1.5] * 4)
    frame.loc[10, "numbers"] = "not a list"
    frame.loc[11, "lattice"] = "[[4.0, 0, 0], [0, 4.0, 0], [0, 0, 4.0, 0]]"
    frame.to_csv(tmp_path / "rows.csv", index=False)
    table = open_table(tmp_path / "rows.csv")
    for k, wanted in enumerate([Screening("novelty"), Screening("residual", "formation_energy_per_atom")]):
        a, b = (open_job(table, model, wanted, tmp_path / f"{name}{k}") for name in ("a", "b"))
        screen_here(a)
        gate.run_spark(b, spark=spark)
        found = same(write_results(a), write_results(b))
        bad = {3, 7, 9, 10, 11} | ({5} if wanted.reported else set())
        assert set(found["problem"].notna().to_numpy().nonzero()[0]) == bad


@pytest.mark.slow
@needs_java
def test_types_that_spark_lacks_are_handed_over(rows, model, spark, tmp_path):
    frame = rows.iloc[:20].copy()
    frame["numbers"] = [x.astype(np.uint64) for x in frame["numbers"]]
    frame.to_parquet(tmp_path / "rows.parquet")
    a, b = (open_job(open_table(tmp_path / "rows.parquet"), model, Screening("novelty"), tmp_path / n) for n in "ab")
    screen_here(a)
    assert gate._readable(b) is None
    gate.run_spark(b, spark=spark)
    same(write_results(a), write_results(b))


@pytest.mark.slow
@needs_java
def test_rows_that_are_lost_are_an_error(parts, model, spark, tmp_path, monkeypatch):
    job = open_job(open_table(parts), model, Screening("novelty"), tmp_path / "job")
    whole = gate._read_by_spark

    def fewer(*arguments):
        for first, last, frame in whole(*arguments):
            yield first, last, frame.where("row != 4")

    monkeypatch.setattr(gate, "_read_by_spark", fewer)
    with pytest.raises(RuntimeError, match=rf"got {SIZE - 1} rows back from Spark, expected {SIZE}"):
        gate.run_spark(job, spark=spark)
    assert done_ranges(job) == []


@pytest.mark.parametrize(
    ("version", "said"), [("1.8.0_392", "got Java 8"), ("11.0.2", "got Java 11"), (None, "got no `java`")]
)
def test_without_java_the_message_says_what_to_do(tmp_path, monkeypatch, version, said):
    monkeypatch.setattr(gate.SparkSession, "getActiveSession", lambda: None)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    if version:
        (tmp_path / "java").write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
        (tmp_path / "java").chmod(0o755)
    with pytest.raises(RuntimeError, match=said) as caught:
        spark_gate.session("local[2]")
    assert "apt-get install openjdk-17-jre-headless" in str(caught.value) and "JAVA_HOME" in str(caught.value)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "nowhere"))
    with pytest.raises(RuntimeError, match="nowhere"):
        spark_gate.session("local[2]")


CONFIG = """
kind = "anomaly"
[data]
file = "crystals.parquet"
properties = { formation_energy = "formation_energy_per_atom", hull_distance = "e_above_hull" }
[model]
width = 16
members = 2
[fit]
epochs = 3
batch_size = 32
"""


@pytest.mark.slow
@needs_java
def test_two_workers_train_the_model_of_one(crystals, table, spark, tmp_path):
    crystals.iloc[:160].to_parquet(tmp_path / "crystals.parquet")
    (tmp_path / "config.toml").write_text(CONFIG)
    recipe, config = read_training(tmp_path / "config.toml")
    run(recipe(config), tmp_path / "one")
    done = call(tmp_path, "train", "config.toml", "-o", "two", "--engine", "spark", "--workers", 2)
    assert done.returncode == 0, done.stderr
    assert "Errors on the part" in done.stdout
    one, two = (load_model(tmp_path / name).double() for name in ("one", "two"))
    a, b = (model.property.table(table.rows[:100]) for model in (one, two))
    for name in TARGETS.values():
        assert np.abs(a[name] - b[name]).max() < 1e-3
        assert np.abs(a.std[name] - b.std[name]).max() < 1e-3
    first, second = (dict(model.property.named_parameters()) for model in (one, two))
    assert any((first[name] != second[name]).any() for name in first), "the sums were not shared out"


def test_training_of_no_kind_is_refused(tmp_path):
    (tmp_path / "config.toml").write_text('kind = "potentail"\n')
    with pytest.raises(ValueError, match="did you mean 'potential'"):
        spark_gate.train_distributed(tmp_path / "config.toml", tmp_path / "out")
