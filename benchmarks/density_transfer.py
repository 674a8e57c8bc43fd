"""Transfer of a density from small to large cells: errors before and after, and what the data cost.

    python benchmarks/density_transfer.py [--quick] [--network] [--json FILE]

Each model is trained on small cells alone (those of benchmarks/density.py), then updated by one, two or three large
ones and tried on the other large ones. The fast model is updated in its posterior, which takes seconds; with --network
the Bayesian network too, by training its last two layers. "Large alone" is the fast model trained on the same large
cells and nothing else; the cost counts CPU seconds of pw.x. Errors: ∫|Δρ|/N on every eighth grid point.
"""

import argparse
import copy
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
from ase_mlx.learn.density.points import FROZEN, train_points
from ase_mlx.learn.density.samples import head_of
from ase_mlx.learn.density.train import train_density, update_density, with_density
from ase_mlx.pretrained import load


@dataclass(frozen=True)
class Case:
    """Small cells of a system, and large ones by name: to update with, in this order, and to try."""

    system: str
    update: tuple[str, ...]
    test: tuple[str, ...]


CASES = {
    "Si, 64": Case("Si", ("si64_k2_0",), ("si64_k2_1", "si64_k2_2")),
    "Si, vacancy": Case("Si", ("si64_k2vac_1", "si64_k2_0"), ("si64_k2vac_new0", "si64_k2vac_new1")),
    "Si-Ge, 64": Case("Si-Ge-Sn", ("sige64_k2_0",), ("sige64_k2_1", "sige64_k2_2")),
    "Al, 32": Case("Al", ("al32_md_0", "al32_md_2", "al32_md_8"), ("al32_md_1", "al32_md_9", "al32_md_10")),
    "Al, 108": Case("Al", ("al32_md_0", "al32_md_2", "al108_md_0"), ("al108_md_1",)),
}


def large_frames() -> dict[str, DensityFrame]:
    files = ("density_large.npz", "density_al.npz")
    frames = (f for name in files for f in read_densities(ROOT / "data" / name))
    return {f.name: f for f in frames if f.info["part"] == "reference"}


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


def cost(frames: list[DensityFrame]) -> float:
    """CPU hours of pw.x."""
    return sum(float(f.info["cpu_s"]) for f in frames) / 3600


def large_alone(kind: str, frames: list[DensityFrame], val: list[DensityFrame]):
    """Train the fast model on large cells and nothing else."""
    torch.manual_seed(0)
    model = with_density(load(kind))
    epochs = round(FIT.epochs * 20 / max(len(frames), 4))
    train_density(model, frames, val, replace(FIT, epochs=epochs, batch_size=1))
    return model


def run(name: str, case: Case, made: dict, frames: dict[str, DensityFrame], network: bool) -> list[dict]:
    kind = SYSTEMS[case.system][0]
    model, equations, small, seconds = made[case.system]
    update, test = [frames[n] for n in case.update], [frames[n] for n in case.test]
    rows = [{"case": name, "model": "small cells", "large": 0, "hours": cost(small["train"]), "seconds": seconds}]
    rows[0] |= error(model, test)
    for count in range(1, len(update) + 1):
        updated, start = copy.deepcopy(model), time.perf_counter()
        update_density(updated, equations, update[:count])
        row = {"case": name, "model": "updated", "large": count, "seconds": time.perf_counter() - start}
        row["hours"] = cost(small["train"]) + cost(update[:count])
        rows.append(row | error(updated, test))
    start = time.perf_counter()
    alone = large_alone(kind, update, small["val"])
    row = {"case": name, "model": "large alone", "large": len(update), "hours": cost(update)}
    rows.append(row | {"seconds": time.perf_counter() - start} | error(alone, test))
    if network:
        if case.system + " network" not in made:
            made[case.system + " network"] = train_network(small)
        first, seconds = made[case.system + " network"]
        row = {"case": name, "model": "network, small", "large": 0, "hours": cost(small["train"]), "seconds": seconds}
        rows.append(row | error(first, test))
        moved, start = copy.deepcopy(first), time.perf_counter()
        train_points(moved, update, small["val"], replace(FIT_POINTS, epochs=20), frozen=FROZEN)
        row = {"case": name, "model": "network, updated", "large": len(update), "hours": rows[-2]["hours"]}
        row["hours"] = cost(small["train"]) + cost(update)
        rows.append(row | {"seconds": time.perf_counter() - start} | error(moved, test))
    return rows


def show(rows: list[dict]) -> None:
    print(f"{'':14}{'':18}{'large':>6}{'NMAE':>8}{'68 %':>7}{'95 %':>7}{'DFT, CPU h':>12}{'fit':>8}")
    print(f"{'':14}{'':18}{'cells':>6}{'%':>8}{'':>7}{'':>7}{'':>12}{'s':>8}")
    for r in rows:
        print(f"{r['case']:14}{r['model']:18}{r['large']:6d}{r['nmae']:8.3f}{100 * r['inside_68']:7.1f}"
              f"{100 * r['inside_95']:7.1f}{r['hours']:12.2f}{r['seconds']:8.1f}")  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="32-atom cells of aluminium alone")
    parser.add_argument("--network", action="store_true", help="the Bayesian network too: another half hour")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    print_machine(machine())
    frames, made, rows, verdicts = large_frames(), {}, [], []
    for name, case in CASES.items():
        if (arguments.quick and name != "Al, 32") or not {*case.update, *case.test} <= set(frames):
            continue
        if case.system not in made:
            kind, family = SYSTEMS[case.system]
            small = parts(kind, family)
            torch.manual_seed(0)
            model, start = with_density(load(kind)), time.perf_counter()
            equations, _ = train_density(model, small["train"], small["val"], FIT)
            made[case.system] = (model, equations, small, time.perf_counter() - start)
        found = run(name, case, made, frames, arguments.network)
        rows += found
        before, after = found[0]["nmae"], found[len(case.update)]["nmae"]
        verdicts.append((f"{name}: NMAE after the update over that before", after / before, "≤", 1.0))
        show(found)
        sys.stdout.flush()
    print()
    show(rows)
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n", encoding="utf-8")
    return 0 if verdict(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
