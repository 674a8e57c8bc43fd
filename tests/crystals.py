"""Crystals in unusual clothes: other cell vectors, atoms outside the cell."""

import numpy as np
from ase.build import bulk


def recelled(matrix):
    """Diamond silicon in the cell matrix @ cell."""
    atoms = bulk("Si")
    atoms.set_cell(np.array(matrix) @ atoms.cell.array)
    return atoms


def unwrapped():
    """Four silicon atoms moved by whole cell vectors."""
    atoms = bulk("Si") * (2, 1, 1)
    atoms.positions += np.array([[3, 0, -2], [0, 1, 0], [-4, 0, 5], [0, 0, 7]]) @ atoms.cell.array
    return atoms
