"""Transfer of a density from small to large cells: errors before and after, and what the data cost.

    python benchmarks/density_transfer.py [--quick] [--only CASE]... [--network] [--json FILE]

Small cells are those of benchmarks/density.py. Four ways to a model of large cells, tried on other large ones: small
cells alone; those with their posterior updated by one or several large cells, which takes seconds; small and large
cells trained together ("both", for all cases of a system at once); large cells alone. With --network also the Bayesian
network, small cells alone and its last two layers trained on by the large ones. Validation: small cells, for "both"
large ones too, for "large alone" those alone; an update sets its error bars on the cells that it is given. Hours: CPU
time of pw.x for the cells trained on; one that was started from a predicted density counts as much as the others of its
kind. Errors: ∫|Δρ|/N on every eighth grid point.
"""

import argparse
import copy
import functools
import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from density import FIT, FIT_POINTS, ROOT, SYSTEMS, parts, train_network
from verdict import machine, print_machine, verdict

from ase_mlx.data.densities import DensityFrame, read_densities
from ase_mlx.graph import Points, from_atoms
from ase_mlx.learn.config import FitConfig
from ase_mlx.learn.density.samples import copies, head_of
from ase_mlx.learn.recipes.density import train_density, update_density, with_density
from ase_mlx.learn.recipes.point_density import FROZEN, train_points
from ase_mlx.pretrained import load


@dataclass(frozen=True)
class Case:
    """Small cells of a system, and large ones by name: to update with, in this order, and to try."""

    system: str
    update: tuple[str, ...]
    test: tuple[str, ...]


CASES = {
    "Si, 64": Case("Si", ("si64_k2_0", "si64_k2_4"), ("si64_k2_1", "si64_k2_2")),
    "Si, vacancy": Case("Si", ("si64_k2vac_1", "si64_k2vac_3"), ("si64_k2vac_new0", "si64_k2vac_new1")),
    "Si-Ge, 64": Case("Si-Ge-Sn", ("sige64_k2_0",), ("sige64_k2_1", "sige64_k2_2")),
    "Al, 32": Case("Al", ("al32_md_0", "al32_md_2", "al32_md_8"), ("al32_md_1", "al32_md_9", "al32_md_10")),
    "Al, 108": Case("Al", ("al32_md_0", "al32_md_2", "al108_md_0"), ("al108_md_1",)),
}
LARGE_VAL = {"Si": ("si64_k2_3", "si64_k2vac_2"), "Si-Ge-Sn": ("sgs64_k2_0",), "Al": ("al32_new_0",)}


def large_frames() -> dict[str, DensityFrame]:
    files = (f"density_{kind}.npz" for kind in ("sigesn", "al"))
    return {f.name: f for name in files for f in read_densities(ROOT / "data" / name) if len(f.atoms) > 8}


def error(model, frames: list[DensityFrame]) -> dict[str, float]:
    """NMAE (%) and coverage, on every second point of each axis."""
    rows = []
    for frame in frames:
        some = frame.density[::2, ::2, ::2]
        shape = tuple(n // 2 for n in frame.density.shape)
        if shape != some.shape:
            raise ValueError(f"got an odd grid {frame.density.shape} of {frame.name}")
        p = model.density_at(from_atoms(frame.atoms, model.cutoff), Points(shape), True)
        off, std = np.abs(p["density"].numpy() - some), p.std["density"].numpy()
        tail = float(head_of(model).std_tail)
        rows.append((100 * off.sum() / some.sum(), (off < std).mean(), (off < tail * std).mean()))
    return dict(zip(("nmae", "inside_68", "inside_95"), map(float, np.mean(rows, axis=0)), strict=True))


def cost(frames: list[DensityFrame], like: dict[str, DensityFrame]) -> float:
    """CPU hours of pw.x from its own start."""

    def seconds(frame: DensityFrame) -> float:
        if "start" not in frame.info:
            return float(frame.info["cpu_s"])
        same = [f for f in like.values() if f.info["family"] == frame.info["family"] and "start" not in f.info]
        return float(np.mean([f.info["cpu_s"] for f in same]))

    return sum(map(seconds, frames)) / 3600


def trained(kind: str, frames: list[DensityFrame], val: list[DensityFrame], config: FitConfig):
    """Train the fast model on some cells and nothing else; returns it, its normal equations and the seconds."""
    torch.manual_seed(0)
    model, start = with_density(load(kind)), time.perf_counter()
    equations, _ = train_density(model, frames, val, config)
    return model, equations, time.perf_counter() - start


class System:
    """Models of one system, each trained once."""

    def __init__(self, name: str, frames: dict[str, DensityFrame]):
        self.kind, family = SYSTEMS[name]
        self.small, self.frames = parts(self.kind, family), frames
        self.large = [frames[n] for n in dict.fromkeys(n for c in CASES.values() if c.system == name for n in c.update)]
        self.val = [frames[n] for n in LARGE_VAL[name]]

    @functools.cached_property
    def alone(self):
        return trained(self.kind, self.small["train"], self.small["val"], FIT)

    @functools.cached_property
    def both(self):
        return trained(self.kind, self.small["train"] + self.large, self.small["val"] + self.val, FIT)

    @functools.cached_property
    def network(self):
        return train_network(self.small)


def run(name: str, case: Case, system: System, network: bool) -> list[dict]:
    frames, small = system.frames, system.small
    update, test = [frames[n] for n in case.update], [frames[n] for n in case.test]
    rows = []

    def add(what: str, model, used: list[DensityFrame], cells: list[DensityFrame], seconds: float) -> None:
        row = {"case": name, "model": what, "large": len(used), "hours": cost(cells, frames), "seconds": seconds}
        rows.append(row | error(model, test))

    model, equations, seconds = system.alone
    add("small cells", model, [], small["train"], seconds)
    for count in range(1, len(update) + 1):
        updated, start = copy.deepcopy(model), time.perf_counter()
        update_density(updated, equations, update[:count])
        add("updated", updated, update[:count], small["train"] + update[:count], time.perf_counter() - start)
    both, _, seconds = system.both
    add("both", both, system.large, small["train"] + system.large, seconds)
    weight = sum(copies(f) for f in update)
    alone, _, seconds = trained(
        system.kind, update, system.val, replace(FIT, epochs=round(FIT.epochs * len(small["train"]) / weight))
    )
    add("large alone", alone, update, update, seconds)
    if network:
        first, seconds = system.network
        add("network, small", first, [], small["train"], seconds)
        moved, start = copy.deepcopy(first), time.perf_counter()
        train_points(moved, update, system.val, replace(FIT_POINTS, epochs=20), frozen=FROZEN)
        add("network, updated", moved, update, small["train"] + update, time.perf_counter() - start)
    return rows


def show(rows: list[dict]) -> None:
    print(f"{'':14}{'':18}{'large':>6}{'NMAE':>8}{'68 %':>7}{'95 %':>7}{'DFT, CPU h':>12}{'fit':>8}")
    print(f"{'':14}{'':18}{'cells':>6}{'%':>8}{'':>7}{'':>7}{'':>12}{'s':>8}")
    for r in rows:
        print(f"{r['case']:14}{r['model']:18}{r['large']:6d}{r['nmae']:8.3f}{100 * r['inside_68']:7.1f}"
              f"{100 * r['inside_95']:7.1f}{r['hours']:12.2f}{r['seconds']:8.1f}")  # fmt: skip


WAYS = {"small cells": "small", "updated": "updated", "both": "both", "large alone": "large"}
COLUMNS = {"nmae": ("NMAE, %", 1, 3), "inside_68": ("inside σ, %", 100, 0), "hours": ("DFT, CPU h", 1, 2)}


def show_last(rows: list[dict]) -> None:
    """One line a case: small cells alone, updated by all its large ones, both, large alone."""
    print("\nSide by side, after the last update")
    print(f"{'':14}" + "".join(f"{head:>36}" for head, _, _ in COLUMNS.values()))
    print(f"{'':14}" + len(COLUMNS) * "".join(f"{way:>9}" for way in WAYS.values()))
    for case in dict.fromkeys(r["case"] for r in rows):
        last = {r["model"]: r for r in rows if r["case"] == case}
        cells = (f"{scale * last[way][key]:9.{digits}f}" for key, (_, scale, digits) in COLUMNS.items() for way in WAYS)
        print(f"{case:14}" + "".join(cells))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="32-atom cells of aluminium alone")
    parser.add_argument("--only", action="append", choices=list(CASES), help="one case; may be given several times")
    parser.add_argument("--network", action="store_true", help="the Bayesian network too: another half hour")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    print_machine(machine())
    frames, systems, rows, verdicts = large_frames(), {}, [], []
    for name in ["Al, 32"] if arguments.quick else arguments.only or CASES:
        case = CASES[name]
        if case.system not in systems:
            systems[case.system] = System(case.system, frames)
        found = run(name, case, systems[case.system], arguments.network)
        rows += found
        before, after, both = (found[k]["nmae"] for k in (0, len(case.update), len(case.update) + 1))
        verdicts.append((f"{name}: NMAE after the update over that before", after / before, "≤", 1.0))
        verdicts.append((f"{name}: NMAE trained on both over that before", both / before, "≤", 1.0))
        show(found)
        sys.stdout.flush()
    print("\nErrors on large cells")
    show(rows)
    show_last(rows)
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n", encoding="utf-8")
    return 0 if verdict(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
