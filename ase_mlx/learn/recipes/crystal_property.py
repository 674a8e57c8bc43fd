"""Properties of crystals: a table and its descriptors, an ensemble for each target, error bars on held-out crystals.

Source: ours; Laplace's approximation as in H. Ritter et al., ICLR (2018).
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ase_mlx.models import Model
from ase_mlx.models.crystal_property import CrystalProperty, CrystalPropertyConfig
from ase_mlx.nn.ensemble import Ensemble
from ase_mlx.nn.hyper import AttenuatedNetwork, negative_log_likelihood
from ase_mlx.nn.terms import Term
from ase_mlx.processes import pool
from ase_mlx.quantities import SYMBOLS

from ..anomaly.calibration import calibrate_property
from ..anomaly.crystals import Crystals, describe_crystals, described_elements, join, split
from ..batches import Rows, TableBatches
from ..config import TableFit, build
from ..distributed import first_alone
from ..fit import Report, Stage, fit
from ..methods import ensemble
from ..metrics import Residuals, errors
from ..recipe import Recipe

TARGETS = ("formation_energy", "hull_distance")
"""Properties that can be learned; screenings report both."""

CHUNK = 500


@dataclass(frozen=True)
class CrystalData:
    """Which table of crystals to learn from: parquet with structures as array columns and properties in eV/atom.

    `properties` maps our names of targets to columns. Crystals are split by the column `part` where there is one, else
    by formula, by chemical system, or by time (column `year`). With `elements` the ground states of the elements join
    the training part, at zero.

    Source: ours.
    """

    file: str
    properties: dict = field(default_factory=dict)
    elements: bool = False
    split: Literal["formula", "system", "time"] = "formula"
    title: str = ""
    level_of_theory: str = "not stated"
    licence: str = "not stated"
    origin: str = "not stated"


@dataclass(frozen=True)
class CrystalPropertyTraining:
    """A training: `[data]`, `[model]` (keys of `CrystalPropertyConfig`), `[fit]` (keys of `TableFit`).

    Source: ours.
    """

    data: CrystalData
    model: dict[str, Any] = field(default_factory=dict)
    fit: TableFit = field(default_factory=TableFit)
    kind: Literal["crystal_property"] = "crystal_property"

    def __post_init__(self):
        """Refuse properties that cannot be learned."""
        expect_properties(self.data)


def expect_properties(data: CrystalData, needed: tuple[str, ...] = ()) -> None:
    """Refuse a table without targets, or with others than can be learned.

    Raises:
        ValueError: naming them.

    Source: ours.
    """
    names = tuple(data.properties)
    if not all(isinstance(column, str) for column in data.properties.values()):
        raise ValueError(f"got data.properties = {data.properties}, expected the names of columns")
    if not names or not set(needed) <= set(names) <= set(TARGETS):
        raise ValueError(
            f"got data.properties of {', '.join(names) or 'nothing'}, expected "
            f"{(' and ' if needed else ' or ').join(TARGETS)}, each with its column in eV/atom, as in "
            'properties = { formation_energy = "formation_energy_per_atom", hull_distance = "e_above_hull" }'
        )


class CrystalPropertyRecipe(Recipe):
    """How models of crystals' properties are taught.

    Source: ours.
    """

    Config = CrystalPropertyTraining
    model: CrystalProperty

    def __init__(self, config: CrystalPropertyTraining):
        """Read and describe the crystals (eV/atom, Å), and build the untrained model of their elements.

        Raises:
            FileNotFoundError: no such file.
            ValueError: unusable data or settings.
        """
        self.config = config
        sizes = {"targets": tuple(config.data.properties), "elements": (1,), **config.model}
        diffraction = build(CrystalPropertyConfig, sizes, "model").diffraction
        crystals, parts = first_alone(lambda: read_crystals(config.data, diffraction))
        self.parts = {name: crystals.take(parts == name) for name in ("train", "val", "test")}
        train, val = self.parts["train"], self.parts["val"]
        if len(train) < 2 or len(val) < 2:
            raise ValueError(f"got {len(train)} training and {len(val)} validation crystals, expected more")
        self.settings = build(CrystalPropertyConfig, {**sizes, "elements": train.elements}, "model")
        torch.manual_seed(config.fit.seed)
        self.model = CrystalProperty(self.settings)

    def stages(self) -> Iterator[Stage]:
        """Fit an ensemble for each target, and for each view in which crystals can be known."""
        yield from property_stages(self.model, self.parts["train"], self.parts["val"], self.config.fit)

    def finish(self) -> dict[str, Any]:
        """Set error bars on held-out crystals, and give the card's lines (errors in meV/atom)."""
        finish_property(self.model, self.parts["train"], self.parts["val"], self.config.fit)
        return self.lines(self.model) | {"epochs": dict(self.epochs)}

    def lines(self, model: CrystalProperty) -> dict[str, Any]:
        """List what the card says of the training, and the errors of the model of properties (meV/atom)."""
        data, test = self.config.data, self.parts["test"]
        return {
            "title": data.title,
            "elements": [SYMBOLS[z] for z in self.parts["train"].elements],
            "level_of_theory": data.level_of_theory,
            "licence": data.licence,
            "origin": data.origin,
            "errors": _all_errors(model, test) if len(test) else {},
            "errors_on": "test",
            "reliability": reliability(model, test) if len(test) else {},
            "crystals": {name: len(part) for name, part in self.parts.items()},
            "fit": asdict(self.config.fit),
        }

    @classmethod
    def read(cls, model: CrystalProperty, path: Path, part: str = "all") -> Crystals:
        """Read and describe a table with properties (eV/atom) in columns of their or the Materials Project's names."""
        return described_part(model.config, path, part)

    @classmethod
    def residuals(cls, model: CrystalProperty, data: Crystals) -> dict[str, Residuals]:
        """Compare properties (eV/atom)."""
        return property_residuals(model, data)

    @classmethod
    def evaluates(cls, model: Model, path: Path) -> bool:
        """Take tables, for models of crystals' properties."""
        return isinstance(model, CrystalProperty)


COLUMNS = {
    "formation_energy": ("formation_energy", "formation_energy_per_atom"),
    "hull_distance": ("hull_distance", "e_above_hull", "energy_above_hull"),
}
"""Columns that are looked for where no settings name them: ours, then the Materials Project's."""


def described_part(config: CrystalPropertyConfig, path: Path, part: str) -> Crystals:
    """Read and describe the crystals of one part of a table ("all": of every part), with the targets that it has.

    Raises:
        ValueError: no crystal of that part, or no column of a target.

    Source: ours.
    """
    if path.suffix != ".parquet":
        raise ValueError(f"got {path.name}, expected a parquet table of crystals with {', '.join(config.targets)}")
    columns = pd.read_parquet(path).columns
    properties = {t: next((c for c in COLUMNS[t] if c in columns), None) for t in config.targets}
    if missing := [name for name, column in properties.items() if column is None]:
        raise ValueError(
            f"got {path.name} without {', '.join(missing)}, expected columns named so (eV/atom), or "
            f"{', '.join(c for name in missing for c in COLUMNS[name][1:])}"
        )
    crystals, parts = read_crystals(CrystalData(str(path), properties), config.diffraction)
    chosen = np.ones(len(crystals), bool) if part == "all" else parts == part
    if not chosen.any():
        raise ValueError(f"got no crystal of part {part!r} in {path}, expected at least one; try --part all")
    return crystals.take(chosen)


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
    tasks = [(piece, tuple(data.properties), diffraction) for piece in pieces]
    if len(tasks) == 1:  # a process costs as much as a thousand crystals
        crystals = _describe(tasks[0])
    else:
        with pool(processes) as workers:
            crystals = join(list(workers.map(_describe, tasks)))
    if "part" in frame:
        parts = frame["part"].to_numpy(dtype=str)
    else:
        parts = split(crystals.formulas, data.split, frame.get("year"))
    if not data.elements:
        return crystals, parts
    elements = described_elements(tuple(data.properties), diffraction)
    return join([crystals, elements]), np.concatenate([parts, np.full(len(elements), "train")])


def _describe(task: tuple[pd.DataFrame, tuple[str, ...], bool]) -> Crystals:
    return describe_crystals(*task)


def train_property(
    train: Crystals,
    val: Crystals,
    config: CrystalPropertyConfig,
    settings: TableFit | None = None,
    report: Report | None = None,
) -> CrystalProperty:
    """Train an ensemble for each target and calibrate its error bars on held-out crystals.

    Args:
        train: crystals with the targets in eV/atom; rows where one is NaN are left out of that one.
        val: crystals that only the calibration sees.
        config: the model's.
        settings: how to fit.
        report: called after each epoch.

    Raises:
        ValueError: fewer than two crystals with a target, or some whose descriptors are not all known.

    Source: see the module.
    """
    settings = settings or TableFit()
    torch.manual_seed(settings.seed)
    model = CrystalProperty(config)
    for stage in property_stages(model, train, val, settings):
        fit(stage, None, report)
    finish_property(model, train, val, settings)
    return model


def property_stages(model: CrystalProperty, train: Crystals, val: Crystals, settings: TableFit) -> Iterator[Stage]:
    """Say how the ensembles of a model are fitted, each to a target (eV/atom) and what is known of the crystals.

    Raises:
        ValueError: fewer than two crystals with a target, or some whose descriptors are not all known.

    Source: ours.
    """
    config = model.config
    _check("training", train, config)
    _check("validation", val, config)
    _standardise(model, train)
    for k, name in enumerate(config.targets):
        values = train.properties[name][np.isfinite(train.properties[name])]
        model.target_center[k], model.target_scale[k] = values.mean(), values.std() or 1.0
    for networks, name, x, target in _tables(model, train):
        if settings.posterior == "laplace":
            spread = _spread(networks)
            with torch.no_grad():
                spread.fill_(-12.0)
            spread.requires_grad_(False)
        loss = _property_loss(x, target, settings.outliers)
        table = TableBatches((x, target), len(networks), settings.batch_size, settings.seed)
        yield Stage(networks, loss, table, ensemble(settings), name=name, settings=asdict(settings))


def _tables(model: CrystalProperty, train: Crystals) -> Iterator[tuple[Ensemble, str, Tensor, Tensor]]:
    """Ensemble, name, descriptors and standardised targets of each fit."""
    config = model.config
    for networks, (view, (k, target)) in zip(
        model.networks, product(config.views, enumerate(config.targets)), strict=True
    ):
        name = target if len(config.views) == 1 else f"{target} from {view}"
        standard = (train.properties[target] - float(model.target_center[k])) / float(model.target_scale[k])
        finite = np.flatnonzero(np.isfinite(standard))
        x = model.inputs(train.rows, view).float()[finite]
        yield networks, name, x, torch.from_numpy(standard[finite]).float()


def _property_loss(x: Tensor, target: Tensor, outliers: float) -> Callable[[Ensemble, Rows, Any], dict[str, Term]]:
    def loss(networks: Ensemble, rows: Rows, random: torch.Generator) -> dict[str, Term]:
        """Evidence's lower bound a row; members are independent, so that their sum is what is minimised."""
        places, device = rows.places.cpu(), rows.places.device
        scored = networks(x[places].to(device), own=True)
        nats = negative_log_likelihood(scored, target[places].to(device), outliers)
        n = places.shape[1]
        divergence = networks.call(AttenuatedNetwork.divergence).sum()
        return {"likelihood": Term(nats.sum(), n), "divergence": Term(divergence * (n / len(target)), n)}

    return loss


def finish_property(model: CrystalProperty, train: Crystals, val: Crystals, settings: TableFit) -> None:
    """Set the posterior, where it is Laplace's, and the error bars on held-out crystals (eV/atom), in place.

    Source: ours.
    """
    if settings.posterior == "laplace":
        for networks, _, x, target in _tables(model, train):
            spread = _spread(networks)
            with torch.no_grad():
                spread.copy_(_laplace(networks, x, target))
            spread.requires_grad_(True)
    calibrate_property(model.eval(), val)


def _spread(networks: Ensemble) -> Tensor:
    return networks.stacked[networks.names.index("hyper.last.spread")]


def _check(part: str, crystals: Crystals, config: CrystalPropertyConfig) -> None:
    if broken := int((~np.isfinite(crystals.rows)).any(1).sum()):
        raise ValueError(
            f"got {broken} {part} crystals with descriptors that are no numbers, expected numbers; leave them out"
        )
    for name in config.targets:
        if (count := int(np.isfinite(crystals.properties[name]).sum())) < 2:
            raise ValueError(
                f"got {count} {part} crystals with a {name}, expected at least 2; add some, or leave the target out"
            )


@torch.no_grad()
def _laplace(networks: Ensemble, x: Tensor, target: Tensor) -> Tensor:
    """Logarithms of the standard deviations of H's last weights: Gauss–Newton curvature of the scores, diagonal."""

    def curvature(member: AttenuatedNetwork, block: Tensor) -> Tensor:
        coefficient, _, _, noise = member.parts(block)
        hidden = member.hyper.hidden(block)
        inputs = torch.cat([hidden.square() / hidden.shape[1], torch.ones_like(hidden[:, :1])], 1)
        return inputs.T @ (coefficient.square() / noise[:, None])

    precision = sum(networks.call(curvature, block) for block in torch.split(x, 1024))
    return -0.5 * (precision + 1).log()


def _standardise(model: CrystalProperty, train: Crystals) -> None:
    center, scale = train.rows.mean(0), train.rows.std(0)
    model.center.copy_(torch.from_numpy(center))
    model.scale.copy_(torch.from_numpy(np.where(scale > 1e-9, scale, 1.0)))


def _all_errors(model: CrystalProperty, crystals: Crystals) -> dict[str, dict[str, Any]]:
    """Errors where structures are known, and for models with diffraction where they are not."""
    table = errors(property_residuals(model, crystals))
    for view in model.config.views[1:]:
        less = replace(crystals, rows=model.without_others(crystals.rows, view))
        table |= {f"{name} from {view}": row for name, row in errors(property_residuals(model, less)).items()}
    return table


def property_residuals(model: CrystalProperty, crystals: Crystals) -> dict[str, Residuals]:
    """Compare predicted and known properties (eV/atom) of crystals that have them.

    Source: ours.
    """
    p, residuals = model.table(crystals.rows), {}
    for name in model.config.targets:
        reference = crystals.properties[name]
        finite = np.isfinite(reference)
        levels = {level: model.half_width(name, level) for level in (0.68, 0.9, 0.95)}
        residuals[name] = Residuals("eV/atom", reference[finite], p[name][finite], p.std[name][finite], levels)
    return residuals


def reliability(model: CrystalProperty, crystals: Crystals) -> dict[str, Any]:
    """Count how many crystals lie inside central intervals of each probability.

    Source: ours.
    """
    levels = [round(0.05 * k, 2) for k in range(1, 20)]
    covered = {}
    for name, r in property_residuals(model, crystals).items():
        z = np.abs(r.reference - r.predicted) / r.std
        covered[name] = [round(float((z <= model.half_width(name, level)).mean()), 4) for level in levels]
    return {"levels": levels, "covered": covered}
