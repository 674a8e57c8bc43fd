"""Ground states of the elements, which the Materials Project's training crystals lack: what it helps to add them.

    python benchmarks/elements.py [--before FOLDER] [--folds N] [--members N] [--json FILE]

Left out: models of the formation energy are trained on the crystals alone, and on the crystals and the ground states of
nine tenths of the elements, in ten folds; each fold's elements are predicted by the model that has not seen their
ground states (other phases and compounds of theirs it has seen). The truth is 0 by definition. Errors on the test part
stand beside it.
Shipped: novelty and formation energy of all ground states with the shipped `bhnaa`, and with the older one in FOLDER.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from anomaly_models import ours
from anomaly_tasks import DATA
from ase.build import bulk
from sklearn.model_selection import KFold
from verdict import machine, print_machine, verdict

import ase_mlx as am
from ase_mlx.learn.anomaly.crystals import Crystals, described_elements, join
from ase_mlx.learn.config import TableFit
from ase_mlx.learn.recipes.crystal_property import property_residuals, read_crystals

ENERGY = "formation_energy"
TEXTBOOK = ("Si", "Cu", "Fe", "W", "Al", "Mg", "Na", "Au")


def row(model, crystals: Crystals) -> dict[str, float]:
    """Errors (meV/atom) and the share of them inside 68 and 90 % bars."""
    r = property_residuals(model, crystals)[ENERGY]
    return {"predicted": r.predicted, "off": r.predicted - r.reference, "std": r.std, "levels": r.levels}


def summary(rows: list[dict]) -> dict[str, float]:
    """One line from the rows of all folds."""
    off, std = (np.concatenate([r[key] for r in rows]) for key in ("off", "std"))
    inside = {f"inside {100 * level:.0f} %": 100 * np.mean(np.concatenate(
        [np.abs(r["off"] / r["std"]) <= r["levels"][level] for r in rows])) for level in (0.68, 0.9)}  # fmt: skip
    return {
        "crystals": len(off),
        "MAE, meV": 1e3 * np.abs(off).mean(),
        "mean, meV": 1e3 * off.mean(),
        "largest, meV": 1e3 * np.abs(off).max(),
        "mean std, meV": 1e3 * std.mean(),
        **inside,
    }


def show(title: str, rows: dict[str, dict[str, float]]) -> None:
    """Print a table."""
    keys = list(next(iter(rows.values())))
    print(f"\n{title}\n{'':48}" + "".join(f"{key:>15}" for key in keys))
    for name, values in rows.items():
        print(f"{name:48}" + "".join(f"{values[key]:15.4g}" for key in keys), flush=True)


def left_out(parts: dict[str, Crystals], elements: Crystals, count: int, members: int, fit: TableFit) -> dict:
    """The table of left-out elements: trained on crystals alone, and with the other elements' ground states."""
    train, val, test = (parts[name] for name in ("train", "val", "test"))
    model = ours(train, val, ENERGY, 0, fit, members=members).model
    rows = {"before": [row(model, elements)], "before, test": [row(model, test)], "after": [], "after, test": []}
    print(f"  crystals alone: {summary(rows['before'])}", file=sys.stderr, flush=True)
    for k, (seen, held) in enumerate(KFold(10, shuffle=True, random_state=0).split(elements.rows)):
        if k == count:
            break
        model = ours(join([train, elements.take(seen)]), val, ENERGY, 0, fit, members=members).model
        rows["after"].append(row(model, elements.take(held)) | {"places": held})
        rows["after, test"].append(row(model, test))
        print(f"  fold {k}: {summary(rows['after'][-1:])}", file=sys.stderr, flush=True)
    places = np.concatenate([r["places"] for r in rows["after"]])
    rows["before"] = [{key: v if key == "levels" else v[places] for key, v in rows["before"][0].items()}]
    names = {
        "before": "left-out ground states, crystals alone",
        "after": "left-out ground states, with the other elements",
        "before, test": "test part, crystals alone",
        "after, test": "test part, with elements (all folds)",
    }
    return {names[key]: summary(rows[key]) for key in names}


def scores(model, elements: Crystals) -> dict[str, np.ndarray]:
    """Novelty's probability (%) and formation energy (meV/atom) of ground states."""
    properties, anomalies = model.table(elements.rows, elements.anions)
    return {"strange": 100 * anomalies["novelty"].probability, "energy": 1e3 * properties[ENERGY]}


def shipped(models: dict, elements: Crystals) -> tuple[dict, dict]:
    """Tables of the elements' scores with each model: all ground states, and textbook cells of some."""
    every, some = {}, {}
    for name, model in models.items():
        found = scores(model, elements)
        every[name] = {
            "median strange": np.median(found["strange"]),
            "above 95 %": int((found["strange"] > 95).sum()),
            "flagged": int((found["strange"] > 99).sum()),
            "energy, MAE": np.abs(found["energy"]).mean(),
            "energy, mean": found["energy"].mean(),
        }
        p = {symbol: am.predict(model, bulk(symbol)) for symbol in TEXTBOOK}
        some[f"{name}, stranger than, %"] = {s: 100 * float(q["novelty_probability"]) for s, q in p.items()}
        some[f"{name}, energy, meV/atom"] = {s: 1e3 * float(q[ENERGY]) for s, q in p.items()}
    return every, some


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, help="folder of an older bhnaa")
    parser.add_argument("--folds", type=int, default=10, help="how many of the ten folds; 0: the shipped model alone")
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    print_machine(about := machine())
    elements = described_elements(tuple(DATA.properties))
    models = {"before": am.load(args.before).double()} if args.before else {}
    every, some = shipped(models | {"shipped": am.load("bhnaa").double()}, elements)
    show(f"novelty and formation energy of {len(elements)} ground states", every)
    show("cells of ase.build.bulk", some)
    tables, reached = {"shipped": every, "textbook": some}, []
    if args.folds:
        crystals, part = read_crystals(DATA, False)
        parts = {name: crystals.take(part == name) for name in ("train", "val", "test")}
        table = tables["left out"] = left_out(parts, elements, args.folds, args.members, TableFit())
        show("formation energies of elements that were left out in turn", table)
        before, after, test_before, test_after = (line["MAE, meV"] for line in table.values())
        reached.append(("MAE of left-out ground states, meV/atom", after, "≤", before / 2))
        reached.append(("MAE of the test part, meV/atom", test_after, "≤", 1.01 * test_before))
    ok = verdict(reached)
    if args.json:
        args.json.write_text(json.dumps({"machine": about, **tables}, indent=1, default=float))
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
