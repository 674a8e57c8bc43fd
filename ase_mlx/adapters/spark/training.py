"""Trainings by Spark's workers, in one run with one checkpoint, that go on after an executor is lost.

Source: ours, on Spark's `TorchDistributor`.
"""

import logging
import os
import re
from collections.abc import Callable
from pathlib import Path

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from ase_mlx.adapters.spark.session import session
from ase_mlx.learn import worker
from ase_mlx.learn.fit import CHECKPOINT
from ase_mlx.learn.recipe import read_training

LOSSES = 4
"""Executors lost in a row without a new checkpoint, after which a training ends, as Spark's `task.maxFailures`."""


def train_distributed(
    config_path: str | Path,
    folder: str | Path,
    workers: int = 2,
    master: str = "local[1]",
    spark: SparkSession | None = None,
    start: str | Path = "",
) -> None:
    """Train a model of any kind by several workers, which share each batch: the model of one worker.

    On a cluster each worker is a task of an executor; one that is lost costs what came after the last checkpoint. Data
    and folder must then be on a disk that all machines see under the same path, and ase_mlx installed on each.

    Args:
        config_path: a TOML file as `ase-mlx train` takes it.
        folder: where the model goes; called again, the training goes on from the checkpoint there.
        workers: processes.
        master: see `session`; of `local` ones the processes are started on this machine, without executors.
        spark: a session to use, from `session`; it stays open.
        start: the folder of a model to start from, in place of the file's.

    Raises:
        ValueError: the file is of no kind that can be trained, or holds wrong values.
        RuntimeError: no Java, or a worker failed; what it printed is in the message.

    Source: ours, on Spark's `TorchDistributor`.
    """
    from pyspark.ml.torch.distributor import TorchDistributor

    read_training(config_path, start)
    opened = spark is None and SparkSession.getActiveSession() is None
    spark = spark or session(master)
    here = re.match(r"local(\[|$)", spark.sparkContext.master) is not None
    words = [str(Path(path).resolve()) for path in (config_path, folder)]
    words += [str(Path(start).resolve()) if start else "", os.getpid() if here else 0]
    try:
        distributor = TorchDistributor(num_processes=workers, local_mode=here, use_gpu=False)
        problem = _until_done(spark, lambda: distributor.run(worker.problem_of_worker, *words), Path(folder))
    finally:
        if opened:
            spark.stop()
    if problem:
        raise RuntimeError(f"a worker failed, and the training ended: {problem}")


def _until_done(spark: SparkSession, attempt: Callable[[], str], folder: Path) -> str:
    """Try again after the loss of an executor: Spark gives up then, and the folder has a checkpoint."""
    losses = 0
    while True:
        executors, checkpoints = _executors(spark), _checkpoints(folder)
        try:
            return attempt()
        except (Py4JError, PySparkException) as error:
            losses = losses + 1 if checkpoints == _checkpoints(folder) else 1
            if losses == LOSSES or not executors - _executors(spark):
                raise RuntimeError(f"a worker failed, and the training ended: {error}") from error
            logging.getLogger(__name__).warning("an executor was lost; the training goes on from its checkpoint")


def _executors(spark: SparkSession) -> set[str]:
    """Addresses of those that live."""
    return set(spark.sparkContext._jsc.sc().getExecutorMemoryStatus().keys().mkString(" ").split())


def _checkpoints(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob(f"{Path(CHECKPOINT).stem}*")}
