"""Compressed fourth-order force constants from any ASE calculator: third derivatives of forces along random directions.

Source: ours; the form of Y. Luo et al., arXiv 2503.05913.
"""

from pathlib import Path

import numpy as np
from phono3py import Phono3py
from phonopy import Phonopy

from ase_mlx.adapters.phono3py.crystal import crystal_of
from ase_mlx.adapters.phonopy.forces import Progress, check_precision, displacement_forces
from ase_mlx.adapters.phonopy.store import Store
from ase_mlx.phonons.compression import Compression
from ase_mlx.phonons.force_fit import ForceSample, fit_forces
from ase_mlx.phonons.supercell import Supercell, thermal_displacements

DIRECTIONS, PROBES = 60, 128
"""Along which atoms are moved, and forces looked at."""

TEMPERATURE = 300.0
"""K, of the random directions."""

STEP = 0.01
"""Å: root mean square of a coordinate's first step, of three on each side."""

STENCIL = {-3: 1 / 8, -2: -1.0, -1: 13 / 8, 1: -13 / 8, 2: 1.0, 3: -1 / 8}
"""The third derivative, to fourth order in the step. Source: B. Fornberg, Math. Comput. 51, 699 (1988)."""


def fourth_order(
    ph: Phono3py,
    calculator,
    *,
    directions: int = DIRECTIONS,
    step: float = STEP,
    folder: str | Path | None = None,
    progress: Progress | None = None,
    seed: int = 0,
) -> Compression:
    """Learn fourth-order force constants in compressed form, without ever holding them as an array.

    Atoms of phono3py's supercell move along random thermal directions u, in six steps each; the third derivative of
    their forces is −Φ₄[u, u, u, ·], to which the tensor is fitted.

    Args:
        ph: force constants in eV/Å² and eV/Å³ of the crystal at rest, as from `third_order`.
        calculator: any ASE calculator, eV and Å, in double precision.
        directions: how many; a fifth of them are held out. Each costs six supercells.
        step: root mean square of the first step in Å; a calculator with noisy forces wants a longer one.
        folder: finished supercells are kept there; the same call after a kill goes on from them.
        progress: called with the number of supercells done and in all.
        seed: of directions and fit.

    Returns:
        The tensor with its errors, those of forces along thermal displacements.

    Raises:
        ValueError: no force constants, single precision.
        ForcesError: the calculator raised or gave NaN; what was finished is kept.

    Source: ours.
    """
    check_precision(calculator)
    crystal = crystal_of(ph)
    cell = supercell_of(ph)
    along = thermal_displacements(crystal, cell, TEMPERATURE, directions, seed)
    probes = thermal_displacements(crystal, cell, TEMPERATURE, PROBES, seed + 1)
    scale = step / float(np.sqrt(np.mean(along**2)))
    moved = Phonopy(ph.unitcell, ph.supercell_matrix, primitive_matrix=ph.primitive_matrix)
    moved.dataset = {"displacements": np.concatenate([scale * m * along for m in STENCIL])}
    forces = displacement_forces(moved, calculator, store=Store(folder, calculator), progress=progress)
    forces = forces.reshape(len(STENCIL), *along.shape)
    cubic = np.tensordot(list(STENCIL.values()), forces, (0, 0)) / scale**3
    return fit_forces(
        crystal.group, cell, ForceSample(along, cubic / 6, probes), crystal.reach, 4, seed=seed
    )  # fmt: skip


def supercell_of(ph: Phono3py) -> Supercell:
    """Take the sites of phono3py's supercell, in its order of atoms; dimensionless.

    Source: ours.
    """
    return Supercell.of(
        ph.primitive.cell, ph.primitive.scaled_positions, ph.supercell.cell, ph.supercell.positions
    )  # fmt: skip
