"""From an unstable crystal to a stable one, down its own imaginary mode.

Source: ours; the modulation is phonopy's (A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023)).
"""

import warnings
from collections.abc import Callable

import numpy as np
import spglib
from ase import Atoms
from phonopy import Phonopy

from ase_mlx.adapters.ase.job import relax
from ase_mlx.adapters.phonopy.cells import standardized
from ase_mlx.adapters.phonopy.labelled import primitive_of
from ase_mlx.adapters.phonopy.soft_mode import wave
from ase_mlx.adapters.phonopy.stability import ImaginaryModesError, ImaginaryModesWarning, stability

AMPLITUDES = (0.05, 0.1, 0.2, 0.4)
"""Å: displacements of the most moved atom that are tried along the mode; the lowest in energy is relaxed."""

ROUNDS, SYMPREC = 5, 1e-2


def follow(
    ph: Phonopy, calculator, run: Callable[[Atoms], Phonopy], tolerance: float, fmax: float, symprec: float = SYMPREC
) -> Phonopy:
    """Displace along the lowest imaginary mode that the supercell holds exactly, relax, and compute phonons again.

    Degenerate modes are not combined: of several valleys one is found, not always the deepest.

    Args:
        ph: phonons of the unstable crystal, THz.
        calculator: any ASE calculator, eV and Å.
        run: makes the phonons of a relaxed structure.
        tolerance: frequencies in THz above minus this count as stable.
        fmax: forces left by the relaxation in eV/Å.
        symprec: tolerance in Å of the symmetry that the relaxed structure is given.

    Returns:
        The phonons of the structure that was reached, with a warning that says what it is.

    Raises:
        ImaginaryModesError: only interpolation makes the modes imaginary, or the energy does not fall.
        RuntimeError: a relaxation did not converge.

    Source: ours.
    """
    for _ in range(ROUNDS):
        modes = stability(ph)
        if modes.lowest >= -tolerance or modes.is_interpolation(tolerance):
            return ph
        start = primitive_of(ph)
        moved = _displaced(ph, modes.exact_qpoint, calculator)
        relaxed = relax(moved, calculator, fmax=fmax)
        if not relaxed.converged:
            raise RuntimeError(f"Along the mode of {modes}: {relaxed.notes[-1]}")
        start_energy, energy = (_energy(calculator, atoms) for atoms in (start, relaxed.atoms))
        if energy > start_energy - 1e-6:
            raise ImaginaryModesError(f"No lower energy was found along the imaginary mode: {modes}.")
        atoms = standardized(relaxed.atoms, symprec, primitive=True)
        before = _spacegroup(start, symprec)
        warnings.warn(
            f"Imaginary mode followed ({modes}): {before} became {_spacegroup(atoms, symprec)}, "
            f"{len(atoms)} atoms, {1000 * (start_energy - energy):.3g} meV/atom lower.",
            ImaginaryModesWarning,
            stacklevel=4,
        )
        ph = run(atoms)
    return ph


def _displaced(ph: Phonopy, qpoint: tuple[float, ...], calculator) -> Atoms:
    mode, trial = wave(ph, qpoint), []
    largest = np.linalg.norm(mode.moves, axis=1).max()
    for amplitude in AMPLITUDES:
        atoms = mode.displaced(amplitude / largest)
        trial.append((_energy(calculator, atoms), amplitude, atoms))
    return min(trial, key=lambda one: one[0])[2]


def _energy(calculator, atoms: Atoms) -> float:
    return float(calculator.get_property("energy", atoms)) / len(atoms)


def _spacegroup(atoms: Atoms, symprec: float) -> str:
    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    return spglib.get_spacegroup(cell, symprec) or "no space group"
