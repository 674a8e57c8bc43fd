"""Results of `conductivity`: the conductivity over temperature, and a row for each phonon.

Source: ours.
"""

from math import pi
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from ase_mlx.data.io import read_frames
from ase_mlx.jobs.report.asked import add_notes, add_settings, read_mapping
from ase_mlx.jobs.report.content import MOST_ROWS, Content, Curve, Subject, Table, columns_of, line, rounded
from ase_mlx.jobs.report.crystals import add_atoms
from ase_mlx.jobs.report.curves import add_curve
from ase_mlx.reading import reading

AXES = ("xx", "yy", "zz")
ROOM = 300.0
"""K: modes are shown at the temperature next to it."""

LEAST = 1e-3
"""Of the conductivity, from which on it is drawn."""

SPEED = 0.1
"""km/s in a THz Å."""


def read(folder: Path, _: Path) -> Content:
    """Read the results of `conductivity` (W/(m K), K, THz).

    Raises:
        ValueError: a file is damaged.

    Source: ours.
    """
    results = read_mapping(folder / "results.json")
    name = (results.get("settings") or {}).get("source") or folder.resolve().name
    content = Content("conductivity", str(name), "lattice thermal conductivity", "structure")
    settings = results.get("settings")
    if settings and results.get("mesh"):
        settings["mesh"] = str(results["mesh"])
    add_settings(content, settings, results.get("model", ""))
    add_notes(content, results.get("notes", ()))
    _certificate(content, results.get("certificate"))
    subject = Subject(str(name), about=str(results.get("model") and f"model {results['model']}" or ""))
    content.subjects.append(subject)
    if (folder / "structure.extxyz").is_file():
        (atoms,) = read_frames(folder / "structure.extxyz")[-1:]
        subject.formula, place = atoms.get_chemical_formula(empirical=True), add_atoms(content, atoms)
        subject.crystal = place if place >= 0 else None
    with reading(folder / "kappa.hdf5", "phono3py's hdf5 of a conductivity"), h5py.File(folder / "kappa.hdf5") as file:
        arrays = {key: file[key][()] for key in file}
    if (folder / "kappa.csv").is_file():
        with reading(folder / "kappa.csv", "a table of conductivities"):
            _conductivity(content, subject, pd.read_csv(folder / "kappa.csv"))
    with reading(folder / "kappa.hdf5", "phono3py's hdf5 of a conductivity"):
        _modes(content, subject, arrays)
    return content


def _certificate(content: Content, certificate: dict[str, Any] | None) -> None:
    if certificate:
        shown = f"{certificate.get('triplets')} exact triplets, {certificate.get('quartets') or 0} quartets"
        content.asked.append(("certificate of the compressed tensor", shown))


def _conductivity(content: Content, subject: Subject, table: pd.DataFrame) -> None:
    """The table as numbers, and its curve."""
    kappa = table[[f"kappa_{axis}_W/(m K)" for axis in AXES]].to_numpy(float)
    std = table["std_W/(m K)"].to_numpy(float) if "std_W/(m K)" in table else None
    same = bool(np.allclose(kappa, kappa[:, :1], rtol=1e-3))
    temperatures = table["temperature_K"].to_numpy(float)
    for k, temperature in enumerate(temperatures):
        for axis, value in [("xx = yy = zz", kappa[k, 0])] if same else zip(AXES, kappa[k], strict=True):
            bar = None if std is None or not np.isfinite(std[k]) else float(std[k])
            subject.numbers.append(
                {
                    "quantity": f"κ {axis} ({temperature:g} K)",
                    "value": float(value),
                    "std": bar,
                    "unit": "W/(m K)",
                }
            )
    lines = [line("xx = yy = zz" if same else "mean", kappa.mean(1), std)]
    lines += [] if same else [line(axis, kappa[:, k]) for k, axis in enumerate(AXES)]
    curve = Curve("Lattice thermal conductivity", "temperature (K)", "κ (W/(m K))", rounded(temperatures), lines)
    curve.log_y = bool((kappa > 0).all())
    curve.note = "Shades are one and two standard deviations." if std is not None else "No error bars are known."
    add_curve(content, subject, curve)


def _modes(content: Content, subject: Subject, arrays: dict[str, np.ndarray]) -> None:
    """A row for each phonon at the temperature next to 300 K, and the conductivity summed up over mean free paths."""
    at = int(np.argmin(np.abs(arrays["temperature"] - ROOM)))
    frequency, gamma = arrays["frequency"], arrays["gamma"][at]
    speed = np.linalg.norm(arrays["group_velocity"], axis=-1) * SPEED
    with np.errstate(divide="ignore"):
        lifetime = np.where(gamma > 0, 1 / (4 * pi * gamma), np.nan)
    path = speed * lifetime  # km/s ps = nm
    mode_kappa = arrays["mode_kappa"][at][..., :3].mean(-1) / np.prod(arrays["mesh"])
    kappa = float(mode_kappa.sum()) or np.nan
    q = np.repeat(np.round(arrays["qpoint"], 4), frequency.shape[1], axis=0)
    bands = np.tile(np.arange(1, frequency.shape[1] + 1), len(frequency))
    frame = pd.DataFrame(
        {
            "wave vector": [" ".join(f"{x:g}" for x in point) for point in q],
            "band": bands,
            "frequency (THz)": frequency.ravel(),
            "lifetime (ps)": lifetime.ravel(),
            "speed (km/s)": speed.ravel(),
            "mean free path (nm)": path.ravel(),
            "share of κ (%)": (100 * mode_kappa / kappa).ravel(),
        }
    )
    rows = frame if len(frame) <= MOST_ROWS else frame.nlargest(MOST_ROWS, "share of κ (%)")
    if len(rows) < len(frame):
        content.note(f"{len(rows)} of {len(frame)} phonons are in the table, those that carry most.")
    columns, data = columns_of(rows)
    temperature = float(arrays["temperature"][at])
    content.tables.append(
        Table(
            "Phonons",
            f"Irreducible wave vectors at {temperature:g} K: shares count all that are equivalent.",
            columns,
            data,
            len(rows),
            label="wave vector",
            x="frequency (THz)",
            y="lifetime (ps)",
            log_y=True,
        )
    )
    shares = mode_kappa.ravel()
    _accumulation(content, subject, "mean free path (nm)", path.ravel(), shares, temperature)
    _accumulation(content, subject, "frequency (THz)", frequency.ravel(), shares, temperature)


def _accumulation(
    content: Content,
    subject: Subject,
    axis: str,
    of: np.ndarray,
    shares: np.ndarray,
    temperature: float,
    points: int = 200,
) -> None:
    """What modes carry whose mean free path, or frequency, is at most that of the axis."""
    good = np.isfinite(of) & (of > 0)
    if good.sum() < 3:
        return
    order, logarithmic = np.argsort(of[good]), axis.startswith("mean")
    ends, summed = of[good][order], np.cumsum(shares[good][order])
    first = max(int(np.searchsorted(summed, LEAST * summed[-1])) - 1, 0)  # modes that stand still have no length
    grid = (np.geomspace if logarithmic else np.linspace)(ends[first], ends[-1], points)
    values = summed[np.minimum(np.searchsorted(ends, grid, side="right") - 1, len(summed) - 1)]
    name = f"Carried up to a {axis.split(' (')[0]} ({temperature:g} K)"
    curve = Curve(name, axis, "κ (W/(m K))", rounded(grid), [line("", np.maximum(values, 0))], zero=True)
    curve.log_x = logarithmic
    add_curve(content, subject, curve)
