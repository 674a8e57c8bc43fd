"""The space group of a crystal with its labels, kept while it relaxes, and what that hides of its forces.

Source: ours, on ASE's `FixSymmetry`.
"""

import numpy as np
from ase import Atoms
from ase.constraints import FixSymmetry
from ase.filters import FrechetCellFilter
from jaxtyping import Float

from ase_mlx.adapters.ase.labels import distinguishing, keeping, reads_labels, species
from ase_mlx.threads import one_thread

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


class CellFilter(FrechetCellFilter):
    """What an optimiser moves where the cell moves, too (Å): ASE's, whose 3×3 matrices take one thread of BLAS.

    Source: ASE's `FrechetCellFilter`.
    """

    get_positions = one_thread(FrechetCellFilter.get_positions)
    set_positions = one_thread(FrechetCellFilter.set_positions)

    def get_forces(self, **kwargs) -> Float[np.ndarray, "rows 3"]:
        """Forces on atoms (eV/Å) and on the cell (eV); the calculator has all threads."""
        self.atoms.get_stress(**kwargs)
        self.atoms.get_forces(**kwargs)
        return one_thread(super().get_forces)(**kwargs)


def hidden_forces(atoms: Atoms, bound: bool, constant_volume: bool) -> float:
    """Largest force (eV/Å, and per strain as ASE counts a cell's) that the constraints of a structure take away.

    Args:
        atoms: with a calculator, Å; its constraints are there again afterwards.
        bound: the cell does not move.
        constant_volume: only its shape does.

    Source: ours.
    """

    def forces() -> np.ndarray:
        return (atoms if bound else CellFilter(atoms, constant_volume=constant_volume)).get_forces()

    constraints, held = atoms.constraints, forces()
    atoms.set_constraint()
    hidden = np.linalg.norm(forces() - held, axis=1).max()
    atoms.set_constraint(constraints)
    return float(hidden)
