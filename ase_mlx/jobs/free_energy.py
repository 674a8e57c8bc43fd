"""F(V, T) from a few measurements and a prior: curves along temperature with bars, and what the data told.

Source: ours.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ase_mlx.jobs.equations import fitted
from ase_mlx.learn.recipes.free_energy import IDENTIFIED, MEASURED, FreeEnergyRecipe, FreeEnergyTraining, Measurements
from ase_mlx.models.free_energy import FreeEnergy
from ase_mlx.models.prediction import Prediction
from ase_mlx.progress import Progress
from ase_mlx.units import BOLTZMANN, GAS
from ase_mlx.whole.tables import write_csv

FILES = ("free_energy.csv", "free_energy.png")
"""What a job may write beside the model."""
POINTS = 101
"""Temperatures of the curves."""
SHOWN = ("heat_capacity_p", "expansion", "bulk_modulus", "volume")
COLUMNS = (*SHOWN, "heat_capacity_v", "entropy", "gibbs_energy")
UNITS = {name: unit for name, (unit, _) in MEASURED.items()} | {
    "heat_capacity_v": "J/(K mol)", "entropy": "J/(K mol)", "gibbs_energy": "eV/atom",
}  # fmt: skip
ROOM = 300.0
"""K of the table of what the data told."""
APART = 2.0
"""Standard deviations that data may be off the prior, or the fit off the data, before it is told."""


@dataclass(frozen=True)
class FreeEnergyCurves:
    """F(V, T) after the data, and along `temperatures` (K): `after` and `before`, in units of `UNITS`, with `std`.

    `rows` say at 300 K what the data told; `notes` where it may be wrong; `seconds` are of CPU.

    Source: ours.
    """

    model: FreeEnergy
    temperatures: np.ndarray
    after: Prediction
    before: Prediction
    measured: Measurements
    rows: list[dict[str, Any]]
    card: dict[str, Any]
    seconds: float
    notes: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)


def free_energy_job(
    training: FreeEnergyTraining,
    folder: str | Path | None = None,
    work: str | Path | None = None,
    progress: Progress | None = None,
    words: Callable[[str], str] = str,
) -> FreeEnergyCurves:
    """Fit F(V, T) to measurements and write its curves and a figure.

    Args:
        training: K, Å³/atom, GPa, as `read_training` gives it.
        folder: for the results; None: nothing is written.
        work: where the model is kept, and goes on from after a kill; None: nowhere.
        progress: called with the stage, the number of steps done and the number in all.
        words: how notes are put.

    Raises:
        ValueError: no prior, no data, or data that no stable crystal within the prior has.
        OSError: the folder cannot be written.

    Source: ours.
    """
    begin, recipe = time.process_time(), FreeEnergyRecipe(training)
    model, card = fitted(recipe, work, progress)
    temperatures = np.linspace(*training.temperatures, POINTS)
    reached = model.reached(temperatures, training.pressure)
    count = len(reached) if reached.all() else int(np.argmin(reached))
    if count < 2:
        raise ValueError(
            f"got no stable volume within the prior's at {temperatures[0]:g} K after the fit, expected one: the data "
            "are far from the prior; give a prior of more volumes, or a wider [spread]"
        )
    temperatures, notes = temperatures[:count], []
    if count < POINTS:
        notes.append(
            f"cut above {temperatures[-1]:g} K: there the volume leaves the prior's, or is not stable; give a prior of "
            "more volumes"
        )
    prior = model.before()
    after = model.along(temperatures, training.pressure)
    parts = [_in_units(part) for part in (after, _where_it_holds(prior, temperatures, training.pressure))]
    rows = _rows(prior, model, float(np.clip(ROOM, *temperatures[[0, -1]])), training.pressure)
    notes += _disagreeing(prior, model, recipe.data) + _moved(card) + _untold(rows)
    result = FreeEnergyCurves(
        model, temperatures, *parts, recipe.data, rows, card, time.process_time() - begin, [words(n) for n in notes]
    )
    if folder is not None:
        result.files.extend(_write(result, training.title, Path(folder)))
    return result


def _in_units(curves: Prediction) -> Prediction:
    molar = {name for name, unit in UNITS.items() if unit == "J/(K mol)"}
    factors = {name: GAS / BOLTZMANN if name in molar else 1.0 for name in COLUMNS}
    return Prediction(*({name: f * part[name] for name, f in factors.items()} for part in (curves, curves.std)))


def _where_it_holds(prior: FreeEnergy, temperatures: np.ndarray, pressure: float) -> Prediction:
    """Curves of a prior: NaN where its own volume leaves it."""
    held, parts = prior.reached(temperatures, pressure), []
    curves = prior.along(temperatures[held], pressure) if held.any() else None
    for k in (0, 1):
        part = {name: np.full(len(held), np.nan) for name in COLUMNS}
        for name, values in part.items():
            if curves is not None:
                values[held] = (curves, curves.std)[k][name]
        parts.append(part)
    return Prediction(*parts)


def _rows(prior: FreeEnergy, model: FreeEnergy, kelvin: float, pressure: float) -> list[dict[str, Any]]:
    after, rows = _in_units(model.along([kelvin], pressure)), []
    before = _in_units(_where_it_holds(prior, np.array([kelvin]), pressure))
    for name in SHOWN:
        bar = float(before.std[name][0])
        share = float(after.std[name][0]) / bar if bar > 0 else float("nan")
        rows.append(
            {
                "quantity": name, "unit": UNITS[name], "temperature": kelvin,
                "before": float(before[name][0]), "before_std": bar,
                "after": float(after[name][0]), "after_std": float(after.std[name][0]),
                "of_prior": share, "identified": share < IDENTIFIED,
            }
        )  # fmt: skip
    return rows


def _disagreeing(prior: FreeEnergy, model: FreeEnergy, data: Measurements) -> list[str]:
    """Say which measurements contradict the prior, or one another."""
    notes, kelvin, std = [], data.temperature.numpy(), data.std.numpy()
    curves = _where_it_holds(prior, kelvin, data.pressure), model.along(kelvin, data.pressure)
    for k, name in enumerate(data.quantities):
        unit, factor = MEASURED[name]
        off, after = (float(data.value[k]) - c[name][k] for c in curves)
        bar = float(np.hypot(curves[0].std[name][k], std[k]))
        what = f"{name} of {factor * float(data.value[k]):.5g} {unit} at {kelvin[k]:g} K"
        if abs(off) > APART * bar:
            notes.append(
                f"{what} is {abs(off) / bar:.1f} standard deviations from the prior: one of them is wrong, or [spread] "
                "is too small"
            )
        if abs(after) > APART * std[k]:
            notes.append(
                f"{what} is {abs(after) / std[k]:.1f} of its standard deviations from the fit: data contradict one "
                "another, or a crystal is not quasi-harmonic"
            )
    return notes


def _moved(card: dict[str, Any]) -> list[str]:
    moved = {name: abs(shift["away"]) for name, shift in card["shifts"].items()}
    return [
        f"the prior's {name} has moved by {away:.1f} of its standard deviations: [spread] may be too small"
        for name, away in moved.items()
        if away > APART
    ]


def _untold(rows: list[dict[str, Any]]) -> list[str]:
    return [
        f"{row['quantity']} is not identified: the data leave {100 * row['of_prior']:.0f} % of the prior's bar at "
        f"{row['temperature']:g} K; what stands there is the prior"
        for row in rows
        if row["of_prior"] >= IDENTIFIED
    ]


def _write(result: FreeEnergyCurves, title: str, folder: Path) -> list[str]:
    from ase_mlx.figures.free_energy import draw_free_energy

    folder.mkdir(parents=True, exist_ok=True)
    header, columns = ["temperature (K)"], [result.temperatures]
    for name in COLUMNS:
        header += [f"{name} ({UNITS[name]})", f"{name}_std"]
        columns += [result.after[name], result.after.std[name]]
    for name in SHOWN:
        header += [f"{name}_prior", f"{name}_prior_std"]
        columns += [result.before[name], result.before.std[name]]
    write_csv(folder / FILES[0], header, np.stack(columns, 1).tolist())
    draw_free_energy(result, title or "Free energy", folder / FILES[1])
    return list(FILES)
