"""ASE's EMT as a teacher that counts its calls in a file, is slow on request, and fails on frames of some kinds."""

import os
import time
from pathlib import Path

import numpy as np
from ase.calculators.emt import EMT


class Counted(EMT):
    """EMT; COUNTED names the file, COUNTED_SECONDS a wait, `info["kind"]` what goes wrong."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=("positions",)):
        kind = str(atoms.info.get("kind", ""))
        with Path(os.environ["COUNTED"]).open("a") as file:
            file.write(f"{atoms.info.get('config_name')}\n")
        time.sleep(float(os.environ.get("COUNTED_SECONDS", "0")))
        if kind == "scf" or os.environ.get("COUNTED_FAILS") == "all":
            raise RuntimeError("SCF not converged")
        if kind == "dead":
            os._exit(3)
        if kind == "hang":
            time.sleep(60)
        super().calculate(atoms, properties, system_changes)
        if kind == "nan":
            self.results["forces"] = np.full((len(atoms), 3), np.nan)
        if kind == "fewer":
            self.results["forces"] = self.results["forces"][1:]
        if kind == "absurd":
            self.results["forces"] = self.results["forces"] + 1e5
