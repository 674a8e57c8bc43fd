"""The space group of a crystal with its labels, kept while it relaxes, and what that hides of its forces.

Source: ours, on ASE's `FixSymmetry`.
"""

import numpy as np
from ase import Atoms
from ase.constraints import FixSymmetry
from ase.filters import FrechetCellFilter

from ase_mlx.adapters.ase.labels import distinguishing, keeping, reads_labels, species

SYMPREC = 0.01
"""Å."""


def impose_symmetry(atoms: Atoms, calculator) -> list[str]:
    """Make a crystal (Å) symmetric and keep it so: its space group with the labels that the calculator may read.

    Args:
        atoms: changed in place, within 0.01 Å; gets the constraint.
        calculator: any ASE calculator.

    Returns:
        A note where labels lower the symmetry.

    Source: ours, on ASE's `FixSymmetry`.
    """
    names = distinguishing(atoms) if reads_labels(calculator) else ()
    if not names:
        atoms.set_constraint(FixSymmetry(atoms, symprec=SYMPREC))
        return []
    marked = atoms.copy()
    marked.numbers = species(atoms)
    kept = FixSymmetry(marked, symprec=SYMPREC)
    atoms.set_cell(marked.cell)
    atoms.positions = marked.positions
    turning = keeping(atoms, kept.rotations, np.array(kept.symm_map))
    kept.rotations, kept.translations = kept.rotations[turning], kept.translations[turning]
    kept.symm_map = [images for images, good in zip(kept.symm_map, turning, strict=True) if good]
    atoms.set_constraint(kept)
    return [f"Symmetry with labels: {', '.join(names)} may tell atoms of one element apart."]


def hidden_forces(atoms: Atoms, bound: bool, constant_volume: bool) -> float:
    """Largest force (eV/Å, and per strain as ASE counts a cell's) that the constraints of a structure take away.

    Args:
        atoms: with a calculator, Å; its constraints are there again afterwards.
        bound: the cell does not move.
        constant_volume: only its shape does.

    Source: ours.
    """

    def forces() -> np.ndarray:
        return (atoms if bound else FrechetCellFilter(atoms, constant_volume=constant_volume)).get_forces()

    constraints, held = atoms.constraints, forces()
    atoms.set_constraint()
    hidden = np.linalg.norm(forces() - held, axis=1).max()
    atoms.set_constraint(constraints)
    return float(hidden)
