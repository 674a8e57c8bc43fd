"""ASE's EMT, slowed and counted, and two pieces of work with it that are killed in the middle."""

import os
import time
import warnings

import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT

from ase_mlx.adapters.phonopy import phonons, quasi_harmonic


class SlowEMT(EMT):
    """EMT that takes SLOW_EMT_SECONDS a call and counts its calls."""

    calls = 0

    def calculate(self, *args, **kwargs):
        type(self).calls += 1
        time.sleep(float(os.environ.get("SLOW_EMT_SECONDS", "0")))
        super().calculate(*args, **kwargs)


def displaced(folder):
    """Phonons of a crystal without symmetry."""
    atoms = bulk("Cu", cubic=True)
    atoms.symbols[0] = "Au"
    atoms.rattle(0.02, seed=1)
    return _quietly(lambda: phonons(atoms, SlowEMT(), (2, 1, 1), relax=False, on_imaginary="report", folder=folder))


def expanded(folder):
    """Quasi-harmonic curves of copper."""
    temperatures = np.arange(0, 400, 100.0)
    atoms = bulk("Cu", cubic=True)
    return _quietly(lambda: quasi_harmonic(atoms, SlowEMT(), (2, 2, 2), temperatures=temperatures, folder=folder))


def _quietly(work):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return work()
