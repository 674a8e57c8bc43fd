"""Between ASE's and phonopy's cells; which structures and supercells serve.

Source: ours.
"""

import warnings
from collections.abc import Sequence

import numpy as np
import spglib
from ase import Atoms
from ase.data import atomic_masses, chemical_symbols
from jaxtyping import Int, Num
from phonopy.structure.atoms import PhonopyAtoms

from ase_mlx.adapters.ase.labels import carried, may_point, reads_labels, species
from ase_mlx.adapters.ase.supercells import heights, kind, supercell_matrix, symmetry_of

Supercell = str | float | Sequence[int] | Num[np.ndarray, "3 3"]

MASS_TOLERANCE = 0.25
"""Relative: a mass further from the element's standard one is no natural mixture; hydrogen's isotopes are let pass."""


def check_crystal(atoms: Atoms) -> None:
    """Refuse what has no phonons of a crystal: molecules, slabs, masses (amu) without meaning.

    Raises:
        ValueError: naming what was found.

    Source: ours.
    """
    sort = kind(atoms)
    if sort != "crystal":
        raise ValueError(f"Phonons need a crystal periodic in three directions, got a {sort}.")
    masses = atoms.get_masses()
    if not np.all(np.isfinite(masses)) or np.any(masses <= 0):
        raise ValueError(f"Masses must be positive numbers in amu, got {masses[~(masses > 0)][:3].tolist()}.")
    for number, mass in sorted(set(zip(atoms.numbers.tolist(), masses.tolist(), strict=True))):
        standard = atomic_masses[number]
        if abs(mass / standard - 1) > MASS_TOLERANCE and not (number == 1 and mass < 3.1):
            warnings.warn(
                f"The mass of {chemical_symbols[number]} is {mass:g} amu, the element's is {standard:.4g}: "
                "frequencies scale as 1/√mass. Clear it with atoms.set_masses(None) if it was not meant.",
                stacklevel=3,
            )


def to_phonopy(atoms: Atoms, calculator=None) -> PhonopyAtoms:
    """Turn ASE's atoms (Å, amu) into phonopy's, masses and magnetic moments included.

    Where masses tell atoms of one element apart, or other labels that the calculator may read, these get symbols of
    their own, such as Cu1 and Cu2, which `FastPhonopy` takes for different atoms.

    Source: ours.
    """
    moments = atoms.get_initial_magnetic_moments()
    bare = atoms.copy()
    read = calculator is not None and reads_labels(calculator)
    for name in set(bare.arrays) - {"numbers", "positions", "masses"}:
        if not read or name == "initial_magmoms":  # phonopy knows moments, and time reversal
            del bare.arrays[name]
    kinds = species(bare)
    symbols = [f"{symbol}{kind // 1000 + 1}" for symbol, kind in zip(atoms.symbols, kinds, strict=True)]
    apart = not np.array_equal(kinds, atoms.numbers)
    return PhonopyAtoms(
        **({"symbols": symbols} if apart else {"numbers": atoms.numbers}),
        cell=atoms.cell.array,
        scaled_positions=atoms.get_scaled_positions(),
        masses=atoms.get_masses(),
        magnetic_moments=moments if np.any(moments) else None,
    )


def to_ase(cell: PhonopyAtoms) -> Atoms:
    """Turn phonopy's atoms (Å, amu) into ASE's, masses and magnetic moments included, no other labels.

    Source: ours.
    """
    return Atoms(
        numbers=cell.numbers,
        cell=cell.cell,
        scaled_positions=cell.scaled_positions,
        masses=cell.masses,
        magmoms=cell.magnetic_moments,
        pbc=True,
    )


def standardized(atoms: Atoms, symprec: float, primitive: bool = False) -> Atoms:
    """Give a crystal (Å) its standard cell, symmetric to machine precision, with its labels.

    Atoms of one element whose labels differ are different atoms. A crystal with vectors on it is not turned.

    Args:
        atoms: a crystal.
        symprec: tolerance of the symmetry search in Å.
        primitive: the primitive cell instead of the conventional one.

    Source: spglib (A. Togo and I. Tanaka, arXiv:1808.01590).
    """
    kinds = species(atoms)
    cell = (atoms.cell.array, atoms.get_scaled_positions(), kinds)
    lattice, positions, types = spglib.standardize_cell(cell, to_primitive=primitive, symprec=symprec)
    index = np.array([int(np.flatnonzero(kinds == kind)[0]) for kind in types])
    if may_point(atoms):
        lattice = lattice @ symmetry_of(atoms, symprec, labels=True).std_rotation_matrix
    standard = Atoms(atoms.numbers[index], cell=lattice, scaled_positions=positions, pbc=True)
    standard.set_masses(atoms.get_masses()[index])
    carried(atoms, standard, index).arrays.pop("momenta", None)  # of atoms that were one of several equal ones
    return standard


def matrix(atoms: Atoms, supercell: Supercell, symprec: float) -> Int[np.ndarray, "3 3"]:
    """Read a supercell: a least height in Å, three multiples or a 3×3 matrix; symmetry within `symprec` Å.

    Returns:
        The dimensionless matrix in phonopy's convention (columns).

    Raises:
        ValueError: anything else.

    Source: ours.
    """
    expected = '"auto", a height in Å, three integers or an integer 3×3 matrix with a volume'
    if isinstance(supercell, str) or (np.ndim(supercell) == 0 and not 0 < supercell < 1e3):
        raise ValueError(f"supercell: got {supercell!r}, expected {expected}.")
    if np.ndim(supercell) == 0:
        return supercell_matrix(atoms, float(supercell), symprec=symprec)
    multiples = np.asarray(supercell)
    multiples = np.diag(multiples) if multiples.shape == (3,) else multiples
    if (
        multiples.shape != (3, 3)
        or not np.array_equal(multiples, np.rint(multiples))
        or round(np.linalg.det(multiples)) == 0
    ):
        raise ValueError(f"supercell: got {supercell}, expected {expected}.")
    return np.rint(multiples).astype(int)


def warn_if_small(cell: PhonopyAtoms, calculator) -> None:
    """Warn of a supercell (Å) lower than twice the cutoff that a calculator states: an atom then feels its own images.

    Source: ours.
    """
    reach = getattr(getattr(calculator, "model", calculator), "cutoff", None)
    lowest = heights(to_ase(cell)).min()
    if isinstance(reach, int | float) and lowest < 2 * reach - 1e-6:
        warnings.warn(
            f"The supercell is {lowest:.2f} Å high, less than twice the potential's cutoff of {reach:g} Å: a displaced "
            "atom feels its own images, and force constants of several images are added up. Take a larger one.",
            stacklevel=3,
        )
