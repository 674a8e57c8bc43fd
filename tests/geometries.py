"""Structures of all kinds of boundaries for the tests of calculators."""

from ase import Atoms
from ase.build import bulk, fcc111
from crystals import recelled, unwrapped

EXTRAS = ["energy_std", "forces_std", "stress_std", "energy_members", "forces_members", "stress_members", "distance"]


def rattled(atoms, seed=0):
    atoms.rattle(0.08, seed=seed)
    atoms.symbols[0] = "Ge"
    return atoms


def slab():
    atoms = fcc111("Si", (1, 2, 3), a=4.4, vacuum=6.0)
    assert atoms.pbc.tolist() == [True, True, False]
    return atoms


def wire():
    return Atoms("Si3", [[0, 0, 0], [1.2, 0.7, 1.9], [-0.7, 1.4, 3.8]], cell=[0, 0, 5.7], pbc=[0, 0, 1])


def cluster():
    return Atoms("SiGeSnSi", [[0, 0, 0], [2.4, 0, 0], [1.0, 2.3, 0], [0.7, 0.5, 2.4]])


GEOMETRIES = {
    "bulk": lambda: bulk("Si", cubic=True),
    "slab": slab,
    "wire": wire,
    "molecule": cluster,
    "one atom": lambda: Atoms("Si"),
    "pair": lambda: Atoms("Si2", [[0, 0, 0], [1.3, 1.2, 1.4]]),
    "one-atom primitive cell": lambda: bulk("Si", "fcc", a=3.9),
    "left-handed": lambda: recelled([[0, 1, 0], [1, 0, 0], [0, 0, 1]]),
    "skewed": lambda: recelled([[1, 0, 0], [4, 1, 0], [-3, 5, 1]]),
    "unwrapped": unwrapped,
}


def rattled_silicon(seed):
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.05, seed=seed)
    return atoms


def forces_of(work):
    calculator, seed = work
    atoms = rattled_silicon(seed)
    atoms.calc = calculator
    return atoms.get_forces()
