"""ASE's EMT as a teacher that hangs or fails."""

import os
import time

import numpy as np
from ase.calculators.emt import EMT


class Odd(EMT):
    """EMT that hangs, or gives NaN for compressed structures, as the environment's ODD says."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=("positions",)):
        super().calculate(atoms, properties, system_changes)
        if os.environ.get("ODD") == "hang":
            time.sleep(60)
        if os.environ.get("ODD") == "nan" and atoms.get_volume() / len(atoms) < 11:
            self.results["forces"][:] = np.nan


class Charged(EMT):
    """EMT with the sum of the initial charges added to the energy (eV)."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=("positions",)):
        super().calculate(atoms, properties, system_changes)
        self.results["energy"] += atoms.get_initial_charges().sum()
        self.results["free_energy"] = self.results["energy"]
