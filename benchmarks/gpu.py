"""Every road that runs through torch, on an accelerator beside the CPU: the same numbers, and how fast.

    python benchmarks/gpu.py [--device cuda] [--quick] [--json FILE]

`sigesn` gives energies, forces, stresses, second derivatives, a density on a grid and one training step; `bhnaa` judges
crystals; the squares of compressed third-order tensors are those that a conductivity adds up. Each is computed on the
CPU and on the device, in float64 and float32, and timed there: medians of three runs, the first one left out. On a
GPU the peak of its memory is printed, and the largest cell whose forces fit. With `--device cpu` both are the same: it
tests this script, not a GPU. Exit code 1 where a figure is missed.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from verdict import machine, print_machine, verdict

import ase_mlx as am

BOUNDS = {torch.float64: 1e-10, torch.float32: 1e-5}
"""Largest difference from the CPU, in units of the largest size of the quantity."""

Outcome = dict[str, np.ndarray]


def silicon(cells: int):
    """A rattled crystal of 8 atoms a cell."""
    from ase.build import bulk

    atoms = bulk("Si", cubic=True).repeat(cells)
    atoms.rattle(0.05, seed=0)
    return atoms


def forces(device: str, dtype: torch.dtype, cells: int) -> tuple[Callable[[], Outcome], int]:
    model, atoms = am.load("sigesn").to(dtype).to(device), silicon(cells)
    names = ("energies", "forces", "stress")
    return lambda: {k: am.predict(model, atoms, std=False)[k] for k in names}, len(atoms)


def second_derivatives(device: str, dtype: torch.dtype, cells: int) -> tuple[Callable[[], Outcome], int]:
    from ase_mlx.graph import from_atoms
    from ase_mlx.models.hessian import hessian_columns

    model, atoms = am.load("sigesn").to(dtype).to(device), silicon(cells)
    graph = from_atoms(atoms, model.cutoff).to(device)
    return lambda: {"columns": hessian_columns(model, graph, np.arange(2))}, len(atoms)


def density(device: str, dtype: torch.dtype, cells: int) -> tuple[Callable[[], Outcome], int]:
    model, atoms = am.load("sigesn").to(dtype).to(device), silicon(1)
    points = am.grid(atoms, shape=(8 * cells,) * 3)
    return lambda: {"density": am.predict(model, atoms, std=False, at=points)["density"]}, (8 * cells) ** 3


def training_step(device: str, dtype: torch.dtype, cells: int) -> tuple[Callable[[], Outcome], int]:
    """Loss, gradients and the weights after one step of Muon and AdamW."""
    from ase.calculators.lj import LennardJones
    from ase.calculators.singlepoint import SinglePointCalculator

    from ase_mlx.data.samples import sample
    from ase_mlx.learn.methods import network
    from ase_mlx.learn.recipes.potential import PotentialFit, potential_loss
    from ase_mlx.nn.terms import value

    atoms = silicon(cells)
    lj = LennardJones(sigma=2.1, epsilon=0.5, rc=5.0)
    names = ("energy", "forces", "stress")
    atoms.calc = SinglePointCalculator(atoms, **{name: lj.get_property(name, atoms) for name in names})
    group = sample(atoms, am.load("sigesn").cutoff, "silicon").to(device)

    def step() -> Outcome:
        model = am.load("sigesn").to(dtype).to(device).train()
        method = network(PotentialFit())
        optimizers = method.optimizers(model)
        loss, _ = value([potential_loss(model, group)])
        loss.backward()
        trained = [p for p in model.parameters() if p.grad is not None]
        gradients = torch.cat([p.grad.flatten() for p in trained])
        method.pace(optimizers, 0, 0.0)
        for optimizer in optimizers:
            optimizer.step()
        weights = torch.cat([p.detach().flatten() for p in trained])
        return {"loss": cpu(loss.detach()), "gradients": cpu(gradients), "weights": cpu(weights)}

    return step, len(atoms)


def anomaly(device: str, dtype: torch.dtype, cells: int) -> tuple[Callable[[], Outcome], int]:
    """Descriptors are computed on the CPU before; the networks judge them."""
    from ase_mlx.descriptors import anion_classes
    from ase_mlx.graph import batch, from_atoms

    model = am.load("bhnaa").to(device)
    for networks in (*model.property.networks, model.novelty):  # buffers keep their float64
        networks.to(dtype)
    graph = batch([from_atoms(silicon(1), model.cutoff)])
    rows, anions = np.repeat(model.property.described(graph), 256 * cells, 0), anion_classes(graph)
    rows = rows * np.random.default_rng(0).normal(1.0, 0.01, rows.shape)

    def judge() -> Outcome:
        properties, judged = model.table(rows, np.repeat(anions, len(rows)))
        return {**properties, "novelty": judged["novelty"].score}

    return judge, len(rows)


def compressed_squares(device: str, dtype: torch.dtype, cells: int) -> tuple[Callable[[], Outcome], int]:
    """Random mode functions; products of three, summed and squared."""
    from ase_mlx.phonons.compressed import strengths

    random = np.random.default_rng(0)
    shape = (32, 6, 128 * cells)
    tables = random.normal(size=shape) + 1j * random.normal(size=shape)
    complex_type = torch.complex128 if dtype == torch.float64 else torch.complex64
    tables = torch.from_numpy(tables).to(complex_type).to(device)
    signs = torch.from_numpy(random.choice([-1.0, 1.0], shape[2])).to(tables)
    pairs = torch.from_numpy(random.integers(0, 32, (64, 2))).to(device)
    return lambda: {"squares": cpu(strengths(tables, signs, 0, pairs))}, len(pairs)


ROADS = {
    "energies, forces, stress": (forces, "atoms"),
    "second derivatives": (second_derivatives, "atoms"),
    "training step": (training_step, "atoms"),
    "density on a grid": (density, "points"),
    "anomalies": (anomaly, "crystals"),
    "compressed squares": (compressed_squares, "triplets"),
}
DOUBLE = {"second derivatives"}
"""Roads that exist in float64 alone."""


def cpu(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()


def timed(work: Callable[[], Outcome], device: str) -> tuple[Outcome, float]:
    """An outcome and the median seconds of three more runs."""
    times = []
    for k in range(4):
        start = time.perf_counter()
        outcome = work()
        if device != "cpu":
            torch.cuda.synchronize()
        times += [time.perf_counter() - start] if k else []
    return outcome, statistics.median(times)


def compare(name: str, device: str, dtype: torch.dtype, cells: int) -> dict:
    """One line: differences from the CPU in units of the largest size, speeds, memory."""
    road, unit = ROADS[name]
    work, amount = road("cpu", dtype, cells)
    expected, on_cpu = timed(work, "cpu")
    work, _ = road(device, dtype, cells)
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    outcome, on_device = timed(work, device)
    peak = torch.cuda.max_memory_allocated() / 1e9 if device != "cpu" else None
    off = {k: float(np.abs(outcome[k] - v).max() / np.abs(v).max()) for k, v in expected.items()}
    speeds = {"cpu": amount / on_cpu, "device": amount / on_device}
    return {"road": name, "dtype": str(dtype)[6:], "unit": unit, "off": off, **speeds, "peak": peak}


def largest(device: str) -> int:
    """Atoms of the largest cell whose forces fit into the memory of the device."""
    atoms, cells = 0, 4
    while True:
        try:
            work, atoms_now = forces(device, torch.float32, cells)
            work()
        except torch.OutOfMemoryError:
            return atoms
        atoms, cells = atoms_now, cells + max(1, cells // 4)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="small cells")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    from ase_mlx.processes import expect_device

    try:
        expect_device(options.device)
    except ValueError as error:
        parser.error(str(error))
    about = machine()
    print_machine(about)
    cells = 1 if options.quick else 4
    rows = [
        compare(name, options.device, dtype, min(cells, 2) if name == "second derivatives" else cells)
        for name in ROADS
        for dtype in BOUNDS
        if dtype == torch.float64 or name not in DOUBLE
    ]
    print(f"\n{'road':26} {'dtype':8} {'a second':10} {'CPU':>10} {options.device:>10} {'peak, GB':>9} {'off':>9}")
    for row in rows:
        peak = "" if row["peak"] is None else f"{row['peak']:.2f}"
        print(
            f"{row['road']:26} {row['dtype']:8} {row['unit']:10} {row['cpu']:10.4g} {row['device']:10.4g} {peak:>9} "
            f"{max(row['off'].values()):9.1e}"
        )
    result = {"machine": about, "rows": rows}
    if options.device != "cpu":
        result["largest"] = largest(options.device)
        print(f"\nthe largest cell of silicon whose forces fit: {result['largest']} atoms")
    figures = []
    for dtype, bound in BOUNDS.items():
        worst = max(max(row["off"].values()) for row in rows if row["dtype"] == str(dtype)[6:])
        figures.append((f"{str(dtype)[6:]}: largest difference / {bound:g}", worst / bound, "≤", 1.0))
    reached = verdict(figures)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1), encoding="utf-8")
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
