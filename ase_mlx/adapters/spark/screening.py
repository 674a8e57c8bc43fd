"""Screenings by Spark.

Spark reads the rows and hands them out; what is done with a row is `screen.scores`, as on one machine.

Source: ours, on Spark's `mapInPandas`.
"""

import os
import re
import shutil
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from ase_mlx.adapters.spark.session import session
from ase_mlx.data.tables import PROBLEM
from ase_mlx.learn.anomaly.crystals import graph_of
from ase_mlx.learn.cards import CARD, WEIGHTS, read_card
from ase_mlx.models.anomaly import AnomalyModel
from ase_mlx.screen.ranges import RANGE, SCHEMA, Job, done_ranges, double_model, needed_columns, open_ranges
from ase_mlx.screen.scores import Screening, screen
from ase_mlx.whole import scratch_folder, sole

ROUNDS, SMALLEST, LARGEST = 20, 2_000, 50_000
"""A table is screened in about so many rounds, of at least and at most so many rows: a kill costs one of them."""


def run_spark(
    job: Job,
    master: str = "local[*]",
    progress: Callable[[int, int], None] | None = None,
    spark: SparkSession | None = None,
    rows: int | None = None,
) -> None:
    """Screen what is open in a job with Spark: the same results as of `run_local`, bit for bit.

    On a cluster of several machines the table's and the job's folders must be on a disk that all of them see under the
    same path, and ase_mlx installed on each.

    Args:
        job: from `open_job` (energies in eV/atom).
        master: see `session`; not asked where a session is open already.
        progress: called with (rows done, rows).
        spark: a session to use, from `session`; it stays open.
        rows: of one round, the most that a kill of this process costs; from the table's size if None.

    Raises:
        RuntimeError: no Java, or Spark gave back another number of rows than it was given.
        BlockingIOError: another process is screening into the folder.

    Source: ours.
    """
    size = rows or min(max(job.table.count // ROUNDS, SMALLEST), LARGEST)
    with sole(job.out):
        _run(job, master, progress, spark, size)


def _run(job: Job, master: str, progress, spark: SparkSession | None, size: int) -> None:
    for leftover in job.work.glob(".spark-*"):
        shutil.rmtree(leftover)
    done, total = sum(last - first for first, last, _ in done_ranges(job)), job.table.count
    if done == total:
        return
    opened = spark is None and SparkSession.getActiveSession() is None
    spark = spark or session(master)
    try:
        types = _readable(job)
        if types is None:
            rounds: Iterator[tuple[int, int, DataFrame]] = _handed_over(spark, job, size)
        else:
            rounds = _read_by_spark(spark, job, size, types)
        model = spark.sparkContext.broadcast({name: (Path(job.model) / name).read_bytes() for name in (CARD, WEIGHTS)})
        scorer = _Scorer(model, read_card(job.model)["sha256"], job.wanted, types or {})
        for first, last, frame in rounds:
            _one_round(job, scorer, first, last, frame)
            done += last - first
            if progress is not None:
                progress(done, total)
        model.unpersist()
    finally:
        if opened:
            spark.stop()


@dataclass(frozen=True)
class _Scorer:
    """What travels to the workers; each of their processes loads the model once."""

    model: Any
    digest: str
    wanted: Screening
    types: dict[str, pa.DataType]

    def __call__(self, frames: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        whole = {name: t.value_type.to_pandas_dtype() for name, t in self.types.items() if _whole_numbers(t)}

        def as_read(frame: pd.DataFrame) -> pd.DataFrame:
            # Spark has no unsigned integers, and messages quote numbers as the table has them
            for name, dtype in whole.items():
                frame[name] = pd.Series([_cast(x, dtype) for x in frame[name]], index=frame.index, dtype=object)
            return frame

        return screen(map(as_read, frames), _loaded(self.model, self.digest), self.wanted, keep=("row",))


def _whole_numbers(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) and pa.types.is_integer(kind.value_type)


def _cast(values: Any, dtype: type) -> Any:
    return values if values is None or np.asarray(values).dtype.kind != "i" else np.asarray(values).astype(dtype)


_LOADED: dict[str, AnomalyModel] = {}


def _loaded(broadcast: Any, digest: str) -> AnomalyModel:
    """The model that was handed out, from a folder that lives as long as loading takes."""
    if digest not in _LOADED:
        with scratch_folder("ase-mlx-model") as folder:
            for name, content in broadcast.value.items():
                (folder / name).write_bytes(content)
            _LOADED.clear()
            _LOADED[digest] = double_model.__wrapped__(folder)
    return _LOADED[digest]


def _one_round(job: Job, scorer: _Scorer, first: int, last: int, frame: DataFrame) -> None:
    """Score rows [first, last) and write them: whole, under their name, or not at all."""
    part = job.work / f".spark-{first:010d}-{last:010d}"
    pieces = -(-(last - first) // RANGE)
    piece = F.floor((F.col("row") - F.lit(first)) / F.lit(RANGE)).cast("int")
    cut = frame.repartitionById(pieces, piece).sortWithinPartitions("row")
    writer = cut.mapInPandas(scorer, from_arrow_schema(SCHEMA)).write
    writer = writer.mode("overwrite").option("mapreduce.fileoutputcommitter.marksuccessfuljobs", "false")
    writer.parquet(f"file://{part.absolute()}")
    for checksum in part.glob(".*"):
        checksum.unlink()
    came = sum(pq.read_metadata(path).num_rows for path in part.glob("*.parquet"))
    if came != last - first:
        raise RuntimeError(
            f"got {came} rows back from Spark, expected {last - first} (from row {first}); was the table changed, or "
            "does a worker see other files under its path? Mend that and give the same command again to go on"
        )
    os.replace(part, job.work / part.name.replace(".spark-", "rows-"))


def _gaps(job: Job, size: int) -> Iterator[tuple[int, int]]:
    """Open ranges of rows, at most `size` long."""
    place = 0
    for first, last, _ in [*done_ranges(job), (job.table.count, job.table.count, None)]:
        for start in range(place, first, size):
            yield start, min(start + size, first)
        place = max(place, last)


def _readable(job: Job) -> dict[str, pa.DataType] | None:
    """Types of the columns that are needed, or None where Spark would read the files otherwise than pyarrow does."""
    if job.table.kind not in ("parquet", "described") or any(
        part.name.startswith(("_", ".")) for part in job.table.parts
    ):
        return None
    schemas = [pq.read_schema(part) for part in job.table.parts]
    types_of_parts = [{name: schema.field(name).type for name in needed_columns(job)} for schema in schemas]
    for types in types_of_parts:
        if pa.types.is_null(types.get(PROBLEM, pa.string())):
            del types[PROBLEM]  # nothing but nulls, which pyarrow gives no type
    same = all(types == types_of_parts[0] for types in types_of_parts)
    return types_of_parts[0] if same and all(_simple(kind) for kind in types_of_parts[0].values()) else None


def _simple(kind: pa.DataType, inner: bool = False) -> bool:
    if pa.types.is_list(kind) and not inner:
        return _simple(kind.value_type, True)
    plain = pa.types.is_float32(kind) or pa.types.is_float64(kind) or pa.types.is_string(kind)
    return plain or (pa.types.is_integer(kind) and not pa.types.is_uint64(kind))


SIGNED = {pa.uint8(): pa.int16(), pa.uint16(): pa.int32(), pa.uint32(): pa.int64()}


def _signed(kind: pa.DataType) -> pa.DataType:
    return pa.list_(_signed(kind.value_type)) if pa.types.is_list(kind) else SIGNED.get(kind, kind)


def _read_by_spark(spark: SparkSession, job: Job, size: int, types: dict) -> Iterator[tuple[int, int, DataFrame]]:
    """Rounds of rows from parquet files, numbered as `CrystalTable` does: the parts' rows, one part after the other."""
    files = [path.absolute() for path in job.table.parts]
    starts = [0, *accumulate(pq.read_metadata(path).num_rows for path in files)]
    schema = from_arrow_schema(pa.schema([(name, _signed(kind)) for name, kind in types.items()]))
    for first, last in _gaps(job, size):
        inside = range(bisect_right(starts, first) - 1, bisect_right(starts, last - 1))
        offsets = {str(files[k]): starts[k] for k in inside if starts[k + 1] > starts[k]}
        source = spark.read.schema(schema).parquet(*(f"file://{_unglobbed(path)}" for path in offsets))
        names = [urlparse(uri).path for uri in source.inputFiles()]
        places = pa.array([offsets[unquote(name)] for name in names], pa.int64())
        begins = spark.createDataFrame(pa.table({"_file": names, "_start": places}))
        file = F.regexp_replace("_metadata.file_path", "^file:/+", "/")  # with one slash or with three
        rows = source.select(
            file.alias("_file"), F.col("_metadata.row_index").alias("_index"),
            *(_quoted(name) for name in types),
        )  # fmt: skip
        rows = rows.join(F.broadcast(begins), "_file").withColumn("row", F.col("_start") + F.col("_index"))
        rows = rows.where((F.col("row") >= first) & (F.col("row") < last))
        yield first, last, rows.select("row", *(_quoted(name) for name in types))


def _quoted(name: str) -> Any:
    return F.col("`" + name.replace("`", "``") + "`")


def _unglobbed(path: str) -> str:
    """Spark takes a path for a pattern."""
    return re.sub(r"([\\*?\[\]{}])", r"\\\1", path)


def _handed_over(spark: SparkSession, job: Job, size: int) -> Iterator[tuple[int, int, DataFrame]]:
    """Rounds of rows that this process reads, of whatever kind the table is."""
    waiting: list[pd.DataFrame] = []
    first = place = 0
    for start, frame in open_ranges(job):
        if waiting and (start != place or place + len(frame) - first > size):
            yield first, place, spark.createDataFrame(_table(job, first, waiting))
            waiting = []
        first = start if not waiting else first
        waiting.append(frame)
        place = start + len(frame)
    if waiting:
        yield first, place, spark.createDataFrame(_table(job, first, waiting))


def _table(job: Job, first: int, frames: list[pd.DataFrame]) -> pa.Table:
    """Rows as columns of one type each; what does not fit has its problem said already, in the screening's words."""
    frame = pd.concat(frames, ignore_index=True)
    needed = [name for name in needed_columns(job) if name in frame.columns]
    structure = [name for name in needed if name not in (PROBLEM, job.wanted.reported)]
    reasons = frame[PROBLEM] if PROBLEM in needed else [None] * len(frame)
    problems = [text if isinstance(text, str) and text else None for text in reasons]
    reported = np.zeros(len(frame))
    if job.wanted.reported:
        reported = pd.to_numeric(frame[job.wanted.reported], errors="coerce").to_numpy(dtype=np.float64)
    columns: dict[str, list] = {name: [] for name in structure}
    for k, values in enumerate(zip(*(frame[name] for name in structure), strict=True)):
        kept: Iterable[Any] = [None] * len(structure)
        if problems[k] is None and np.isfinite(reported[k]):
            try:
                kept = [_array(name, value) for name, value in zip(structure, values, strict=True)]
            except (ValueError, TypeError, OverflowError) as error:
                problems[k] = _said(structure, values) or str(error)
        for name, value in zip(structure, kept, strict=True):
            columns[name].append(value)
    kinds = {name: pa.list_(pa.int64() if name == "numbers" else pa.float64()) for name in structure}
    arrays = {"row": pa.array(np.arange(first, first + len(frame)))}
    arrays |= {name: pa.array(columns[name], kinds[name]) for name in structure}
    arrays[PROBLEM] = pa.array(problems, pa.string())
    if job.wanted.reported:
        arrays[job.wanted.reported] = pa.array(reported)
    return pa.table(arrays)


def _array(name: str, value: Any) -> np.ndarray | None:
    if value is None:
        return None
    if name != "numbers":
        return np.asarray(value, dtype=np.float64).reshape(-1)
    kinds = np.asarray(value)
    whole = kinds.astype(np.int64)
    if not np.issubdtype(kinds.dtype, np.number) or (kinds != whole).any() or (whole < 1).any():
        raise ValueError(f"got atomic numbers {list(value)[:5]}, expected whole numbers from 1")
    return whole


def _said(structure: list[str], values: tuple[Any, ...]) -> str | None:
    """What `screen` would say of a structure."""
    if len(structure) == 3:
        try:
            graph_of(*values)
        except (ValueError, TypeError, OverflowError) as error:
            return str(error)
    return None
