"""The colours that Jmol gives the elements.

Source: `ase.data.colors`.
"""

import numpy as np
from ase.data.colors import jmol_colors
from jaxtyping import Float, Int


def element_colours(numbers: Int[np.ndarray, " atoms"]) -> Float[np.ndarray, "atoms 3"]:
    """Red, green and blue of atoms, given by atomic number (dimensionless, from 0 to 1).

    Source: `ase.data.colors`.
    """
    return jmol_colors[numbers]
