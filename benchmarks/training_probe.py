"""One training of whatever version of the package is on the path: seconds of its epochs, or the files that it enters.

    python benchmarks/training_probe.py epochs CONFIG.toml FOLDER
    python benchmarks/training_probe.py trace CONFIG.toml FOLDER
    torchrun --standalone --nproc-per-node 2 benchmarks/training_probe.py losses CONFIG.toml FOLDER

It runs on the commit before the one run for all kinds as well, which `training.py` puts into a worktree.
"""

import json
import sys
import time
from pathlib import Path

import torch

LAYERS = ("cli", "adapters", "screen", "learn", "fields", "models", "data", "phonons", "descriptors", "nn", "graph")
"""From the top down; what is not listed lies below."""

DIRECTING = ("cli/", "learn/")
"""Files that lead a training; what they call in other folders is listed, not followed."""


def train(config: str, folder: str, report) -> None:
    try:
        from ase_mlx.learn.recipe import read_training
        from ase_mlx.learn.run import run
    except ImportError:
        from ase_mlx.learn.train import train as before

        from ase_mlx.learn.config import read_config

        before(read_config(config), folder, report=report)
        return
    recipe, settings = read_training(config)
    run(recipe(settings), folder, report)


def epochs(config: str, folder: str) -> list[float]:
    """CPU seconds of each epoch but the first, which waits for compiled code."""
    torch.set_num_threads(1)
    times = []
    train(config, folder, lambda _: times.append(time.process_time()))
    return [b - a for a, b in zip(times[:-1], times[1:], strict=True)]


def losses(config: str, folder: str) -> list[tuple[float, float, float]]:
    """Loss in training and validation and the end (s of the clock) of each epoch, of several processes or one."""
    from torch import distributed

    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    rows: list[tuple[float, float, float]] = []
    train(config, folder, lambda p: rows.append((p.train_loss, p.val_loss, time.monotonic())))
    distributed.barrier()
    first = distributed.get_rank() == 0
    distributed.destroy_process_group()
    return rows if first else sys.exit()


def trace(config: str, folder: str) -> dict:
    """Files in the order of their first call; stays in those that lead, and moves from one to one above it."""
    import ase_mlx
    from ase_mlx.cli.train import train as command

    root = str(Path(ase_mlx.__file__).parent) + "/"
    stack, files, stays, climbs = [], {}, [], []

    def layer(file: str) -> int:
        name = file.split("/")[0]
        return LAYERS.index(name) if name in LAYERS else len(LAYERS)

    def look(frame, event, _):
        name = frame.f_code.co_filename
        if event not in ("call", "return") or not name.startswith(root) or frame.f_code.co_name.startswith("<"):
            return
        file = name[len(root) :]
        if event == "call":
            files.setdefault(file)
            stack.append(file)
        elif stack:
            stack.pop()
        now = next((f for f in reversed(stack) if f.startswith(DIRECTING)), None)
        if now and (not stays or stays[-1] != now):
            if stays and layer(now) < layer(stays[-1]):
                climbs.append(f"{stays[-1]} → {now}")
            stays.append(now)

    command(Path(config), Path(folder + "-first"), None, "cpu")  # imports, and code that is compiled
    sys.setprofile(look)
    try:
        command(Path(config), Path(folder), None, "cpu")
    finally:
        sys.setprofile(None)
    return {"files": list(files), "stays": stays, "climbs": climbs}


if __name__ == "__main__":
    print("\n" + json.dumps({"epochs": epochs, "losses": losses, "trace": trace}[sys.argv[1]](*sys.argv[2:])))
