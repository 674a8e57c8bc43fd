"""Anomaly detection among real crystals: the table of the published method (BHNAA), and tasks that separate models.

    python benchmarks/anomaly.py [--only TASK...] [--seeds N] [--quick] [--json FILE]

Tasks: tails, time, errors, corrupted, hull, diffraction, cost.

22,691 crystals of the Materials Project (data/mp_crystals.parquet). Parts by formula 70:15:15, thresholds from
validation by Matthews correlation, quantiles from training, test touched once a model. Figures are means over seeds;
the interval is the bootstrap's over test crystals, mean of the seeds'. Peers that have no randomness run once. With
--json the results of tasks done before are kept and printed with the new ones.
"""

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from anomaly_models import DETECTORS, boosting, classifier, detector, gaussian_process, ours, plain, ridge
from anomaly_report import NAMED, PATTERNS, Table, lines, show, tails_of
from anomaly_tasks import KINDS, MILD, Parts, figures, interval, labels, load, spoiled
from scipy.stats import norm
from scipy.stats import t as student
from sklearn.metrics import roc_auc_score
from verdict import machine, print_machine, verdict

from ase_mlx.descriptors import NAMES
from ase_mlx.learn.anomaly.calibration import calibrate_residual, fit_errors, tail_quantiles
from ase_mlx.learn.anomaly.crystals import Crystals
from ase_mlx.learn.config import TableFit
from ase_mlx.learn.recipes.anomaly import train_anomaly
from ase_mlx.models.anomaly import AnomalyConfig, AnomalyModel, log_densities

ENERGY, HULL = "formation_energy", "hull_distance"
TASKS = ("tails", "time", "errors", "corrupted", "hull", "diffraction", "cost")


def probability(fitted, rows, limit) -> np.ndarray:
    """Probability of lying below; for models without a spread, how far below."""
    mean, std = fitted.predict(rows)
    if std is None:
        return limit - mean
    freedom = fitted.freedom
    return student.cdf((limit - mean) / (std * np.sqrt((freedom - 2) / freedom)), freedom)


def scored(fitted, task: str, parts: Parts) -> tuple[dict[str, float], float]:
    """Figures of one fitted model on one label, and milliseconds a row."""
    limit_val, limit, truth_val, truth = labels(parts, task)
    start = time.perf_counter()
    if fitted.score is not None:
        a, b = fitted.score(parts.val.rows), fitted.score(parts.test.rows)
    else:
        a, b = (probability(fitted, c.rows, t) for c, t in ((parts.val, limit_val), (parts.test, limit)))
    each = 1e3 * (time.perf_counter() - start) / (len(a) + len(b))
    low, high = interval(truth_val, a, truth, b)
    return {**figures(truth_val, a, truth, b), "low": low, "high": high}, each


def calibration(fitted, test: Crystals, name: str = ENERGY) -> dict[str, float]:
    """How error bars keep their promise on test crystals; CRPS of the Gaussian with that spread."""
    mean, std = fitted.predict(test.rows)
    z = (test.properties[name] - mean) / std
    width = student.ppf(0.95, fitted.freedom) * np.sqrt((fitted.freedom - 2) / fitted.freedom)
    crps = std * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))
    return {
        "MAE, meV": 1e3 * float(np.abs(mean - test.properties[name]).mean()),
        "z spread": float(z.std()),
        "inside 90 %": 100 * float((np.abs(z) <= width).mean()),
        "CRPS, meV": 1e3 * float(crps.mean()),
        "mean std, meV": 1e3 * float(std.mean()),
    }


def tails(parts: Parts, seeds: int, fit: TableFit, title: str, tasks: tuple[str, ...], full: bool) -> dict[str, list]:
    """Tasks (a), (b), (c): the energy's tail; and calibration of all models that have error bars."""
    tables = {task: Table(f"{title}, {task}") for task in tasks}
    errors = Table(f"{title}: error bars")

    def note(model: str, fitted) -> None:
        for task, table in tables.items():
            found, each = scored(fitted, task, parts)
            table.add(model, found, fitted.seconds, each)
        if fitted.score is None and fitted.predict(parts.test.rows[:2])[1] is not None:
            errors.add(model, calibration(fitted, parts.test), fitted.seconds, 0.0)
        print(f"  {title}: {model} done in {fitted.seconds:.0f} s", file=sys.stderr, flush=True)

    train, val = parts.train, parts.val
    if full:
        rule = type("Rule", (), {"score": staticmethod(f_or_o), "seconds": 0.0})()
        note("rule: F or O", rule)
    note("ridge", ridge(train, val, ENERGY, 0))
    note("exact GP", gaussian_process(train, val, ENERGY, 0))
    for seed in range(seeds):
        for task in tasks:
            truth = train.properties[ENERGY] <= limits_of_train(parts, task)
            for kind in ("boosting", "GP"):
                fitted = classifier(kind, train, truth, seed)
                found, each = scored(fitted, task, parts)
                tables[task].add(f"{kind} classifier", found, fitted.seconds, each)
        for kind in DETECTORS if full else ():
            if seed == 0 or kind in ("isolation forest", "one-class SVM", "autoencoder (PyOD)"):
                note(kind, detector(kind, train, seed))
        note("gradient boosting", boosting(train, val, ENERGY, seed))
        deep = plain(train, val, ENERGY, seed, fit=fit)
        note("deep ensemble", deep)
        whole = ours(train, val, ENERGY, seed, fit)
        note(NAMED, whole)
        variants = {"MLP 3×128": deep, "BHNAA": whole}
        if seed == 0:
            variants["BHNAA without attenuation"] = ours(train, val, ENERGY, seed, fit, attenuation=0.0)
            note("BHNAA without attenuation, ensemble", variants["BHNAA without attenuation"])
            variants["BHNAA literal"] = ours(train, val, ENERGY, seed, fit, literal=True)
            if full:
                variants["BHNAA, Laplace"] = ours(train, val, ENERGY, seed, _laplace(fit))
                variants["BHNAA with group attention"] = ours(train, val, ENERGY, seed, fit, attention=True)
            for name, fitted in variants.items():  # the five members are five seeds of the single model
                for member in fitted.parts:
                    member.seconds = fitted.seconds / len(fitted.parts)
                    note(name, member)
    return {table.title: table.done() for table in (*tables.values(), errors)}


def _laplace(fit: TableFit) -> TableFit:
    return replace(fit, posterior="laplace")


def f_or_o(rows: np.ndarray) -> np.ndarray:
    """The rule: is the most electronegative element fluorine or oxygen?"""
    return (rows[:, NAMES.index("max Electronegativity")] > 3.3).astype(float)


def limits_of_train(parts: Parts, task: str) -> np.ndarray:
    energy = parts.train.properties[ENERGY]
    if task == "all":
        return np.full(len(energy), np.quantile(energy, 0.1))
    return tail_quantiles(parts.train)[parts.train.anions]


def label_errors(parts: Parts, seeds: int, fit: TableFit) -> dict[str, list]:
    """Task (d): ±0.5 eV/atom on 5 % of all energies, those of training among them; found on test."""
    table = Table("(d) label errors")
    for seed in range(seeds):
        random = np.random.default_rng(100 + seed)
        spoilt, wrong = [], []
        for part in (parts.train, parts.val, parts.test):
            is_wrong = random.random(len(part)) < 0.05
            off = np.where(is_wrong, random.choice([-0.5, 0.5], len(part)), 0.0)
            spoilt.append(Crystals(part.rows, part.anions, part.formulas, {ENERGY: part.properties[ENERGY] + off}))
            wrong.append(is_wrong)
        train, val, test = spoilt
        whole = ours(train, val, ENERGY, seed, fit)
        deep = plain(train, val, ENERGY, seed, fit=fit)
        robust = replace(fit, outliers=0.05)
        best = ours(train, val, ENERGY, seed, robust)
        models = {
            f"{NAMED}, outliers = 0.05": best,
            NAMED: whole,
            "BHNAA": whole.parts[0],
            "deep ensemble, outliers = 0.05": plain(train, val, ENERGY, seed, fit=robust),
            "deep ensemble": deep,
            "MLP 3×128": deep.parts[0],
            "gradient boosting": boosting(train, val, ENERGY, seed),
            "ridge": ridge(train, val, ENERGY, seed),
        }
        if seed == 0:
            models["exact GP"] = gaussian_process(train, val, ENERGY, seed)
        for network in (whole, deep):
            network.parts[0].seconds = network.seconds / len(network.parts)
        for name, fitted in models.items():
            start = time.perf_counter()
            scores = [_suspicion(fitted, c, val) for c in (val, test)]
            each = 1e3 * (time.perf_counter() - start) / (len(val) + len(test))
            low, high = interval(wrong[1], scores[0], wrong[2], scores[1])
            found = figures(wrong[1], scores[0], wrong[2], scores[1])
            table.add(name, {**found, "low": low, "high": high}, fitted.seconds, each)
        model = AnomalyModel(AnomalyConfig(best.model.config)).eval()
        model.property.load_state_dict(best.model.state_dict())
        calibrate_residual(model, val)
        model.novelties.copy_(torch.linspace(0, 1, len(model.novelties)))
        shipped = [model.table(c.rows, c.anions, c.properties[ENERGY])[1]["residual"].probability for c in (val, test)]
        found = figures(wrong[1], shipped[0], wrong[2], shipped[1])
        table.add(
            "the same as an AnomalyModel, mode residual", {**found, "low": np.nan, "high": np.nan}, best.seconds, 0.0
        )
        print(f"  label errors: seed {seed} done", file=sys.stderr, flush=True)
    return {table.title: table.done()}


def _suspicion(fitted, crystals: Crystals, val: Crystals) -> np.ndarray:
    """The same mixture for every model with error bars; the size of the residual for the others."""
    mean, std = fitted.predict(crystals.rows)
    off = crystals.properties[ENERGY] - mean
    if std is None:
        return np.abs(off)
    mean, spread = fitted.predict(val.rows)
    fitted_errors = fit_errors(val.properties[ENERGY] - mean, spread)
    right, wrong = log_densities(off, std, *fitted_errors)
    return wrong - right


def corrupted(parts: Parts, seeds: int, fit: TableFit, count: int) -> dict[str, list]:
    """Tasks (e) and, without labels, (f): no model sees an energy."""
    areas = Table("(e) corrupted structures, ROC-AUC")
    strange = Table("(f) hull distance above 0.5 eV/atom, no labels")
    far = [c.properties[HULL] > 0.5 for c in (parts.val, parts.test)]
    for seed in range(seeds):
        bad = spoiled(parts, seed, count)
        models = {}
        for kind in DETECTORS:
            if seed == 0 or kind in ("isolation forest", "one-class SVM", "autoencoder (PyOD)"):
                fitted = detector(kind, parts.train, seed)
                models[kind] = (fitted.score, fitted.seconds)
        start = time.perf_counter()
        unused = ours(parts.train, parts.val, ENERGY, seed, TableFit(epochs=1), members=1).model
        settings = replace(fit, seed=seed)
        whole = train_anomaly(parts.train, parts.val, AnomalyConfig(unused.config), settings, unused)
        models["BHNAA, mode novelty"] = (
            lambda rows, whole=whole: whole.table(rows, np.zeros(len(rows), int))[1]["novelty"].score,
            time.perf_counter() - start,
        )
        for name, (score, seconds) in models.items():
            clean = score(parts.test.rows)
            found = {}
            for kind, crystals in bad.items():
                truth = np.r_[np.zeros(len(clean)), np.ones(len(crystals))]
                found[kind] = float(roc_auc_score(truth, np.r_[clean, score(crystals.rows)]))
            found["mean"] = float(np.mean([found[kind] for kind in KINDS]))
            found["mean of mild"] = float(np.mean([found[f"mild {kind}"] for kind in MILD]))
            areas.add(name, found, seconds, 0.0)
            values = [score(c.rows) for c in (parts.val, parts.test)]
            low, high = interval(far[0], values[0], far[1], values[1], "AUC")
            strange.add(name, {**figures(far[0], values[0], far[1], values[1]), "low": low, "high": high}, seconds, 0.0)
        print(f"  corrupted: seed {seed} done", file=sys.stderr, flush=True)
    return {areas.title: areas.done(), strange.title: strange.done()}


def hull(parts: Parts, seeds: int, fit: TableFit) -> dict[str, list]:
    """Task (f) with hull distances of training crystals: probability of more than 0.5 eV/atom."""
    table = Table("(f) hull distance above 0.5 eV/atom, trained on hull distances")
    errors = Table("hull distance: error bars")
    truth_val, truth = (c.properties[HULL] > 0.5 for c in (parts.val, parts.test))
    for seed in range(seeds):
        models = {
            NAMED: ours(parts.train, parts.val, HULL, seed, fit),
            "deep ensemble": plain(parts.train, parts.val, HULL, seed, fit=fit),
            "gradient boosting": boosting(parts.train, parts.val, HULL, seed),
            "boosting classifier": classifier("boosting", parts.train, parts.train.properties[HULL] > 0.5, seed),
        }
        for name, fitted in models.items():
            if fitted.score is None:
                values = [-probability(fitted, c.rows, 0.5) for c in (parts.val, parts.test)]
                if fitted.predict(parts.test.rows[:2])[1] is not None:
                    errors.add(name, calibration(fitted, parts.test, HULL), fitted.seconds, 0.0)
            else:
                values = [fitted.score(c.rows) for c in (parts.val, parts.test)]
            low, high = interval(truth_val, values[0], truth, values[1], "AUC")
            found = figures(truth_val, values[0], truth, values[1])
            table.add(name, {**found, "low": low, "high": high}, fitted.seconds, 0.0)
        print(f"  hull: seed {seed} done", file=sys.stderr, flush=True)
    return {table.title: table.done(), errors.title: errors.done()}


def diffraction(rows: int | None, seeds: int, fit: TableFit) -> dict[str, list]:
    """What a powder pattern adds to the composition, where there is no structure: one model, asked in three ways."""
    parts = load(rows, diffraction=True)["formula"]
    tables = {name: Table(f"diffraction: {name.replace('_', ' ')}") for name in (ENERGY, HULL)}
    for seed in range(seeds):
        for target, table in tables.items():
            fitted = ours(parts.train, parts.val, target, seed, fit, diffraction=True)
            for name, way in PATTERNS.items():
                test = replace(parts.test, rows=fitted.model.without_others(parts.test.rows, way))
                off = test.properties[target] - fitted.predict(test.rows)[0]
                found = {"RMSE, meV": 1e3 * np.sqrt((off**2).mean()), **calibration(fitted, test, target)}
                table.add(name, found, fitted.seconds, 0.0)
        print(f"  diffraction: seed {seed} done", file=sys.stderr, flush=True)
    return {table.title: table.done() for table in tables.values()}


def cost(parts: Parts, fit: TableFit, sizes: tuple[int, ...]) -> dict[str, list]:
    """Training and scoring at equal data: the exact GP, its hyperparameters fitted on the same rows, against ours."""
    order, rows, peer = np.random.default_rng(0).permutation(len(parts.train)), [], np.nan
    for size in sizes:
        train = parts.train.take(order[:size])
        models = {
            "exact GP": gaussian_process(train, parts.val, ENERGY, 0, points=size),
            "BHNAA": ours(train, parts.val, ENERGY, 0, fit, members=1),
            NAMED: ours(train, parts.val, ENERGY, 0, fit),
            "deep ensemble": plain(train, parts.val, ENERGY, 0, fit=fit),
        }
        for name, fitted in models.items():
            start = time.perf_counter()
            found = calibration(fitted, parts.test)
            scoring = time.perf_counter() - start
            whole = fitted.seconds + scoring
            peer = whole if name == "exact GP" else peer
            costs = {"train, s": fitted.seconds, "score, s": scoring, "time against GP, %": 100 * (whole / peer - 1)}
            rows.append({"model": name, "rows": size, **costs, **found})
        print(f"  cost: {size} crystals done", file=sys.stderr, flush=True)
    return {"cost at equal data": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="2,500 crystals, two seeds, ten epochs")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(2)
    about = machine()
    print_machine(about)
    seeds, fit = (2, TableFit(epochs=10)) if chosen.quick else (chosen.seeds, TableFit())
    results = {}
    if chosen.json and chosen.json.exists():
        results = json.loads(chosen.json.read_text())["results"]
    parts = load(2500 if chosen.quick else None)
    sizes = {name: [len(c) for c in (p.train, p.val, p.test)] for name, p in parts.items()}
    print("crystals (train, val, test): " + ", ".join(f"by {name} {three}" for name, three in sizes.items()))
    runs = {
        "tails": lambda: tails(parts["formula"], seeds, fit, "by formula", ("all", "class"), True),
        "time": lambda: tails(parts["time"], seeds, fit, "by time", ("all", "class"), False),
        "errors": lambda: label_errors(parts["formula"], seeds, fit),
        "corrupted": lambda: corrupted(parts["formula"], seeds, fit, 100 if chosen.quick else 600),
        "hull": lambda: hull(parts["formula"], seeds, fit),
        "diffraction": lambda: diffraction(2500 if chosen.quick else None, seeds, fit),
        "cost": lambda: cost(parts["formula"], fit, (400, 800) if chosen.quick else (2000, 4000, 6000)),
    }
    for task in chosen.only:
        results |= runs[task]()
        if chosen.json:
            chosen.json.write_text(json.dumps({"machine": about, "results": results}, indent=1))
    for title, rows in results.items():
        show(title, rows)
    if "by formula, all" in results:
        show("(a) lowest tenth of all energies, (b) of each anion class, (c) by time", tails_of(results))
    sys.exit(0 if verdict(lines(results)) else 1)


if __name__ == "__main__":
    main()
