"""Curves and pictures of one structure, from the tables that commands write.

Source: ours.
"""

import base64
from pathlib import Path

import numpy as np
import pandas as pd

from ase_mlx.jobs.report.content import (
    MOST_PICTURES,
    MOST_POINTS,
    Content,
    Curve,
    Subject,
    Table,
    columns_of,
    line,
    name_and_unit,
    rounded,
)

NAMES = {
    "C_V": ("Heat capacity C_V", True), "S": ("Entropy", True), "F": ("Vibrational free energy", False),
    "V": ("Volume", False), "alpha_V": ("Volumetric expansion", True), "B": ("Isothermal bulk modulus", False),
    "C_p": ("Heat capacity C_p", True), "G": ("Gibbs energy", False),
}  # fmt: skip
"""Columns of thermal.csv: what they are, and whether their axis begins at zero."""

MOST_BANDS = 90
GAMMA = {"G": "Γ", "GAMMA": "Γ"}


def bands_of(table: pd.DataFrame) -> Curve:
    """Phonon bands (THz) along the path (1/Å) with their standard deviations; at most `MOST_BANDS`, evenly.

    Source: ours.
    """
    names = [name for name in table.columns if name.startswith("band") and not name.endswith("_std_THz")]
    keep = names if len(names) <= MOST_BANDS else [names[k] for k in _evenly(len(names), MOST_BANDS)]
    lines = []
    for name in keep:
        std = table.get(name.replace("_THz", "_std_THz"))
        lines.append(line("", table[name].to_numpy(float), None if std is None else std.to_numpy(float)))
    at = table["distance_1/A"].to_numpy(float)
    points = table["point"] if "point" in table else pd.Series([None] * len(table))
    ticks = [
        (float(x), GAMMA.get(str(label), str(label)))
        for x, label in zip(at, points, strict=True)
        if isinstance(label, str) and label
    ]
    note = "" if len(keep) == len(names) else f"{len(keep)} of {len(names)} bands are drawn."
    note += " Below zero: imaginary." if table[names].to_numpy(float).min() < -0.05 else ""
    return Curve("Phonon bands", "" if ticks else "path (1/Å)", "frequency (THz)", rounded(at), lines, ticks, note=note)


def _evenly(count: int, kept: int) -> list[int]:
    return sorted({round(k) for k in np.linspace(0, count - 1, kept)})


def temperature_curves(table: pd.DataFrame) -> list[Curve]:
    """Functions of temperature (K) with their standard deviations, each in the unit of its column.

    Source: ours.
    """
    curves, at = [], rounded(table["temperature_K"])
    for column in table.columns[1:]:
        if column.endswith("_std") or table[column].isna().all():
            continue
        short, unit = name_and_unit(column)
        name, zero = NAMES.get(short, (short.replace("_", " "), False))
        std = table.get(f"{column}_std")
        lines = [line("", table[column].to_numpy(float), None if std is None else std.to_numpy(float))]
        curves.append(Curve(name, "temperature (K)", f"{short} ({unit})" if unit else short, at, lines, zero=zero))
    first = ("Heat capacity C_V", "Heat capacity C_p", "Volumetric expansion")
    return sorted(curves, key=lambda curve: first.index(curve.name) if curve.name in first else len(first))


def temperature_table(table: pd.DataFrame) -> Table:
    """The same functions as rows, one for each temperature (K), in the units of their columns.

    Source: ours.
    """
    frame = table.dropna(axis=1, how="all")
    columns, data = columns_of(frame)
    x, y = columns[0]["key"], next((c["key"] for c in columns[1:] if c["name"] == "C V"), columns[-1]["key"])
    return Table("Temperatures", "Thermal functions, a row for each temperature.", columns, data, len(frame), x=x, y=y)


def add_picture(content: Content, subject: Subject, path: Path, caption: str) -> None:
    """Put a PNG into the page, while there is room.

    Source: ours.
    """
    data = path.read_bytes()
    used = sum(len(picture["data"]) for one in content.subjects for picture in one.pictures)
    if used + len(data) > MOST_PICTURES:
        content.note(f"Pictures beyond {MOST_PICTURES / 1e6:g} MB are left out of this page; they lie in the folder.")
        return
    if not data.startswith(b"\x89PNG"):
        return
    text = "data:image/png;base64," + base64.b64encode(data).decode()
    subject.pictures.append({"name": caption, "data": text})


def add_curve(content: Content, subject: Subject, curve: Curve) -> None:
    """Put a curve into the page, while there is room.

    Source: ours.
    """
    if sum(one.size() for every in content.subjects for one in every.curves) + curve.size() > MOST_POINTS:
        content.note("Some curves are left out, to keep this page small; their tables lie in the folder.")
        return
    subject.curves.append(curve)
