"""A thousand to a million atoms: density streamed to disk, energy and forces, time and memory.

    python benchmarks/density_scale.py [--quick] [--spacing 0.5] [--sizes 1000 10000 ...] [--json FILE]

Each case runs in a process of its own, on two threads, in float32: a rattled perfect crystal (Al; random Si-Ge) of
about so many atoms, its density written as npy plane by plane, then energy, forces and stress of the same atoms.
`over a write`: against writing as many bytes alone. At 0.25 Å up to 100,000 atoms are run; the time for 4.1 million is
projected in proportion from the largest of these.

First the roads to a density in memory beside the one to a file, in turn on one thread, at 0.2 Å: `am.predict`, which
gives energy, forces and stress with it, and the Calculator.
"""

import argparse
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from verdict import machine, print_machine, verdict

SYSTEMS = {"Al": ("al", "Al", "fcc", 4.05), "Si-Ge": ("sigesn", "Si", "diamond", 5.6)}
THREADS = 2


def structure(system: str, n_atoms: int) -> Atoms:
    """A rattled cubic supercell of about so many atoms."""
    _, symbol, lattice, a = SYSTEMS[system]
    cell = bulk(symbol, lattice, a=a, cubic=True)
    atoms = cell.repeat(max(1, round((n_atoms / len(cell)) ** (1 / 3))))
    rng = np.random.default_rng(n_atoms)
    atoms.positions += rng.normal(scale=0.08, size=atoms.positions.shape)
    if system == "Si-Ge":
        atoms.numbers = rng.permutation(np.resize([14, 32], len(atoms)))
    return atoms


def case(system: str, n_atoms: int, spacing: float, energies: bool, answers) -> None:
    """Run one case and put its row into the queue."""
    import torch

    from ase_mlx.fields.density_files import write_density
    from ase_mlx.models.large import predict_large
    from ase_mlx.pretrained import load

    torch.set_num_threads(THREADS)
    model, atoms = load(SYSTEMS[system][0]), structure(system, n_atoms)
    warm = structure(system, 500)
    with tempfile.TemporaryDirectory() as folder:
        write_density(model, warm, Path(folder) / "warm.npy", spacing, dtype="float32")
        base = memory()
        start = time.perf_counter()
        done = write_density(model, atoms, Path(folder) / "x.npy", spacing, dtype="float32")
        seconds, peak = time.perf_counter() - start, memory()
        write = plain_write(Path(folder) / "y.npy", done.bytes)
    row = {"system": system, "atoms": len(atoms), "spacing": spacing, "points": int(np.prod(done.shape))}
    row |= {"seconds": seconds, "memory": peak, "before": base, "write": write}
    row |= {"off": abs(done.electrons - done.expected) / done.expected}
    if energies:
        predict_large(model, warm)
        start = time.perf_counter()
        forces = predict_large(model, atoms)["forces"]
        row |= {"forces_seconds": time.perf_counter() - start, "forces_memory": memory()}
        row |= {"net_force": float(np.abs(forces.sum(0)).max())}
    answers.put(row)


def memory() -> float:
    """Peak resident memory of this process so far, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def plain_write(path: Path, size: int) -> float:
    """Seconds of writing so many bytes in one stream."""
    block, start = np.ones(1 << 22, dtype=np.uint8), time.perf_counter()
    with open(path, "wb") as stream:
        for _ in range(-(-size // block.size)):
            stream.write(memoryview(block))
        stream.flush()
        os.fsync(stream.fileno())
    return time.perf_counter() - start


ROADS = {"40 × 8 atoms": (8, 40), "64 atoms": (64, 1), "1,000 atoms": (1000, 1)}


def roads(name: str, answers) -> None:
    """Million points a CPU second of each road to the density of some crystals, without and with bars."""
    import torch

    from ase_mlx.adapters.ase import Calculator
    from ase_mlx.fields.density_files import write_density
    from ase_mlx.graph import grid
    from ase_mlx.models.predict import predict
    from ase_mlx.pretrained import load

    torch.set_num_threads(1)
    model, (n_atoms, count) = load("sigesn"), ROADS[name]
    frames = [structure("Si-Ge", n_atoms) for _ in range(count)]
    points, calculator = [grid(atoms, 0.2) for atoms in frames], Calculator(model)
    with tempfile.TemporaryDirectory() as folder:

        def command(std: bool) -> None:
            for k, atoms in enumerate(frames):
                write_density(model, atoms, Path(folder) / f"{std}{k}.npy", 0.2, std=std)

        def as_calculator(std: bool) -> None:
            for atoms in frames:
                calculator.get_pseudo_density(atoms)
                if std:
                    calculator.get_density_std(atoms)

        roads = {"command": command, "am.predict": lambda std: predict(model, frames, std, points)}
        roads["Calculator"] = as_calculator
        row = {}
        for std in (False, True):
            seconds = {way: [] for way in roads}
            for _ in range(4):  # the first one warms up
                for way, work in roads.items():
                    start = time.process_time()
                    work(std)
                    seconds[way].append(time.process_time() - start)
            total = sum(map(len, points)) / 1e6
            row |= {(way, std): total / float(np.median(s[1:])) for way, s in seconds.items()}
    answers.put(row)


def show_roads(quick: bool) -> list[tuple]:
    """Print what each road gives, and the least share of the command's rate that am.predict has."""
    print("million points a CPU second, one thread, 0.2 Å       without bars                 with bars")
    print(f"{'':15}" + 2 * f"{'command':>12}{'am.predict':>12}{'Calculator':>12}")
    least = {False: np.inf, True: np.inf}
    for name in list(ROADS)[: 2 if quick else None]:
        row = run(name, target=roads)
        print(f"{name:15}" + "".join(f"{value:12.2f}" for value in row.values()), flush=True)
        for std in least:
            least[std] = min(least[std], row["am.predict", std] / row["command", std])
    return [
        ("am.predict beside the command, without bars, least", least[False], "≥", 0.75),
        ("am.predict beside the command, with bars, least", least[True], "≥", 0.75),
    ]


def run(*words, target=case) -> dict:
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=target, args=(*words, answers))
    process.start()
    while process.is_alive() and answers.empty():
        time.sleep(0.1)
    if answers.empty():
        raise RuntimeError(f"the case {words} ended without an answer")
    row = answers.get()
    process.join()
    return row


def exponent(rows: list[dict], key: str) -> float:
    """Slope of log time against log atoms, by least squares."""
    x, y = np.log([r["atoms"] for r in rows]), np.log([r[key] for r in rows])
    return float(np.polyfit(x, y, 1)[0])


def show(row: dict) -> None:
    text = f"{row['system']:7}{row['atoms']:9,d}{row['spacing']:7.2f} Å{row['points']:14,d}{row['seconds']:9.1f}"
    text += f"{row['points'] / row['seconds'] / 1e6:9.2f}{row['memory']:8.2f}{row['seconds'] / row['write']:9.1f}"
    text += f"{row['off']:10.0e}"
    if "forces_seconds" in row:
        text += f"{row['forces_seconds']:10.1f}{row['forces_memory']:8.2f}{row['net_force']:9.0e}"
    print(text, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1,000 and 10,000 atoms of aluminium")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--spacing", type=float, default=0.5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    sizes = [1_000, 10_000] if arguments.quick else arguments.sizes
    print_machine(machine() | {"threads": THREADS})
    verdicts = show_roads(arguments.quick)
    print(f"\n{'':7}{'atoms':>9}{'spacing':>9}{'points':>14}{'density':>9}{'Mpoints':>9}{'peak':>8}{'over a':>9}"
          f"{'electrons':>10}{'energy,':>10}{'peak':>8}{'net':>9}")  # fmt: skip
    print(f"{'':39}{'s':>9}{'/s':>9}{'GB':>8}{'write':>9}{'off':>10}{'forces s':>10}{'GB':>8}{'eV/Å':>9}")
    rows = []
    for system in ("Al",) if arguments.quick else SYSTEMS:
        coarse, fine = [], []
        for size in sizes:
            coarse.append(run(system, size, arguments.spacing, True))
            show(coarse[-1])
        for size in [s for s in sizes if s <= 100_000]:
            fine.append(run(system, size, 0.25, False))
            show(fine[-1])
        rows += coarse + fine
        verdicts.append((f"{system}: peak memory, GB", max(r["memory"] for r in coarse + fine), "≤", 4.0))
        if len(coarse) > 1:
            slope = exponent(coarse[1:] if len(coarse) > 2 else coarse, "seconds")
            print(f"{system}: time ~ atoms^{slope:.3f} at {arguments.spacing:g} Å")
            verdicts.append((f"{system}: exponent of time against atoms", slope, "≤", 1.05))
        if fine:
            last = fine[-1]
            big = 4.1e6 / last["atoms"]
            points, minutes = last["points"] * big / 1e9, last["seconds"] * big / 60
            print(f"{system}: 4.1 million atoms at 0.25 Å, {points:.1f} billion points: projected {minutes:.0f} min\n")
            speed, over = last["points"] / last["seconds"] / 1e6, last["seconds"] / last["write"]
            verdicts.append((f"{system}: million points/s at 0.25 Å", speed, "≥", 4.0))
            verdicts.append((f"{system}: times the binary write at 0.25 Å", over, "≤", 20.0))
    if arguments.json:
        text = json.dumps({"machine": machine(), "rows": rows}, indent=1, ensure_ascii=False)
        arguments.json.write_text(text + "\n", encoding="utf-8")
    return 0 if verdict(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
