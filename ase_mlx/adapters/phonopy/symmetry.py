"""Force constants from forces, with sum rule, permutation symmetry and space group imposed exactly.

Source: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023), section 3.
"""

from collections.abc import Callable

import numpy as np
from phonopy import Phonopy
from phonopy.interface.symfc import SymfcFCSolver


def produce(ph: Phonopy, project: Callable[[np.ndarray], np.ndarray]) -> None:
    """Turn the forces that `ph` holds, eV/Å, into symmetric force constants, eV/Å²; random displacements by symfc.

    Source: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023), section 3.
    """
    solver = "traditional" if "first_atoms" in ph.dataset else "symfc"
    ph.produce_force_constants(fc_calculator=solver, show_drift=False)
    ph.force_constants = project(ph.force_constants)


def projector(ph: Phonopy) -> Callable[[np.ndarray], np.ndarray]:
    """Make the map of force constants, eV/Å², onto those with exact sum rule, permutation symmetry and space group.

    Returns:
        The map; force constants stay in eV/Å².

    Source: A. Seko and A. Togo, Phys. Rev. B 110, 214302 (2024) (symfc).
    """
    # phonopy's own `symmetrize_force_constants` builds this basis anew at each call: 0.5 s a member.
    basis = SymfcFCSolver(ph.supercell).compute_basis_set(orders=[2])[2]
    compress, blocks = basis.compression_matrix.tocsc(), basis.blocked_basis_set
    return lambda fc: (compress @ (blocks @ (blocks.T @ (compress.T @ fc.ravel())))).reshape(fc.shape)
