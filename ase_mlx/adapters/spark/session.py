"""Sessions of Spark with what screenings and trainings need.

Source: ours.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyspark
from pyspark.sql import SparkSession

from ase_mlx.screen.ranges import RANGE

JAVA = 17
"""The oldest version that Spark 4 runs on."""

MENDED = f"install one (apt-get install openjdk-{JAVA}-jre-headless) or point JAVA_HOME to it"


def session(master: str = "local[*]", **options: str) -> SparkSession:
    """Start Spark, or take the session that is open, with what screenings need.

    Args:
        master: Spark's address of a cluster; `local[2]` means two cores of this machine.
        options: further settings by Spark's names, such as `**{"spark.executor.memory": "8g"}`; they win.

    Raises:
        RuntimeError: no Java, or one that is too old.

    Source: ours.
    """
    if SparkSession.getActiveSession() is None:
        _expect_java()
    settings = {
        "spark.driver.memory": "2g",
        "spark.executor.memory": "1g",
        "spark.executorEnv.OMP_NUM_THREADS": "1",
        "spark.log.level": "ERROR",
        "spark.sql.adaptive.enabled": "false",  # it may merge partitions, which are files of a fixed range of rows
        "spark.sql.caseSensitive": "true",  # as pandas and pyarrow are
        "spark.sql.execution.arrow.maxRecordsPerBatch": str(RANGE),
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.sql.warehouse.dir": str(Path(tempfile.gettempdir()) / "ase-mlx-spark"),  # else in the current folder
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    if re.match(r"local\b|spark://(127\.|localhost)", master):
        settings |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
    builder = SparkSession.builder.master(master).appName("ase-mlx")
    for name, value in (settings | options).items():
        builder = builder.config(name, value)
    with _python_of_workers():
        return builder.getOrCreate()


@contextmanager
def _python_of_workers() -> Iterator[None]:
    """Spark's workers run this very Python unless the user named one; Spark reads the name when it starts."""
    before = os.environ.get("PYSPARK_PYTHON")
    os.environ["PYSPARK_PYTHON"] = before or sys.executable
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYSPARK_PYTHON"]


def _expect_java() -> None:
    home = os.environ.get("JAVA_HOME")
    java = shutil.which(str(Path(home) / "bin" / "java")) if home else shutil.which("java")
    where = f"in JAVA_HOME = {home!r}" if home else "on PATH"
    wanted = f"expected Java {JAVA} or newer, which Spark {pyspark.__version__} runs on; {MENDED}"
    if java is None:
        raise RuntimeError(f"got no `java` {where}, {wanted}")
    answer = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    version = re.search(r'version "(?:1\.)?(\d+)', answer.stderr + answer.stdout)
    if version is None:
        first = (answer.stderr + answer.stdout).strip().split("\n")[0]
        raise RuntimeError(f"got {java}, which does not say its version ({first!r}), {wanted}")
    if int(version[1]) < JAVA:
        raise RuntimeError(f"got Java {version[1]} ({java}), {wanted}")
