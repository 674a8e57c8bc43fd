"""Snapshots of Langevin dynamics with cheap models, strained cells, and what the data files say of a frame."""

import numpy as np
from ase import Atoms, units
from ase.build import bulk, make_supercell
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from keating import LATTICE_CONSTANT, Keating

CUBIC = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]

SQRT2_CELL = [[1, 1, 0], [-1, 1, 0], [0, 0, 1]]


def dynamics(ideal: Atoms, calculator, kelvin: float, rng: np.random.Generator) -> Atoms:
    """Thermalise and take the last snapshot of 1.6 ps."""
    atoms = ideal.copy()
    atoms.calc = calculator
    MaxwellBoltzmannDistribution(atoms, temperature_K=2 * kelvin, rng=rng)
    Langevin(atoms, 2 * units.fs, temperature_K=kelvin, friction=0.02 / units.fs, rng=rng).run(800)
    return Atoms(ideal.symbols, atoms.positions, cell=ideal.cell, pbc=True)


def strained(atoms: Atoms, rng: np.random.Generator, shear: float = 0.01, volume: float = 0.05) -> Atoms:
    """Strain by a random symmetric tensor of standard deviation `shear` and a random volume change up to ±`volume`."""
    noise = rng.normal(scale=shear, size=(3, 3))
    tensor = np.eye(3) + (noise + noise.T) / 2
    tensor *= ((1 + rng.uniform(-volume, volume)) / np.linalg.det(tensor)) ** (1 / 3)
    out = atoms.copy()
    out.set_cell(atoms.cell.array @ tensor, scale_atoms=True)
    return out


def alloy(counts, cell_matrix, rng: np.random.Generator) -> Atoms:
    """Occupy a diamond cell at random with (Si, Ge, Sn) counts, at Vegard's lattice constant."""
    symbols = [s for s, n in zip(("Si", "Ge", "Sn"), counts, strict=True) for _ in range(n)]
    a = float(np.mean([LATTICE_CONSTANT[s] for s in symbols]))
    atoms = make_supercell(bulk("Si", "diamond", a=a, cubic=True), cell_matrix)
    atoms.symbols = [symbols[i] for i in rng.permutation(len(symbols))]
    return atoms


def group4(name, family, part, number, counts, kelvin, weight=1, cell=CUBIC, salt=0) -> Atoms:
    """Make one Keating snapshot; odd numbers are strained."""
    rng = np.random.default_rng([*f"{family}{salt}".encode(), number])
    ideal = alloy(counts, cell, rng)
    if number % 2:
        ideal = strained(ideal, rng)
    atoms = dynamics(ideal, Keating(ideal), kelvin, rng)
    return named(atoms, name, family, part, "Keating Langevin MD" + (", strained" * (number % 2)), weight, kelvin)


def named(atoms, name, family, part, kind, weight=1, kelvin=None) -> Atoms:
    """Attach the description that the data files carry."""
    atoms.info = {"config_name": name, "config_kind": kind, "family": family, "part": part, "source": "label"}
    atoms.info |= {"energy_weight": weight} | ({} if kelvin is None else {"md_temperature_K": kelvin})
    return atoms


def interleave(*queues):
    """Merge lists so that every prefix holds about the same share of each."""
    places = [((i + 0.5) / len(queue), frame) for queue in queues for i, frame in enumerate(queue)]
    return [frame for _, frame in sorted(places, key=lambda place: place[0])]
