"""The peers, asked from outside: each function starts one worker in that peer's environment and returns a plain dict.

Frames are given and predictions returned in eV, Å, eV/Å³ (Voigt xx yy zz yz xz xy). Every worker runs on one thread;
`python benchmarks/peers/driver.py DATA.extxyz.xz` runs the peers' half of the comparison alone.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read, write

HERE = Path(__file__).resolve().parent
_spec = importlib.util.spec_from_file_location("peer_environments", HERE / "environments.py")
environments = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(environments)

ZERO_SHOT = ("chgnet", "sevenn")
TRAINED = ("ase_mlx", "nequip")
LABELS = {
    "ase_mlx": "ase_mlx",
    "nequip": "NequIP 0.19.1",
    "chgnet": "CHGNet 0.4.2",
    "sevenn": "SevenNet-0 (sevenn 0.13.0)",
}
CALLS = {64: 21, 512: 5, 4096: 2}
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS", "NUMBA", "RAYON")}


def ask(peer: str, request: dict, worker: str | None = None) -> dict:
    """Runs one request in a fresh process of the peer's environment, which is built first where it is missing.

    `worker` is the script that answers, `{peer}_worker.py` if not given.

    Raises:
        RuntimeError: the worker failed; the end of its output is in the message.
    """
    python = environments.create(peer)
    with tempfile.TemporaryDirectory() as folder:
        question, answer = Path(folder, "request.json"), Path(folder, "answer.json")
        question.write_text(json.dumps(request))
        run = subprocess.run(
            [python, HERE / (worker or f"{peer}_worker.py"), question, answer],
            capture_output=True,
            text=True,
            env={**os.environ, **ONE_THREAD},
        )
        if run.returncode or not answer.exists():
            output = (run.stdout + run.stderr)[-3000:]
            raise RuntimeError(f"{peer} failed at {request['task']!r} (exit code {run.returncode}):\n{output}")
        return json.loads(answer.read_text())


def train(
    peer: str,
    train: list[Atoms],
    val: list[Atoms],
    workdir: str,
    l_max: int,
    budget_s: float,
    seed: int = 0,
    **settings,
) -> dict:
    """Trains NequIP or ours for `budget_s` seconds of CPU time on one thread; the dict has the path of `checkpoint`.

    Raises:
        RuntimeError: the training failed.
    """
    folder = Path(workdir).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: str(folder / f"{name}.extxyz") for name in ("train", "val")}
    for name, frames in (("train", train), ("val", val)):
        write(paths[name], [_labelled(atoms) for atoms in frames])
    request = {"task": "train", "workdir": str(folder), "l_max": l_max, "budget_s": budget_s, "seed": seed}
    return ask(peer, {**request, **paths, **settings})


def compile_nequip(checkpoint: str) -> dict:
    """NequIP's checkpoint compiled ahead of time for the CPU, beside it; the dict has the new `checkpoint`. Needs g++.

    Raises:
        RuntimeError: the compilation failed.
    """
    out = str(Path(checkpoint).resolve().with_suffix(".nequip.pt2"))
    return ask("nequip", {"task": "compile", "checkpoint": checkpoint, "out": out})


def evaluate(peer: str, frames: list[Atoms], shift_from: list[Atoms] | None = None, **model) -> dict:
    """Predictions of a peer: energy (F,) in eV, forces (all atoms, 3) in eV/Å, stress (F, 6) in eV/Å³.

    A zero-shot model counts energies from another reference: with `shift_from` (the train part) one energy per element
    is fitted there by least squares and added. NequIP takes `checkpoint=`.
    """
    both = [*frames, *(shift_from or [])]
    with tempfile.TemporaryDirectory() as folder:
        data, out = str(Path(folder, "frames.extxyz")), str(Path(folder, "predictions.npz"))
        write(data, [Atoms(a.numbers, a.positions, cell=a.cell, pbc=a.pbc) for a in both])
        answer = ask(peer, {"task": "evaluate", "data": data, "out": out, **model})
        with np.load(out) as predictions:
            energy, forces, stress = (predictions[name] for name in ("energy", "forces", "stress"))
    if shift_from:
        energy = energy + _reference_shift(both, energy, fitted=slice(len(frames), None))
    atoms = sum(len(a) for a in frames)
    count = len(frames)
    return {"energy": energy[:count], "forces": forces[:atoms], "stress": stress[:count], "cpu_s": answer["cpu_s"]}


def errors(frames: list[Atoms], predictions: dict, families: dict[str, str] | None = None) -> dict:
    """Mean absolute errors of energy (meV/atom), force components (meV/Å) and stress components (MPa), by family.

    `families` maps info["family"] to the name that a table shows.
    """
    families = families or {"si8": "hot Si", "sgs8": "alloys"}
    of_frame = np.array([families.get(atoms.info.get("family"), "other") for atoms in frames])
    sizes = np.array([len(atoms) for atoms in frames])
    true_energy = np.array([atoms.get_potential_energy() for atoms in frames])
    true_forces = np.concatenate([atoms.get_forces() for atoms in frames])
    energy = 1e3 * abs(predictions["energy"] - true_energy) / sizes
    forces = 1e3 * abs(predictions["forces"] - true_forces)
    stress = 160217.66208 * abs(predictions["stress"] - np.array([atoms.get_stress() for atoms in frames]))
    table = {}
    for name in ["all", *dict.fromkeys(of_frame.tolist())]:
        chosen = np.ones(len(frames), bool) if name == "all" else of_frame == name
        rows = np.repeat(chosen, sizes)
        table[name] = {
            "frames": int(chosen.sum()),
            "energy_meV_per_atom": float(energy[chosen].mean()),
            "forces_meV_per_A": float(forces[rows].mean()),
            "stress_MPa": float(stress[chosen].mean()),
            "rms_force_meV_per_A": float(1e3 * np.sqrt(np.mean(true_forces[rows] ** 2))),
        }
    return table


def time_md(peer: str, sizes=(64, 512, 4096), cells: int = 200, device: str = "cpu", **model) -> dict:
    """Cost of an MD step by the peer's calculator: silicon supercells, then a loop over `cells` eight-atom cells.

    With its peak memory and the floating-point operations of its matrix products per atom (None where unseen).
    """
    calls = [CALLS.get(size, 3) for size in sizes]
    return ask(peer, {"task": "time", "sizes": list(sizes), "calls": calls, "cells": cells, "device": device, **model})


def check_stress(peer: str, **model) -> float:
    """Largest difference (eV/Å³) between the peer's stress and ASE's finite differences on a sheared silicon cell."""
    return ask(peer, {"task": "check", **model})["difference"]


def split(data: str) -> dict[str, list[Atoms]]:
    """The train, val and test frames of the comparison: Si and Si-Ge-Sn eight-atom cells of the shared set."""
    frames = [a for a in read(data, ":") if a.info["source"] == "base" and a.info["family"] in ("si8", "sgs8")]
    return {part: [a for a in frames if a.info["part"] == part] for part in ("train", "val", "test")}


def _labelled(atoms: Atoms) -> Atoms:
    from ase.calculators.singlepoint import SinglePointCalculator

    bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    labels = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces(), "stress": atoms.get_stress()}
    bare.calc = SinglePointCalculator(bare, **labels)
    return bare


def _reference_shift(frames: list[Atoms], energy: np.ndarray, fitted: slice) -> np.ndarray:
    elements = sorted({int(z) for atoms in frames for z in atoms.numbers})
    counts = np.array([[(atoms.numbers == z).sum() for z in elements] for atoms in frames], float)
    reference = np.array([atoms.get_potential_energy() for atoms in frames[fitted]])
    shifts = np.linalg.lstsq(counts[fitted], reference - energy[fitted], rcond=None)[0]
    return counts @ shifts


def main(arguments: list[str] | None = None) -> int:
    """Trains, evaluates and times all peers, prints one line for each and writes everything to `--json`."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("data")
    parser.add_argument("--peers", nargs="+", default=list(LABELS), choices=list(LABELS))
    parser.add_argument("--l-max", nargs="+", type=int, default=[1])
    parser.add_argument("--budget-seconds", type=float, default=480)
    parser.add_argument("--workdir", default="peers-work")
    parser.add_argument("--sizes", nargs="+", type=int, default=[64, 512, 4096])
    parser.add_argument("--json")
    options = parser.parse_args(arguments)
    parts, results = split(options.data), {}
    runs = [(peer, l_max) for peer in options.peers for l_max in (options.l_max if peer in TRAINED else [None])]
    for peer, l_max in runs:
        start, result, model = time.perf_counter(), {}, {}
        label = LABELS[peer] + (f" l_max {l_max}" if l_max is not None else "")
        if peer in TRAINED:
            folder = str(Path(options.workdir, f"{peer}-{l_max}"))
            result["training"] = train(peer, parts["train"], parts["val"], folder, l_max, options.budget_seconds)
            model = {"checkpoint": result["training"]["checkpoint"]}
        shift_from = parts["train"] if peer in ZERO_SHOT else None
        result["errors"] = errors(parts["test"], evaluate(peer, parts["test"], shift_from, **model))
        result["stress_check"] = check_stress(peer, **model)
        result["time"] = time_md(peer, options.sizes, **model)
        result["seconds"] = time.perf_counter() - start
        results[label] = result
        print(label, json.dumps(result, indent=1), flush=True)
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
