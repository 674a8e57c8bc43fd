"""Keating's valence force field for diamond-type Si, Ge, Sn and their alloys: thermalises cells before DFT sees them.

Source: P. N. Keating, Phys. Rev. 145, 637 (1966); force constants from R. M. Martin, Phys. Rev. B 1, 4005 (1970) for Si
and Ge, from the elastic constants of grey tin (C11 69, C12 29 GPa) for Sn.
"""

from itertools import combinations

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.neighborlist import neighbor_list

LATTICE_CONSTANT = {"Si": 5.469, "Ge": 5.755, "Sn": 6.596}
"""Å; about those of the DFT setting."""

STRETCH = {"Si": 48.50, "Ge": 38.67, "Sn": 25.45}
BEND = {"Si": 13.81, "Ge": 11.35, "Sn": 6.44}
"""N/m, Keating's alpha and beta."""

SCALE = 0.82
"""One factor on all constants: the least-squares fit to the forces of the base DFT frames."""

N_PER_M_TO_EV_PER_A2 = 0.0624150907


class Keating(Calculator):
    """Energy (eV) and forces (eV/Å) of a diamond-type crystal whose bonds are those of a given ideal crystal."""

    implemented_properties = ["energy", "forces"]

    def __init__(self, ideal):
        """Take the bonds of the `ideal` crystal, four an atom, and keep them whatever the atoms do."""
        super().__init__()
        ideal = ideal.copy()
        closest = neighbor_list("d", ideal, 4.0)
        i, j, s, d = neighbor_list("ijSd", ideal, 1.22 * closest.min())
        if not (np.bincount(i, minlength=len(ideal)) == 4).all():
            raise ValueError(f"got {ideal.get_chemical_formula()} with not 4 bonds an atom, expected diamond type")
        self.i, self.j, self.shift = i, j, s.astype(float)
        symbols = np.array(ideal.get_chemical_symbols())
        length = np.array([np.sqrt(3) / 4 * LATTICE_CONSTANT[x] for x in symbols])
        self.length = (length[i] + length[j]) / 2
        scale = SCALE * N_PER_M_TO_EV_PER_A2
        stretch = np.array([STRETCH[x] for x in symbols]) * scale
        bend = np.array([BEND[x] for x in symbols]) * scale
        self.stretch = np.sqrt(stretch[i] * stretch[j])
        bonds = [np.flatnonzero(i == atom) for atom in range(len(ideal))]
        self.a, self.b = np.array([pair for four in bonds for pair in combinations(four, 2)]).T
        self.bend = (bend[j[self.a]] * bend[i[self.a]] ** 2 * bend[j[self.b]]) ** 0.25

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        """Sum 3/8 alpha (r² − d²)²/d² over bonds (each met twice) and 3/8 beta (r·r' + dd'/3)²/(dd') over angles."""
        super().calculate(atoms, properties, system_changes)
        x = self.atoms.positions
        r = x[self.j] - x[self.i] + self.shift @ self.atoms.cell.array
        off = (r**2).sum(1) - self.length**2
        energy = (3 / 16 * self.stretch * (off / self.length) ** 2).sum()
        on_bond = (3 / 4 * self.stretch * off / self.length**2)[:, None] * r
        dd = self.length[self.a] * self.length[self.b]
        bent = (r[self.a] * r[self.b]).sum(1) + dd / 3
        energy += (3 / 8 * self.bend * bent**2 / dd).sum()
        slope = (3 / 4 * self.bend * bent / dd)[:, None]
        np.add.at(on_bond, self.a, slope * r[self.b])
        np.add.at(on_bond, self.b, slope * r[self.a])
        forces = np.zeros_like(x)
        np.add.at(forces, self.i, on_bond)
        np.add.at(forces, self.j, -on_bond)
        self.results = {"energy": float(energy), "forces": forces}
