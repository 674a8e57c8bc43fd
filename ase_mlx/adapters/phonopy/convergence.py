"""Whether a supercell is large enough: the same phonons from a larger one.

Source: ours.
"""

import numpy as np
from phonopy import Phonopy

LENGTHS, MOST_ATOMS = (10.0, 15.0, 20.0), 600
"""Å: least heights that an automatic supercell tries in turn, as long as it stays below so many atoms."""

LIMIT = 0.15
"""THz: change of frequencies (rms) from one supercell to the next below which the larger is large enough. What is still
missing then is less, as force constants decay: 0.11 THz from 64 to 216 atoms of silicon leave 0.02 THz."""

MESH = (7, 7, 7)


def change(smaller: Phonopy, larger: Phonopy) -> float:
    """Compare the frequencies of one crystal from two supercells: their rms difference on a 7×7×7 mesh.

    Args:
        smaller: force constants in eV/Å².
        larger: the same crystal and primitive cell in another supercell.

    Returns:
        A frequency in THz.

    Source: ours.
    """
    one, other = (ph.run_mesh(MESH, is_gamma_center=True) for ph in (smaller, larger))
    share = one.weights / one.weights.sum() / one.frequencies.shape[1]
    return float(np.sqrt((share[:, None] * (one.frequencies - other.frequencies) ** 2).sum()))
