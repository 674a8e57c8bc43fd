"""What the conductivity of a crystal is computed from.

Source: ours.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ase_mlx.phonons.fourth_order import FourthOrder
from ase_mlx.phonons.modes import Modes
from ase_mlx.phonons.orbits import SpaceGroup
from ase_mlx.phonons.third_order import ThirdOrder


@dataclass(frozen=True)
class Crystal:
    """The space group and masses (amu) of a primitive cell, its phonons at any wave vectors, and its third order.

    `modes` takes fractional wave vectors (dimensionless), and whether group velocities are wanted; `reach` is the
    radius in Å of the largest sphere in the supercell of the force constants. `third` is None where third-order force
    constants were never held as an array, `fourth` where those of fourth order were not.

    Source: ours.
    """

    group: SpaceGroup
    masses: Float[np.ndarray, " atoms"]
    modes: Callable[[np.ndarray, bool], Modes]
    reach: float
    third: ThirdOrder | None
    fourth: FourthOrder | None = None

    @property
    def volume(self) -> float:
        """Of the primitive cell in Å³.

        Source: ours.
        """
        return float(abs(np.linalg.det(self.group.lattice)))
