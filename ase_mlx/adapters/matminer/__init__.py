"""The gate to matminer: featurizers whose columns carry error bars.

Source: L. Ward et al., Comput. Mater. Sci. 152, 60 (2018).
"""

try:
    import matminer  # noqa: F401  asked first, so that the message names the extra and not one of matminer's parts
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "ase_mlx.adapters.matminer needs matminer, which is not installed: pip install 'ase-mlx[matminer]'"
    ) from error

from ase_mlx.adapters.matminer.anomaly import AnomalyFeaturizer
from ase_mlx.adapters.matminer.density import DensityFeaturizer
from ase_mlx.adapters.matminer.elastic import ElasticFeaturizer
from ase_mlx.adapters.matminer.model import ModelFeaturizer
from ase_mlx.adapters.matminer.thermal import ThermalFeaturizer

__all__ = ["AnomalyFeaturizer", "DensityFeaturizer", "ElasticFeaturizer", "ModelFeaturizer", "ThermalFeaturizer"]
