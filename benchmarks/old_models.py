"""Models of earlier schemas: what they predicted by the code of their time, and what they predict now.

    python benchmarks/old_models.py [--structures 50] [--quick] [--json FILE]

The models that shipped before there was one run for all kinds (a worktree of git) and those kept in
tests/reference/data/models, of every kind, predict the same structures by the code of that commit and by this one, in
float32 as they are loaded and in float64. Printed is the largest difference of each quantity and of its standard
deviation, and its largest size. Exit code 1 where a figure is missed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
from training import BEFORE, trees
from verdict import machine, print_machine, verdict

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "tests" / "reference" / "data" / "models"
SHAPE = (4, 4, 4)
"""Points of the grid that fields are asked for at."""

RELATIVE = {"float32": 1e-6, "float64": 1e-12}
"""Largest difference to reach, in units of the quantity's largest size over all structures."""

TAIL = 1e-7
"""The same, of the σ of densities: the normal's quantile of 95 % had seven digits then, and has all now."""


def structures(card: dict, count: int) -> list:
    """Real structures that a model was made for, evenly from the data that it learned from."""
    from ase import Atoms
    from ase.io import read

    if card["kind"] in ("anomaly", "crystal_property"):
        import pandas as pd

        rows = pd.read_parquet(ROOT / "data" / "mp_crystals.parquet")
        rows = rows[rows.nsites <= 20].iloc[:: len(rows) // (3 * count)]
        config = card["config"].get("property", card["config"])
        known = [set(numbers) <= set(config["elements"]) for numbers in rows.numbers]
        return [
            Atoms(r.numbers, scaled_positions=r.frac_coords.reshape(-1, 3), cell=r.lattice.reshape(3, 3), pbc=True)
            for r in rows[known].iloc[:count].itertuples()
        ]
    name = "al" if card["config"]["elements"] == [13] else "sigesn"
    frames = [a for a in read(ROOT / "data" / f"{name}.extxyz.xz", ":") if len(a) <= 8]
    return frames[:: max(1, len(frames) // count)][:count]


def probe(folders: list[str], count: int, out: str) -> None:
    """Predict with whatever version of the package is on the path; arrays by model, precision and quantity."""
    import torch

    import ase_mlx as am

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    arrays = {}
    for folder in folders:
        card = json.loads(Path(folder, "card.json").read_text(encoding="utf-8"))
        atoms = structures(card, count)
        for dtype in RELATIVE:
            model = am.load(folder).to(getattr(torch, dtype))
            field = any(q.per == "point" for q in model.outputs)
            at = [am.grid(a, shape=SHAPE) for a in atoms] if field else None
            predictions = am.predict(model, atoms, at=at)
            for name in predictions[0]:
                arrays[f"{folder}|{dtype}|{name}"] = np.concatenate([np.ravel(p[name]) for p in predictions])
            for name in predictions[0].std:
                arrays[f"{folder}|{dtype}|σ {name}"] = np.concatenate([np.ravel(p.std[name]) for p in predictions])
        arrays[f"{folder}|structures"] = np.array(len(atoms))
    np.savez(out, **arrays)


def predictions(tree: Path, folders: list[str], count: int) -> dict:
    """Run `probe` with one tree on the path."""
    with tempfile.TemporaryDirectory() as scratch:
        out = str(Path(scratch, "predictions.npz"))
        words = [sys.executable, __file__, "--probe", out, "--structures", str(count), *folders]
        environment = {**os.environ, "PYTHONPATH": f"{tree}:{Path(__file__).parent}", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(words, cwd=scratch, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        with np.load(out) as arrays:
            return dict(arrays)


def compare(count: int) -> list[dict]:
    """One row a model and quantity: the largest difference between the trees, by precision."""
    with trees() as tree:
        shipped = sorted(str(card.parent) for card in (tree["before"] / "ase_mlx" / "weights").glob("*/card.json"))
        seen = {Path(f, "model.safetensors").read_bytes() for f in shipped}
        weights = sorted(KEPT.glob("*/model.safetensors"))
        kept = [str(w.parent) for w in weights if w.read_bytes() not in seen]
        folders = shipped + kept
        before, after = (predictions(tree[name], folders, count) for name in ("before", "after"))
        cards = {f: json.loads(Path(f, "card.json").read_text(encoding="utf-8")) for f in folders}
    rows = []
    for folder in folders:
        start = f"{folder}|float32|"
        for name in (key.removeprefix(start) for key in before if key.startswith(start)):
            pairs = {d: [run[f"{folder}|{d}|{name}"] for run in (before, after)] for d in RELATIVE}
            size = float(np.abs(pairs["float64"][0]).max())
            difference = {d: float(np.abs(a - b).max()) for d, (a, b) in pairs.items()}
            rows.append(
                {
                    "kind": cards[folder]["kind"], "model": Path(folder).name,
                    "from": "kept" if folder in kept else "shipped", "schema": cards[folder]["schema"],
                    "structures": int(after[f"{folder}|structures"]), "quantity": name, "size": size, **difference,
                }
            )  # fmt: skip
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--structures", type=int, default=50)
    parser.add_argument("--quick", action="store_true", help="5 structures")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--probe", help=argparse.SUPPRESS)
    parser.add_argument("folders", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.probe:
        probe(options.folders, options.structures, options.probe)
        return 0
    about = machine()
    print_machine(about)
    rows = compare(5 if options.quick else options.structures)
    print(f"\nlargest difference between the code of {BEFORE} and this one; units as the quantity's\n")
    print(f"{'kind':17} {'model':17} {'from':8} {'n':>3} {'quantity':27} {'largest':>9} {'float32':>9} {'float64':>9}")
    for r in rows:
        print(
            f"{r['kind']:17} {r['model']:17} {r['from']:8} {r['structures']:3} {r['quantity']:27} {r['size']:9.3g} "
            f"{r['float32']:9.1e} {r['float64']:9.1e}"
        )
    figures = []
    for d, bound in RELATIVE.items():
        bounds = [max(bound, TAIL) if r["quantity"] == "σ density" else bound for r in rows]
        worst = max(r[d] / r["size"] / b for r, b in zip(rows, bounds, strict=True) if r["size"])
        figures.append((f"{d}: largest difference / its bound", worst, "≤", 1.0))
    reached = verdict(figures)
    if options.json:
        options.json.write_text(json.dumps({"machine": about, "rows": rows}, indent=1), encoding="utf-8")
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
