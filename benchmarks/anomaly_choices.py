"""Choices in `novelty`, in `suggest` and in what describes a powder pattern, made without test crystals.

    python benchmarks/anomaly_choices.py [--only novelty weight pattern]... [--seeds N]

novelty: ways to put the surprises of 44 descriptors together. Of five folds of the training crystals, by formula,
networks see four; the fifth is judged, as it is and spoiled; centres and scales are those of validation. ROC-AUC as
in tasks (e) and (f) of anomaly.py.
weight: what a nat of information counts in `suggest`; active learning as in anomaly_screening.py, asked from the
validation crystals alone.
pattern: numbers that describe a powder pattern, beside those of composition; errors of validation crystals.
"""

import argparse
import itertools
import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from anomaly_models import ours
from anomaly_report import Table, show
from anomaly_screening import ask
from anomaly_tasks import DATA, FILE, KINDS, MILD, Parts, spoiled
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold
from verdict import machine, print_machine

from ase_mlx.descriptors import STRUCTURE, diffraction
from ase_mlx.graph import batch
from ase_mlx.learn.anomaly.crystals import STRUCTURE_COLUMNS, graph_of
from ase_mlx.learn.config import TableFit
from ase_mlx.learn.recipes.anomaly import train_anomaly
from ase_mlx.learn.recipes.crystal_property import read_crystals
from ase_mlx.models.anomaly import AnomalyConfig
from ase_mlx.screen import suggestions

ENERGY, HULL = "formation_energy", "hull_distance"
TASKS = ("novelty", "weight", "pattern")
WEIGHTS = (0.0, 0.1, 0.3, 1.0, 3.0)


def folds(count: int) -> Iterator[Parts]:
    """Four fifths of training, validation, and the other fifth of training where a test part would be."""
    crystals, part = read_crystals(DATA, False)
    train, val = np.flatnonzero(part == "train"), np.flatnonzero(part == "val")
    cuts = GroupKFold(5, shuffle=True, random_state=0).split(train, groups=crystals.formulas[train])
    for seen, held in itertools.islice(cuts, count):
        frame = pd.read_parquet(FILE).iloc[train[held]].reset_index(drop=True)
        yield Parts(*(crystals.take(p) for p in (train[seen], val, train[held])), frame)


def ways(val: torch.Tensor) -> dict:
    """From surprises (members, crystals, descriptors) to one score a crystal."""
    center, scale = val.mean((0, 1)), val.mean(0).std(0).clamp_min(1e-3)

    def standard(nats, highest):
        return ((nats - center) / scale).clamp(-5.0, highest).mean(0)

    return {
        "nats, mean (ours)": lambda nats: nats.mean(0).mean(1),
        "nats, at most 5, mean": lambda nats: nats.clamp(max=5.0).mean(0).mean(1),
        "nats, mean, middle member": lambda nats: nats.mean(2).median(0).values,
        "nats of the mixture of members, mean": lambda nats: -torch.logsumexp(-nats, 0).mean(1),
        "standardised, −5 to 5, mean": lambda nats: standard(nats, 5.0).mean(1),
        "standardised, −5 to 20, mean": lambda nats: standard(nats, 20.0).mean(1),
        "standardised, −5 to 20, five largest": lambda nats: standard(nats, 20.0).topk(5, 1).values.mean(1),
        "standardised, largest": lambda nats: standard(nats, 20.0).max(1).values,
    }


def untimed(table: Table) -> None:
    show(table.title, [{k: v for k, v in row.items() if k not in ("train, s", "score, ms")} for row in table.done()])


def novelty(count: int) -> None:
    table = Table("novelty of training crystals that no network saw, folds by formula: ROC-AUC")
    for seed, parts in enumerate(folds(count)):
        far = parts.test.properties[HULL] > 0.5
        unused = ours(parts.train, parts.val, ENERGY, seed, TableFit(epochs=1), members=1).model
        model = train_anomaly(parts.train, parts.val, AnomalyConfig(unused.config), TableFit(seed=seed), unused)
        clean = model.nats(parts.test.rows)
        bad = {kind: model.nats(crystals.rows) for kind, crystals in spoiled(parts, seed, 600).items()}
        for name, way in ways(model.nats(parts.val.rows)).items():
            scores = way(clean).numpy()
            areas = {}
            for kind, nats in bad.items():
                truth = np.r_[np.zeros(len(scores)), np.ones(nats.shape[1])]
                areas[kind] = float(roc_auc_score(truth, np.r_[scores, way(nats).numpy()]))
            found = {
                "(e) mean": float(np.mean([areas[kind] for kind in KINDS])),
                "mild": float(np.mean([areas[f"mild {kind}"] for kind in MILD])),
                "(f)": float(roc_auc_score(far, scores)),
            }
            table.add(name, found, 0.0, 0.0)
        print(f"  novelty: fold {seed}, {len(far)} crystals, {far.sum()} far above the hull", file=sys.stderr)
    untimed(table)


def weight(seeds: int) -> None:
    rows, (parts,) = [], folds(1)
    for value in WEIGHTS:
        suggestions.WEIGHT = value
        found = [ask("suggest", parts.val, seed) for seed in range(seeds)]
        spread = np.std(found, ddof=1) / np.sqrt(seeds)
        rows.append({"model": f"weight {value}", "seeds": seeds, "found": float(np.mean(found)), "±": float(spread)})
        print(f"  weight {value} done", file=sys.stderr, flush=True)
    show("suggest: crystals of the tail among a twentieth of the validation crystals", rows)


def descriptions(patterns: np.ndarray, compositions: np.ndarray) -> dict[str, np.ndarray]:
    """Ways to describe patterns, at most as many numbers as there are of structure."""

    def below(last: float, count: int) -> np.ndarray:
        return diffraction.describe_patterns(patterns, compositions, np.linspace(0.2, last, count + 1))

    return {
        "composition alone": np.zeros((len(patterns), 0)),
        "8 shares below 1.6 (ours)": below(1.6, 8),
        "16 shares below 1.6": below(1.6, 16),
        "32 shares below 1.6": below(1.6, 32),
        "8 shares below 1.2": below(1.2, 8),
        "8 shares below 2.0": below(2.0, 8),
        "square roots in 32 bins": np.sqrt(patterns.reshape(len(patterns), 32, -1).sum(2)),
    }


def pattern(seeds: int) -> None:
    """The numbers take the places of those of structure, which the network does not see."""
    crystals, part = read_crystals(DATA, False)
    frame = pd.read_parquet(FILE, columns=list(STRUCTURE_COLUMNS))
    parts = [np.flatnonzero(part == name) for name in ("train", "val")]
    both, found = np.concatenate(parts), []
    for start in range(0, len(both), 64):
        rows = frame.iloc[both[start : start + 64]]
        found.append(diffraction.powder_patterns(batch([graph_of(*row) for row in rows.itertuples(index=False)])))
    tables = [Table(f"numbers of a powder pattern, {name.replace('_', ' ')}: validation") for name in (ENERGY, HULL)]
    known = crystals.take(both)
    for name, numbers in descriptions(np.concatenate(found), known.rows[:, :STRUCTURE]).items():
        rows = np.zeros_like(known.rows)
        rows[:, :STRUCTURE], rows[:, STRUCTURE:][:, : numbers.shape[1]] = known.rows[:, :STRUCTURE], numbers
        seen = replace(known, rows=rows)
        train, val = seen.take(np.arange(len(parts[0]))), seen.take(np.arange(len(parts[0]), len(both)))
        for seed, (target, table) in itertools.product(range(seeds), zip((ENERGY, HULL), tables, strict=True)):
            off = 1e3 * (val.properties[target] - ours(train, val, target, seed).predict(val.rows)[0])
            errors = {"MAE, meV": float(np.abs(off).mean()), "RMSE, meV": float(np.sqrt((off**2).mean()))}
            table.add(name, {"numbers": numbers.shape[1], **errors}, 0.0, 0.0)
        print(f"  pattern: {name} done", file=sys.stderr, flush=True)
    for table in tables:
        untimed(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--seeds", type=int, default=5)
    chosen = parser.parse_args()
    torch.set_num_threads(2)
    print_machine(machine())
    runs = {"novelty": novelty, "weight": weight, "pattern": pattern}
    for task in chosen.only:
        runs[task](chosen.seeds)


if __name__ == "__main__":
    main()
