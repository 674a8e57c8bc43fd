"""Which frames a density needs: acquisitions against a tessellation of the Si-Ge-Sn simplex, on real DFT densities.

    python benchmarks/active_sigesn.py [--quick] [--trunk shipped|untrained] [--json FILE] [--plot FILE]

The pool: all 45 compositions of eight atoms at 300, 600, 900 and 1200 K; the test: one more frame of each composition.
Every arm draws from the pool, its density's head in closed form on a trunk that stays. `shipped` is the trunk and
layer of `sigesn`, trained on other frames of such alloys, of neither pool nor test; `untrained` has the trunk of its
energies, and a layer of random weights that never saw a density. Active arms start from three random frames and choose
all others by hypothetical updates, which need no label; the tessellation is laid down beforehand. Errors: ∫|Δρ|/N of
test frames at random points. DFT seconds: CPU time of pw.x.
"""

import argparse
import functools
import json
import operator
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from verdict import machine, print_machine, verdict

from ase_mlx.data.densities import DensityFrame, read_densities
from ase_mlx.figures.style import DFT, DOUBT, EXPERIMENT, GREY, MODEL, drawn, logarithmic
from ase_mlx.graph import from_atoms
from ase_mlx.learn.active.acquisitions import d_optimal, farthest, integrated_variance, random
from ase_mlx.learn.active.density_head import (
    JudgedFrame,
    candidate,
    equal_shares,
    errors,
    judged_frame,
    leading_weights,
    standardised,
)
from ase_mlx.learn.active.simplex import DIVISIONS, levels, tessellation
from ase_mlx.learn.density.posterior import NormalEquations, Posterior, normal_equations, posterior
from ase_mlx.learn.density.samples import density_sample
from ase_mlx.learn.recipes.density import with_density
from ase_mlx.models.potential import Potential
from ase_mlx.pretrained import load

FILE = Path(__file__).resolve().parents[1] / "data" / "active" / "density_simplex.npz"
ELEMENTS = (14, 32, 50)
START, SEEDS, RATIO = 3, 5, 2.5
SIZES = (3, 6, 9, 12, 15, 18, 21, 24, 30, 36, 45, 60, 72, 90, 110, 135, 180)
WEIGHTS, FEW, CHOOSING = 1000, 500, 100
"""Combinations of weights (of 2,550) that heads have, that they have with --quick, and that acquisitions look at."""
POINTS, BASIS_POINTS = 2000, 300


@dataclass(frozen=True)
class Pool:
    """Candidates, as all arms see them: what a label would add, where they lie, what they cost; and the test."""

    names: list[str]
    counts: np.ndarray
    temperatures: list[str]
    seconds: np.ndarray
    latent: np.ndarray
    equations: list[NormalEquations]
    test: list[JudgedFrame]

    def head(self, chosen: np.ndarray) -> Posterior:
        return posterior(functools.reduce(operator.add, [self.equations[k] for k in chosen]))

    @functools.cached_property
    def designs(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Frames in the leading weights with one noise for all, and with noise in proportion to their signal."""
        matrices = np.array([e.matrix[:CHOOSING, :CHOOSING] for e in self.equations])
        return {"one noise": standardised(matrices), "relative": standardised(equal_shares(matrices))}


@torch.no_grad()
def prepare(model: Potential, pool: list[DensityFrame], test: list[DensityFrame], weights: int) -> Pool:
    density, size = model.density, model.density.head.numel()
    basis = leading_weights(
        sum(
            (normal_equations(density, [density_sample(model, f, BASIS_POINTS)]).matrix for f in pool),
            np.zeros((size, size)),
        ),
        weights,
    )
    graphs = [from_atoms(f.atoms, model.cutoff) for f in pool]
    return Pool(
        [f.name for f in pool],
        np.array([[int((f.atoms.numbers == z).sum()) for z in ELEMENTS] for f in pool]),
        [f.name.rsplit("_", 1)[1] for f in pool],
        np.array([f.info["cpu_s"] for f in pool]),
        np.array([model.latent(g, g.vectors().float()).mean(dim=0).numpy() for g in graphs]),
        [normal_equations(density, [density_sample(model, f, POINTS)], basis) for f in pool],
        [judged_frame(model, f, basis, POINTS) for f in test],
    )


def active(pool: Pool, seed: int, criterion: str, noise: str = "relative") -> np.ndarray:
    """Three random frames, then those that a criterion chooses by hypothetical updates of the posterior after these."""
    n = len(pool.names)
    start = random(n, START, seed)
    rest = np.setdiff1d(np.arange(n), start)
    if criterion == "farthest":
        return np.concatenate([start, rest[farthest(pool.latent[rest], len(rest), pool.latent[start])]])
    head, (matrices, prior) = pool.head(start), pool.designs[noise]
    covariance = np.linalg.inv(head.alpha * prior + head.beta * matrices[start].sum(axis=0))
    candidates = [candidate(matrices[k], head.alpha, head.beta) for k in rest]
    choose = d_optimal if criterion == "d_optimal" else integrated_variance
    return np.concatenate([start, rest[choose(candidates, len(rest), covariance)]])


def arms(pool: Pool) -> dict[str, Callable[[int], np.ndarray]]:
    return {
        "tessellation": lambda seed: tessellation(pool.counts, pool.temperatures, seed=seed),
        "one a vertex": lambda seed: tessellation(pool.counts, seed=seed),
        "integrated variance": lambda seed: active(pool, seed, "integrated"),
        "  one noise for all": lambda seed: active(pool, seed, "integrated", "one noise"),
        "D-optimal": lambda seed: active(pool, seed, "d_optimal"),
        "farthest point": lambda seed: active(pool, seed, "farthest"),
        "random": lambda seed: random(len(pool.names), len(pool.names), seed),
    }


def curve(pool: Pool, order: np.ndarray) -> dict[str, list[float]]:
    level = levels(pool.counts[order])
    ends = {int((level <= k).sum()) for k in range(len(DIVISIONS))} if (np.diff(level) >= 0).all() else set()
    sizes = sorted({n for n in SIZES if n < len(order)} | ends | {len(order)})
    found: dict[str, list[float]] = {"frames": sizes, "error": [], "seconds": []}
    total, seen = None, 0
    for n in sizes:
        added = functools.reduce(operator.add, [pool.equations[k] for k in order[seen:n]])
        total, seen = added if total is None else total + added, n
        found["error"].append(float(errors(posterior(total), pool.test).mean()))
        found["seconds"].append(float(pool.seconds[order[:n]].sum()))
    return found


def needed(found: dict[str, list[float]], error: float, what: str = "frames") -> float:
    """Frames (or seconds) at which a curve first comes down to an error, between sizes by logarithms; inf: never."""
    x, y = np.array(found[what]), np.array(found["error"])
    below = np.flatnonzero(y <= error * (1 + 1e-6))  # sums in another order
    if not len(below):
        return float("inf")
    k = below[0]
    if k == 0:
        return float(x[0])
    share = (np.log(y[k - 1]) - np.log(error)) / (np.log(y[k - 1]) - np.log(y[k]))
    return float(np.exp(np.log(x[k - 1]) + share * (np.log(x[k]) - np.log(x[k - 1]))))


def spread(values: list[float]) -> tuple[float, float, float]:
    return tuple(float(v) for v in np.quantile(values, (0.5, 0.16, 0.84), method="nearest"))


def study(
    pool: Pool, seeds: int
) -> tuple[dict[str, dict[str, list]], dict[str, dict[str, tuple[float, float, float]]]]:
    """Curves of all arms and seeds; and of each arm (median, 16 %, 84 %) frames, seconds and their ratios."""
    curves: dict[str, dict[str, list]] = {}
    for name, order in arms(pool).items():
        orders = [order(seed) for seed in range(seeds)]
        curves[name] = {"order": [o.tolist() for o in orders], "curves": [curve(pool, o) for o in orders]}
        ends = sorted(c["error"][-1] for c in curves[name]["curves"])
        print(f"{name:20} {len(orders[0])} frames: {ends[0]:.4f} to {ends[-1]:.4f} %", flush=True)
    table: dict[str, dict[str, tuple[float, float, float]]] = {}
    goals = [("tessellation", cut) for cut in DIVISIONS[::-1]] + [("one a vertex", DIVISIONS[-1])]
    for goal, cut in goals:
        entry = curves[goal]
        counts = [int((levels(pool.counts[o]) <= DIVISIONS.index(cut)).sum()) for o in entry["order"]]
        ends = [c["frames"].index(n) for c, n in zip(entry["curves"], counts, strict=True)]
        title = f"{goal}, edges cut in {cut}, {counts[0]} frames"
        for name in curves:
            for what in ("frames", "seconds"):
                ratios = [
                    c[what][end] / needed(own, c["error"][end], what)
                    for c, end, own in zip(entry["curves"], ends, curves[name]["curves"], strict=True)
                ]
                table.setdefault(title, {})[f"{name}, {what}"] = spread(ratios)
    return curves, table


def show(curves: dict[str, dict[str, list]], table: dict[str, dict[str, tuple[float, float, float]]]) -> None:
    sizes = [n for n in (3, 6, 9, 15, 24, 36, 45, 60, 90, 135, 180)]
    print("\n∫|Δρ|/N on test frames, %: median of five seeds (16 % to 84 %) against number of frames")
    for name, entry in curves.items():
        cells = []
        for n in sizes:
            at = [c["error"][c["frames"].index(n)] for c in entry["curves"] if n in c["frames"]]
            cells.append(f"{spread(at)[0]:7.3f}" if at else " " * 7)
        print(f"{name:20}" + "".join(cells))
    print(f"{'frames':20}" + "".join(f"{n:7d}" for n in sizes))
    for goal, rows in table.items():
        print(f"\n{goal}: its frames, and its DFT seconds, into those of an arm at the same error")
        for name in curves:
            f, s = rows[f"{name}, frames"], rows[f"{name}, seconds"]
            print(f"{name:20} {f[0]:5.2f} ({f[1]:.2f} to {f[2]:.2f})   {s[0]:5.2f} ({s[1]:.2f} to {s[2]:.2f})")


COLOURS = (DFT, "#7c3aed", MODEL, "#7fa8d9", EXPERIMENT, DOUBT, GREY)


def plot(path: Path, curves: dict[str, dict[str, list]]) -> None:
    """Medians and bands of the seeds: error against frames and DFT seconds, from the whole pool's to a quarter more."""
    with drawn(path, (9.6, 4.4)) as figure:
        axes = figure.subplots(1, 2, sharey=True)
        for axis, what, label in zip(axes, ("frames", "seconds"), ("training frames", "DFT, CPU s"), strict=True):
            for (name, entry), colour in zip(curves.items(), COLOURS, strict=True):
                errors_of = np.array([c["error"] for c in entry["curves"]])
                x = np.median([c[what] for c in entry["curves"]], axis=0)
                low, middle, high = np.quantile(errors_of, (0.16, 0.5, 0.84), axis=0)
                axis.plot(x, middle, color=colour, label=name.strip())
                axis.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
            axis.set_xscale("log")
            axis.set_xlabel(label)
            logarithmic(axis.xaxis)
        whole = curves["random"]["curves"][0]["error"][-1]
        axes[0].axhline(whole, color=GREY, linestyle=":", linewidth=1)
        axes[0].annotate("whole pool", (3, whole), (0, -11), textcoords="offset points", color=GREY)
        axes[0].set_ylim(0.98 * whole, 1.25 * whole)
        axes[0].set_ylabel("∫|Δρ| / N on test frames (%)")
        axes[1].legend()
    print(f"wrote {path}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two seeds, heads of fewer weights")
    parser.add_argument("--trunk", choices=("shipped", "untrained"), default="shipped")
    parser.add_argument("--file", type=Path, default=FILE, help="densities of pool and test")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path, help="of the learning curves")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print_machine(machine())
    frames = list(read_densities(arguments.file))
    model = load("sigesn")
    if arguments.trunk == "untrained":
        torch.manual_seed(0)
        model = with_density(model)
    start, weights = time.perf_counter(), FEW if arguments.quick else WEIGHTS
    pool = prepare(model, *([f for f in frames if f.info["part"] == part] for part in ("pool", "test")), weights)
    print(f"{len(pool.names)} frames in the pool, {len(pool.test)} to judge on, prepared in "
          f"{time.perf_counter() - start:.0f} s; trunk: {arguments.trunk}")  # fmt: skip
    curves, table = study(pool, 2 if arguments.quick else SEEDS)
    show(curves, table)
    if arguments.plot:
        plot(arguments.plot, curves)
    if arguments.json:
        result = {"machine": machine(), "trunk": arguments.trunk, "names": pool.names, "curves": curves, "table": table}
        arguments.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    best = next(iter(table.values()))["integrated variance, frames"][0]  # of the whole tessellation
    return 0 if verdict([("frames: tessellation into active learning", best, "≥", RATIO)]) else 1


if __name__ == "__main__":
    sys.exit(main())
