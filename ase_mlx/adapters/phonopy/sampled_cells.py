"""Phonons and energies of one crystal in several cells: what every quasi-harmonic curve is made of.

Source: ours.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from jaxtyping import Float, Int
from phonopy import Phonopy

from ase_mlx.adapters.ase.job import property_or_none
from ase_mlx.adapters.phonopy.cells import Supercell, matrix
from ase_mlx.adapters.phonopy.force_constants import phonons
from ase_mlx.adapters.phonopy.forces import ResidualWarning
from ase_mlx.adapters.phonopy.labelled import unitcell_of
from ase_mlx.adapters.phonopy.members import members
from ase_mlx.adapters.phonopy.stability import acoustic_modes
from ase_mlx.adapters.phonopy.store import Store
from ase_mlx.phonons.thermal import thermal_functions


@dataclass(frozen=True)
class SampledCell:
    """A relaxed cell (Å), its phonons, those of the members, and the energies of both in eV per primitive cell.

    Source: ours.
    """

    atoms: Atoms
    ph: Phonopy
    ensemble: tuple[Phonopy, ...]
    energy: float
    energies: Float[np.ndarray, " members"] | None


def stretched(atoms: Atoms, strain: float) -> Atoms:
    """Copy a crystal (Å) with its volume changed by a dimensionless strain, its shape kept.

    Source: ours.
    """
    scaled = atoms.copy()
    scaled.set_cell(atoms.cell * (1 + strain) ** (1 / 3), scale_atoms=True)
    return scaled


def sample_cell(
    atoms: Atoms,
    calculator,
    supercell: Supercell,
    displacement: float,
    tolerance: float,
    folder: str | Path | None,
    error_bars: bool = True,
    born: str | Path | dict | None = None,
) -> SampledCell:
    """Compute phonons and energy of a cell as it stands, stress and all, and those of the members.

    Args:
        atoms: relaxed inside its cell, Å.
        calculator: any ASE calculator, eV and Å.
        supercell: as in `phonons`, dimensionless.
        displacement: in Å.
        tolerance: frequencies in THz above minus this pass as noise.
        folder: finished work is kept there.
        error_bars: False leaves the members out.
        born: Born charges (e) and dielectric tensor, as in `phonons`.

    Raises:
        ImaginaryModesError, ForcesError: as `phonons`.

    Source: ours.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResidualWarning)  # a strained crystal is under stress by intent
        ph = phonons(
            atoms, calculator, supercell, displacement, relax=False, born=born, tolerance=tolerance, folder=folder
        )
    ensemble = members(ph, calculator, folder) if error_bars else ()
    cell, store = unitcell_of(ph), Store(folder, calculator)
    kept = store.fetch("energy", cell)
    if kept is None:
        kept = {"energy": np.asarray(calculator.get_property("energy", cell))}
        each = property_or_none(calculator, "energy_members", cell)
        kept |= {} if each is None else {"members": each}
        store.keep("energy", cell, kept)
    share = len(ph.primitive) / len(ph.unitcell)
    each = kept["members"] * share if "members" in kept and ensemble else None
    return SampledCell(atoms, ph, ensemble, float(kept["energy"]) * share, each)


def settled_supercell(
    atoms: Atoms, calculator, supercell: Supercell, displacement: float, folder: str | Path | None
) -> Int[np.ndarray, "3 3"]:
    """Settle a supercell once, at the relaxed cell (Å), so that all cells take the same dimensionless matrix.

    Source: ours.
    """
    if not isinstance(supercell, str):
        return matrix(atoms, supercell, symprec=1e-5)
    ph = phonons(atoms, calculator, supercell, displacement, relax=False, on_imaginary="report", folder=folder)
    return ph.supercell_matrix


@dataclass(frozen=True)
class Vibrations:
    """Free energy (eV), entropy and heat capacity (eV/K) per primitive cell, and the lowest frequency of all (THz).

    Source: ours.
    """

    free_energy: Float[np.ndarray, "cells t"]
    entropy: Float[np.ndarray, "cells t"]
    heat_capacity: Float[np.ndarray, "cells t"]
    lowest: float


def vibrations(
    phs: Sequence[Phonopy], numbers: Int[np.ndarray, " 3"], temperatures: Float[np.ndarray, " t"]
) -> Vibrations:
    """Sum the modes of each cell's phonons; imaginary ones and Γ's acoustic ones stay out.

    Args:
        phs: with force constants, eV/Å².
        numbers: of the Γ-centred mesh, equal for all cells, so that none steps.
        temperatures: in K.

    Source: M. Born and K. Huang, Dynamical Theory of Crystal Lattices (1954), chapter II.
    """
    parts, lowest = [], np.inf
    for ph in phs:
        grid = ph.run_mesh(numbers, is_gamma_center=True)
        moving = ~acoustic_modes(grid.qpoints, grid.frequencies)
        lowest = min(lowest, grid.frequencies[moving].min())
        parts.append(thermal_functions(grid.frequencies, grid.weights, temperatures, moving & (grid.frequencies > 0)))
    names = ("free_energy", "entropy", "heat_capacity")
    return Vibrations(*(np.stack([getattr(part, name) for part in parts]) for name in names), float(lowest))
