"""A whole training run of a model of crystals' properties or anomalies: table, descriptors, fit, calibration, card.

Source: ours.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from ase_mlx.learn.anomaly.crystals import Crystals, describe_crystals, join, split
from ase_mlx.learn.anomaly.fit import TableFit
from ase_mlx.learn.anomaly.train import train_anomaly, train_property
from ase_mlx.learn.config import TOML, build, read_toml
from ase_mlx.learn.files import model_folder, save_model
from ase_mlx.models.anomaly import AnomalyConfig, AnomalyModel
from ase_mlx.models.crystal_property import CrystalProperty, CrystalPropertyConfig
from ase_mlx.processes import pool
from ase_mlx.quantities import SYMBOLS
from ase_mlx.reading import reading

Kind = Literal["anomaly", "crystal_property"]
TARGETS = ("formation_energy", "hull_distance")
"""Properties that can be learned; screenings report both."""

CHUNK = 500


@dataclass(frozen=True)
class CrystalData:
    """Which table of crystals to learn from: parquet with structures as array columns and properties in eV/atom.

    `properties` maps our names of targets to columns. Crystals are split by the column `part` where there is one, else
    by formula, by chemical system, or by time (column `year`).

    Source: ours.
    """

    file: str
    properties: dict = field(default_factory=dict)
    split: Literal["formula", "system", "time"] = "formula"
    title: str = ""
    level_of_theory: str = "not stated"
    licence: str = "not stated"
    origin: str = "not stated"


@dataclass(frozen=True)
class CrystalTraining:
    """A training run: `[data]`, `[model]` (keys of `CrystalPropertyConfig`), `[fit]` (keys of `TableFit`).

    Source: ours.
    """

    kind: Kind
    data: CrystalData
    model: dict[str, Any] = field(default_factory=dict)
    fit: TableFit = field(default_factory=TableFit)


def read_training(path: str | Path) -> CrystalTraining | None:
    """Read a TOML file of one of these kinds; None where it is of another kind.

    Raises:
        ValueError: a wrong key or value, or properties that cannot be learned.

    Source: ours.
    """
    path = Path(path)
    try:
        table = read_toml(path)
    except (OSError, ValueError):
        return None  # the reader of the other kinds says what is wrong
    if table.get("kind") not in ("anomaly", "crystal_property"):
        return None
    with reading(path, TOML, "`docs/training.md` shows one"):
        return _expect_properties(build(CrystalTraining, table), path.parent)


def _expect_properties(found: CrystalTraining, base: Path) -> CrystalTraining:
    data = CrystalData(**{**asdict(found.data), "file": str((base / found.data.file).resolve())})
    names, needed = tuple(data.properties), TARGETS if found.kind == "anomaly" else ()
    if not all(isinstance(column, str) for column in data.properties.values()):
        raise ValueError(f"got data.properties = {data.properties}, expected the names of columns")
    if not names or not set(needed) <= set(names) <= set(TARGETS):
        raise ValueError(
            f"got data.properties of {', '.join(names) or 'nothing'}, expected "
            f"{(' and ' if needed else ' or ').join(TARGETS)}, each with its column in eV/atom, as in "
            'properties = { formation_energy = "formation_energy_per_atom", hull_distance = "e_above_hull" }'
        )
    return CrystalTraining(found.kind, data, found.model, found.fit)


def read_crystals(data: CrystalData, diffraction: bool, processes: int = 2) -> tuple[Crystals, np.ndarray]:
    """Read and describe the crystals of a table (eV/atom, Å), and say which part each belongs to.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a column is missing, or a crystal cannot be described.

    Source: ours.
    """
    if not Path(data.file).is_file():
        raise FileNotFoundError(f"got data.file = {data.file!r}, expected an existing parquet file")
    frame = pd.read_parquet(data.file).rename(columns={column: name for name, column in data.properties.items()})
    pieces = [frame.iloc[k : k + CHUNK] for k in range(0, len(frame), CHUNK)]
    given = [(piece, tuple(data.properties), diffraction) for piece in pieces]
    with pool(processes) as workers:
        crystals = join(list(workers.map(_describe, given)))
    if "part" in frame:
        return crystals, frame["part"].to_numpy(dtype=str)
    parts = split(crystals.formulas, data.split, frame.get("year"))
    return crystals, parts


def _describe(given: tuple[pd.DataFrame, tuple[str, ...], bool]) -> Crystals:
    return describe_crystals(*given)


def run_training(
    config: CrystalTraining,
    folder: str | Path,
    progress: Callable[[str, int, int], None] | None = None,
    described: tuple[Crystals, np.ndarray] | None = None,
    write: bool = True,
) -> tuple[AnomalyModel | CrystalProperty, dict[str, Any]]:
    """Train, calibrate and write a model; errors (eV/atom) are of the part `test`, which nothing else sees.

    Of several workers each runs this, with what `read_crystals` gave as `described`, and one has `write`.

    Raises:
        ValueError: unusable data or settings; nothing is written.
        OSError: the folder cannot be written, or another process is training into it.

    Source: ours.
    """
    with model_folder(folder) if write else nullcontext():
        model, info = _trained(config, progress, described)
        if write:
            save_model(model, folder, info)
    return model, info


def _trained(
    config: CrystalTraining,
    progress: Callable[[str, int, int], None] | None,
    described: tuple[Crystals, np.ndarray] | None,
) -> tuple[AnomalyModel | CrystalProperty, dict[str, Any]]:
    sizes = {"targets": tuple(config.data.properties), "elements": (1,), **config.model}
    settings = build(CrystalPropertyConfig, sizes, "model")
    crystals, parts = described or read_crystals(config.data, settings.diffraction)
    by = {name: crystals.take(parts == name) for name in ("train", "val", "test")}
    if len(by["train"]) < 2 or len(by["val"]) < 2:
        raise ValueError(f"got {len(by['train'])} training and {len(by['val'])} validation crystals, expected more")
    settings = build(CrystalPropertyConfig, {**sizes, "elements": by["train"].elements}, "model")
    property_model = train_property(by["train"], by["val"], settings, config.fit, progress)
    model: AnomalyModel | CrystalProperty = property_model
    if config.kind == "anomaly":
        model = train_anomaly(by["train"], by["val"], AnomalyConfig(settings), config.fit, property_model, progress)
    info = {
        "title": config.data.title,
        "elements": [SYMBOLS[z] for z in by["train"].elements],
        "level_of_theory": config.data.level_of_theory,
        "licence": config.data.licence,
        "origin": config.data.origin,
        "errors": _all_errors(property_model, by["test"]) if len(by["test"]) else {},
        "errors_on": "test",
        "reliability": reliability(property_model, by["test"]) if len(by["test"]) else {},
        "crystals": {name: len(part) for name, part in by.items()},
        "fit": asdict(config.fit),
    }
    return model, info


def _all_errors(model: CrystalProperty, crystals: Crystals) -> dict[str, dict[str, Any]]:
    """Errors where structures are known, and for models with diffraction where they are not."""
    table = property_errors(model, crystals)
    for way in model.config.ways[1:]:
        less = replace(crystals, rows=model.without_others(crystals.rows, way))
        table |= {f"{name} from {way}": found for name, found in property_errors(model, less).items()}
    return table


def property_errors(model: CrystalProperty, crystals: Crystals) -> dict[str, dict[str, Any]]:
    """Summarise errors of properties: MAE, RMSE, mean σ in meV/atom; coverages and spread of z without a dimension.

    Source: ours.
    """
    found, table = model.table(crystals.rows), {}
    for name in model.config.targets:
        error = crystals.properties[name] - found[name]
        known = np.isfinite(error)
        error, std = error[known], found.std[name][known]
        z = error / std
        inside = {
            f"inside_{round(100 * level)}": float((np.abs(z) <= model.half_width(name, level)).mean())
            for level in (0.68, 0.9, 0.95)
        }
        table[name] = {
            "unit": "meV/atom",
            "count": int(known.sum()),
            "mae": float(1e3 * np.abs(error).mean()),
            "rmse": float(1e3 * np.sqrt((error**2).mean())),
            "mean_std": float(1e3 * std.mean()),
            "z_spread": float(z.std()),
            **inside,
        }
    return table


def reliability(model: CrystalProperty, crystals: Crystals) -> dict[str, Any]:
    """Count how many crystals lie inside central intervals of each probability.

    Source: ours.
    """
    levels = [round(0.05 * k, 2) for k in range(1, 20)]
    found, covered = model.table(crystals.rows), {}
    for name in model.config.targets:
        z = np.abs((crystals.properties[name] - found[name]) / found.std[name])
        z = z[np.isfinite(z)]
        covered[name] = [round(float((z <= model.half_width(name, level)).mean()), 4) for level in levels]
    return {"levels": levels, "covered": covered}
