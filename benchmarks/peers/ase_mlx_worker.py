"""Ours, asked like a peer: training by `learn.fit`, evaluation and timing through our ASE calculator."""

import dataclasses
import time

import measure
import numpy as np
import torch
from ase.io import read

from ase_mlx.adapters.ase import Calculator
from ase_mlx.data.graph_batches import GraphBatches
from ase_mlx.data.samples import elements_of, name_of, reference_energies, sample
from ase_mlx.learn.config import FitConfig
from ase_mlx.learn.files import save_model
from ase_mlx.learn.fit import Stage, fit
from ase_mlx.learn.methods import network
from ase_mlx.learn.recipes.potential import potential_loss
from ase_mlx.models.potential import Potential, PotentialConfig
from ase_mlx.models.predict import predict

torch.set_num_threads(1)
PROBE_EPOCHS = 4


def build(frames: list, l_max: int, seed: int, **settings) -> Potential:
    """An untrained potential with the settings that NequIP gets: 5 Å, three layers, 32 features, natural parity."""
    torch.manual_seed(seed)
    elements = elements_of(frames)
    forces = np.concatenate([atoms.get_forces() for atoms in frames])
    config = PotentialConfig(
        elements=elements,
        l_max=l_max,
        reference_energies=reference_energies(frames, elements),
        energy_scale=float(np.sqrt(np.mean(forces**2))),
        **settings,
    )
    return Potential(config)


def train(
    train: str, val: str, workdir: str, l_max: int, budget_s: float, seed: int = 0, device: str = "cpu", **settings
) -> dict:
    """Train for `budget_s` seconds of CPU time: a short probe measures an epoch, then the epochs that fit are run."""
    frames = {"train": read(train, ":"), "val": read(val, ":")}
    samples = {
        part: [sample(atoms, PotentialConfig.cutoff, name_of(atoms, k)) for k, atoms in enumerate(part_frames)]
        for part, part_frames in frames.items()
    }
    clock = time.process_time if device == "cpu" else time.perf_counter
    times: list[float] = [clock()]

    def run(config: FitConfig):
        del times[:]
        times.append(clock())
        model = build(frames["train"], l_max, seed, **settings)
        batches = GraphBatches(samples["train"], config.batch_size, seed=config.seed)
        val = GraphBatches(samples["val"], 4 * config.batch_size)
        stage = Stage(model, potential_loss, batches, network(config), val)
        fit(stage, report=lambda _: times.append(clock()), device=device)
        return model

    run(FitConfig(epochs=PROBE_EPOCHS, seed=seed))
    epochs = max(2, round(budget_s / float(np.median(np.diff(times)[1:]))))
    start = time.perf_counter()
    config = FitConfig(epochs=epochs, seed=seed)
    model = run(config)
    save_model(model.cpu(), workdir, {"fit": dataclasses.asdict(config)})
    return {
        "checkpoint": workdir,
        "epochs": epochs,
        "training_cpu_s": times[-1] - times[0],
        "wall_s": time.perf_counter() - start,
    }


def load(checkpoint: str, device: str) -> Calculator:
    """Our calculator in float32."""
    return Calculator(checkpoint, device=device)


def run_batch(data: str, checkpoint: str) -> dict:
    """Energies, forces and stresses of all frames of a file, neighbour lists included."""
    calculator = load(checkpoint, "cpu")
    return measure.time_batch(lambda frames: predict(calculator.model, frames, std=False), data)


def kernel_flops(calculator: Calculator, neighbors: float) -> float:
    """Floating-point operations per atom in the fused convolutions, forward and backward, which torch cannot see."""
    total = 0.0
    for layer in calculator.model.trunk.layers:
        entries, radial = len(layer.paths.entry_path) * layer.radial.shape[1], np.prod(layer.radial.shape)
        total += neighbors * (3 * entries + 7 * radial + 8 * entries + 15 * radial)
    return float(total)


def run_time(sizes: list[int], calls: list[int], cells: int = 200, device: str = "cpu", **model) -> dict:
    """The measurements of every peer, and `cells` small cells predicted in batches."""
    calculator = load(device=device, **model)
    loop = measure.time_loop(calculator, cells, device=device)
    frames = [measure.silicon(8, seed) for seed in range(cells)]
    times = []
    for repeat in range(4):
        for atoms in frames:
            atoms.rattle(0.002, seed=repeat)
        before = time.perf_counter(), time.process_time()
        predict(calculator.model, frames, std=False)
        times.append([time.perf_counter() - before[0], time.process_time() - before[1]])
    wall, cpu = np.median(times[1:], axis=0)
    atoms = measure.silicon(64)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], with_flops=True) as profile:
        calculator.get_property("forces", atoms)
    seen = sum(event.flops or 0 for event in profile.key_averages()) / len(atoms)
    edges = len(calculator._graph(atoms).center) / len(atoms)
    return {
        **measure.time_md(calculator, sizes, calls, device),
        "loop": loop,
        "batched": {"cells": cells, "seconds": float(cpu if device == "cpu" else wall), "wall_s": float(wall)},
        "flops_per_atom": seen + kernel_flops(calculator, edges),
    }


if __name__ == "__main__":
    measure.serve({"train": train, **measure.calculator_tasks(load), "time": run_time, "batch": run_batch})
