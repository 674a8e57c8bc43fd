"""Do the error bars keep their promise, and does the distance score see what is outside the training data?

    python benchmarks/calibration.py [--model sigesn] [--json FILE] [--plots FOLDER]

Coverage is measured on the labelled test part, which no training or calibration touched. The structures outside
(vacancies, interstitials, unseen compositions, 2,000 K) need no labels: they are thermalised here by Langevin dynamics
with the model itself, from fixed seeds, as are perfect crystals at 300 to 1,200 K, the in-distribution frames of the
same cell size. Mixtures between trained compositions (the held-out ones of eight atoms, random alloys of 64) are scored
too but not judged.

Bars of forces and stress are read from a few directions of the readout: `error_bars.py`, run here too, prints them
beside those of all members, with the price of both.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from ase import Atoms, units
from ase.build import bulk
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta
from error_bars import agreement, costs
from verdict import machine, print_machine, verdict

from ase_mlx.adapters.ase import Calculator
from ase_mlx.data.io import read_frames
from ase_mlx.data.samples import name_of, sample
from ase_mlx.learn.metrics import auroc, errors
from ase_mlx.learn.recipes.potential_errors import collect
from ase_mlx.pretrained import load

ROOT = Path(__file__).resolve().parents[1]
VEGARD = {"Si": 5.47, "Ge": 5.78, "Sn": 6.65}
STEPS, FRAMES = 400, 4
SHOWN_ALONE = ("larger random alloys", "other mixtures of 8")
"""Between trained compositions: the bonds of their atoms occur in training. The first table has their error bars."""


def crystal(counts: dict[str, int], copies: int, rng: np.random.Generator) -> Atoms:
    """A random alloy on diamond sites of a cubic supercell at Vegard's lattice constant; counts are of 8 sites."""
    a = sum(VEGARD[s] * n for s, n in counts.items()) / 8
    atoms = bulk("Si", "diamond", a=a, cubic=True).repeat(copies)
    symbols = [s for s, n in counts.items() for _ in range(n * copies**3)]
    atoms.symbols = list(rng.permutation(symbols))
    return atoms


def vacancy(rng: np.random.Generator) -> Atoms:
    """Silicon, 63 atoms."""
    atoms = crystal({"Si": 8}, 2, rng)
    del atoms[int(rng.integers(len(atoms)))]
    return atoms


def interstitial(rng: np.random.Generator) -> Atoms:
    """Silicon with an atom at a tetrahedral hole, 65 atoms."""
    atoms = crystal({"Si": 8}, 2, rng)
    atoms.append("Si")
    atoms.positions[-1] = np.array([0.5, 0.5, 0.5]) * VEGARD["Si"]
    return atoms


def thermalise(atoms: Atoms, kelvin: float, calculator: Calculator, seed: int) -> list[Atoms]:
    """Snapshots of Langevin dynamics at fixed cell, the second half of the run."""
    rng = np.random.default_rng(seed)
    atoms.calc = calculator
    thermalize_momenta(atoms, 2 * kelvin, rng=rng)
    motion = Langevin(atoms, 2 * units.fs, temperature_K=kelvin, friction=0.02 / units.fs, rng=rng, fixcm=False)
    motion.run(STEPS // 2)
    frames = []
    for _ in range(FRAMES):
        motion.run(STEPS // 2 // FRAMES)
        frames.append(Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True))
    return frames


def score(model, frames: list[Atoms]) -> np.ndarray:
    """Distance score of each frame: that of its most unusual atom."""
    calculator = Calculator(model)
    return np.array([calculator.get_property("distance", a).max() for a in frames])


def outside(model, quick: bool) -> dict[str, np.ndarray]:
    """Scores of thermalised structures, by kind; "inside" ones are perfect crystals of trained compositions."""
    calculator = Calculator(model)
    makers = {
        "inside: Si 64": [(lambda rng: crystal({"Si": 8}, 2, rng), t) for t in (300, 600, 900, 1200)],
        "larger random alloys": [
            (lambda rng: crystal({"Si": 4, "Ge": 2, "Sn": 2}, 2, rng), t) for t in (300, 600, 900, 1200)
        ],
        "vacancies": [(vacancy, t) for t in (300, 600, 900)],
        "interstitials": [(interstitial, t) for t in (300, 600, 900)],
        "unseen compositions": [
            (lambda rng, c=c: crystal(c, 1, rng), t)
            for t in (300, 600)
            for c in ({"Sn": 8}, {"Ge": 2, "Sn": 6}, {"Si": 1, "Sn": 7}, {"Si": 2, "Sn": 6})
        ],
        "2,000 K": [(lambda rng: crystal({"Si": 8}, 2, rng), 2000) for _ in range(3)],
    }
    scores = {}
    for kind, runs in makers.items():
        frames = []
        for k, (make, kelvin) in enumerate(runs[:2] if quick else runs):
            frames += thermalise(make(np.random.default_rng(k)), kelvin, calculator, seed=k)
        scores[kind] = score(model, frames)
    return scores


def fractions(atoms: Atoms) -> tuple[float, ...]:
    """Shares of Si, Ge, Sn."""
    return tuple(float(np.mean(atoms.numbers == z)) for z in (14, 32, 50))


def samples(model, frames: list[Atoms]) -> list:
    """Labelled frames as tensors."""
    return [sample(a, model.cutoff, name_of(a, k)) for k, a in enumerate(frames)]


def print_coverage(title: str, table: dict) -> None:
    """Print errors and coverage of each quantity."""
    if title:
        print(title)
    for name, e in table.items():
        if "inside_68" not in e:
            continue
        inside = "".join(f"{100 * e[level]:12.1f}%" for level in ("inside_68", "inside_95"))
        head = f"{name:10}{e['count']:7}{e['mae']:9.2f}{e['unit']:>10}{inside}"
        print(f"{head}{e['tail']:8.2f} σ{e['rank_correlation']:12.3f}")


def main() -> int:
    """Run, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="sigesn")
    parser.add_argument("--quick", action="store_true", help="two runs a kind")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--plots", metavar="FOLDER", help="parity and reliability, PNG")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = load(options.model)
    data = read_frames(ROOT / "data" / "sigesn.extxyz.xz")
    test = [a for a in data if a.info["part"] == "test"]
    rows = collect(model, samples(model, test))
    table = errors(rows)
    print_machine(machine())
    print(f"model {options.model}, {len(test)} test frames")
    columns = f"{'inside 68 %':>13}{'inside 95 %':>13}{'95 % is':>10}{'rank corr.':>12}"
    print(f"{'':10}{'count':>7}{'MAE':>9}{'unit':>10}{columns}")
    print_coverage("", table)
    trained = {fractions(a) for a in data if a.info["part"] == "train"}
    silicon = [a for a in test if set(a.symbols) == {"Si"}]
    alloys = [a for a in test if set(a.symbols) != {"Si"}]
    for kind, some in {
        "Si": silicon,
        "alloys of trained compositions": [a for a in alloys if fractions(a) in trained],
        "alloys of other compositions": [a for a in alloys if fractions(a) not in trained],
    }.items():
        print_coverage(f"  {kind}, {len(some)} frames", errors(collect(model, samples(model, some))))
    lines = []
    for name in ("energy", "forces"):
        for level, nominal in (("inside_68", 0.6827), ("inside_95", 0.95)):
            off = 100 * abs(table[name][level] - nominal)
            lines.append((f"{name}, {level.replace('_', ' ')} %, points from nominal", off, "≤", 4.0))
    scores = outside(model, options.quick)
    thermal = [a for a in test if "MD" in str(a.info.get("config_kind", "")) or "_md_" in a.info["config_name"]]
    held_out = score(model, [a for a in thermal if fractions(a) in trained])
    inside = np.concatenate([held_out] + [s for k, s in scores.items() if k.startswith("inside")])
    scores |= {"other mixtures of 8": score(model, [a for a in thermal if fractions(a) not in trained])}
    print(f"\nDistance score of the most unusual atom (1 = edge of the training data); inside: {len(inside)} frames")
    print(f"{'':24}{'frames':>8}{'median':>9}{'lowest':>9}{'highest':>9}{'AUROC':>8}")
    for kind, s in {"inside: held-out thermal": held_out, **scores}.items():
        area = None if kind.startswith("inside") else auroc(inside, s)
        text = "" if area is None else f"{area:8.3f}"
        print(f"{kind:24}{len(s):8}{np.median(s):9.2f}{s.min():9.2f}{s.max():9.2f}{text}")
        if area is not None and kind not in SHOWN_ALONE:
            lines.append((f"AUROC, {kind}", area, "≥", 0.95))
    for name in ("sigesn", "al"):
        lines += agreement(name) + costs(name, (2, 4) if options.quick else (2, 4, 8))
    good = verdict(lines)
    if options.json:
        plain = {k: v.tolist() for k, v in scores.items()}
        content = {"errors": table, "scores": plain, "inside": inside.tolist(), "reached": good}
        Path(options.json).write_text(json.dumps(content, indent=1))
    if options.plots:
        from ase_mlx.figures.parity import write_plots

        Path(options.plots).mkdir(parents=True, exist_ok=True)
        write_plots(rows, table, Path(options.plots))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
