"""What is left of a powder pattern's use once it is measured: noise, a background, lines of other widths, a wrong zero.

    python benchmarks/anomaly_patterns.py [--crystals N] [--json FILE]

Lines are computed by pymatgen, an independent code, for Cu Kα₁; a diffractometer's curve is made of them in steps of
0.02°, with Poisson's noise, and goes through `bin_pattern` and `described_sample`. Hull distances of test crystals
from composition and pattern, one seed, beside what composition alone gives; that is taken, too, where a pattern is
refused.
"""

import argparse
import json
import sys
from contextlib import suppress
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

from ase_mlx.descriptors.diffraction import bin_pattern

ANGLES = np.arange(5, 85, 0.02)
WAYS = {
    "fine lines": {},
    "10,000 counts in the highest point": {"counts": 1e4},
    "the same and a background of 5 %": {"counts": 1e4, "background": 0.05},
    "the same, 1,000 counts": {"counts": 1e3, "background": 0.05},
    "lines of 0.8°": {"width": 0.8},
    "zero off by 0.2°": {"zero": 0.2},
    "10 to 70°, 10,000 counts, background": {"counts": 1e4, "background": 0.05, "first": 10, "last": 70},
}


def curve(
    peaks, random, width=0.15, counts=None, background=0.0, zero=0.0, first=5, last=85
) -> tuple[np.ndarray, np.ndarray]:
    """Angles and counts: Gaussian lines, air scatter at low angles and a level, Poisson's noise."""
    found = np.zeros(len(ANGLES))
    for angle, height in zip(peaks.x, peaks.y, strict=True):
        found += height * np.exp(-4 * np.log(2) * ((ANGLES - angle - zero) / width) ** 2)
    found = found / found.max() + background * (1 + np.exp(-(ANGLES - 5) / 15))
    found = found if counts is None else random.poisson(counts * found).astype(float)
    seen = (ANGLES >= first) & (ANGLES <= last)
    return ANGLES[seen], found[seen]


def described(model, frame, alone: np.ndarray, ways: dict) -> dict[str, np.ndarray]:
    """Rows of the test crystals by way of measuring; those of composition `alone` where a pattern is refused."""
    calculator, random = XRDCalculator("CuKa1"), np.random.default_rng(0)
    rows = {name: alone.copy() for name in ways}
    for k, row in enumerate(frame.itertuples()):
        structure = Structure(np.reshape(row.lattice, (3, 3)), row.numbers, np.reshape(row.frac_coords, (-1, 3)))
        peaks = calculator.get_pattern(structure, two_theta_range=(4, 86))
        for name, way in ways.items():
            with suppress(ValueError):
                pattern = bin_pattern(*curve(peaks, random, **way), wavelength=1.54056)
                rows[name][k] = model.described_sample(row.numbers, pattern)[0]
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
    alone, computed = (model.without_others(test.rows, way) for way in ("composition", "pattern"))
    rows = {"none": alone, "as computed in training": computed, **described(model, frame, alone, WAYS)}
    results = []
    for name, values in rows.items():
        found = model.table(values)
        off = 1e3 * (found[HULL] - test.properties[HULL])
        inside = 100 * float((np.abs(off) <= 1e3 * model.half_width(HULL) * found.std[HULL]).mean())
        errors = {"MAE, meV": float(np.abs(off).mean()), "RMSE, meV": float(np.sqrt((off**2).mean()))}
        refused = int(np.isnan(values[:, -1]).sum())
        results.append({"pattern": name, "crystals": len(off), "refused": refused, **errors, "inside 90 %": inside})
    show("hull distance from composition and pattern", results)
    if chosen.json:
        chosen.json.write_text(json.dumps({"machine": about, "results": results}, indent=1))


if __name__ == "__main__":
    main()
