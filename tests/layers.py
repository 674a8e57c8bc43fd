"""Copper whose layers differ in all that can be on an atom, and what tests of labels compare with."""

import numpy as np
from ase import Atoms, units
from ase.build import bulk

CHARGE = 0.5
"""Of the cell of four atoms, e."""


def bare(atoms):
    """The same atoms without anything on them."""
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


def direct(atoms, calculator, step=0.01):
    """Frequencies (THz) at Γ of a cell as it stands: all its atoms moved one by one."""
    rows = []
    for k in range(3 * len(atoms)):
        sides = []
        for way in (step, -step):
            moved = atoms.copy()
            moved.positions.flat[k] += way
            sides.append(calculator.get_property("forces", moved).ravel())
        rows.append((sides[1] - sides[0]) / 2 / step)
    mass = np.repeat(np.sqrt(atoms.get_masses()), 3)
    squares = np.linalg.eigvalsh((np.array(rows) + np.array(rows).T) / 2 / np.outer(mass, mass))
    return np.sign(squares) * np.sqrt(np.abs(squares)) * units.s / 2 / np.pi / 1e12


def layered(a=3.61):
    """Copper whose layers along z alternate in all that can be on an atom."""
    atoms = bulk("Cu", cubic=True, a=a)
    up = atoms.positions[:, 2] < 0.1
    atoms.set_masses(np.full(4, 62.93))
    atoms.set_tags(np.where(up, 1, 2))
    atoms.set_initial_charges(np.where(up, 0.3, -0.2))
    atoms.set_initial_magnetic_moments(np.where(up, 2.0, -2.0))
    atoms.set_array("site", np.where(up, "up", "down"))
    atoms.set_array("depth", np.where(up, 0.25, 0.75))
    atoms.info |= {"charge": CHARGE, "phase": "layered", "field": [0.0, 0.0, 1.0]}
    return atoms
