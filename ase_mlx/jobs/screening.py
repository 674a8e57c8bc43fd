"""A screening from a table on disk to results, suggestions, figures and notes.

Source: ours.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from ase_mlx.data.table_rows import structures_at
from ase_mlx.data.tables import TEXTS, open_table
from ase_mlx.jobs.report import MOST_CRYSTALS, add_report
from ase_mlx.models.anomaly import Mode
from ase_mlx.pretrained import find
from ase_mlx.progress import Progress, steps_of
from ase_mlx.screen.ranges import (
    FILES,
    RESULTS,
    SUMMARY,
    TOP,
    Job,
    open_job,
    read_scores,
    run_local,
    write_results,
)
from ase_mlx.screen.scores import Screening
from ase_mlx.screen.suggestions import suggest
from ase_mlx.units import EV_IN_KCAL_PER_MOL, EV_IN_KJ_PER_MOL, HARTREE_IN_EV, RYDBERG_IN_EV
from ase_mlx.whole.tables import write_csv, write_json

FACTORS = {
    EV_IN_KJ_PER_MOL: "kJ/mol",
    EV_IN_KCAL_PER_MOL: "kcal/mol",
    1 / HARTREE_IN_EV: "Hartree",
    1 / RYDBERG_IN_EV: "Ry",
    1000.0: "meV",
}
"""How many of another unit are one eV."""

SHOWN = 12


@dataclass(frozen=True)
class Screened:
    """What a screening found: counts, the most anomalous rows, notes on the table, and the files with all of it.

    Source: ours.
    """

    input: str
    mode: Mode
    rows: int
    anomalies: int
    without_scores: int
    top: list[dict[str, Any]]
    notes: list[str]
    files: list[str]


def screening_job(
    source: str | Path,
    folder: str | Path,
    model: str | Path = "bhnaa",
    mode: Mode = "novelty",
    reported: str | None = None,
    engine: Literal["local", "spark"] = "local",
    master: str = "local[*]",
    processes: int = 2,
    suggestions: int = 20,
    progress: Progress | None = None,
) -> Screened:
    """Screen a table of crystals for anomalies; the same call goes on after a kill, without repeating a row.

    Args:
        source: a parquet or csv file, a database of ASE, or a folder, as `data.tables.open_table` takes it (Å).
        folder: for results.parquet, suggestions.csv and figures.
        model: a shipped name or a model's folder.
        mode: "novelty", "supervised_tail" or "residual".
        reported: column of formation energies in eV/atom, for "residual".
        engine: this machine, or Spark.
        master: of Spark.
        processes: of this machine.
        suggestions: how many crystals to propose to look at next.
        progress: called with the stage, the rows done and all rows.

    Raises:
        FileNotFoundError: no such table or model.
        ValueError: no table, a folder with another screening, a mode without what it needs.
        OSError: the folder cannot be written.
        RuntimeError: a worker was killed, or there is no Java for Spark.

    Source: ours.
    """
    job = open_job(open_table(source), find(model), Screening(mode, reported), Path(folder))
    return finish_screening(job, engine, master, processes, suggestions, progress)


def finish_screening(
    job: Job,
    engine: Literal["local", "spark"] = "local",
    master: str = "local[*]",
    processes: int = 2,
    suggestions: int = 20,
    progress: Progress | None = None,
) -> Screened:
    """Screen what is open of a job, write results, suggestions and figures (energies in eV/atom), and sum them up.

    Raises:
        OSError, RuntimeError: as `screening_job`.

    Source: ours.
    """
    from ase_mlx.figures.screening import write_figures

    report = steps_of(progress, f"{job.wanted.mode}, {engine}")
    if engine == "spark":
        from ase_mlx.adapters.spark import run_spark

        run_spark(job, master, report)
    else:
        run_local(job, processes, report)
    write_results(job)
    scores = read_scores(job)
    good = scores["problem"].isna().to_numpy()
    names = _names(job, len(scores))
    notes = _notes(job, scores, good, names)
    files = [RESULTS]
    if good.any() and suggestions:
        files.append(_suggest(job, scores[good], names[good], suggestions))
    ranks = (
        pq.read_table(job.out / RESULTS, columns=["rank"]).to_pandas()["rank"].to_numpy(dtype=float, na_value=np.nan)
    )
    order = np.argsort(np.where(np.isfinite(ranks), ranks, np.inf), kind="stable")[: int(good.sum())]
    if good.any():
        files += write_figures(job, scores, names, order)
    if len(structures := structures_at(job.table, order[:MOST_CRYSTALS])):
        structures.insert(1, "name", names[structures["row"]])
        structures.to_parquet(job.out / TOP, index=False)
        files.append(TOP)
    for stale in set(FILES) - set(files):
        (job.out / stale).unlink(missing_ok=True)
    top = [_row(scores.iloc[k], names[k], rank) for rank, k in enumerate(order[:SHOWN], start=1)]
    flagged, without = int(scores["anomaly"].eq(True).sum()), int((~good).sum())
    files.append(SUMMARY)
    result = Screened(job.table.path.name, job.wanted.mode, len(scores), flagged, without, top, notes, files)
    _write_summary(job, result)
    add_report(job.out, files, notes)
    _write_summary(job, result)  # with the report, or why there is none
    return result


def _write_summary(job: Job, result: Screened) -> None:
    settings = {"command": "screen", "input": result.input, "mode": result.mode, "reported": job.wanted.reported}
    write_json(job.out / SUMMARY, {**vars(result), "model": job.model.name, "settings": settings})


def _row(scores: pd.Series, name: str, rank: int) -> dict[str, Any]:
    return {
        "rank": rank,
        "crystal": str(name),
        "score": f"{scores['anomaly_score']:.3g} ± {scores['anomaly_score_std']:.2g}",
        "probability": float(scores["anomaly_probability"]),
        "formation energy, eV/atom": f"{scores['formation_energy']:.3f} ± {scores['formation_energy_std']:.3f}",
        "because of": ", ".join(scores["top_descriptors"][:3]),
    }


def _names(job: Job, count: int) -> np.ndarray:
    column = next((name for name in TEXTS if name in job.table.columns), None)
    if column is None:
        return np.array([f"row {k}" for k in range(count)], dtype=object)
    return pq.read_table(job.out / RESULTS, columns=[column]).to_pandas()[column].astype(str).to_numpy(dtype=object)


def _suggest(job: Job, scores: pd.DataFrame, names: np.ndarray, count: int) -> str:
    """Write what to measure or compute next, the most telling first."""
    members = np.stack(scores["members"].to_list(), axis=1)
    picked = suggest(
        scores["anomaly_probability"].to_numpy(), members, scores["formation_energy_std"].to_numpy(), count
    )
    header = ("anomaly_probability", "formation_energy", "formation_energy_std")
    rows = []
    for place, k in enumerate(picked, start=1):
        row = scores.iloc[k]
        spread = round(float(members[:, k].std()), 6)
        rows.append([place, int(row["row"]), names[k], *(row[name] for name in header), spread])
    write_csv(job.out / "suggestions.csv", ["place", "row", "crystal", *header, "members_std"], rows, ends="\r\n")
    return "suggestions.csv"


def _notes(job: Job, scores: pd.DataFrame, good: np.ndarray, names: np.ndarray) -> list[str]:
    """What a careful colleague would say about this table."""
    notes = [f"part {name} was left out: {why}" for name, why in job.table.problems.items()]
    reasons = scores["problem"][~good].str.slice(0, 160).value_counts()
    notes += [f"{n} row{'s' if n > 1 else ''} without scores: {why}" for why, n in reasons.head(5).items()]
    if len(reasons) > 5:
        notes.append(f"{reasons.iloc[5:].sum()} more rows without scores: see the column problem")
    doubled = pd.Series(names).duplicated().sum()
    if doubled and not any(name in job.table.columns for name in ("material_id", "id")):
        doubled = 0  # formulas may well occur twice
    if doubled:
        notes.append(f"{doubled} rows repeat an id of an earlier row; all are kept, tell them apart by their place")
    if job.wanted.reported and good.any():
        reported = pq.read_table(job.out / RESULTS, columns=[job.wanted.reported]).to_pandas()[job.wanted.reported]
        reported = pd.to_numeric(reported, errors="coerce").to_numpy(dtype=float)
        note = unit_note(reported[good], scores["formation_energy"].to_numpy()[good])
        notes += [note] if note else []
    return notes


def unit_note(reported: np.ndarray, predicted: np.ndarray) -> str | None:
    """Say which unit reported energies seem to have, where it is not eV/atom.

    Source: ours.
    """
    clear = np.abs(predicted) > 0.3
    if clear.sum() < 5:
        return None
    factor = float(np.median(reported[clear] / predicted[clear]))
    if 0.6 < factor < 1.6:
        return None
    near = min(FACTORS, key=lambda f: abs(np.log(abs(factor) / f)))
    hint = f"they look like {FACTORS[near]}" if factor > 0 and abs(np.log(factor / near)) < 0.2 else "of a whole cell?"
    return (
        f"reported energies are {factor:.3g} times the predicted ones, expected eV/atom ({hint}); convert the column "
        "and screen again: scores of this run mean nothing"
    )
