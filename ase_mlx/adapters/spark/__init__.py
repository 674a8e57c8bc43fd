"""The gate to Apache Spark: screenings on a cluster, training by several workers.

Source: ours, on Spark's `mapInPandas` and `TorchDistributor`.
"""

try:
    import pyspark  # noqa: F401  asked first, so that the message names the extra
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "ase_mlx.adapters.spark needs pyspark, which is not installed: pip install 'ase-mlx[spark]'"
    ) from error

from ase_mlx.adapters.spark.screening import run_spark
from ase_mlx.adapters.spark.session import session
from ase_mlx.adapters.spark.training import train_distributed

__all__ = ["run_spark", "session", "train_distributed"]
