"""What follows a screening: suggestions, notes on the table, figures, a summary.

Source: ours.
"""

import csv
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from ase_mlx.data.tables import TEXTS
from ase_mlx.screen.ranges import FILES, RESULTS, Job, read_scores
from ase_mlx.units import EV_IN_KCAL_PER_MOL, EV_IN_KJ_PER_MOL, HARTREE_IN_EV, RYDBERG_IN_EV
from ase_mlx.whole import whole_file

FACTORS = {
    EV_IN_KJ_PER_MOL: "kJ/mol",
    EV_IN_KCAL_PER_MOL: "kcal/mol",
    1 / HARTREE_IN_EV: "Hartree",
    1 / RYDBERG_IN_EV: "Ry",
    1000.0: "meV",
}
"""How many of another unit are one eV."""

SHOWN = 12


def summarise(job: Job, count: int) -> dict[str, Any]:
    """Write suggestions and figures of a finished screening (energies in eV/atom), and sum it up.

    Args:
        job: finished.
        count: of suggestions (dimensionless).

    Returns:
        What the command prints and writes as JSON.

    Source: ours.
    """
    from ase_mlx.cli.screen_figures import write_figures

    scores = read_scores(job)
    good = scores["problem"].isna().to_numpy()
    names = _names(job, len(scores))
    notes = _notes(job, scores, good, names)
    files = [RESULTS]
    if good.any() and count:
        files.append(_suggest(job, scores[good], names[good], count))
    results = (
        pq.read_table(job.out / RESULTS, columns=["rank"]).to_pandas()["rank"].to_numpy(dtype=float, na_value=np.nan)
    )
    order = np.argsort(np.where(np.isfinite(results), results, np.inf), kind="stable")[: int(good.sum())]
    if good.any():
        files += write_figures(job, scores, names, order)
    for stale in set(FILES) - set(files):
        (job.out / stale).unlink(missing_ok=True)
    top = [_row(scores.iloc[k], names[k], rank) for rank, k in enumerate(order[:SHOWN], start=1)]
    return {
        "input": job.table.path.name,
        "mode": job.wanted.mode,
        "rows": len(scores),
        "anomalies": int(scores["anomaly"].eq(True).sum()),
        "without_scores": int((~good).sum()),
        "top": top,
        "notes": notes,
        "files": files,
    }


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
    from ase_mlx.screen.suggestions import suggest

    members = np.stack(scores["members"].to_list(), axis=1)
    picked = suggest(
        scores["anomaly_probability"].to_numpy(), members, scores["formation_energy_std"].to_numpy(), count
    )
    with whole_file(job.out / "suggestions.csv") as part, part.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(
            [
                "place",
                "row",
                "crystal",
                "anomaly_probability",
                "formation_energy",
                "formation_energy_std",
                "members_std",
            ]
        )
        for place, k in enumerate(picked, start=1):
            row = scores.iloc[k]
            numbers = (row[c] for c in ("anomaly_probability", "formation_energy", "formation_energy_std"))
            writer.writerow([place, int(row["row"]), names[k], *numbers, round(float(members[:, k].std()), 6)])
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
