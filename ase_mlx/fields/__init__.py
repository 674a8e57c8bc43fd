"""Array-in, array-out analysis of fields on grids: charges of atoms, averages, electrostatics.

A field is an array (n1, n2, n3) whose point (i, j, k) lies at i/n1 a1 + j/n2 a2 + k/n3 a3, periodic, no end points.

Source: ours; each function says whose method it is.
"""

from .averages import macroscopic_average, planar_average, sphere_integrals
from .bader import BaderCharges, bader
from .electrostatics import hartree_energy, hartree_potential
from .hirshfeld import hirshfeld, hirshfeld_moments
from .isosurface import at_positions, isosurface

__all__ = [
    "BaderCharges",
    "at_positions",
    "bader",
    "hartree_energy",
    "hartree_potential",
    "hirshfeld",
    "hirshfeld_moments",
    "isosurface",
    "macroscopic_average",
    "planar_average",
    "sphere_integrals",
]
