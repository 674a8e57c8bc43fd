"""Force constants from forces, with sum rule, permutation symmetry and space group imposed exactly.

Source: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023), section 3.
"""

import numpy as np
from jaxtyping import Float
from phonopy import Phonopy

Constants = Float[np.ndarray, "atoms atoms 3 3"]


def produce(ph: Phonopy) -> None:
    """Turn the forces that `ph` holds, eV/Å, into symmetric force constants, eV/Å²; random displacements by symfc.

    Source: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023), section 3.
    """
    solver = "traditional" if "first_atoms" in ph.dataset else "symfc"
    ph.produce_force_constants(fc_calculator=solver, show_drift=False)
    ph.force_constants = symmetric(ph.force_constants)


def symmetric(constants: Constants) -> Constants:
    """Project full force constants, eV/Å², onto those with exact permutation symmetry and acoustic sum rule.

    Both projections commute with each other and with the space group, so what phonopy distributed by symmetry stays
    symmetric: the result is that of symfc's projector (compared in the tests), without its basis.

    Returns:
        Force constants in eV/Å².

    Source: ours.
    """
    even = (constants + constants.transpose(1, 0, 3, 2)) / 2
    even -= even.mean(axis=1, keepdims=True)
    even -= even.mean(axis=0, keepdims=True)
    return even
