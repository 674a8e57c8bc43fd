"""What a report holds: what was asked, notes, tables, crystals, and each structure's numbers, curves and pictures.

All of it becomes JSON, as it is. Numbers are kept to six digits: a page is looked at, the files are computed with.

Source: ours.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

DIGITS = 6
"""Of numbers in a page."""

MOST_ROWS = 100_000
"""Rows of a table that a page holds; of longer ones the first."""

MOST_CRYSTALS, MOST_ATOMS = 2_000, 400
"""Crystals that a page holds, and atoms of each."""

MOST_POINTS = 400_000
"""Numbers in the curves of a page."""

MOST_PICTURES = 6_000_000
"""Bytes of the pictures of a page."""

FAILED, DOUBT, LEFT_OUT, NOTE = "failed", "doubt", "left out", "note"
"""Kinds of notes."""


@dataclass
class Curve:
    """Lines over one axis, with the standard deviation of each where it is known, in the units that the labels name.

    `ticks` are named places of the axis, such as wave vectors along a path. `zero` lets the other axis begin at 0,
    `log_x` and `log_y` make axes logarithmic.

    Source: ours.
    """

    name: str
    x: str
    y: str
    at: list
    lines: list[dict[str, Any]]
    ticks: list[tuple[float, str]] = field(default_factory=list)
    zero: bool = False
    log_x: bool = False
    log_y: bool = False
    note: str = ""

    def size(self) -> int:
        """How many numbers it has."""
        return len(self.at) * (1 + 2 * len(self.lines))


def line(name: str, values: Iterable, std: Iterable | None = None) -> dict[str, Any]:
    """Put a line and its standard deviation (same units) into a curve.

    Source: ours.
    """
    bars = None if std is None or not np.isfinite(np.asarray(std, float)).any() else rounded(std)
    return {"name": name, "values": rounded(values), "std": bars}


@dataclass
class Subject:
    """One structure: its numbers beside DFT and experiment (each row with its unit), curves and pictures.

    `crystal` is its place among the page's crystals.

    Source: ours.
    """

    name: str
    formula: str = ""
    about: str = ""
    crystal: int | None = None
    numbers: list[dict[str, Any]] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    pictures: list[dict[str, str]] = field(default_factory=list)


@dataclass
class Table:
    """Rows that can be sorted, filtered and drawn against each other; units stand in the columns.

    `crystals` and `subjects` give the place of each row's crystal and structure, -1 where there is none. `flags` are
    true for rows to be marked, and `flag` says as what. `contributions` are the largest ones of each row's score:
    names, and for each row their places among the names and values.

    Source: ours.
    """

    name: str
    caption: str
    columns: list[dict[str, Any]]
    data: dict[str, list]
    rows: int
    label: str = ""
    reasons: str = ""
    x: str = ""
    y: str = ""
    log_y: bool = False
    flag: str = ""
    flags: list[int] | None = None
    crystals: list[int] | None = None
    subjects: list[int] | None = None
    contributions: dict[str, Any] | None = None


@dataclass
class Content:
    """All that a page shows of a folder of results; `lead` says what comes first, the tables or one structure.

    `elements` has the covalent radii (Å) by which bonds are drawn.

    Source: ours.
    """

    kind: str
    title: str
    about: str
    lead: str
    asked: list[tuple[str, str]] = field(default_factory=list)
    cards: list[dict[str, Any]] = field(default_factory=list)
    notes: list[dict[str, str]] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    subjects: list[Subject] = field(default_factory=list)
    crystals: list[dict[str, Any]] = field(default_factory=list)
    elements: dict[str, float] = field(default_factory=dict)

    def note(self, text: str, kind: str = NOTE, about: str = "") -> None:
        """Add a note once."""
        entry = {"kind": kind, "about": about, "text": str(text)}
        if entry not in self.notes:
            self.notes.append(entry)


def rounded(values: Iterable) -> list:
    """Numbers to `DIGITS` digits (same units), None where they are not finite.

    Source: ours.
    """
    array = np.asarray(values if hasattr(values, "__len__") else list(values), dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.where(array == 0, 0, np.floor(np.log10(np.abs(array))))
        factor = 10.0 ** np.clip(DIGITS - 1 - np.nan_to_num(size), -300, 300)
        short = np.round(array * factor) / factor
    short = np.where(np.isfinite(short), short, array)
    if np.isfinite(short).all():
        return short.tolist()
    return [x if good else None for x, good in zip(short.tolist(), np.isfinite(short).tolist(), strict=True)]


UNIT = re.compile(r"^(.*?) ?\(((?:[^()]|\([^()]*\))+)\)$")
SUFFIX = re.compile(r"^(.+?)_((?:1|A|A3|K|THz|GPa|W|J|kJ|fs|ps)(?:/.+)?|meV_atom|meV_A)$")
ENDS = {"meV_atom": "meV/atom", "meV_A": "meV/Å", "1/A": "1/Å", "A": "Å", "A3/atom": "Å³/atom"}
NAMED_UNITS = {
    "formation_energy": "eV/atom", "hull_distance": "eV/atom", "formation_energy_per_atom": "eV/atom",
    "e_above_hull": "eV/atom", "band_gap": "eV", "volume_per_atom": "Å³", "density": "g/cm³",
}  # fmt: skip
"""Of columns that everybody knows, where their names do not say it."""


def name_and_unit(column: str, suffixes: bool = True) -> tuple[str, str]:
    """Split a column's name into what it is and its unit: "hull_distance (eV/atom)"; "temperature_K" as a suffix.

    Source: ours.
    """
    plain = column.removesuffix("_std")
    if suffixes and (match := SUFFIX.match(plain)):
        return match[1] + column[len(plain) :], ENDS.get(match[2], match[2])
    if match := UNIT.match(column):
        return match[1], match[2]
    return column, NAMED_UNITS.get(plain, "")


def columns_of(frame: Any, units: dict[str, str] | None = None, suffixes: bool = True) -> tuple[list, dict]:
    """Turn a data frame into a table's columns and data; a column `X_std` becomes the bar of X (same units).

    Source: ours.
    """
    columns, data, units = [], {}, units or {}
    names = {key: name_and_unit(str(key), suffixes) for key in frame.columns}
    keys = {name: key for key, (name, _) in names.items()}
    for key, (name, unit) in names.items():
        series, text = frame[key], str(name)
        kind = _kind(series)
        bar = keys.get(f"{name}_std")
        of = keys.get(name.removesuffix("_std")) if name.endswith("_std") else None
        unit = units.get(text, unit)
        shown = "" if unit in ("1", "dimensionless") else unit
        of, bar = (None if other is None else str(other) for other in (of, bar))
        title = text.replace("_", " ").strip()
        columns.append({"key": str(key), "name": title, "unit": shown, "kind": kind, "std": bar, "of": of})
        data[str(key)] = _values(series, kind)
    return columns, data


def _kind(series: Any) -> str:
    from pandas.api.types import infer_dtype, is_bool_dtype, is_integer_dtype, is_numeric_dtype

    if series.dtype == object:
        return {"integer": "whole", "boolean": "flag", "floating": "number"}.get(infer_dtype(series), "text")
    if is_bool_dtype(series.dtype):
        return "flag"
    if is_numeric_dtype(series.dtype):
        return "whole" if is_integer_dtype(series.dtype) else "number"
    return "text"


def _values(series: Any, kind: str) -> list:
    if kind == "number":
        return rounded(series.astype(float).to_numpy(dtype=float, na_value=np.nan))
    value = {"whole": int, "flag": lambda x: int(bool(x)), "text": _text}[kind]
    gap = "" if kind == "text" else None
    missing = series.isna().to_numpy()
    return [gap if gone else value(x) for x, gone in zip(series.tolist(), missing, strict=True)]


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple | np.ndarray) else str(value)
