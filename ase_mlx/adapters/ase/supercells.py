"""What a structure is (crystal, slab, wire, molecule) and which supercell serves it.

Source: ours.
"""

import warnings
from typing import Literal

import numpy as np
import spglib
from ase import Atoms
from ase.build import bulk, make_supercell
from jaxtyping import Int

from ase_mlx.adapters.ase.labels import carried, species
from ase_mlx.occupancy import check_occupancy
from ase_mlx.structure import expect_atoms

Kind = Literal["crystal", "slab", "wire", "molecule"]

VACUUM = 6.0
"""Å: a gap between atomic planes above this is vacuum, not bonding, whatever the pbc flags say."""


def heights(atoms: Atoms) -> np.ndarray:
    """Distances between opposite faces of the cell in Å, shape (3,).

    Raises:
        ValueError: the cell has no volume.

    Source: ours.
    """
    volume = abs(np.linalg.det(atoms.cell.array))
    if volume < 1e-6:
        raise ValueError(f"The cell has a volume of {volume:.2g} Å³; give the structure three independent vectors.")
    a, b, c = atoms.cell.array
    return volume / np.linalg.norm([np.cross(b, c), np.cross(c, a), np.cross(a, b)], axis=1)


def kind(atoms: Atoms) -> Kind:
    """Tell crystals from slabs, wires and molecules by the pbc flags, and by vacuum above 6 Å where these say periodic.

    Raises:
        ValueError: no atoms, partial occupancy, positions, moments or charges that are not finite, or a periodic cell
            without volume.
        TypeError: no atoms at all, such as the name of a file.

    Source: ours.
    """
    expect_atoms(atoms)
    check_occupancy(atoms)
    if len(atoms) == 0:
        raise ValueError("The structure holds no atoms.")
    bad = np.flatnonzero(~np.isfinite(atoms.positions).all(axis=1))
    if len(bad):
        raise ValueError(f"The positions of atoms {bad[:5].tolist()} are not finite numbers; repair the input file.")
    for name, what in (("initial_magmoms", "magnetic moments"), ("initial_charges", "charges")):
        if not np.isfinite(atoms.arrays.get(name, 0.0)).all():
            raise ValueError(f"The initial {what} are not finite numbers on all atoms; give each one, or clear them.")
    if not np.isfinite(atoms.cell.array).all():
        raise ValueError("The cell holds numbers that are not finite; repair the input file.")
    if not atoms.pbc.any():
        return "molecule"
    if not atoms.pbc.all():
        for axis in np.flatnonzero(atoms.pbc):
            if np.linalg.norm(atoms.cell[axis]) < 1e-6:
                raise ValueError(f"Cell vector {axis} is periodic but has no length; set the cell or pbc=False.")
        return ("molecule", "wire", "slab")[int(atoms.pbc.sum())]
    gaps = []
    for axis, height in enumerate(heights(atoms)):
        planes = np.sort(atoms.get_scaled_positions(wrap=True)[:, axis])
        gaps.append(height * np.max(np.diff(np.append(planes, planes[0] + 1))))
    return ("crystal", "slab", "wire", "molecule")[sum(gap > VACUUM for gap in gaps)]


def symmetry_of(atoms: Atoms, symprec: float = 1e-3, labels: bool = False):
    """Give spglib's dataset of a crystal's symmetry within `symprec` (Å), None where it finds none.

    With `labels` atoms of one element count as different where their labels tell them apart.

    Source: spglib (A. Togo and I. Tanaka, arXiv:1808.01590).
    """
    kinds = species(atoms) if labels else atoms.numbers
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # where it finds no symmetry in a distorted cell
        return spglib.get_symmetry_dataset((atoms.cell.array, atoms.get_scaled_positions(), kinds), symprec)


def supercell_matrix(atoms: Atoms, length: float = 10.0, symprec: float = 1e-3) -> Int[np.ndarray, "3 3"]:
    """Find the smaller of two supercells of a given least height: multiples of the cell, or of the conventional cell.

    Args:
        atoms: a crystal.
        length: least height in Å.
        symprec: tolerance of the symmetry search in Å.

    Returns:
        The dimensionless matrix whose columns give the supercell's vectors in those of the cell (phonopy's convention).

    Raises:
        ValueError: the cell has no volume.

    Source: ours; the conventional cell is spglib's (A. Togo and I. Tanaka, arXiv:1808.01590).
    """
    choices = [_multiples(atoms.cell.array, np.eye(3, dtype=int), length)]
    dataset = symmetry_of(atoms, symprec)
    if dataset is not None:
        conventional = np.linalg.inv(dataset.transformation_matrix)
        whole = np.rint(conventional).astype(int)
        if np.allclose(conventional, whole, atol=1e-3):
            choices.append(_multiples(atoms.cell.array, whole, length))
    return min(choices, key=lambda matrix: abs(np.linalg.det(matrix)))


def repeated(atoms: Atoms, matrix: Int[np.ndarray, "3 3"]) -> Atoms:
    """Make a supercell (Å) with all labels: those of atoms on each image, charge and multiplicity of the cell as many.

    Args:
        atoms: a structure, Å.
        matrix: its columns give the supercell's vectors in those of the cell (phonopy's convention).

    Raises:
        ValueError: a constraint between atoms, which has no image.

    Source: ours, on `ase.build.make_supercell`.
    """
    whole = make_supercell(atoms, np.asarray(matrix).T)
    index = np.tile(np.arange(len(atoms)), len(whole) // len(atoms))
    return carried(atoms, whole, index, constraints=True)


def inequivalent_atoms(atoms: Atoms, symprec: float = 1e-3) -> int:
    """Count a crystal's atoms that no symmetry relates: each needs up to six displacements for its phonons.

    Args:
        atoms: a crystal, Å.
        symprec: tolerance of the symmetry search in Å.

    Returns:
        A dimensionless number.

    Source: spglib (A. Togo and I. Tanaka, arXiv:1808.01590).
    """
    dataset = symmetry_of(atoms, symprec)
    return len(atoms) if dataset is None else len(np.unique(dataset.equivalent_atoms))


def _multiples(cell: np.ndarray, matrix: np.ndarray, length: float) -> np.ndarray:
    h = heights(Atoms(cell=matrix.T @ cell, pbc=True))
    return matrix @ np.diag(np.maximum(1, np.ceil(length / h - 1e-6)).astype(int))


def element(symbol: str) -> Atoms:
    """An element's crystal in its conventional cell at ASE's experimental lattice constant, Å.

    Raises:
        ValueError: ASE knows no simple crystal of this element.

    Source: `ase.build.bulk`.
    """
    return bulk(symbol, cubic=True)
