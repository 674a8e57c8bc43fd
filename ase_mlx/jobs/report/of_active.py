"""Results of `active`: the learning curve, structures that were asked for and why, errors by kind.

Source: ours.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ase_mlx.data.io import read_frames
from ase_mlx.jobs.report.asked import add_notes, add_settings, read_json
from ase_mlx.jobs.report.content import FAILED, Content, Curve, Subject, Table, columns_of, line, rounded
from ase_mlx.jobs.report.crystals import add_atoms
from ase_mlx.jobs.report.curves import add_curve

ERRORS = (("forces_rmse_meV_A", "forces (meV/Å)"), ("energy_rmse_meV_atom", "energy (meV/atom)"))


def read(folder: Path, _: Path) -> Content:
    """Read the results of `active` (units in the names of its files).

    Raises:
        ValueError: a file is damaged or of another command.

    Source: ours.
    """
    report = read_json(folder / "report.json")
    if not isinstance(report, dict) or "rounds" not in report:
        raise ValueError(f"got {str(folder / 'report.json')!r}, which is of another command, expected ase-mlx active's")
    content = Content("active", folder.resolve().name, f"ended: {report.get('ended') or 'not yet'}", "tables")
    add_settings(content, report.get("settings"), str(folder) if (folder / "card.json").is_file() else "")
    content.asked.append(("core-hours of the teacher", f"{report.get('core_hours', 0):.3g}"))
    for name, reason in (report.get("failed") or {}).items():
        content.note(f"{name}: {reason}", FAILED)
    add_notes(content, report.get("notes", ()))
    subject = Subject("Learning")
    content.subjects.append(subject)
    rounds = report["rounds"]
    _learning_curve(content, subject, rounds)
    _asked(content, folder)
    if rounds:
        flat = [{key: value for key, value in line.items() if not isinstance(value, dict | list)} for line in rounds]
        content.tables.append(_plain("Rounds", "Errors on the test structures after each round.", flat, "labels"))
        kinds = rounds[-1].get("kinds") or {}
        if kinds:
            rows = [{"kind": name, **line} for name, line in kinds.items()]
            content.tables.append(_plain("Kinds", "The last model, by kind of test structure.", rows, "kind"))
    return content


def _learning_curve(content: Content, subject: Subject, rounds: list[dict[str, Any]]) -> None:
    for key, label in ERRORS:
        lines = [one for one in rounds if key in one]
        if len(lines) < 2:
            continue
        at = [one["labels"] for one in lines]
        drawn = [line("on test structures", [one[key] for one in lines])]
        if key.startswith("forces") and all("predicted_meV_A" in one for one in lines):
            drawn.append(line("predicted", [one["predicted_meV_A"] for one in lines]))
        name = f"Error of the {label.split(' (')[0]}"
        add_curve(content, subject, Curve(name, "labels", label, rounded(at), drawn, zero=True))


def _asked(content: Content, folder: Path) -> None:
    """A row for each structure that was asked for."""
    path = folder / "work" / "state.json"
    if not path.is_file():
        return
    rows, places = [], []
    for number, one in enumerate(read_json(path).get("rounds", ()), start=1):
        file = folder / "work" / "rounds" / f"{number - 1:03d}" / "asked.extxyz"
        frames = read_frames(file) if file.is_file() else []
        for atoms, why, seconds in zip(frames, one.get("why", ()), one.get("seconds", ()), strict=False):
            rows.append(
                {
                    "name": str(atoms.info.get("config_name", "")),
                    "formula": atoms.get_chemical_formula(),
                    "round": number,
                    "kind": str(atoms.info.get("kind", atoms.info.get("family", ""))),
                    "atoms": len(atoms),
                    "predicted cost (s)": float(seconds or np.nan),
                    "reasons": f"asked for by {why}",
                }
            )
            places.append(add_atoms(content, atoms))
    if rows:
        frame = pd.DataFrame(rows).dropna(axis=1, how="all")
        columns, data = columns_of(frame)
        y = "predicted cost (s)" if "predicted cost (s)" in data else "atoms"
        content.tables.append(
            Table(
                "Structures",
                "What was asked for, in which round and why.",
                columns,
                data,
                len(rows),
                label="name",
                reasons="reasons",
                x="round",
                y=y,
                crystals=places,
            )
        )


def _plain(name: str, caption: str, rows: list[dict[str, Any]], x: str) -> Table:
    frame = pd.DataFrame(rows)
    for key in frame.columns:
        numbers = pd.to_numeric(frame[key], errors="coerce")
        frame[key] = numbers if numbers.notna().sum() == frame[key].notna().sum() else frame[key]
    columns, data = columns_of(frame)
    numbers = [column["key"] for column in columns if column["kind"] != "text"]
    y = next((key for key in ("forces_rmse_meV_A", "energy_rmse_meV_atom") if key in numbers), (numbers or [x])[-1])
    return Table(name, caption, columns, data, len(rows), label=str(frame.columns[0]), x=x if x in numbers else y, y=y)
