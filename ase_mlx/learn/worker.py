"""One of several processes that train a model together.

    torchrun --standalone --nproc-per-node 2 -m ase_mlx.learn.worker CONFIG.toml -o FOLDER

Every process makes the whole model and takes its share of each batch; the first one writes.

Source: ours, on `torch.distributed`.
"""

import argparse
import os
import sys
import traceback
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed

from ase_mlx.learn.fit import Progress
from ase_mlx.learn.recipe import read_training
from ase_mlx.learn.run import run
from ase_mlx.processes import end_with

PATIENCE = timedelta(hours=12)
"""How long processes wait for the first one to read its data."""

LOOPBACK = ("127.0.0.1", "localhost")
"""Addresses of a meeting place that only processes of its own machine reach."""


def train_as_worker(config_path: str | Path, folder: str | Path, device: str = "cpu", start: str = "") -> None:
    """Train as one of the processes that torchrun started; the first one writes the model.

    Args:
        config_path: a TOML file as `ase-mlx train` takes it.
        folder: where the model goes.
        device: "cpu", or "cuda": each process takes a GPU of its machine.
        start: a folder, in place of the config's `start`.

    Raises:
        ValueError: unusable data or settings; nothing is written.
        RuntimeError: torchrun did not start this process.

    Source: ours.
    """
    if "RANK" not in os.environ:
        raise RuntimeError(
            "got no RANK in the environment, expected to be started by torchrun: torchrun --standalone "
            "--nproc-per-node 2 -m ase_mlx.learn.worker CONFIG.toml -o FOLDER"
        )
    recipe, config = read_training(config_path, start)
    alone = os.environ["LOCAL_WORLD_SIZE"] == os.environ["WORLD_SIZE"] or os.environ["MASTER_ADDR"] in LOOPBACK
    if alone and sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # else gloo asks for the host's name, which may not resolve
    if device == "cuda":
        device = f"cuda:{int(os.environ['LOCAL_RANK']) % max(1, torch.cuda.device_count())}"
    distributed.init_process_group("gloo", timeout=PATIENCE)
    try:
        run(recipe(config), folder, print_progress, device)
        distributed.barrier()
    finally:
        distributed.destroy_process_group()


def problem_of_worker(config_path: str, folder: str, start: str = "", owner: int = 0) -> str:
    """Train as `train_as_worker`; returns what went wrong, for starters that lose the exit code, or nothing.

    The process ends when the one of the number `owner` does, where that is not 0.

    Source: ours.
    """
    if owner:
        end_with(owner)
    try:
        train_as_worker(config_path, folder, start=start)
    except Exception as error:
        traceback.print_exc()
        return f"{type(error).__name__}: {error}"
    return ""


def print_progress(p: Progress) -> None:
    """Print a line about every tenth of a stage.

    Source: ours.
    """
    if p.epoch == p.epochs or p.epoch % max(1, p.epochs // 10) == 0:
        held_out = "" if p.val_loss is None else f", held out {p.val_loss:.4f}"
        print(f"{p.stage or 'training'}: epoch {p.epoch} of {p.epochs}, loss {p.train_loss:.4f}{held_out}", flush=True)


def main() -> int:
    """Read the command line and train; the exit code is 0.

    Source: ours.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="TOML file as ase-mlx train takes it")
    parser.add_argument("-o", "--out", required=True, help="folder for the model")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--start", default="", help="folder of the model to start from, in place of the file's")
    arguments = parser.parse_args()
    train_as_worker(arguments.config, arguments.out, arguments.device, arguments.start)
    return 0


if __name__ == "__main__":
    sys.exit(main())
