"""Electron densities on held-out cells: superposed atoms, fast model, Bayesian network, and the best of the basis.

    python benchmarks/density.py [--quick] [--curve] [--no-network] [--json FILE] [--plot FILE.png]

Each system is trained here, on at most 60 cells: the fast model on the trunk of the shipped potential, the Bayesian
network (point by point, body-attached frames) on nothing. Test cells are those of
data/README.md, which nothing was trained or chosen on. The floor is a least-squares fit of the basis to each test
cell, its error taken at points that were not fitted. Hartree: mean size of the error of the electrostatic self-energy,
and the self-energy of the difference of the densities.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import matplotlib
import numpy as np
import torch
from verdict import machine, print_machine, verdict

from ase_mlx.data.densities import DensityFrame, read_densities
from ase_mlx.data.free_atoms import superpose
from ase_mlx.graph.points import near
from ase_mlx.learn.config import FitConfig
from ase_mlx.learn.density.errors import compare, density_errors
from ase_mlx.learn.density.samples import choose, grid_positions
from ase_mlx.learn.recipes.density import train_density, with_density
from ase_mlx.learn.recipes.point_density import point_density, train_points
from ase_mlx.models.density_field import free_atoms_at, pairs_of
from ase_mlx.models.point_density import PointDensity
from ase_mlx.models.potential import Potential
from ase_mlx.pretrained import load

ROOT = Path(__file__).resolve().parents[1]
SYSTEMS = {"Si": ("sigesn", "si8"), "Si-Ge-Sn": ("sigesn", "sgs8"), "Al": ("al", "al4")}
TO_REACH = {"Si": 0.5, "Si-Ge-Sn": 0.8, "Al": 0.2}
MOST_CELLS = 60
CURVE = (5, 10, 20, 40)
FIT = FitConfig(epochs=120, batch_size=2, learning_rate=5e-3, warmup_steps=50)
FIT_POINTS = FitConfig(epochs=100, batch_size=2, learning_rate=5e-3, warmup_steps=50)
VALENCE = {13: 3, 14: 4, 32: 4, 50: 4}


def parts(kind: str, family: str) -> dict[str, list[DensityFrame]]:
    """Frames of one family by part; at most 60 to train on, evenly picked."""
    found: dict[str, list[DensityFrame]] = {"train": [], "val": [], "test": []}
    for frame in read_densities(ROOT / "data" / f"density_{kind}.npz"):
        if frame.info["family"] == family:
            found[frame.info["part"]].append(frame)
    every = found["train"]
    if len(every) > MOST_CELLS:
        found["train"] = [every[k] for k in np.linspace(0, len(every) - 1, MOST_CELLS).round().astype(int)]
    return found


def train(kind: str, frames: dict[str, list[DensityFrame]], count: int | None = None) -> tuple[Potential, float]:
    """Train a density on the first `count` cells of a fixed random order; returns it and the seconds."""
    order = np.random.default_rng(0).permutation(len(frames["train"]))[:count]
    torch.manual_seed(0)
    model, start = with_density(load(kind)), time.perf_counter()
    train_density(model, [frames["train"][k] for k in order], frames["val"], FIT)
    return model, time.perf_counter() - start


def train_network(frames: dict[str, list[DensityFrame]]) -> tuple[PointDensity, float]:
    """Train the Bayesian network; returns it and the seconds."""
    torch.manual_seed(0)
    elements = {z for frame in frames["train"] for z in frame.atoms.numbers.tolist()}
    model, start = point_density(tuple(sorted(elements))), time.perf_counter()
    train_points(model, frames["train"], frames["val"], FIT_POINTS)
    return model, time.perf_counter() - start


def evaluated(model: Potential | PointDensity, frames: list[DensityFrame]) -> dict[str, float]:
    """Errors, and microseconds a point with error bars (from one core, files not counted)."""
    start = time.perf_counter()
    found = density_errors(model, frames)
    seconds = time.perf_counter() - start
    return found | {"microseconds": 1e6 * seconds / sum(f.density.size for f in frames)}


def mean_of(rows: list[dict[str, float]]) -> dict[str, float]:
    return {key: float(np.mean([abs(row[key]) for row in rows])) for key in rows[0]}


def superposed(frames: list[DensityFrame]) -> dict[str, float]:
    """Errors of free atoms' densities, superposed."""
    rows = []
    for frame in frames:
        atoms = frame.atoms
        points = grid_positions(frame, np.arange(frame.density.size))
        values = superpose(points, atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)
        rows.append(compare(frame, values.reshape(frame.density.shape), sum(VALENCE[z] for z in atoms.numbers)))
    return mean_of(rows)


def floor(model: Potential, frame: DensityFrame) -> dict[str, float]:
    """Errors of the best coefficients for one cell at points that were not fitted."""
    density, atoms = model.density, frame.atoms
    species = model.species_index[torch.as_tensor(atoms.numbers.astype(np.int64))].numpy()
    chosen = choose(frame, frame.density.size // 2, 3)
    positions = grid_positions(frame, chosen)
    atom, point, vector = near(positions, atoms.positions, atoms.cell.array, atoms.pbc, density.config.range)
    free = free_atoms_at(density, species, atom, point, np.linalg.norm(vector, axis=1), len(chosen))
    pairs = pairs_of(density, atom, point, vector, len(atoms), len(chosen))
    degrees = density.degrees.numpy()
    design = torch.zeros(len(atoms), len(chosen) + 1, len(degrees) * density.config.n_radial)
    for k in range(len(atoms)):
        values = pairs.radial[k][:, degrees] * pairs.angular[k].unsqueeze(-1)
        design[k].index_add_(0, pairs.index[k], values.flatten(1))
    matrix = design[:, : len(chosen)].transpose(0, 1).reshape(len(chosen), -1)
    target = torch.as_tensor(frame.density.reshape(-1)[chosen] - free, dtype=torch.float32)
    fitted = 4 * len(chosen) // 5
    gram = (matrix[:fitted].T @ matrix[:fitted]).double()
    gram += 1e-7 * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.float64)
    coefficients = torch.linalg.solve(gram, (matrix[:fitted].T @ target[:fitted]).double()).float()
    error = (matrix[fitted:] @ coefficients - target[fitted:]).numpy()
    true = frame.density.reshape(-1)[chosen[fitted:]]
    return {
        "nmae": 100 * float(np.abs(error).sum() / true.sum()),
        "nrmse": 100 * float(np.sqrt(np.square(error).mean() / np.square(true).mean())),
    }


def show(rows: list[dict]) -> None:
    keys = (
        "nmae",
        "nrmse",
        "electrons",
        "hartree_error",
        "hartree",
        "inside_68",
        "inside_95",
        "cells",
        "seconds",
        "microseconds",
    )
    print(f"{'':10}{'':18}{'NMAE':>8}{'NRMSE':>8}{'electrons':>11}{'Hartree error':>15}{'of the diff.':>14}"
          f"{'68 %':>8}{'95 %':>8}{'cells':>7}{'train':>8}{'a point':>9}")  # fmt: skip
    print(f"{'':28}{'%':>8}{'%':>8}{'off':>11}{'meV/atom':>15}{'meV/atom':>14}{'':>8}{'':>8}{'':>7}{'s':>8}{'µs':>9}")
    for row in rows:
        cells = [row.get(key) for key in keys]
        scale = (1, 1, 1, 1e3, 1e3, 100, 100, 1, 1, 1)
        form = ("8.3f", "8.3f", "11.0e", "15.2f", "14.3f", "8.1f", "8.1f", "7d", "8.0f", "9.2f")
        text = "".join(
            " " * int(f.split(".")[0].rstrip("def")) if c is None else format(c * s if s != 1 else c, f)
            for c, s, f in zip(cells, scale, form, strict=True)
        )
        print(f"{row['system']:10}{row['model']:18}{text}")


def plot(path: Path, curves: dict[str, list[tuple[int, float]]], floors: dict[str, float]) -> None:
    """NMAE against the number of training cells."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    for (system, points), color in zip(curves.items(), ("#0072b2", "#d55e00", "#009e73"), strict=True):
        n, error = np.array(points).T
        axes.loglog(n, error, "o-", color=color, label=system)
        axes.axhline(floors[system], color=color, linestyle=":", linewidth=1)
        axes.annotate("floor", (n[-1], floors[system]), (0, 3), textcoords="offset points", color=color, ha="right")
    axes.set_xlabel("training cells")
    axes.set_ylabel("∫|Δρ| / N on test cells (%)")
    axes.set_xticks([5, 10, 20, 40, 60], ["5", "10", "20", "40", "60"])
    axes.set_yticks([0.05, 0.1, 0.2, 0.5, 1], ["0.05", "0.1", "0.2", "0.5", "1"])
    axes.minorticks_off()
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)
    print(f"wrote {path}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="aluminium alone")
    parser.add_argument("--curve", action="store_true", help="learning curves too: another quarter of an hour")
    parser.add_argument("--network", action=argparse.BooleanOptionalAction, default=True, help="half an hour of it")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path, help="of the learning curves")
    arguments = parser.parse_args()
    print_machine(machine())
    rows, curves, floors, verdicts = [], {}, {}, []
    for system, (kind, family) in SYSTEMS.items():
        if arguments.quick and system != "Al":
            continue
        frames = parts(kind, family)
        rows.append({"system": system, "model": "superposed atoms"} | superposed(frames["test"]))
        curves[system] = []
        for count in [n for n in CURVE if n < len(frames["train"])] if arguments.curve else ():
            curves[system].append((count, density_errors(train(kind, frames, count)[0], frames["test"])["nmae"]))
        model, seconds = train(kind, frames)
        found = evaluated(model, frames["test"])
        cells = len(frames["train"])
        curves[system].append((cells, found["nmae"]))
        rows.append({"system": system, "model": "fast model", "cells": cells, "seconds": seconds} | found)
        if arguments.network:
            network, network_seconds = train_network(frames)
            row = {"system": system, "model": "Bayesian network", "cells": cells, "seconds": network_seconds}
            rows.append(row | evaluated(network, frames["test"]))
        rows.append({"system": system, "model": "basis floor"} | mean_of([floor(model, f) for f in frames["test"]]))
        floors[system] = rows[-1]["nmae"]
        verdicts += [
            (f"{system}: NMAE of the fast model, %", found["nmae"], "≤", TO_REACH[system]),
            (f"{system}: electrons off", found["electrons"], "≤", 1e-10),
            (f"{system}: inside 68.3 %, points off", abs(100 * found["inside_68"] - 68.3), "≤", 4.0),
            (f"{system}: inside 95 %, points off", abs(100 * found["inside_95"] - 95), "≤", 4.0),
        ]
        show([row for row in rows if row["system"] == system])
        sys.stdout.flush()
    print("\nErrors on cells that nothing was trained on")
    show(rows)
    if arguments.curve:
        print("\nlearning curve: NMAE (%) on test cells against training cells")
        for system, points in curves.items():
            print(f"{system:10}" + "   ".join(f"{n}: {error:.3f}" for n, error in points))
    if arguments.plot and arguments.curve:
        plot(arguments.plot, curves, floors)
    if arguments.json:
        result = {"machine": machine(), "rows": rows, "curves": curves}
        arguments.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0 if verdict(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
