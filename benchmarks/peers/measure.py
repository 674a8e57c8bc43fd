"""What every peer is asked through its own ASE calculator; NumPy and ASE suffice, so it runs in every environment."""

import json
import resource
import sys
import time

import numpy as np
from ase.build import bulk
from ase.calculators.fd import calculate_numerical_stress
from ase.io import read

LATTICE = 5.47  # Å, PBE silicon of the data's setting
LONG_CALL = 10.0  # s: a first call this long warms up by itself


def silicon(atoms: int, seed: int = 0):
    """A rattled (0.05 Å) cubic diamond silicon supercell of 8·n³ atoms."""
    copies = round((atoms / 8) ** (1 / 3))
    if 8 * copies**3 != atoms:
        raise ValueError(f"got {atoms} atoms: a cubic diamond supercell has 8·n³ (8, 64, 512, 4096, ...)")
    cell = bulk("Si", "diamond", a=LATTICE, cubic=True).repeat(copies)
    cell.rattle(0.05, seed=seed)
    return cell


def memory_mib() -> float:
    """Peak resident memory of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def evaluate(calculator, data: str, out: str) -> dict:
    """Energies (eV), forces (eV/Å), stresses (eV/Å³, Voigt xx yy zz yz xz xy) of `data`, into the npz `out`."""
    start = time.process_time()
    energy, forces, stress = [], [], []
    for atoms in read(data, ":"):
        atoms.calc = calculator
        energy.append(float(atoms.get_potential_energy()))
        forces.append(np.asarray(atoms.get_forces()))
        stress.append(np.asarray(atoms.get_stress()))
    np.savez(out, energy=energy, forces=np.concatenate(forces), stress=stress)
    return {"predictions": out, "frames": len(energy), "cpu_s": time.process_time() - start}


def time_md(calculator, sizes: list[int], calls: list[int], device: str = "cpu") -> dict:
    """Milliseconds per atom of one full calculator call after a small move of all atoms, neighbour list included.

    The median over `calls` calls after one that warms up (and counts where it is long); CPU time of the process on the
    CPU (one thread is set by the driver, so that a busy machine counts little), wall time elsewhere.
    """
    rows = []
    for size, repeats in zip(sizes, calls, strict=True):
        atoms, rng = silicon(size), np.random.default_rng(size)
        atoms.calc = calculator
        wall, cpu = [], []
        for _ in range(repeats + 1):
            atoms.positions += rng.normal(scale=0.005, size=atoms.positions.shape)
            before = time.perf_counter(), time.process_time()
            atoms.get_forces()
            wall.append(time.perf_counter() - before[0])
            cpu.append(time.process_time() - before[1])
            if len(cpu) == repeats and cpu[0] > LONG_CALL:
                break
        if cpu[0] <= LONG_CALL:
            del wall[0], cpu[0]
        wall_ms, cpu_ms = (1e3 * float(np.median(times)) / size for times in (wall, cpu))
        rows.append(
            {
                "atoms": size,
                "ms_per_atom": cpu_ms if device == "cpu" else wall_ms,
                "wall_ms_per_atom": wall_ms,
                "calls": len(cpu),
                "peak_memory_MiB": memory_mib(),
            }
        )
    return {"sizes": rows}


def time_frames(calculator, data: str, calls: list[int]) -> dict:
    """CPU milliseconds per atom of one call after a small move of all atoms, frame by frame: the median after one call.

    With the peak memory of the process after each frame, so that frames grow from one to the next.
    """
    rows = []
    for atoms, repeats in zip(read(data, ":"), calls, strict=True):
        atoms.calc, rng, times = calculator, np.random.default_rng(len(atoms)), []
        for _ in range(repeats + 1):
            atoms.positions += rng.normal(scale=0.003, size=atoms.positions.shape)
            start = time.process_time()
            atoms.get_forces()
            times.append(time.process_time() - start)
            if times[0] > LONG_CALL and len(times) == repeats:
                break
        times = times[1:] if len(times) > repeats else times
        ms = 1e3 * float(np.median(times)) / len(atoms)
        rows.append({"atoms": len(atoms), "ms_per_atom": ms, "calls": len(times), "peak_memory_MiB": memory_mib()})
    return {"frames": rows}


def time_batch(function, data: str, repeats: int = 3) -> dict:
    """CPU milliseconds per atom of `function` of all frames of a file at once, the median after one call."""
    frames, times = read(data, ":"), []
    function(frames)
    for _ in range(repeats):
        start = time.process_time()
        function(frames)
        times.append(time.process_time() - start)
    return {"ms_per_atom": 1e3 * float(np.median(times)) / sum(map(len, frames))}


def time_loop(calculator, cells: int = 200, repeats: int = 2, device: str = "cpu") -> dict:
    """Seconds for `cells` different eight-atom cells, one after the other (median of `repeats` passes)."""
    frames = [silicon(8, seed) for seed in range(cells)]
    for atoms in frames[: min(20, cells)]:
        _step(calculator, atoms)
    times = []
    for repeat in range(repeats):
        before = time.perf_counter(), time.process_time()
        for atoms in frames:
            atoms.rattle(0.002, seed=repeat)
            _step(calculator, atoms)
        times.append([time.perf_counter() - before[0], time.process_time() - before[1]])
    wall, cpu = np.median(times, axis=0)
    return {"cells": cells, "seconds": float(cpu if device == "cpu" else wall), "wall_s": float(wall)}


def _step(calculator, atoms) -> None:
    atoms.calc = calculator
    atoms.get_forces()


def count_flops(calculator, atoms: int = 64) -> float:
    """Floating-point operations per atom in one call, as torch's profiler sees them: products and sums of tensors.

    Gathers, sums over edges and fused kernels are not counted, so this is a lower bound.
    """
    import torch

    cell = silicon(atoms, seed=7)
    cell.calc = calculator
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], with_flops=True) as profile:
        cell.get_forces()
    return sum(event.flops or 0 for event in profile.key_averages()) / atoms


def check_stress(calculator) -> dict:
    """Largest difference (eV/Å³) of stress and ASE finite differences on a sheared, rattled Si cell."""
    atoms = silicon(8, seed=3)
    atoms.set_cell(atoms.cell @ (np.eye(3) + [[0.03, 0.02, 0.01], [0, -0.02, 0.015], [0, 0, 0.01]]), scale_atoms=True)
    atoms.calc = calculator
    analytic = np.asarray(atoms.get_stress())
    numeric = calculate_numerical_stress(atoms, eps=1e-3, force_consistent=False)
    return {
        "stress": analytic.tolist(),
        "numeric": numeric.tolist(),
        "difference": float(abs(analytic - numeric).max()),
    }


def serve(tasks: dict) -> None:
    """Runs the request in the JSON file argv[1], {"task": ..., other arguments}, and writes the answer to argv[2]."""
    with open(sys.argv[1]) as file:
        request = json.load(file)
    answer = tasks[request.pop("task")](**request)
    with open(sys.argv[2], "w") as file:
        json.dump({**answer, "peak_memory_MiB": memory_mib()}, file)


def calculator_tasks(load) -> dict:
    """The tasks of any peer: `load(device=..., **model)` builds its calculator."""

    def run_evaluate(data: str, out: str, device: str = "cpu", **model) -> dict:
        return evaluate(load(device=device, **model), data, out)

    def run_time(sizes: list[int], calls: list[int], cells: int = 200, device: str = "cpu", **model) -> dict:
        calculator = load(device=device, **model)
        loop = time_loop(calculator, cells, device=device) if cells else None
        flops = count_flops(calculator)
        return {**time_md(calculator, sizes, calls, device), "loop": loop, "flops_per_atom": flops}

    def run_check(device: str = "cpu", **model) -> dict:
        return check_stress(load(device=device, **model))

    def run_frames(data: str, calls: list[int], device: str = "cpu", **model) -> dict:
        return time_frames(load(device=device, **model), data, calls)

    def run_batch(data: str, device: str = "cpu", **model) -> dict:
        calculator = load(device=device, **model)

        def one_by_one(frames):
            for atoms in frames:
                calculator.get_property("forces", atoms)
                calculator.reset()

        return time_batch(one_by_one, data)

    return {
        "evaluate": run_evaluate, "time": run_time, "check": run_check, "frames": run_frames, "batch": run_batch
    }  # fmt: skip
