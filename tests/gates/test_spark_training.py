"""Trainings of every kind on a standalone cluster of Spark, in which an executor is killed."""

import logging
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from commands import call, together
from kinds import checkpoints, write_data, write_settings

pytest.importorskip("pyspark")

from ase_mlx.adapters.spark import session, train_distributed
from ase_mlx.learn.files import load_model, parameters_equal

pytestmark = [
    pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:pyspark"),
    pytest.mark.filterwarnings("ignore::FutureWarning:pyspark"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # py4j's sockets
    pytest.mark.timeout(900),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("kinds"))


@pytest.fixture(scope="module")
def spark_cluster():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).resolve().parents[2] / "benchmarks")
        import spark_cluster

        yield spark_cluster


@pytest.fixture(scope="module")
def spark(spark_cluster, tmp_path_factory):
    """Two executors of one core each, which Spark replaces where they are lost."""
    with spark_cluster.cluster(tmp_path_factory.mktemp("cluster")) as address:
        opened = session(address, **{"spark.scheduler.barrier.maxConcurrentTasksCheck.interval": "1s"})
        yield opened
        opened.stop()


SORTS = ("potential", "anomaly")
"""Structures and rows; test_kinds.py has two processes of every kind, which is all that Spark starts, and its kills."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", SORTS)
def test_a_training_that_loses_an_executor_ends_in_the_same_weights(data, spark, spark_cluster, tmp_path, kind, caplog):
    """To the last bit: what two processes without Spark make, of which nobody was killed."""
    config = write_settings(data, kind, epochs=60)
    if kind == "potential":
        words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "ase_mlx.learn.worker"]
        subprocess.run([sys.executable, *words, str(config), "-o", str(tmp_path / "whole")], check=True)
    else:
        together(2, config, tmp_path / "whole")
    in_training = []

    def kill():
        end = time.monotonic() + 600
        while not checkpoints(tmp_path / "model") and time.monotonic() < end:
            time.sleep(0.005)
        in_training.append(not (tmp_path / "model" / "card.json").exists() and spark_cluster.kill_executor())

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    with caplog.at_level(logging.WARNING):
        train_distributed(config, tmp_path / "model", workers=2, spark=spark)
    killer.join()
    assert in_training == [True]
    assert "an executor was lost; the training goes on" in caplog.text
    assert parameters_equal(load_model(tmp_path / "model"), load_model(tmp_path / "whole"))


@pytest.mark.slow
def test_a_training_that_fails_by_itself_is_not_tried_again(data, spark, tmp_path):
    config = write_settings(data, "potential")
    text = config.read_text(encoding="utf-8").replace("frames.extxyz", "nowhere.extxyz")
    (tmp_path / "train.toml").write_text(text, encoding="utf-8")
    with pytest.raises(RuntimeError, match=r"a worker failed(.|\n)*nowhere\.extxyz"):
        train_distributed(tmp_path / "train.toml", tmp_path / "model", workers=2, spark=spark)
    assert not (tmp_path / "model").exists()


def test_a_gpu_of_a_cluster_is_not_promised(data, tmp_path):
    done = call(data, "train", "potential.toml", "-o", tmp_path / "model", "--engine", "spark", "--device", "cuda")
    assert done.returncode == 2
    assert not (tmp_path / "model").exists()
