"""The gate to phono3py: third-order force constants, and the lattice conductivity that follows from them.

Source: A. Togo, L. Chaput and I. Tanaka, Phys. Rev. B 91, 094306 (2015).
"""

from ase_mlx.adapters.phono3py.conductivity import Conductivity, conductivity
from ase_mlx.adapters.phono3py.files import write_cells, write_kappa
from ase_mlx.adapters.phono3py.force_constants import third_order
from ase_mlx.adapters.phono3py.learned import learned
from ase_mlx.adapters.phono3py.load import load_third_order

__all__ = ["Conductivity", "conductivity", "learned", "load_third_order", "third_order", "write_cells", "write_kappa"]
