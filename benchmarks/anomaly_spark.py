"""Screening a million rows on one machine and on a Spark cluster that loses an executor: the same results.

    python benchmarks/anomaly_spark.py [--quick] [--model bhnaa] [--json FILE]

1,000,000 rows drawn with replacement (seed 0) from the 22,691 crystals of data/mp_crystals.parquet, with their
descriptors as an array column (describing costs more than ten times the scoring); then 5,000 crystals from
structures. One machine: two processes. Spark: a standalone cluster on 127.0.0.1, two workers of one core each, and of
the large table one executor is killed with SIGKILL when 30 % is done. Results are compared row by row, bit for bit.
Peak: resident memory of all processes.
"""

import argparse
import json
import shutil
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from spark_cluster import Memory, cluster, kill_executor
from verdict import machine, print_machine, verdict

from ase_mlx.adapters.spark import run_spark
from ase_mlx.data.tables import open_table
from ase_mlx.pretrained import find
from ase_mlx.screen.ranges import Job, done_ranges, double_model, open_job, run_local, write_results
from ase_mlx.screen.scores import Screening, described

TABLE = Path(__file__).resolve().parents[1] / "data" / "mp_crystals.parquet"
WORK = Path(__file__).resolve().parent / "work" / "anomaly_spark"
MODE, PROCESSES, PART, KILL_AT = "supervised_tail", 2, 50_000, 0.3
LONG = pa.schema(
    {
        "id": pa.string(),
        "numbers": pa.list_(pa.uint8()),
        "descriptors": pa.list_(pa.float64()),
        "problem": pa.string(),
    }
)


def describe_all(count: int | None, model: Path) -> pd.DataFrame:
    """Real crystals with their descriptors."""
    frame = pd.read_parquet(TABLE, columns=["lattice", "numbers", "frac_coords"]).iloc[:count]
    pieces = [(frame.iloc[k : k + 500], str(model)) for k in range(0, len(frame), 500)]
    with ProcessPoolExecutor(PROCESSES, get_context("spawn")) as pool:
        return pd.concat(list(pool.map(_describe, pieces)), ignore_index=True)


def _describe(given: tuple[pd.DataFrame, str]) -> pd.DataFrame:
    frame, model = given
    return described(frame, double_model(model))[["numbers", "descriptors", "problem"]]


def write_long(folder: Path, crystals: pd.DataFrame, rows: int) -> None:
    """Draw rows with replacement and write them in parts."""
    drawn = np.random.default_rng(0).integers(0, len(crystals), rows)
    folder.mkdir(parents=True)
    for k in range(0, rows, PART):
        part = crystals.iloc[drawn[k : k + PART]].reset_index(drop=True)
        part.insert(0, "id", [f"row-{k + i:07d}" for i in range(len(part))])
        table = pa.Table.from_pandas(part, LONG, preserve_index=False)
        pq.write_table(table, folder / f"part-{k // PART:03d}.parquet", row_group_size=10_000)


def write_short(path: Path, rows: int) -> None:
    """Take real crystals as structures."""
    frame = pd.read_parquet(TABLE, columns=["material_id", "lattice", "numbers", "frac_coords"])
    frame.sample(rows, random_state=0).rename(columns={"material_id": "id"}).to_parquet(path, index=False)


class Killer:
    """Kills one executor while the round after 30 % of the rows is being worked on."""

    def __init__(self, delay: float):
        self.delay, self.killed, self.told, self.timer = delay, 0, False, None

    def __call__(self, done: int, total: int) -> None:
        if done >= KILL_AT * total and self.timer is None:
            self.timer = threading.Timer(self.delay, self._kill)
            self.timer.start()

    def _kill(self) -> None:
        self.killed += kill_executor()


def timed(engine: str, job: Job, run) -> dict:
    """Run an engine on a job: rows a second and peak memory; the table of results is not in the time."""
    with Memory() as memory:
        start = time.perf_counter()
        run()
        seconds = time.perf_counter() - start
    write_results(job)
    rows = job.table.count
    print(
        f"{job.table.path.stem:12}{rows:10,d}  {engine:24}{seconds:9.1f}{rows / seconds:9.0f}{memory.peak:9.2f}",
        flush=True,
    )
    return {"table": job.table.path.stem, "rows": rows, "engine": engine, "seconds": seconds, "peak": memory.peak}


def compare(one: Job, other: Job) -> tuple[int, int]:
    """Rows that the second one lacks, and rows that differ, by id; every column and the members too."""
    first, second = (_results(job) for job in (one, other))
    lost = len(set(first["id"].to_pylist()) - set(second["id"].to_pylist()))
    if lost or first.schema != second.schema or len(first) != len(second):
        return lost, max(len(first), len(second))
    differ = np.zeros(len(first), bool)
    for name in first.column_names:
        if not first[name].equals(second[name]):
            values = (pd.Series(table[name].to_pylist(), dtype=object).map(repr) for table in (first, second))
            differ |= np.not_equal(*(v.to_numpy() for v in values))
            print(f"  {name}: {differ.sum()} rows differ, the first at {first['id'][int(differ.argmax())]}")
    return lost, int(differ.sum())


def _results(job: Job) -> pa.Table:
    table = pq.read_table(job.out / "results.parquet")
    members = pa.concat_tables(
        [pq.read_table(path, columns=["members"]).cast(MEMBERS) for _, _, path in done_ranges(job)]
    )
    return table.append_column("members", members["members"]).sort_by("id").combine_chunks()


MEMBERS = pa.schema([("members", pa.list_(pa.float64()))])


def both(table: Path, model: Path, killer: Killer | None) -> tuple[list[dict], int, int]:
    """Screen a table with both engines, and compare."""
    jobs = [
        open_job(open_table(table), model, Screening(MODE), WORK / f"{table.stem}-{name}")
        for name in ("local", "spark")
    ]
    rows = [timed(f"local, {PROCESSES} processes", jobs[0], lambda: run_local(jobs[0], PROCESSES))]
    name = "Spark, 2 workers" + (", one killed" if killer else "")
    with cluster(WORK / f"{table.stem}-cluster") as master:
        rows.append(timed(name, jobs[1], lambda: run_spark(jobs[1], master, killer)))
    return rows, *compare(*jobs)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="20,000 rows, and 500 structures")
    parser.add_argument("--model", default="bhnaa", help="a shipped name, or a model's folder")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    long, short = (20_000, 500) if arguments.quick else (1_000_000, 5_000)
    about = machine() | {"threads": 1, "pyspark": version("pyspark"), "pyarrow": version("pyarrow")}
    print_machine(about)
    shutil.rmtree(WORK, ignore_errors=True)
    model = find(arguments.model)
    start = time.perf_counter()
    crystals = describe_all(2_000 if arguments.quick else None, model)
    seconds, bad = time.perf_counter() - start, crystals["problem"].notna().sum()
    print(f"{len(crystals):,d} crystals described in {seconds:.1f} s, {bad} with a problem")
    write_long(WORK / "descriptors", crystals, long)
    write_short(WORK / "structures.parquet", short)
    del crystals
    print(f"\n{'table':12}{'rows':>10}  {'engine':24}{'s':>9}{'rows/s':>9}{'peak, GB':>9}")
    killer = Killer(0.5 if arguments.quick else 5.0)
    rows, lost, differ = both(WORK / "descriptors", model, killer)
    more, lost_short, differ_short = both(WORK / "structures.parquet", model, None)
    rows += more
    reached = [
        ("executors killed in mid-job", killer.killed, "≥", 1),
        (f"rows lost of {long:,d}", lost, "≤", 0),
        (f"rows that differ of {long:,d}", differ, "≤", 0),
        (f"rows lost of {short:,d} structures", lost_short, "≤", 0),
        (f"rows that differ of {short:,d} structures", differ_short, "≤", 0),
    ]
    if arguments.json:
        figures = {name: value for name, value, _, _ in reached}
        text = json.dumps({"machine": about, "rows": rows, "figures": figures}, indent=1, ensure_ascii=False)
        arguments.json.write_text(text + "\n", encoding="utf-8")
    shutil.rmtree(WORK, ignore_errors=True)
    return 0 if verdict(reached) else 1


if __name__ == "__main__":
    sys.exit(main())
