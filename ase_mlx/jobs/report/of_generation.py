"""Results of `generate`: candidates, the best first, and the rejected with their reasons.

Source: ours.
"""

from pathlib import Path

import pandas as pd

from ase_mlx.data.io import read_frames
from ase_mlx.jobs.report.asked import add_notes, add_settings, read_mapping
from ase_mlx.jobs.report.content import MOST_CRYSTALS, MOST_ROWS, Content, Table, columns_of
from ase_mlx.jobs.report.crystals import add_atoms
from ase_mlx.reading import reading

TABLE, FRAMES, CALL = "candidates.csv", "candidates.extxyz", "generate.json"


def read(folder: Path, _: Path) -> Content:
    """Read the results of `generate` (eV/atom, eV, Å³).

    Raises:
        ValueError: a file is damaged.

    Source: ours.
    """
    with reading(folder / TABLE, "a table of candidates"):
        frame = pd.read_csv(folder / TABLE, keep_default_na=False, na_values=[""])
        if "rank" not in frame or "formula" not in frame:
            raise ValueError("got no columns rank and formula, expected those of ase-mlx generate")
    results = read_mapping(folder / "results.json")
    call = read_mapping(folder / CALL)
    settings = results.get("settings") or (
        {"n": call.get("n"), "seed": call.get("seed"), **call["conditions"]} if call else {}
    )
    ranked = int(frame["rank"].notna().sum())
    content = Content("generate", folder.resolve().name, f"{ranked} candidates of {len(frame)} crystals", "tables")
    add_settings(content, settings, results.get("model") or "crystals")
    add_notes(content, results.get("notes", ()))
    total, frame = len(frame), frame.head(MOST_ROWS)
    if len(frame) < total:
        content.note(f"{len(frame)} of {total} rows are in this page, the best first; {TABLE} has all.")
    content.tables.append(_table(frame))
    frames = read_frames(folder / FRAMES) if (folder / FRAMES).is_file() else []
    places = [add_atoms(content, atoms) for atoms in frames[:MOST_CRYSTALS]]
    content.tables[0].crystals = (places + [-1] * len(frame))[: len(frame)]
    if (left := len(frames) - sum(place >= 0 for place in places)) > 0:
        content.note(
            f"{left} candidates, of the last ranks or of many atoms, are without their crystal; {FRAMES} has them."
        )
    return content


def _table(frame: pd.DataFrame) -> Table:
    frame = frame.drop(columns=["name"], errors="ignore")
    frame = frame.assign(rank=frame["rank"].astype("Int64"), reasons=frame["reasons"].fillna(""))
    frame["known"] = frame["known"].astype(str).eq("True") if "known" in frame else False
    columns, data = columns_of(frame.dropna(axis=1, how="all"))
    numbers = [column["key"] for column in columns if column["kind"] == "number" and not column["of"]]
    hull = next((key for key in numbers if key.startswith("above hull")), None)
    hull = hull or next((key for key in numbers if key.startswith("hull_distance")), numbers[0] if numbers else "")
    gap = next((key for key in numbers if key.startswith("band_gap")), numbers[-1] if numbers else "")
    return Table(
        "Candidates",
        "The best first; rejected ones, without a rank, stand at the end with their reasons.",
        columns,
        data,
        len(frame),
        label="formula",
        reasons="reasons",
        x=gap,
        y=hull,
        flag="rejected",
        flags=[int(str(text).startswith("rejected")) for text in data["reasons"]],
    )
