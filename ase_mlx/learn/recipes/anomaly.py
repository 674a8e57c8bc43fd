"""Anomalies among crystals: properties, novelty, and thresholds that held-out crystals set.

Source: ours.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch

from ase_mlx.descriptors import NAMES, STRUCTURE
from ase_mlx.models import Model
from ase_mlx.models.anomaly import HIDDEN, AnomalyConfig, AnomalyModel
from ase_mlx.models.crystal_property import CrystalProperty
from ase_mlx.nn.ensemble import Ensemble
from ase_mlx.nn.terms import Term

from ..anomaly.calibration import calibrate_anomalies
from ..anomaly.crystals import Crystals
from ..batches import Rows, TableBatches
from ..config import TableFit
from ..fit import Report, Stage, fit
from ..methods import ensemble
from ..metrics import Residuals
from ..recipe import Recipe
from .crystal_property import (
    TARGETS,
    CrystalData,
    CrystalPropertyRecipe,
    CrystalPropertyTraining,
    described_part,
    expect_properties,
    finish_property,
    property_residuals,
    property_stages,
    train_property,
)

JITTER = 0.02
"""Noise on standardised descriptors of structure: many are the same to the last digit, which has no density."""


@dataclass(frozen=True)
class AnomalyTraining:
    """A training: `[data]`, `[model]` (keys of `CrystalPropertyConfig`), `[fit]` (keys of `TableFit`).

    Source: ours.
    """

    data: CrystalData
    model: dict[str, Any] = field(default_factory=dict)
    fit: TableFit = field(default_factory=TableFit)
    kind: Literal["anomaly"] = "anomaly"

    def __post_init__(self):
        """Refuse properties that cannot be learned."""
        expect_properties(self.data, TARGETS)


class AnomalyRecipe(Recipe):
    """How models of anomalies are taught: properties first, then novelty.

    Source: ours.
    """

    Config = AnomalyTraining
    model: AnomalyModel

    def __init__(self, config: AnomalyTraining):
        """Read and describe the crystals (eV/atom, Å), and build the untrained model of their elements.

        Raises:
            FileNotFoundError: no such file.
            ValueError: unusable data or settings.
        """
        self.config = config
        self.properties = CrystalPropertyRecipe(CrystalPropertyTraining(config.data, config.model, config.fit))
        self.parts = self.properties.parts
        self.model = AnomalyModel(AnomalyConfig(self.properties.settings))

    def stages(self) -> Iterator[Stage]:
        """Fit the ensembles of the properties, then the networks of novelty."""
        fit_settings = self.config.fit
        yield from property_stages(self.model.property, self.parts["train"], self.parts["val"], fit_settings)
        yield novelty_stage(self.model, self.parts["train"], fit_settings)

    def finish(self) -> dict[str, Any]:
        """Set error bars, tails and thresholds on held-out crystals, and give the card's lines (errors in meV/atom)."""
        train, val = self.parts["train"], self.parts["val"]
        finish_property(self.model.property, train, val, self.config.fit)
        calibrate_anomalies(self.model.eval(), train, val)
        return self.properties.lines(self.model.property) | {"epochs": dict(self.epochs)}

    @classmethod
    def read(cls, model: AnomalyModel, path: Path, part: str = "all") -> Crystals:
        """Read and describe a table with properties (eV/atom) in columns of their or the Materials Project's names."""
        return described_part(model.config.property, path, part)

    @classmethod
    def residuals(cls, model: AnomalyModel, data: Crystals) -> dict[str, Residuals]:
        """Compare properties (eV/atom)."""
        return property_residuals(model.property, data)

    @classmethod
    def evaluates(cls, model: Model, path: Path) -> bool:
        """Take tables, for models of anomalies."""
        return isinstance(model, AnomalyModel)


def train_anomaly(
    train: Crystals,
    val: Crystals,
    config: AnomalyConfig,
    settings: TableFit | None = None,
    property_model: CrystalProperty | None = None,
    report: Report | None = None,
) -> AnomalyModel:
    """Train properties and novelty, and set quantiles from training, thresholds from held-out crystals alone.

    Args:
        train: crystals with `formation_energy` and the other targets in eV/atom.
        val: crystals for calibration and thresholds.
        config: the model's.
        settings: how to fit.
        property_model: a trained one to take over.
        report: called after each epoch.

    Raises:
        ValueError: no formation energies.

    Source: see the module.
    """
    settings = settings or TableFit()
    torch.manual_seed(settings.seed)
    model = AnomalyModel(config)
    if property_model is None:
        property_model = train_property(train, val, config.property, settings, report)
    model.property.load_state_dict(property_model.state_dict())
    fit(novelty_stage(model, train, settings), None, report)
    calibrate_anomalies(model.eval(), train, val)
    return model


def novelty_stage(model: AnomalyModel, train: Crystals, settings: TableFit) -> Stage:
    """Say how the conditional networks learn to predict hidden descriptors of structure (standardised).

    Source: ours; masks cover any share of the entries, or whole groups, as they are asked for later.
    """
    x = model.standard(train.rows).float()
    described, entries = x[:, :STRUCTURE], x[:, STRUCTURE : len(NAMES)]
    group = torch.zeros(len(HIDDEN), entries.shape[1])
    for k, places in enumerate(HIDDEN):
        group[k, [place - STRUCTURE for place in places]] = 1

    def loss(networks: Ensemble, rows: Rows, random: torch.Generator) -> dict[str, Term]:
        places, device = rows.places.cpu(), rows.places.device
        noisy = entries[places].to(device)
        noisy = noisy + JITTER * rows.draw(random, noisy.shape[2], kind=torch.randn)
        shown = (rows.draw(random, noisy.shape[2]) < rows.draw(random, 1).pow(0.7)).float()
        whole = 1 - group.to(device)[(rows.draw(random) * len(HIDDEN)).long()]
        shown = torch.where(rows.draw(random, 1) < 0.5, whole, shown)
        nats = networks(described[places].to(device), noisy, shown, own=True)
        hidden = 1 - shown
        each = (nats * hidden).sum(-1) / hidden.sum(-1).clamp_min(1)
        return {"nats": Term(each.sum(), places.shape[1])}

    slower = replace(settings, learning_rate=settings.learning_rate / 2, weight_decay=settings.weight_decay / 2)
    table = TableBatches((x,), len(model.novelty), settings.batch_size, settings.seed)
    return Stage(model.novelty, loss, table, ensemble(slower), name="novelty", settings=asdict(slower))
