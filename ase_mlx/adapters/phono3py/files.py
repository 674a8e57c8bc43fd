"""Conductivities in the layout of phono3py's kappa-m*.hdf5.

Source: phono3py's documentation of its output files (A. Togo, L. Chaput and I. Tanaka, Phys. Rev. B 91, 094306 (2015)).
"""

from pathlib import Path

import h5py
import numpy as np
from phono3py import Phono3py
from phonopy.phonon.grid import BZGrid

from ase_mlx.phonons.transport import Relaxation
from ase_mlx.units import WATTS
from ase_mlx.whole import whole_file


def write_kappa(relaxation: Relaxation, ph: Phono3py, path: str | Path) -> Path:
    """Write linewidths and conductivity as phono3py does, in the relaxation-time approximation.

    Frequencies and gamma in THz, group velocities in THz Å, heat capacities in eV/K, kappa in W/(m K).

    Args:
        relaxation: the conductivity.
        ph: phono3py's object, for the primitive cell (Å) and phono3py's numbering of wave vectors.
        path: of the file; a whole one replaces it.

    Returns:
        The path.

    Raises:
        OSError: the file cannot be written.

    Source: phono3py's file format.
    """
    points, modes = len(relaxation.mesh.addresses), relaxation.modes
    grid = BZGrid(
        relaxation.mesh.numbers,
        lattice=ph.primitive.cell,
        symmetry_dataset=ph.primitive_symmetry.dataset,
        use_grg=False,
    )
    numbers = grid.grg2bzg[relaxation.irreducible]
    arrays = {
        "temperature": relaxation.temperatures,
        "mesh": np.array(relaxation.mesh.numbers),
        "frequency": modes.frequencies,
        "group_velocity": modes.velocities,
        "gv_by_gv": relaxation.products * relaxation.weights[:, None, None],
        "heat_capacity": relaxation.heat_capacity,
        "kappa": relaxation.kappa,
        "mode_kappa": relaxation.mode_kappa * points,
        "gamma": relaxation.gamma,
        "qpoint": grid.addresses[numbers] / np.array(relaxation.mesh.numbers),
        "weight": relaxation.weights,
        "grid_point": numbers,
        "kappa_unit_conversion": WATTS / (2 * np.pi) / ph.primitive.volume,
    }
    if relaxation.four is not None:
        arrays["gamma_four_phonon"] = relaxation.four.gamma  # a part of gamma; phono3py's tools pass over it
    with whole_file(path) as part, h5py.File(part, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array)
    return Path(path)
