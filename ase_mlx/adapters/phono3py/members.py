"""The conductivities of an ensemble's members: the error bar that a potential gives.

Source: Kellner and Ceriotti, arXiv 2402.16621, for the members; the rest is ours.
"""

import copy
from pathlib import Path

import numpy as np
from jaxtyping import Float
from phono3py import Phono3py

from ase_mlx.adapters.phono3py.crystal import crystal_of, mesh_numbers
from ase_mlx.adapters.phonopy.forces import displacement_forces
from ase_mlx.adapters.phonopy.store import Store
from ase_mlx.phonons.transport import relaxation_times
from ase_mlx.progress import Steps

MESH = 21.0
"""Å: 7×7×7 points for silicon. Members are compared with each other on it, not with experiment."""


def relative_std(
    ph: Phono3py, calculator, temperatures, folder: str | Path | None = None, progress: Steps | None = None
) -> Float[np.ndarray, "t 1"] | None:
    """Standard deviation of the members' mean diagonal conductivities over their mean, dimensionless; None without any.

    Each member's second- and third-order force constants come from its own forces of the same supercells, at the
    structure that the mean relaxed; conductivities are uncompressed ones on a coarse mesh.

    Args:
        ph: from `third_order`, force constants in eV/Å² and eV/Å³.
        calculator: the one used there, eV and Å.
        temperatures: in K.
        folder: finished supercells are kept there.
        progress: called with the number of supercells, then of members, done and in all.

    Raises:
        ForcesError: the calculator raised or gave NaN.

    Source: ours.
    """
    sets = displacement_forces(ph, calculator, members=True, store=Store(folder, calculator), progress=progress)
    if sets is None:
        return None
    scale = getattr(getattr(calculator, "model", None), "hessian_scale", 1.0)
    found = []
    for number, forces in enumerate(sets):
        member = copy.copy(ph)  # cells and symmetry are never changed in place; what the setters replace is
        member.dataset = copy.deepcopy(ph.dataset)
        member.forces = forces
        member.produce_fc3()
        member.symmetrize_fc3()
        member.symmetrize_fc2()
        member.fc2 = ph.fc2 + scale * (member.fc2 - ph.fc2)
        member.fc3 = ph.fc3 + scale * (member.fc3 - ph.fc3)
        found.append(_kappa(member, temperatures))
        if progress is not None:
            progress(number + 1, len(sets))
    found = np.stack(found)
    return (found.std(axis=0, ddof=1) / found.mean(axis=0))[:, None]


def _kappa(ph: Phono3py, temperatures) -> np.ndarray:
    result = relaxation_times(crystal_of(ph), mesh_numbers(ph, MESH), temperatures)
    return result.kappa[:, :3].mean(axis=1)
