"""Screened nuclear repulsion at short range, so that close atoms never attract.

Source: Ziegler, Biersack and Littmark (1985); radii: Cordero et al., Dalton Trans. 2832 (2008).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ase_mlx.units import COULOMB_EV_A

from .radial import envelope

# Covalent radii in Å of Z = 1 … 96.
RADII = (
    0.31, 0.28, 1.28, 0.96, 0.84, 0.76, 0.71, 0.66, 0.57, 0.58, 1.66, 1.41, 1.21, 1.11, 1.07, 1.05, 1.02, 1.06, 2.03,
    1.76, 1.70, 1.60, 1.53, 1.39, 1.39, 1.32, 1.26, 1.24, 1.32, 1.22, 1.22, 1.20, 1.19, 1.20, 1.20, 1.16, 2.20, 1.95,
    1.90, 1.75, 1.64, 1.54, 1.47, 1.46, 1.42, 1.39, 1.45, 1.44, 1.42, 1.39, 1.39, 1.38, 1.39, 1.40, 2.44, 2.15, 2.07,
    2.04, 2.03, 2.01, 1.99, 1.98, 1.98, 1.96, 1.94, 1.92, 1.92, 1.89, 1.90, 1.87, 1.87, 1.75, 1.70, 1.62, 1.51, 1.44,
    1.41, 1.36, 1.36, 1.32, 1.45, 1.46, 1.48, 1.40, 1.50, 1.50, 2.60, 2.21, 2.15, 2.06, 2.00, 1.96, 1.90, 1.87, 1.80,
    1.69,
)  # fmt: skip


def covalent_radii(like: Tensor) -> Float[Tensor, " numbers"]:
    """Covalent radii (Å) by atomic number up to 118, of the type and on the device of `like`; 0 stands for no element.

    Beyond curium, where the table ends, all have its radius.

    Source: Cordero et al., Dalton Trans. 2832 (2008).
    """
    radii = (0.0, *RADII, *RADII[-1:] * (118 - len(RADII)))
    return torch.tensor(radii, dtype=like.dtype, device=like.device)


def zbl(
    distance: Float[Tensor, " edges"], z1: Int[Tensor, " edges"], z2: Int[Tensor, " edges"], reach: float = 1.0
) -> Float[Tensor, " edges"]:
    """Half the screened Coulomb energy of each directed pair in eV, gone where the atoms' covalent spheres (Å) touch.

    Args:
        distance: Å.
        z1: atomic numbers of the centres.
        z2: atomic numbers of the neighbours.
        reach: where it is gone, in sums of the covalent radii (dimensionless).

    Source: Ziegler, Biersack and Littmark, The Stopping and Range of Ions in Solids (1985), universal screening.
    """
    radii = covalent_radii(distance)
    a, b = z1.to(distance.dtype), z2.to(distance.dtype)
    x = distance * (a.pow(0.23) + b.pow(0.23)) / 0.46850
    screening = (
        0.18175 * torch.exp(-3.19980 * x)
        + 0.50986 * torch.exp(-0.94229 * x)
        + 0.28022 * torch.exp(-0.40290 * x)
        + 0.02817 * torch.exp(-0.20162 * x)
    )
    return 0.5 * COULOMB_EV_A * a * b / distance * screening * envelope(distance / (reach * (radii[z1] + radii[z2])))
