"""What is left of a powder pattern's use once it is measured: noise, a background, lines of other widths, a wrong zero.

    python benchmarks/anomaly_patterns.py [--crystals N] [--json FILE]

Lines are computed by pymatgen, an independent code, for Cu Kα₁; a diffractometer's curve is made of them in steps of
0.02°, with Poisson's noise, and goes through `bin_pattern` and `described_pattern`. Hull distances of test crystals
from composition and pattern, one seed, beside what composition alone gives.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from anomaly import HULL
from anomaly_models import ours
from anomaly_report import show
from anomaly_tasks import load
from pymatgen.analysis.diffraction.xrd import XRDCalculator
from pymatgen.core import Structure
from verdict import machine, print_machine

from ase_mlx.descriptors import NAMES, STRUCTURE
from ase_mlx.descriptors.diffraction import bin_pattern

ANGLES = np.arange(5, 85, 0.02)
WAYS = {
    "fine lines": {},
    "10,000 counts in the highest point": {"counts": 1e4},
    "the same and a background of 5 %": {"counts": 1e4, "background": 0.05},
    "the same, 1,000 counts": {"counts": 1e3, "background": 0.05},
    "lines of 0.8°": {"width": 0.8},
    "zero off by 0.2°": {"zero": 0.2},
}


def curve(peaks, random, width=0.15, counts=None, background=0.0, zero=0.0) -> np.ndarray:
    """Counts at `ANGLES`: Gaussian lines, air scatter at low angles and a level, Poisson's noise."""
    found = np.zeros(len(ANGLES))
    for angle, height in zip(peaks.x, peaks.y, strict=True):
        found += height * np.exp(-4 * np.log(2) * ((ANGLES - angle - zero) / width) ** 2)
    found = found / found.max() + background * (1 + np.exp(-(ANGLES - 5) / 15))
    return found if counts is None else random.poisson(counts * found).astype(float)


def described(model, frame, ways: dict) -> dict[str, np.ndarray]:
    """Rows of the test crystals by way of measuring; NaN where no line is in range, or an element is new."""
    calculator, random = XRDCalculator("CuKa1"), np.random.default_rng(0)
    rows = {name: np.full((len(frame), sum(model.config.blocks)), np.nan) for name in ways}
    for k, row in enumerate(frame.itertuples()):
        structure = Structure(np.reshape(row.lattice, (3, 3)), row.numbers, np.reshape(row.frac_coords, (-1, 3)))
        peaks = calculator.get_pattern(structure, two_theta_range=(5, 85))
        known = len(peaks.x) and set(row.numbers) <= set(model.elements)
        for name, way in ways.items() if known else ():
            pattern = bin_pattern(ANGLES, curve(peaks, random, **way), wavelength=1.54056)
            rows[name][k] = model.described_pattern(row.numbers, pattern)[0]
        if not (k + 1) % 250:
            print(f"  {k + 1} crystals measured", file=sys.stderr, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crystals", type=int, default=1000)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(2)
    about = machine()
    print_machine(about)
    parts = load(diffraction=True)["formula"]
    places = np.sort(np.random.default_rng(0).permutation(len(parts.test))[: chosen.crystals])
    model = ours(parts.train, parts.val, HULL, 0, diffraction=True).model
    test, frame = parts.test.take(places), parts.frame.iloc[places]
    rows = described(model, frame, WAYS)
    seen = np.isfinite(rows["fine lines"][:, -1])
    composition = np.arange(len(NAMES)) < STRUCTURE
    composed = [
        replace(c, rows=np.where(composition, c.rows[:, : len(NAMES)], 0.0)) for c in (parts.train, parts.val, test)
    ]
    alone = ours(*composed[:2], HULL, 0)
    truth = test.properties[HULL][seen]

    def errors(name: str, values: np.ndarray, std: np.ndarray, half: float) -> dict:
        off = 1e3 * (values - truth)
        inside = 100 * float((np.abs(off) <= 1e3 * half * std).mean())
        mae, rmse = float(np.abs(off).mean()), float(np.sqrt((off**2).mean()))
        return {"pattern": name, "crystals": len(off), "MAE, meV": mae, "RMSE, meV": rmse, "inside 90 %": inside}

    rows = {"as computed in training": model.without_others(test.rows, 1), **rows}
    results = [errors("none", *(x[seen] for x in alone.predict(composed[2].rows)), alone.model.half_width(HULL))]
    for name, values in rows.items():
        found = model.table(values[seen])
        results.append(errors(name, found[HULL], found.std[HULL], model.half_width(HULL)))
    show("hull distance from composition and pattern", results)
    if chosen.json:
        chosen.json.write_text(json.dumps({"machine": about, "results": results}, indent=1))


if __name__ == "__main__":
    main()
