"""Results of `screen`: every row of the table with its rank, score, reasons; the most anomalous with their crystals.

Source: ours.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from ase_mlx.data.tables import TEXTS
from ase_mlx.jobs.report.asked import add_notes, add_settings, read_mapping
from ase_mlx.jobs.report.content import MOST_CRYSTALS, MOST_ROWS, Content, Table, columns_of, rounded
from ase_mlx.jobs.report.crystals import add_row
from ase_mlx.reading import reading

RESULTS, TOP = "results.parquet", "top_crystals.parquet"
LISTS = ("top_descriptors", "top_contributions")
FIRST = ("anomaly_score", "anomaly_score_std", "anomaly_probability", "anomaly")
UNITS = {"novelty": "nats", "supervised_tail": "eV/atom", "residual": "σ"}
"""Of the score, by mode."""

SHOWN = 40
"""Columns of the input that are handed on to a page."""


def read(folder: Path, _: Path) -> Content:
    """Read the results of `screen` (eV/atom).

    Raises:
        ValueError: a file is damaged.

    Source: ours.
    """
    with reading(folder / RESULTS, "a parquet table of a screening"):
        frame = pq.read_table(folder / RESULTS).to_pandas(integer_object_nulls=True)
    summary = read_mapping(folder / "results.json")
    settings = summary.get("settings") or {}
    mode = str(settings.get("mode") or "novelty")
    content = Content("screen", str(settings.get("input") or folder.resolve().name), "", "tables")
    add_settings(content, settings, summary.get("model", ""))
    content.about = f"{len(frame)} crystals, {mode.replace('_', ' ')}: {int(frame['anomaly'].eq(True).sum())} flagged"
    add_notes(content, summary.get("notes", ()))
    total, frame = len(frame), _first(frame)
    if len(frame) < total:
        content.note(f"{len(frame)} of {total} rows are in this page, the most anomalous ones; {RESULTS} has all.")
    table = _table(content, frame, mode)
    table.contributions = _contributions(frame, UNITS.get(mode, ""))
    content.tables.append(table)
    _crystals(content, table, folder, frame["row in the input"].to_numpy(), total)
    return content


def _first(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows by rank, those without a score at the end, as many as a page holds."""
    frame = frame.assign(**{"row in the input": np.arange(len(frame))})
    ranks = frame["rank"].to_numpy(dtype=float, na_value=np.nan)
    order = np.argsort(np.where(np.isfinite(ranks), ranks, np.inf), kind="stable")
    return frame.iloc[order[:MOST_ROWS]].reset_index(drop=True)


def _table(content: Content, frame: pd.DataFrame, mode: str) -> Table:
    label = next((name for name in TEXTS if name in frame.columns), "row in the input")
    scores = [name for name in frame.columns if name in FIRST]
    ours = ("formation_energy", "formation_energy_std", "hull_distance", "hull_distance_std")
    own = [name for name in frame.columns if name not in (*scores, *ours, *LISTS, "rank", "problem", label, "formula")]
    if len(own) > SHOWN:
        content.note(f"{len(own) - SHOWN} columns of the input are left out of this page; {RESULTS} has them.")
    first = [name for name in (label, "formula") if name in frame.columns]
    reasons = _reasons(frame)
    kept = frame[list(dict.fromkeys(["rank", *first, *scores, *(n for n in ours if n in frame), *own[:SHOWN]]))]
    frame = kept.assign(reasons=reasons) if "reasons" not in kept else kept.assign(**{"because of": reasons})
    columns, data = columns_of(
        frame, {"anomaly_score": UNITS.get(mode, ""), "anomaly_score_std": UNITS.get(mode, "")}, False
    )
    for column in columns:
        if column["key"] == "anomaly_probability":
            column["name"] = {"novelty": "crystals less strange"}.get(mode, column["name"])
    return Table(
        "Crystals",
        "The most anomalous first. The score's spread is that of the ensemble.",
        columns,
        data,
        len(frame),
        label=label if label != "row in the input" else ("formula" if "formula" in frame else label),
        reasons=frame.columns[-1],
        x="formation_energy",
        y="anomaly_score",
        flag="flagged",
        flags=[int(x is True or x == 1) for x in frame["anomaly"].tolist()],
    )


def _reasons(frame: pd.DataFrame) -> list[str]:
    problems = frame["problem"].tolist() if "problem" in frame else [None] * len(frame)
    names = frame["top_descriptors"].tolist() if "top_descriptors" in frame else [None] * len(frame)
    return [
        str(problem) if isinstance(problem, str) and problem else "" if top is None else ", ".join(map(str, top))
        for problem, top in zip(problems, names, strict=True)
    ]


def _contributions(frame: pd.DataFrame, unit: str) -> dict[str, Any] | None:
    """The largest contributions to each score: places among all names, and values."""
    if not set(LISTS) <= set(frame.columns):
        return None
    names: dict[str, int] = {}
    index = [[] if top is None else [names.setdefault(str(n), len(names)) for n in top] for top in frame[LISTS[0]]]
    lengths = [len(row) for row in index]
    values = [[] if top is None else top for top in frame[LISTS[1]]]
    flat = rounded(np.concatenate([np.asarray(row, float) for row in values])) if sum(map(len, values)) else []
    ends = np.cumsum([0, *map(len, values)])
    parts = [flat[a:b][:n] for a, b, n in zip(ends[:-1], ends[1:], lengths, strict=True)]
    return {"names": list(names), "index": index, "values": parts, "unit": unit}


def _crystals(content: Content, table: Table, folder: Path, rows: np.ndarray, total: int) -> None:
    """Crystals of the rows whose structure was kept."""
    if not (folder / TOP).is_file():
        content.note(f"No crystals: {TOP} is not in the folder. A table of descriptors has none; else screen it again.")
        return
    with reading(folder / TOP, "a parquet table of crystals"):
        kept = pq.read_table(folder / TOP).to_pandas()
    places = {int(row["row"]): add_row(content, row) for row in kept.head(MOST_CRYSTALS).to_dict("records")}
    table.crystals = [places.get(int(row), -1) for row in rows]
    shown = sum(place >= 0 for place in table.crystals)
    if shown < total:
        content.note(f"{shown} crystals are in this page, those of the first ranks; of the others only the numbers.")
