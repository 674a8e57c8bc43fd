"""A screening on disk: finished ranges of rows are files, so a kill costs at most the ranges that were being computed.

A range's file appears whole, under its name `rows-FIRST-LAST.parquet`, or not at all; any engine may go on where
another one stopped. The results are put together when all rows are there.

Source: ours.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ase_mlx.data.tables import DESCRIBED, PROBLEM, STRUCTURE, CrystalTable
from ase_mlx.keep import check_rows, damaged, write_rows
from ase_mlx.learn.cards import read_card
from ase_mlx.learn.files import load_model
from ase_mlx.models.anomaly import AnomalyModel
from ase_mlx.processes import pool
from ase_mlx.progress import Steps
from ase_mlx.reading import parsed_json
from ase_mlx.screen.scores import COLUMNS, Screening, screen
from ase_mlx.whole import check_folder, sole, whole_file, write_text

RANGE = 512
"""Rows that are computed and kept together on this machine."""

BYTES = 1000
"""That a row may take on the disk, generously."""

MANIFEST, RESULTS = "screening.json", "results.parquet"
TOP, SUMMARY = "top_crystals.parquet", "results.json"
FILES = (RESULTS, TOP, SUMMARY, "report.html", "suggestions.csv", "scores.png", "contributions.png", "reliability.png")
"""Results of a screening; those that a call does not write are removed by it."""

RANKED = ("rank", *(name for name in COLUMNS if name != "members"))

SCHEMA = pa.schema(
    [("row", pa.int64())]
    + [
        (name, {"anomaly": pa.bool_(), "problem": pa.string(), "top_descriptors": pa.list_(pa.string())}.get(
            name, pa.list_(pa.float64()) if name in ("top_contributions", "members") else pa.float64()
        ))
        for name in COLUMNS
    ]
)  # fmt: skip
"""Of the ranges' files."""


@dataclass(frozen=True)
class Job:
    """One screening: table, model folder, what is wanted, and the folder where results go.

    Source: ours.
    """

    table: CrystalTable
    model: Path
    wanted: Screening
    out: Path

    @property
    def work(self) -> Path:
        """The folder of finished ranges."""
        return self.out / "work"


def open_job(table: CrystalTable, model: Path, wanted: Screening, out: Path) -> Job:
    """Begin a screening, or go on with the one in the folder (energies in eV/atom).

    Raises:
        OSError: the folder cannot be written, has too little space, or holds files of these names of something else.
        ValueError: the folder holds another screening, the table has columns with names of results, no column of
            reported energies, or the model is none for anomalies.

    Source: ours.
    """
    taken = [name for name in table.columns if name in ("row", "members", *RANKED)]
    if table.described and PROBLEM in taken:
        taken.remove(PROBLEM)
    if taken:
        raise ValueError(
            f"got a table that already has {', '.join(taken)}, expected none of the result's columns; rename or "
            "drop them"
        )
    if wanted.reported and wanted.reported not in table.columns:
        raise ValueError(
            f"got reported = {wanted.reported!r}, expected one of the table's columns: {', '.join(table.columns)}"
        )
    card = read_card(model)
    if card.get("kind") != "anomaly":
        raise ValueError(f"got a model of kind {card.get('kind')!r}, expected one for anomalies, such as 'bhnaa'")
    identity = {"table": table.identity(), "model": card["sha256"], **asdict(wanted)}
    identity = json.loads(json.dumps(identity))
    path = out / MANIFEST
    check_folder(out, table.count * BYTES)
    if taken := [name for name in (*FILES, "work") if not path.exists() and (out / name).exists()]:
        raise FileExistsError(
            f"got {str(out)!r}, which holds {', '.join(taken)} of no screening, expected a folder without: choose "
            "another one with -o, or move them away"
        )
    if path.exists():
        try:
            before = parsed_json(path.read_text())
        except ValueError:
            raise ValueError(
                f"got {str(path)!r}, which is damaged, so that nobody knows what the rows in {str(out / 'work')!r} "
                "belong to; expected it whole: put it back from a copy, or delete both to screen anew"
            ) from None
        if before != identity:
            raise ValueError(
                f"got {str(out)!r}, which holds a screening of another table, with another model or mode, expected "
                "a new folder; choose another one with -o, or delete it"
            )
    job = Job(table, model, wanted, out)
    job.work.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(identity, indent=1))
    for _, _, rows in done_ranges(job):
        try:
            check_rows(rows)
        except ValueError as error:
            damaged(rows, str(error))
            shutil.rmtree(rows) if rows.is_dir() else rows.unlink()
    return job


def done_ranges(job: Job) -> list[tuple[int, int, Path]]:
    """List the finished ranges of rows, in order (first row, one past the last, file or folder).

    Source: ours.
    """
    ranges = []
    for path in job.work.iterdir():
        name = re.fullmatch(r"rows-(\d+)-(\d+)(\.parquet)?", path.name)
        if name:
            ranges.append((int(name[1]), int(name[2]), path))
    return sorted(ranges)


def open_ranges(job: Job) -> Iterator[tuple[int, pd.DataFrame]]:
    """Read what is not yet screened, in pieces of at most `RANGE` rows: the first row's number and the rows (Å).

    Source: ours.
    """
    done = np.zeros(job.table.count, bool)
    for first, last, _ in done_ranges(job):
        done[first:last] = True
    first = 0
    for frame in job.table.chunks(RANGE):
        todo = ~done[first : first + len(frame)]
        edges = np.flatnonzero(np.diff(np.concatenate([[0], todo.astype(np.int8), [0]])))
        for a, b in zip(edges[::2], edges[1::2], strict=True):
            yield first + int(a), frame.iloc[a:b].reset_index(drop=True)
        first += len(frame)


def range_path(job: Job, first: int, last: int) -> Path:
    """Name the file of a range of rows.

    Source: ours.
    """
    return job.work / f"rows-{first:010d}-{last:010d}.parquet"


def needed_columns(job: Job) -> tuple[str, ...]:
    """Name the columns that scores depend on (structures in Å); descriptors take the place of structures.

    Source: ours.
    """
    structure = DESCRIBED if job.table.described else STRUCTURE
    problem = [PROBLEM] if PROBLEM in job.table.columns or job.table.kind not in ("parquet", "described") else []
    return (*structure, *problem, *([job.wanted.reported] if job.wanted.reported else []))


@cache
def double_model(folder: str) -> AnomalyModel:
    """Load a model for screening, once a process: in double precision, on one thread (eV/atom).

    Source: ours.
    """
    import torch

    torch.set_num_threads(1)
    return load_model(folder).double()


def run_local(job: Job, processes: int, progress: Steps | None = None) -> None:
    """Screen what is open with some processes on this machine (energies in eV/atom).

    Raises:
        OSError: the folder cannot be written.
        BlockingIOError: another process is screening into it.
        RuntimeError: a worker was killed; the same command goes on.

    Source: ours.
    """
    needed = {*needed_columns(job), PROBLEM}
    done, total = sum(last - first for first, last, _ in done_ranges(job)), job.table.count
    running: dict[Future, int] = {}

    def finish(leave: int) -> None:
        nonlocal done
        while len(running) > leave:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                done += running.pop(future)
                try:
                    future.result()
                except BrokenExecutor as error:
                    raise RuntimeError(
                        "got a worker that was killed (by the system, where memory ran out), expected it to finish its "
                        "rows; give the same command again to go on, with fewer --workers if memory is short"
                    ) from error
                if progress is not None:
                    progress(done, total)

    with sole(job.out), pool(processes) as workers:
        for first, frame in open_ranges(job):
            place = range_path(job, first, first + len(frame))
            kept = frame[[name for name in frame.columns if name in needed]]
            running[workers.submit(_one_range, kept, first, str(job.model), job.wanted, place)] = len(frame)
            finish(2 * processes)
        finish(0)


def _one_range(frame: pd.DataFrame, first: int, model: str, wanted: Screening, place: Path) -> None:
    (scored,) = screen([frame], double_model(model), wanted)
    write_range(scored.assign(row=np.arange(first, first + len(frame))), place)


def write_range(scored: pd.DataFrame, place: Path) -> None:
    """Write a range of scored rows (eV/atom) so that it is there whole or not at all.

    Raises:
        OSError: the disk refused.

    Source: ours.
    """
    write_rows(pa.Table.from_pandas(scored[SCHEMA.names], SCHEMA, preserve_index=False), place)


def read_scores(job: Job, columns: list[str] | None = None) -> pd.DataFrame:
    """Read finished rows in their order (energies in eV/atom).

    Source: ours.
    """
    tables = [pq.read_table(path, columns=columns, schema=SCHEMA) for _, _, path in done_ranges(job)]
    return pa.concat_tables([t.select(columns or SCHEMA.names) for t in tables]).to_pandas()


def write_results(job: Job) -> Path:
    """Put the input's columns, ranks and scores into one table, row by row as in the input (energies in eV/atom).

    Ranks begin at 1 with the most anomalous row; rows with a problem have none.

    Raises:
        RuntimeError: rows are missing; the same command goes on.

    Source: ours.
    """
    ranges = done_ranges(job)
    if sum(last - first for first, last, _ in ranges) != job.table.count:
        raise RuntimeError(f"got an unfinished screening in {str(job.out)!r}; give the same command again to go on")
    rank, scores = _ranks(job), _scored_rows(ranges)
    place, first = job.out / RESULTS, 0
    fields = pa.schema([SCHEMA.field(name) for name in RANKED[1:]])
    schema = pa.schema([*job.table.kept, ("rank", pa.int64()), *fields])
    with whole_file(place) as part, pq.ParquetWriter(part, schema) as writer:
        for rows, table in job.table.others():
            ranks = pa.chunked_array([pa.array(rank[first : first + rows], pa.int64(), from_pandas=True)])
            scored = pa.Table.from_pandas(scores(rows)[fields.names], fields, preserve_index=False)
            writer.write_table(pa.table([*table.columns, ranks, *scored.columns], writer.schema))
            first += rows
    return place


def _ranks(job: Job) -> pd.Series:
    """Places from 1, the most anomalous first: by `rank_by`, then by the size of the score, then by row."""
    read = read_scores(job, list({rank_by(job.wanted), "anomaly_score"}))
    keys = pd.DataFrame({"first": -read[rank_by(job.wanted)], "second": -read["anomaly_score"].abs()})
    order = keys.dropna().sort_values(["first", "second"], kind="stable").index
    return pd.Series(np.arange(1, len(order) + 1), index=order).reindex(keys.index).astype("Int64")


def rank_by(wanted: Screening) -> str:
    """Name the column that ranks rows: the score, or for `residual` the probability.

    Source: ours.
    """
    return "anomaly_probability" if wanted.mode == "residual" else "anomaly_score"


def _scored_rows(ranges: list[tuple[int, int, Path]]) -> Callable[[int], pd.DataFrame]:
    """Hand out scored rows in their order, as many as asked for."""
    waiting = iter(ranges)
    rest = pd.DataFrame()

    def take(count: int) -> pd.DataFrame:
        nonlocal rest
        parts = [rest] if len(rest) else []
        have = len(rest)
        while have < count:
            parts.append(pq.read_table(next(waiting)[2], schema=SCHEMA).to_pandas())
            have += len(parts[-1])
        whole = pd.concat(parts, ignore_index=True)
        rest = whole.iloc[count:]
        return whole.iloc[:count].reset_index(drop=True)

    return take
