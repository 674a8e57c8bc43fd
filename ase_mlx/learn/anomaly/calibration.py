"""Error bars, probabilities and thresholds from held-out crystals.

Source: ours; Student's t as predictive distribution; thresholds by B. Matthews' correlation, Biochim. Biophys. Acta
405, 442 (1975).
"""

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.optimize import minimize
from scipy.special import gammaln

from ase_mlx.descriptors.composition import CLASSES
from ase_mlx.learn.anomaly.crystals import Crystals
from ase_mlx.models.anomaly import MODES, QUANTILES, AnomalyModel, log_densities
from ase_mlx.models.crystal_property import CrystalProperty

TAIL = 0.1
"""Share of the training crystals of each anion class that count as its tail."""

STRANGE = 0.99
"""Crystals more surprising than this share of the held-out ones are flagged as novel."""

FEWEST_FREEDOM = 2.1
"""Of Student's t: below 2 it has no standard deviation."""


def calibrate_property(model: CrystalProperty, val: Crystals) -> None:
    """Set scale and degrees of freedom of each target's predictive distribution, in place, by likelihood.

    Each ensemble of a target has its own scale; the freedom is that of the one with structures, for all of them.

    Args:
        model: trained.
        val: crystals, all blocks of descriptors known, with the targets in eV/atom; no network has seen one.

    Source: ours.
    """
    model.std_scale.fill_(1.0)
    targets = model.config.targets
    for j, view in enumerate(model.config.views):
        table = model.table(model.without_others(val.rows, view))
        for k, name in enumerate(targets):
            z = (val.properties[name] - table[name]) / table.std[name]
            scale, freedom = fit_student(z[np.isfinite(z)], float(model.freedom[k]) if j else None)
            model.std_scale[j * len(targets) + k], model.freedom[k] = scale, freedom


def fit_student(z: Float[np.ndarray, " n"], freedom: float | None = None) -> tuple[float, float]:
    """Fit Student's t around zero: its standard deviation in units of z, and its degrees of freedom (no unit).

    Args:
        z: errors in standard deviations (no unit).
        freedom: degrees of freedom that are known (no unit); None: fitted too.

    Source: maximum likelihood.
    """

    def unpacked(p: np.ndarray) -> tuple[float, float]:
        return float(np.exp(p[0])), FEWEST_FREEDOM + float(np.exp(p[1])) if freedom is None else freedom

    def cost(p: np.ndarray) -> float:
        scale, tails = unpacked(p)
        width = scale * np.sqrt((tails - 2) / tails)
        height = gammaln((tails + 1) / 2) - gammaln(tails / 2) - 0.5 * np.log(tails * np.pi)
        return (tails + 1) / 2 * np.log1p((z / width) ** 2 / tails).mean() - height + np.log(width)

    start = [np.log(np.sqrt(np.mean(np.clip(z, -5, 5) ** 2)) + 1e-12), 1.0]
    start = start if freedom is None else start[:1]
    minimum = minimize(cost, start, method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-7})
    scale, tails = unpacked(minimum.x)
    return scale, min(tails, 1e3)


def tail_quantiles(train: Crystals, tail: float = TAIL) -> Float[np.ndarray, " classes"]:
    """Give the formation energy (eV/atom) below which that share of each anion class lies.

    Source: ours; a class without crystals gets minus infinity.
    """
    energy = train.properties["formation_energy"]
    quantiles = np.full(len(CLASSES), -np.inf)
    for k in range(len(CLASSES)):
        values = energy[(train.anions == k) & np.isfinite(energy)]
        quantiles[k] = np.quantile(values, tail) if len(values) else -np.inf
    return quantiles


def best_threshold(truth: Bool[np.ndarray, " n"], score: Float[np.ndarray, " n"]) -> float:
    """Find the score (its own unit) from which calling rows positive has the best Matthews correlation.

    Where many thresholds do about as well, the middle of them is taken: it changes less from one validation set to the
    next.

    Source: ours.
    """
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(truth[order].astype(float))
    false = np.arange(1, len(order) + 1) - hits
    positives, negatives = float(truth.sum()), float((~truth).sum())
    value = hits * (negatives - false) - false * (positives - hits)
    scale = (hits + false) * positives * negatives * (len(order) - hits - false)
    value = value / np.sqrt(np.maximum(scale, 1e-300))
    value[-1] = 0.0
    good = np.flatnonzero(value >= value.max() - 0.005)
    middle = good[len(good) // 2]
    following = order[min(middle + 1, len(order) - 1)]
    return float((score[order[middle]] + score[following]) / 2)


def fit_errors(off: Float[np.ndarray, " n"], std: Float[np.ndarray, " n"]) -> tuple[float, float, float]:
    """Fit a mixture to reported minus predicted energies: right ones within error bars, wrong ones broader.

    Args:
        off: eV/atom.
        std: of the predictions, eV/atom.

    Returns:
        Width, share and size (eV/atom), as `models.anomaly.log_densities` takes them.

    Source: ours; maximum likelihood.
    """

    def unpacked(p: np.ndarray) -> tuple[float, float, float]:
        return np.exp(p[0]), 0.5 / (1 + np.exp(-p[1])), np.exp(p[2])

    def cost(p: np.ndarray) -> float:
        return -np.logaddexp(*log_densities(off, std, *unpacked(p))).mean()

    minimum = minimize(cost, [-0.3, -2.0, np.log(0.4)], method="Nelder-Mead", options={"maxiter": 2000})
    return tuple(float(x) for x in unpacked(minimum.x))


def calibrate_residual(model: AnomalyModel, val: Crystals) -> None:
    """Set share and size of wrong reports from held-out crystals, wrong ones among them, in place (eV/atom).

    Source: ours.
    """
    table = model.property.table(val.rows)
    off = val.properties["formation_energy"] - table["formation_energy"]
    finite = np.isfinite(off)
    model.errors.copy_(torch.tensor(fit_errors(off[finite], table.std["formation_energy"][finite])))


def calibrate_anomalies(model: AnomalyModel, train: Crystals, val: Crystals) -> None:
    """Set tails from training crystals, all else from held-out ones, in place (eV/atom where energies).

    Source: ours.
    """
    model.tail.copy_(torch.from_numpy(np.nan_to_num(tail_quantiles(train), neginf=-1e3)))
    model.usual.copy_(model.nats(val.rows).mean((0, 1)))
    calibrate_residual(model, val)
    _, judged = model.table(val.rows, val.anions, val.properties["formation_energy"])
    novelty = judged["novelty"].score
    model.novelties.copy_(torch.from_numpy(np.quantile(novelty, np.linspace(0, 1, QUANTILES))))
    truth = val.properties["formation_energy"] <= model.tail.numpy()[val.anions]
    tail = judged["supervised_tail"].probability
    thresholds = {
        "supervised_tail": best_threshold(truth, tail) if 0 < truth.sum() < len(truth) else 0.5,
        "residual": 0.5,
        "novelty": float(np.quantile(novelty, STRANGE)),
    }
    model.thresholds.copy_(torch.tensor([thresholds[mode] for mode in MODES]))
