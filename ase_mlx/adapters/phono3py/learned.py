"""Compressed force constants straight from forces, never held as an array: derivatives along random directions.

Source: ours; the form of Y. Luo et al., arXiv 2503.05913.
"""

import math
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float
from phono3py import Phono3py

from ase_mlx.adapters.phono3py.crystal import crystal_of, fourth_of
from ase_mlx.adapters.phonopy.forces import check_precision, displacement_forces
from ase_mlx.adapters.phonopy.labelled import keep_labels, unitcell_of
from ase_mlx.adapters.phonopy.store import Store
from ase_mlx.adapters.phonopy.symmetry import FastPhonopy, brought
from ase_mlx.phonons.compression import Compression
from ase_mlx.phonons.force_fit import ForceSample, fit_forces
from ase_mlx.phonons.supercell import Supercell, thermal_displacements
from ase_mlx.progress import Steps

DIRECTIONS, PROBES = 60, 128
"""Along which atoms are moved, and forces looked at."""

TEMPERATURE = 300.0
"""K, of the random directions."""

STEP = 0.01
"""Å: root mean square of a coordinate's first step, of three on each side."""

STEPS = (-3, -2, -1, 1, 2, 3)

STENCILS = {3: (1 / 90, -3 / 20, 3 / 2, 3 / 2, -3 / 20, 1 / 90), 4: (1 / 8, -1, 13 / 8, -13 / 8, 1, -1 / 8)}
"""Second and third derivatives of forces, to sixth and fourth order in the step; forces at rest are subtracted. Source:
B. Fornberg, Math. Comput. 51, 699 (1988)."""


def learned(
    ph: Phono3py,
    calculator,
    order: Literal[3, 4],
    *,
    directions: int = DIRECTIONS,
    step: float = STEP,
    folder: str | Path | None = None,
    progress: Steps | None = None,
    seed: int = 0,
) -> Compression:
    """Learn force constants of an order in compressed form, without ever holding them as an array.

    Atoms of phono3py's supercell move along random thermal directions u, in six steps each; derivatives of their forces
    are −Φ₃[u, u, ·] and −Φ₄[u, u, u, ·], to which tensors are fitted. Both orders take the same supercells. Without a
    calculator the third order is learned from random displacements and forces that `ph` holds, less the harmonic ones:
    higher orders are then taken for third. Where `ph.fc4` holds force constants of the fourth order, these are
    contracted instead. This is for crystals where displaced pairs are too many, and wants a supercell of 15 Å; there is
    neither a certificate nor an error bar.

    Args:
        ph: force constants in eV/Å² of the crystal at rest, as from `third_order`.
        calculator: any ASE calculator, eV and Å, in double precision; or None.
        order: 3 or 4.
        directions: how many; a fifth of them are held out. Each costs six supercells.
        step: root mean square of the first step in Å; a calculator with noisy forces wants a longer one.
        folder: finished supercells are kept there; the same call after a kill goes on from them.
        progress: called with the number of supercells done and in all.
        seed: of directions and fit.

    Returns:
        The tensor with its errors, those of forces along thermal displacements.

    Raises:
        ValueError: no force constants, single precision, fewer than five displacements; neither a calculator nor random
            displacements.
        ForcesError: the calculator raised or gave NaN; what was finished is kept.

    Source: ours.
    """
    crystal, cell = crystal_of(ph, third=False), supercell_of(ph)
    if order == 4 and fourth_of(ph) is not None:
        along = thermal_displacements(crystal, cell, TEMPERATURE, directions, seed)
        forces = _contracted(ph, fourth_of(ph), along)
    elif calculator is None:
        along, forces = _random_displacements(ph, order)
    else:
        check_precision(calculator)
        settings = {"directions": directions, "step": step, "folder": folder, "progress": progress, "seed": seed}
        along, forces = derivatives(ph, calculator, order, **settings)
    probes = thermal_displacements(crystal, cell, TEMPERATURE, PROBES, seed + 1)
    return fit_forces(crystal.group, cell, ForceSample(along, forces, probes), crystal.reach, order, seed=seed)


def derivatives(
    ph: Phono3py,
    calculator,
    order: Literal[3, 4],
    *,
    directions: int = DIRECTIONS,
    step: float = STEP,
    folder: str | Path | None = None,
    progress: Steps | None = None,
    seed: int = 0,
    name: str = "forces",
    few: int | None = None,
) -> tuple[Float[np.ndarray, "k atoms 3"], Float[np.ndarray, "*members k atoms 3"] | None]:
    """Give random thermal displacements u in Å of a supercell's atoms, and one order's forces at them in eV/Å.

    They are −Φ₃[u, u, ·]/2 and −Φ₄[u, u, u, ·]/6; None where members are asked and there are none.

    Args:
        ph: force constants in eV/Å².
        calculator: as for `learned`.
        order: 3 or 4.
        directions: how many, six supercells each.
        step: root mean square of the first step in Å.
        folder: finished supercells are kept there.
        progress: called with the number of supercells done and in all.
        seed: of the directions.
        name: which forces, as in `displacement_forces`.
        few: only so many of the directions are wanted.

    Raises:
        ForcesError: the calculator raised or gave NaN; what was finished is kept.

    Source: ours.
    """
    along = thermal_displacements(crystal_of(ph, third=False), supercell_of(ph), TEMPERATURE, directions, seed)
    scale = step / float(np.sqrt(np.mean(along**2)))
    moved = FastPhonopy(ph.unitcell, ph.supercell_matrix, primitive_matrix=ph.primitive_matrix)
    keep_labels(moved, unitcell_of(ph))
    moved.dataset = {"displacements": np.concatenate([scale * m * along for m in STEPS])}
    chosen = [k * directions + j for k in range(len(STEPS)) for j in range(few or directions)]
    run = {"store": Store(folder, calculator), "progress": progress, "chosen": chosen}
    forces = displacement_forces(moved, calculator, name, **run)
    if forces is None:
        return along[:few], None
    forces = forces.reshape(*forces.shape[:-3], len(STEPS), -1, *forces.shape[-2:])
    forces = np.tensordot(STENCILS[order], forces, (0, -4))
    return along[:few], forces / (math.factorial(order - 1) * scale ** (order - 1))


def _contracted(ph: Phono3py, constants: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Forces −Φ₄[u, u, u, ·]/6 in eV/Å of held force constants, at displacements in Å."""
    row, moved = brought(ph.primitive)
    rows = constants if len(constants) == len(ph.primitive) else constants[ph.primitive.p2s_map]
    forces, atoms = np.empty_like(along), len(row)
    for home, part in enumerate(rows):
        last = np.ascontiguousarray(part.transpose(0, 1, 3, 4, 5, 2, 6)).reshape(-1, 3 * atoms)
        for k, u in enumerate(along):
            own = np.empty((np.count_nonzero(row == home), atoms, 3))  # as each atom has them from its primitive cell
            np.put_along_axis(own, moved[row == home][:, :, None], np.broadcast_to(u, own.shape), axis=1)
            part = (last @ own.reshape(len(own), -1).T).reshape(atoms, atoms, 3, 3, 3, -1)
            part = np.einsum("abxyzm,mbz->axym", part, own, optimize=True)
            forces[k, row == home] = -np.einsum("axym,may->mx", part, own) / 6
    return forces


def _random_displacements(ph: Phono3py, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Random displacements that phono3py's object holds, and their forces less the harmonic ones.

    Harmonic force constants are those of the same forces, by symfc: a percent of them is as large as the third order.
    """
    data = ph.dataset or {}
    if order != 3 or "displacements" not in data or "forces" not in data:
        has = "displaced pairs" if "first_atoms" in data else "no displacements"
        raise ValueError(
            f"got no calculator and {has} for order {order}, expected a calculator, or for order 3 random "
            "displacements with forces (phono3py-init --rd)."
        )
    moves, forces = np.array(data["displacements"]), np.array(data["forces"])
    harmonic = FastPhonopy(ph.unitcell, ph.supercell_matrix, primitive_matrix=ph.primitive_matrix)
    harmonic.dataset = {"displacements": moves, "forces": forces}
    harmonic.produce_force_constants(fc_calculator="symfc", calculate_full_force_constants=True)
    return moves, forces + np.einsum("ijab,kjb->kia", harmonic.force_constants, moves)


def supercell_of(ph: Phono3py) -> Supercell:
    """Take the sites of phono3py's supercell, in its order of atoms.

    Source: ours.
    """
    primitive, cell = ph.primitive, ph.supercell
    return Supercell.of(primitive.cell, primitive.scaled_positions, cell.cell, cell.positions)
