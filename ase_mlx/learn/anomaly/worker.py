"""One of several workers that train a model together.

    torchrun --standalone --nproc-per-node 2 -m ase_mlx.learn.anomaly.worker CONFIG.toml -o FOLDER

Every worker makes the whole model and takes its share of each batch; the first one describes the crystals and writes.

Source: ours, on `torch.distributed`.
"""

import argparse
import os
import sys
from datetime import timedelta
from pathlib import Path

from torch import distributed

from ase_mlx.learn.anomaly.job import CrystalTraining, read_crystals, read_training, run_training
from ase_mlx.models.crystal_property import CrystalPropertyConfig
from ase_mlx.processes import end_with

PATIENCE = timedelta(hours=12)
"""How long workers wait for the first one to describe the crystals."""


def expect_training(config: CrystalTraining | None, path: str | Path) -> CrystalTraining:
    """Insist on a training file of these kinds.

    Raises:
        ValueError: the file is of another kind, or cannot be read.

    Source: ours.
    """
    if config is None:
        raise ValueError(
            f"got {str(path)!r}, expected a TOML file with kind = 'anomaly' or 'crystal_property'; other kinds are "
            "trained by one process: ase-mlx train"
        )
    return config


def train_as_worker(config_path: str | Path, folder: str | Path) -> None:
    """Train as one of the workers that torchrun started (eV/atom); the first one writes the model.

    Raises:
        ValueError: unusable data or settings; nothing is written.
        RuntimeError: torchrun did not start this process.

    Source: ours.
    """
    if "RANK" not in os.environ:
        raise RuntimeError(
            "got no RANK in the environment, expected to be started by torchrun: torchrun --standalone "
            "--nproc-per-node 2 -m ase_mlx.learn.anomaly.worker CONFIG.toml -o FOLDER"
        )
    config = expect_training(read_training(config_path), config_path)
    if os.environ["LOCAL_WORLD_SIZE"] == os.environ["WORLD_SIZE"] and sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # else gloo asks for the host's name, which may not resolve
    distributed.init_process_group("gloo", timeout=PATIENCE)
    try:
        first = distributed.get_rank() == 0
        diffraction = bool(config.model.get("diffraction", CrystalPropertyConfig.diffraction))
        crystals = [read_crystals(config.data, diffraction) if first else None]
        distributed.broadcast_object_list(crystals)
        run_training(config, folder, _tell if first else None, crystals[0], write=first)
        distributed.barrier()
    finally:
        distributed.destroy_process_group()


def _tell(what: str, done: int, total: int) -> None:
    if done == total or done % max(1, total // 10) == 0:
        print(f"{what}: epoch {done} of {total}", flush=True)


def main() -> int:
    """Read the command line and train; the exit code is 0.

    Source: ours.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="TOML file as ase-mlx train takes it")
    parser.add_argument("-o", "--out", required=True, help="folder for the model")
    parser.add_argument("--end-with", type=int, metavar="PID", help="end when this process does")
    arguments = parser.parse_args()
    if arguments.end_with:
        end_with(arguments.end_with)
    train_as_worker(arguments.config, arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
