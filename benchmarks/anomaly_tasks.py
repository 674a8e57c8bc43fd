"""Real crystals, what counts as an anomaly among them, and how each task is scored.

Labels come from the training part alone (quantiles), thresholds from validation alone (Matthews correlation).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, matthews_corrcoef, precision_score, recall_score, roc_auc_score

from ase_mlx.learn.anomaly.calibration import best_threshold, tail_quantiles
from ase_mlx.learn.anomaly.crystals import Crystals, describe_crystals
from ase_mlx.learn.recipes.crystal_property import CrystalData, read_crystals

FILE = Path(__file__).resolve().parents[1] / "data" / "mp_crystals.parquet"
DATA = CrystalData(str(FILE), {"formation_energy": "formation_energy_per_atom", "hull_distance": "e_above_hull"})
KINDS = ("compressed", "stretched", "permuted", "rattled", "wrong element")
MILD = {"compressed": 0.96, "stretched": 1.05, "rattled": 0.1}


@dataclass(frozen=True)
class Parts:
    """Training, validation and test crystals, and the rows of the table they came from."""

    train: Crystals
    val: Crystals
    test: Crystals
    frame: pd.DataFrame


def load(rows: int | None = None, diffraction: bool = False) -> dict[str, Parts]:
    """Read and describe all crystals, once; give the split by formula and the split by time."""
    crystals, part = read_crystals(DATA, diffraction)
    frame = pd.read_parquet(FILE)
    keep = np.arange(len(frame)) if rows is None else np.random.default_rng(0).permutation(len(frame))[:rows]
    masks = {"formula": [part == name for name in ("train", "val", "test")]}
    early, late = (frame["mpts52_split"] == name for name in ("val", "test"))
    held = (np.random.default_rng(1).random(len(frame)) < 0.15) & early  # of 1997 to 2004, for thresholds
    same = frame["formula"].isin(frame["formula"][held])  # polymorphs of one formula stay together
    masks["time"] = [(early & ~same).to_numpy(), (early & same).to_numpy(), late.to_numpy()]
    found = {}
    for name, three in masks.items():
        places = [np.intersect1d(np.flatnonzero(mask), keep) for mask in three]
        found[name] = Parts(*(crystals.take(p) for p in places), frame.iloc[places[2]].reset_index(drop=True))
    return found


def labels(parts: Parts, task: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Thresholds (eV/atom) of validation and test crystals, and which of them lie below."""
    energy = parts.train.properties["formation_energy"]
    lowest = {"all": np.full(7, np.quantile(energy, 0.1)), "class": tail_quantiles(parts.train)}[task]
    limits = [lowest[c.anions] for c in (parts.val, parts.test)]
    truth = [c.properties["formation_energy"] <= t for c, t in zip((parts.val, parts.test), limits, strict=True)]
    return limits[0], limits[1], truth[0], truth[1]


def figures(truth_val, score_val, truth, score) -> dict[str, float]:
    """The row of one model: threshold from validation, everything else on test."""
    said = score >= best_threshold(truth_val, score_val)
    recall, precision = recall_score(truth, said), precision_score(truth, said, zero_division=0.0)
    return {
        "recall": float(recall),
        "precision": float(precision),
        "F1": float(2 * recall * precision / max(recall + precision, 1e-9)),
        "MCC": float(matthews_corrcoef(truth, said)),
        "AP": float(average_precision_score(truth, score)),
        "AUC": float(roc_auc_score(truth, score)),
    }


def interval(truth_val, score_val, truth, score, name: str = "MCC", count: int = 1000) -> tuple[float, float]:
    """95 % interval of MCC or AUC over bootstrapped test crystals; the threshold stays the one from validation."""
    said = score >= best_threshold(truth_val, score_val)
    random, found = np.random.default_rng(0), []
    for _ in range(count):
        k = random.integers(0, len(truth), len(truth))
        t = truth[k]
        if 0 < t.sum() < len(k):
            found.append(_correlation(t, said[k]) if name == "MCC" else _area(t, score[k]))
    return tuple(float(x) for x in np.percentile(found, (2.5, 97.5)))


def _correlation(truth, said) -> float:
    both, t, s, n = (truth & said).sum(), truth.sum(), said.sum(), len(truth)
    scale = float(t) * s * (n - t) * (n - s)
    return (float(n) * both - float(t) * s) / np.sqrt(scale) if scale else 0.0


def _area(truth, score) -> float:
    positives = truth.sum()
    drawn = rankdata(score)
    return (drawn[truth].sum() - positives * (positives + 1) / 2) / (positives * (len(truth) - positives))


def corrupted(kind: str, frame: pd.DataFrame, seed: int, mild: bool = False) -> pd.DataFrame:
    """Spoil structures of a table: lattice ×0.88 or ×1.15, species shuffled, 0.3 Å of noise, one element replaced.

    `mild`: ×0.96, ×1.05, 0.1 Å.
    """
    random = np.random.default_rng([seed, KINDS.index(kind)])
    pool = np.concatenate(frame["numbers"].to_numpy())
    columns = {"lattice": [], "numbers": [], "frac_coords": []}
    for lattice, numbers, fractional in zip(*(frame[c] for c in columns), strict=True):
        cell, kinds = np.reshape(lattice, (3, 3)).astype(float), np.array(numbers)
        places = np.reshape(fractional, (-1, 3)).astype(float)
        if kind in ("compressed", "stretched"):
            cell = cell * (MILD[kind] if mild else {"compressed": 0.88, "stretched": 1.15}[kind])
        elif kind == "permuted":
            shuffled = random.permutation(kinds)
            while len(set(kinds)) > 1 and (shuffled == kinds).all():
                shuffled = random.permutation(kinds)
            kinds = shuffled
        elif kind == "rattled":
            places = places + random.normal(0, MILD[kind] if mild else 0.3, places.shape) @ np.linalg.inv(cell)
        else:
            old = new = random.choice(np.unique(kinds))
            while new in kinds:
                new = random.choice(pool)
            kinds = np.where(kinds == old, new, kinds)
        for column, value in zip(columns, (cell.ravel(), kinds, places.ravel()), strict=True):
            columns[column].append(value)
    return pd.DataFrame(columns)


def spoiled(parts: Parts, seed: int, count: int) -> dict[str, Crystals]:
    """Corrupted copies of test crystals, described; those that cannot be permuted are not taken for that."""
    random = np.random.default_rng(seed)
    found = {}
    for mild in (False, True):
        for kind in KINDS if not mild else MILD:
            able = np.flatnonzero(parts.frame["nelements"] > 1) if kind == "permuted" else np.arange(len(parts.frame))
            rows = parts.frame.iloc[random.choice(able, min(count, len(able)), replace=False)]
            found[f"mild {kind}" if mild else kind] = describe_crystals(corrupted(kind, rows, seed, mild))
    return found
