"""Results of `run` and `phonons`: one structure or several, each with its numbers, curves and pictures.

Source: ours.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ase_mlx.data.io import read_frames
from ase_mlx.jobs.report.asked import add_notes, add_reasons, add_settings, read_json
from ase_mlx.jobs.report.content import DOUBT, NOTE, Content, Subject, Table, columns_of
from ase_mlx.jobs.report.crystals import add_atoms
from ase_mlx.jobs.report.curves import add_curve, add_picture, bands_of, temperature_curves, temperature_table
from ase_mlx.reading import reading

PICTURES = {
    "density.png": "Electron density along the shortest bond, and in a plane minus that of free atoms",
    "equation_of_state.png": "Equation of state",
    "elastic.png": "Elastic constants",
    "dynamics.png": "Dynamics",
}
"""That are shown where a folder has them; bands and thermal functions are drawn from their tables."""

DRAWN = (("bands.csv", "phonons.png"), ("thermal.csv", "thermal.png"), ("thermal.csv", "expansion.png"))
"""Pictures that are shown where a table is missing."""


def read(folder: Path, beside: Path) -> Content:
    """Read the results of `run` or `phonons` (units as in its files).

    Raises:
        ValueError: results.json holds something else, or a file is damaged.

    Source: ours.
    """
    results = read_json(folder / "results.json")
    many = isinstance(results, list)
    every = results if many else [results]
    if not every or not all(isinstance(one, dict) and "quantities" in one for one in every):
        raise ValueError(
            f"got {str(folder / 'results.json')!r}, which is of another command, expected results of ase-mlx run or "
            "phonons; name the folder that -o named"
        )
    settings = next((one["settings"] for one in every if one.get("settings")), {})
    kind = settings.get("command", "run")
    title = f"{len(every)} structures" if many else _title(every[0])
    about = "several structures, one row each" if many else _about(every[0])
    content = Content(kind, title, about, "tables" if many else "structure")
    add_settings(content, settings, every[0].get("model", ""))
    for one in every:
        place = beside / str(one.get("name", "")) if many else folder
        _add_structure(content, one, place, many)
    if many:
        content.tables.append(_joint(content, every))
    return content


def _title(one: Mapping[str, Any]) -> str:
    return f"{one.get('name') or one.get('formula')}"


def _about(one: Mapping[str, Any]) -> str:
    parts = (one.get("formula"), one.get("kind"), one.get("spacegroup"), one.get("model") and f"model {one['model']}")
    return ", ".join(str(part) for part in parts if part)


def _add_structure(content: Content, one: Mapping[str, Any], place: Path, many: bool) -> None:
    name = str(one.get("name", ""))
    subject = Subject(name, str(one.get("formula", "")), _about(one), numbers=list(one["quantities"]))
    content.subjects.append(subject)
    about = name if many else ""
    add_reasons(content, one, about)
    add_notes(content, one.get("notes", ()), about)
    _extrapolation(content, one.get("extrapolation"), about)
    _far_from_dft(content, one["quantities"], about)
    frames = _frames(place)
    places = [add_atoms(content, atoms) for atoms in (frames[:1] if many else frames)]
    if places and places[0] >= 0:
        subject.crystal = places[0]
    _add_curves(content, subject, place, many)
    if not many and len(frames) > 2:
        content.tables.append(_trajectory(frames, places))


def _far_from_dft(content: Content, rows: list[dict[str, Any]], about: str) -> None:
    """Name the numbers that are more than two error bars from those of DFT, once for each source of these."""
    far: dict[str, list[str]] = {}
    for row in rows:
        if row.get("dft") is not None and row.get("std") and abs(row["value"] - row["dft"]) > 2 * row["std"]:
            far.setdefault(row.get("dft_source") or "the reference", []).append(row["quantity"])
    for source, names in far.items():
        content.note(f"More than two error bars from DFT: {', '.join(names)} (DFT: {source}).", DOUBT, about)


def _extrapolation(content: Content, extrapolation: Mapping[str, Any] | None, about: str) -> None:
    if not extrapolation:
        return
    share, farthest = extrapolation.get("share_outside"), extrapolation.get("largest_distance")
    if share is None or farthest is None:
        return
    kind = DOUBT if share > 0 else NOTE
    content.note(
        f"{100 * share:.2g} % of {extrapolation.get('environments')} environments are beyond the model's training "
        f"data; the largest distance score is {farthest:.3g} (1 is the edge).",
        kind,
        about,
    )


def _frames(place: Path) -> list[Any]:
    for name in ("trajectory.extxyz", "structure.extxyz"):
        if (place / name).is_file():
            return read_frames(place / name)
    return []


def _add_curves(content: Content, subject: Subject, place: Path, many: bool) -> None:
    if (place / "bands.csv").is_file():
        with reading(place / "bands.csv", "a table of phonon bands"):
            table = pd.read_csv(place / "bands.csv", keep_default_na=False, na_values=[""])
            add_curve(content, subject, bands_of(table))
    if (place / "thermal.csv").is_file():
        with reading(place / "thermal.csv", "a table of thermal functions"):
            table = pd.read_csv(place / "thermal.csv")
            for curve in temperature_curves(table):
                add_curve(content, subject, curve)
            if content.kind == "phonons" and not many:
                content.tables.append(temperature_table(table))
    pictures = [name for table, name in DRAWN if not (place / table).is_file()] + list(PICTURES)
    for name in pictures:
        if (place / name).is_file():
            add_picture(content, subject, place / name, PICTURES.get(name, name.removesuffix(".png")))


def _joint(content: Content, every: list[Mapping[str, Any]]) -> Table:
    """A row for each structure, a column for each number."""
    rows: list[dict[str, Any]] = []
    for one in every:
        row: dict[str, Any] = {"name": one.get("name", ""), "formula": one.get("formula", "")}
        row |= {"kind": one.get("kind", ""), "space group": one.get("spacegroup") or "", "model": one.get("model", "")}
        for number in one["quantities"]:
            row[f"{number['quantity']} ({number['unit']})"] = number["value"]
            row[f"{number['quantity']}_std ({number['unit']})"] = number["std"]
        trouble = [f"{stage} failed: {why}" for stage, why in (one.get("failed") or {}).items()]
        row["reasons"] = "; ".join([*trouble, *one.get("notes", ())])
        rows.append(row)
    frame = pd.DataFrame(rows).dropna(axis=1, how="all")
    for name in frame.columns[5:]:
        if name != "reasons":
            frame[name] = pd.to_numeric(frame[name])
    columns, data = columns_of(frame)
    numbers = [c["key"] for c in columns if c["kind"] == "number" and not c["of"]]
    shown = [name for name in ("lattice constant (Å)", "bulk modulus (GPa)") if name in numbers] or numbers
    flags = [int(bool(one.get("failed"))) for one in every]
    return Table(
        "Structures",
        "A row for each structure; click one for its crystal, curves and pictures.",
        columns,
        data,
        len(rows),
        label="name",
        reasons="reasons",
        x=shown[0] if shown else "",
        y=shown[-1] if shown else "",
        flag="something failed" if any(flags) else "",
        flags=flags,
        crystals=[-1 if s.crystal is None else s.crystal for s in content.subjects],
        subjects=list(range(len(rows))),
    )


def _trajectory(frames: list[Any], places: list[int]) -> Table:
    """A row for each frame: relaxed, then dynamics."""
    rows = []
    for number, atoms in enumerate(frames):
        row: dict[str, Any] = {"frame": number, "stage": str(atoms.info.get("stage", "")), "atoms": len(atoms)}
        energy = atoms.calc.results.get("energy") if atoms.calc is not None else None
        std = atoms.info.get("energy_std")
        row |= {"time (fs)": atoms.info.get("time_fs"), "temperature (K)": atoms.info.get("temperature_K")}
        row |= {"energy (eV/atom)": None if energy is None else energy / len(atoms)}
        row |= {"energy_std (eV/atom)": None if std is None else float(std) / len(atoms)}
        row |= {"largest force (eV/Å)": _largest(atoms)}
        if "forces_std" in atoms.arrays:
            row["largest force_std (eV/Å)"] = float(np.linalg.norm(atoms.arrays["forces_std"], axis=1).max())
        if "distance" in atoms.arrays:
            row["largest distance score"] = float(atoms.arrays["distance"].max())
        rows.append(row)
    frame = pd.DataFrame(rows).dropna(axis=1, how="all")
    columns, data = columns_of(frame)
    keys = [column["key"] for column in columns]
    x = next((name for name in ("time (fs)", "frame") if name in keys), "frame")
    y = "energy (eV/atom)" if "energy (eV/atom)" in keys else x
    outside = [int(bool((row.get("largest distance score") or 0) > 1)) for row in rows]
    return Table(
        "Frames",
        "The relaxed structure and frames of the dynamics.",
        columns,
        data,
        len(rows),
        label="stage",
        x=x,
        y=y,
        flag="beyond the training data" if any(outside) else "",
        flags=outside,
        crystals=places,
    )


def _largest(atoms: Any) -> float | None:
    forces = atoms.calc.results.get("forces") if atoms.calc is not None else None
    return None if forces is None else float(np.linalg.norm(forces, axis=1).max())
