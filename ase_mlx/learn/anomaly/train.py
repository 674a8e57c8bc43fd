"""From a table of crystals to a calibrated model of properties and anomalies.

Source: ours; Laplace's approximation as in H. Ritter et al., ICLR (2018).
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np
import torch
from torch import Tensor

from ase_mlx.descriptors import NAMES, STRUCTURE
from ase_mlx.learn.anomaly.calibration import calibrate_anomalies, calibrate_property
from ase_mlx.learn.anomaly.crystals import Crystals
from ase_mlx.learn.anomaly.fit import Draw, TableFit, fit_ensemble
from ase_mlx.models.anomaly import HIDDEN, AnomalyConfig, AnomalyModel
from ase_mlx.models.crystal_property import CrystalProperty, CrystalPropertyConfig
from ase_mlx.nn.ensemble import Ensemble
from ase_mlx.nn.hyper import AttenuatedNetwork, negative_log_likelihood

Progress = Callable[[str, int, int], None]
JITTER = 0.02
"""Noise on standardised descriptors of structure: many are the same to the last digit, which has no density."""


def train_property(
    train: Crystals,
    val: Crystals,
    config: CrystalPropertyConfig,
    fit: TableFit | None = None,
    progress: Progress | None = None,
) -> CrystalProperty:
    """Train an ensemble for each target and calibrate its error bars on held-out crystals.

    Args:
        train: crystals with the targets in eV/atom; rows where one is NaN are left out of that one.
        val: crystals that only the calibration sees.
        config: the model's.
        fit: how to fit.
        progress: called with (target, epoch, epochs).

    Raises:
        ValueError: fewer than two crystals with a target, or some whose descriptors are not all known.

    Source: see the module.
    """
    fit = fit or TableFit()
    torch.manual_seed(fit.seed)
    model = CrystalProperty(config)
    _check("training", train, config)
    _check("validation", val, config)
    _standardise(model, train)
    for k, name in enumerate(config.targets):
        values = train.properties[name][np.isfinite(train.properties[name])]
        model.target_center[k], model.target_scale[k] = values.mean(), values.std() or 1.0
    for network, (way, (k, name)) in zip(model.networks, product(config.ways, enumerate(config.targets)), strict=True):
        what, x = name if len(config.ways) == 1 else f"{name} from {way}", model.inputs(train.rows, way).float()
        target = (train.properties[name] - float(model.target_center[k])) / float(model.target_scale[k])
        known = np.flatnonzero(np.isfinite(target))
        report = None if progress is None else lambda done, total, what=what: progress(what, done, total)
        _fit_one(network, x[known], torch.from_numpy(target[known]).float(), fit, report)
    calibrate_property(model.eval(), val)
    return model


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


def _fit_one(network: Ensemble, x: Tensor, target: Tensor, fit: TableFit, report) -> None:
    """Fit by the evidence's lower bound or, for Laplace, by the most probable weights, whose spread follows."""
    laplace = fit.posterior == "laplace"
    spread = network.stacked[network.names.index("hyper.last.spread")]
    if laplace:
        with torch.no_grad():
            spread.fill_(-12.0)
        spread.requires_grad_(False)

    def loss(ensemble: Ensemble, picked: Tensor, draw: Draw) -> Tensor:
        return negative_log_likelihood(ensemble(x[picked], own=True), target[picked], fit.outliers)

    shared = lambda: network.call(AttenuatedNetwork.divergence).sum()  # noqa: E731
    fit_ensemble(network, loss, len(target), fit, shared, ("hyper.last",), report)
    if laplace:
        spread.copy_(_laplace(network, x, target))
        spread.requires_grad_(True)


@torch.no_grad()
def _laplace(network: Ensemble, x: Tensor, target: Tensor) -> Tensor:
    """Logarithms of the standard deviations of H's last weights: Gauss–Newton curvature of the scores, diagonal."""

    def curvature(member: AttenuatedNetwork, block: Tensor) -> Tensor:
        coefficient, _, _, noise = member.parts(block)
        hidden = member.hyper.hidden(block)
        inputs = torch.cat([hidden.square() / hidden.shape[1], torch.ones_like(hidden[:, :1])], 1)
        return inputs.T @ (coefficient.square() / noise[:, None])

    precision = sum(network.call(curvature, block) for block in torch.split(x, 1024))
    return -0.5 * (precision + 1).log()


def _standardise(model: CrystalProperty, train: Crystals) -> None:
    center, scale = train.rows.mean(0), train.rows.std(0)
    model.center.copy_(torch.from_numpy(center))
    model.scale.copy_(torch.from_numpy(np.where(scale > 1e-9, scale, 1.0)))


def train_anomaly(
    train: Crystals,
    val: Crystals,
    config: AnomalyConfig,
    fit: TableFit | None = None,
    property_model: CrystalProperty | None = None,
    progress: Progress | None = None,
) -> AnomalyModel:
    """Train properties and novelty, and set quantiles from training, thresholds from held-out crystals alone.

    Args:
        train: crystals with `formation_energy` and the other targets in eV/atom.
        val: crystals for calibration and thresholds.
        config: the model's.
        fit: how to fit.
        property_model: a trained one to take over.
        progress: called with (what, epoch, epochs).

    Raises:
        ValueError: no formation energies.

    Source: see the module.
    """
    fit = fit or TableFit()
    torch.manual_seed(fit.seed)
    model = AnomalyModel(config)
    if property_model is None:
        property_model = train_property(train, val, config.property, fit, progress)
    model.property.load_state_dict(property_model.state_dict())
    train_novelty(model, train, fit, progress)
    calibrate_anomalies(model.eval(), train, val)
    return model


def train_novelty(model: AnomalyModel, train: Crystals, fit: TableFit, progress: Progress | None = None) -> None:
    """Fit the conditional networks, in place, to predict hidden descriptors of structure (standardised).

    Source: see the module; masks cover any share of the entries, or whole groups, as they are asked for later.
    """
    x = model.standard(train.rows).float()
    known, entries = x[:, :STRUCTURE], x[:, STRUCTURE : len(NAMES)]
    group = torch.zeros(len(HIDDEN), entries.shape[1])
    for k, places in enumerate(HIDDEN):
        group[k, [place - STRUCTURE for place in places]] = 1

    def loss(ensemble: Ensemble, picked: Tensor, draw: Draw) -> Tensor:
        noisy = entries[picked]
        noisy = noisy + JITTER * draw(noisy.shape[2], kind=torch.randn)
        shown = (draw(noisy.shape[2]) < draw(1).pow(0.7)).float()
        whole = 1 - group[(draw() * len(HIDDEN)).long()]
        shown = torch.where(draw(1) < 0.5, whole, shown)
        nats = ensemble(known[picked], noisy, shown, own=True)
        hidden = 1 - shown
        return (nats * hidden).sum(-1) / hidden.sum(-1).clamp_min(1)

    report = None if progress is None else lambda done, total: progress("novelty", done, total)
    settings = replace(fit, learning_rate=fit.learning_rate / 2, weight_decay=fit.weight_decay / 2)
    fit_ensemble(model.novelty, loss, len(x), settings, report=report)
