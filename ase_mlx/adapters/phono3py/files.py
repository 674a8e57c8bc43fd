"""Conductivities in the layout of phono3py's kappa-m*.hdf5, and the crystal beside them in its yaml.

Source: phono3py's documentation of its output files (A. Togo, L. Chaput and I. Tanaka, Phys. Rev. B 91, 094306 (2015)).
"""

from pathlib import Path

import h5py
import numpy as np
from phono3py import Phono3py
from phonopy.phonon.grid import BZGrid

from ase_mlx.adapters.phono3py.displaced_pairs import has_forces
from ase_mlx.adapters.phono3py.symmetry import LabelledPhono3py
from ase_mlx.adapters.phonopy.labelled import warn_of_lost_labels
from ase_mlx.phonons.transport import Relaxation
from ase_mlx.units import WATTS
from ase_mlx.whole import whole_file

MOST = 100_000
"""Rows of forces in a yaml, some 6 MB of text."""


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


def write_cells(ph: Phono3py, path: str | Path) -> Path:
    """Write the cells as phono3py's own commands look for them beside `kappa.hdf5`; `phono3py-kaccum` needs them.

    Displacements (Å), forces (eV/Å) and Born charges that were made here are in it too, up to some MB, and
    `phono3py-load` goes on from them; what came from a file of phono3py's stays there.

    Args:
        ph: phono3py's object.
        path: of the file, `phono3py.yaml`; a whole one replaces it.

    Returns:
        The path.

    Raises:
        OSError: the file cannot be written.

    Source: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023).
    """
    path = Path(path)
    ours = isinstance(ph, LabelledPhono3py) and not hasattr(ph, "sources") and ph.dataset is not None
    whole = ours and has_forces(ph.dataset) and len(ph.forces) * len(ph.supercell) <= MOST
    if ours:
        warn_of_lost_labels(ph, path.name)
    parts = ("force_sets", "displacements", "born_effective_charge", "dielectric_constant")
    with whole_file(path) as part:
        ph.save(part, settings=dict.fromkeys(parts, whole))
    return path
