"""NequIP 0.19.1: training through its own `nequip-train`, and its own ASE calculator (run inside .venvs/nequip)."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import lightning
import measure
import numpy as np
import torch
from ase.io import read
from nequip.integrations.ase import NequIPCalculator

torch.set_num_threads(1)
HERE = Path(__file__).resolve().parent
PROBE_EPOCHS = 4


class CpuClock(lightning.Callback):
    """Writes the process CPU time (s) at the start of training and after every epoch, validation included."""

    def __init__(self, path: str):
        self.path, self.times = Path(path), []

    def on_train_start(self, trainer, module):
        self.times = [time.process_time()]

    def on_train_epoch_end(self, trainer, module):
        self.times.append(time.process_time())

    def on_train_end(self, trainer, module):
        self.path.write_text(json.dumps(self.times))


def energy_shifts(frames: list) -> dict[str, float]:
    """Energy of each element (eV) from a least-squares fit of the total energies to the composition."""
    symbols = sorted({symbol for atoms in frames for symbol in atoms.symbols})
    counts = np.array([[atoms.symbols.count(symbol) for symbol in symbols] for atoms in frames], float)
    shifts = np.linalg.lstsq(counts, np.array([atoms.get_potential_energy() for atoms in frames]), rcond=None)[0]
    return dict(zip(symbols, shifts.tolist(), strict=True))


def fit(workdir: Path, train: str, val: str, epochs: int, batch: int = 5, **settings) -> np.ndarray:
    """Runs `nequip-train` on nequip.yaml; CPU seconds of each epoch."""
    workdir.mkdir(parents=True, exist_ok=True)
    for old in workdir.glob("*.ckpt"):
        old.unlink()
    frames = read(train, ":")
    shifts = energy_shifts(frames)
    given = {"train": train, "val": val, "workdir": workdir, "epochs": epochs, "batch": batch, **settings}
    given["steps"] = epochs * -(-len(frames) // batch)
    given["elements"] = f"[{','.join(shifts)}]"
    given["shifts"] = "{" + ",".join(f"{element}:{shift:.6f}" for element, shift in shifts.items()) + "}"
    program = [Path(sys.executable).with_name("nequip-train"), "-cp", HERE, "-cn", "nequip", f"hydra.run.dir={workdir}"]
    log = workdir / "training.log"
    with open(log, "w") as file:
        done = subprocess.run(
            [*map(str, program), *(f"{name}={value}" for name, value in given.items())],
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": str(HERE)},
        )
    if done.returncode:
        raise RuntimeError(f"nequip-train failed (exit code {done.returncode}):\n{log.read_text()[-3000:]}")
    return np.diff(json.loads((workdir / "cpu_times.json").read_text()))


def train(workdir: str, budget_s: float, **settings) -> dict:
    """Trains for `budget_s` seconds of CPU time: a short probe measures an epoch, then the epochs that fit are run.

    NequIP is stopped by epochs because its `max_time` can leave a checkpoint without EMA weights, which it cannot load,
    and because the learning rate decays over exactly these epochs. The probe and the start are not counted.
    """
    folder = Path(workdir).resolve()
    probe = fit(folder / "probe", epochs=PROBE_EPOCHS, **settings)
    epochs = max(2, round(budget_s / float(np.median(probe[1:]))))
    start = time.perf_counter()
    spent = fit(folder, epochs=epochs, **settings)
    return {
        "checkpoint": str(folder / "best.ckpt"),
        "epochs": epochs,
        "training_cpu_s": float(spent.sum()),
        "wall_s": time.perf_counter() - start,
    }


def compile_model(checkpoint: str, out: str) -> dict:
    """Compiles a checkpoint ahead of time for the CPU by `nequip-compile` into `out` (.nequip.pt2); needs g++."""
    start = time.perf_counter()
    program = str(Path(sys.executable).with_name("nequip-compile"))
    options = ["--mode", "aotinductor", "--target", "ase", "--device", "cpu"]
    done = subprocess.run([program, checkpoint, out, *options], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"nequip-compile failed (exit code {done.returncode}):\n{done.stderr[-3000:]}")
    return {"checkpoint": out, "wall_s": time.perf_counter() - start}


def load(checkpoint: str, device: str):
    """NequIP's calculator from a checkpoint (eager), or from a file that `nequip-compile` made (.nequip.pt2)."""
    if checkpoint.endswith(".ckpt"):
        return NequIPCalculator._from_saved_model(checkpoint, device=device)
    return NequIPCalculator.from_compiled_model(checkpoint, device=device)


if __name__ == "__main__":
    measure.serve({"train": train, "compile": compile_model, **measure.calculator_tasks(load)})
