"""Displaced and perfect cells: references of phonons, equations of state, columns of the Hessian, waves."""

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk, make_supercell
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms
from snapshots import interleave, named

from ase_mlx.data.io import read_frames

HERE = Path(__file__).resolve().parent


def phonon_reference():
    """Displace one atom of the perfect 64-atom cell by 0.01 Å along x: phonopy's displacement, its order of atoms."""
    cubic = bulk("Si", "diamond", a=5.470, cubic=True)
    images = [[x, y, z] for z in (0, 1) for y in (0, 1) for x in (0, 1)]
    sites = (cubic.positions[:, None] + 5.470 * np.array(images)).reshape(-1, 3)
    atoms = Atoms("Si64", sites, cell=2 * cubic.cell.array, pbc=True)
    atoms.positions[0, 0] += 0.01
    return [named(atoms, "si64ph_0", "si64ph", "reference", "perfect cell, one atom displaced by 0.01 A along x", 0)]


PHONON_CRYSTALS = {
    "si": ("Si", "diamond", 5.470),
    "ge": ("Ge", "diamond", 5.744),
    "sige": ("SiGe", "zincblende", 5.594),
    "al": ("Al", "fcc", 4.045),
}

PHONON_STRETCHES = (1.0, 0.985, 1.015, 0.9925, 1.0075)
"""Lattice constants of the quasi-harmonic references in units of that of `PHONON_CRYSTALS`."""


def phonon_references():
    """Displace phonopy's atoms by 0.01 Å in perfect 2x2x2 cells of Si, Ge, SiGe and Al at five volumes each."""
    frames = []
    for number, stretch in enumerate(PHONON_STRETCHES):
        for kind, (formula, lattice, a0) in PHONON_CRYSTALS.items():
            cubic = bulk(formula, lattice, a=a0 * stretch, cubic=True)
            cell = PhonopyAtoms(symbols=list(cubic.symbols), cell=cubic.cell.array, positions=cubic.positions)
            ph = Phonopy(cell, supercell_matrix=2 * np.eye(3, dtype=int), primitive_matrix="F")
            ph.generate_displacements(distance=0.01)
            for which, moved in enumerate(ph.supercells_with_displacements):
                atoms = Atoms(moved.symbols, moved.positions, cell=moved.cell, pbc=True)
                family = f"{kind}{len(atoms)}ph"
                what = f"perfect cell of a = {a0 * stretch:.4f} A, phonopy's displacement {which} of 0.01 A"
                frames.append(named(atoms, f"{family}_v{number}_{which}", family, "reference", what, 0))
    known = {"si64ph_v0_0"}  # phonon_reference() is this one
    return [frame for frame in frames if frame.info["config_name"] not in known]


def volumes_two():
    """Scale the two-atom cells of Ge and SiGe to seven volumes: their equations of state, with dense k points."""
    frames = []
    for kind in ("ge", "sige"):
        formula, lattice, a0 = PHONON_CRYSTALS[kind]
        for number, stretch in enumerate(np.linspace(0.97, 1.03, 7)):
            atoms = bulk(formula, lattice, a=a0 * stretch)
            name = f"{kind}2_eos"
            frames.append(named(atoms, f"{name}_{number}", name, "reference", f"ideal, a = {a0 * stretch:.4f} A", 0))
    return frames


def ideal_bases():
    """Take perfect cubic cells of Si, Ge, SiGe and Al at three volumes: the crystals whose Hessians are labelled."""
    frames = []
    for kind, (formula, lattice, a0) in PHONON_CRYSTALS.items():
        for number, stretch in enumerate((1.0, 0.985, 1.015)):
            atoms = bulk(formula, lattice, a=a0 * stretch, cubic=True)
            family = {"si": "si8", "al": "al4"}.get(kind, "sgs8")
            name = f"{kind}{len(atoms)}_perfect_{number}"
            frames.append(named(atoms, name, family, "train", f"ideal, a = {a0 * stretch:.4f} A", 0))
    return frames


def hessian_columns(bases):
    """Displace all atoms of frames a little, each along a random vector (sd 0.02 Å): with the frame, one column.

    The change of forces is the Hessian times that vector. `base` names the frame, `displacement` (Å) is kept.
    """
    frames = []
    for n, base in enumerate(bases):
        rng = np.random.default_rng([8, n])
        step = rng.normal(scale=0.02, size=(len(base), 3))
        step -= step.mean(axis=0)
        atoms = Atoms(base.numbers, base.positions + step, cell=base.cell, pbc=True)
        name, part = base.info["config_name"], base.info["part"]
        named(atoms, f"{name}_hv", base.info["family"], part, "displaced by sd 0.02 A from its base", 0)
        atoms.info["base"] = name
        atoms.set_array("displacement", step)
        frames.append(atoms)
    return frames


def columns(file, most):
    """Choose frames of the data file, 900 K at most, for columns of the Hessian; `most` by part."""

    def make():
        known = [a for a in read_frames(HERE / file) if a.info.get("md_temperature_K", 9999) <= 900]
        elements = set(np.concatenate([a.numbers for a in known]))
        small = [a for a in known if len(a) <= 8 and a.info["family"] in ("si8", "sgs8", "al4")]
        ideal = [a for a in ideal_bases() if set(a.numbers) <= elements]
        chosen = ideal + [a for a in ideal if a.info["config_name"].endswith("_0")]
        picked = []
        for part, number in most.items():
            found = [a for a in small if a.info["part"] == part and "base" not in a.info]
            order = np.random.default_rng([9, number]).permutation(len(found))
            picked.append([found[k] for k in order[:number]])
        frames = hessian_columns(chosen + interleave(*picked))
        for n in range(len(ideal), 2 * len(ideal)):  # the perfect cell of each crystal has two columns
            if n < len(frames) and frames[n].info["config_name"].endswith("perfect_0_hv"):
                frames[n].info["config_name"] += "2"
        return frames

    return make


TEMPERATURES = (300, 600, 900, 1200)

WAVE_CELLS = {
    "w": [[0.5, 1, 0.5], [0, 0, 1], [1, 0, 0]],
    "d": [[2, 0, 0], [0, 0.5, 0.5], [0, 0.5, -0.5]],
    "s": [[0.5, -0.5, 0], [0, 0, 1], [1, 1, 0]],
}
"""Smallest cells, in lattice constants, that hold a wave at W, half way to X, and half way along [110]: together with X
and L they are all that a 2x2x2 cubic cell holds (Lloyd-Williams and Monserrat, Phys. Rev. B 92, 184301 (2015))."""


def waves(kinds):
    """Displace all atoms of crystals' wave cells at random (sd 0.02 Å), both ways: a column of the Hessian each."""

    def make():
        frames = []
        for number, stretch in enumerate((1.0, 0.985, 1.015)):
            for kind in kinds:
                formula, lattice, a0 = PHONON_CRYSTALS[kind]
                for which, (letter, cell) in enumerate(WAVE_CELLS.items()):
                    primitive = bulk(formula, lattice, a=a0 * stretch)
                    shape = np.array(cell) * a0 * stretch @ np.linalg.inv(primitive.cell.array)
                    ideal = make_supercell(primitive, np.rint(shape).astype(int))
                    rng = np.random.default_rng([11, number, list(PHONON_CRYSTALS).index(kind), which])
                    step = rng.normal(scale=0.02, size=(len(ideal), 3))
                    step -= step.mean(axis=0)
                    family, part = f"{kind}{len(ideal)}{letter}", "val" if number == 0 else "train"
                    name = f"{family}_{number}"
                    for sign, suffix in ((-1, ""), (1, "_hv")):
                        atoms = Atoms(ideal.numbers, ideal.positions + sign * step, cell=ideal.cell, pbc=True)
                        what = f"a = {a0 * stretch:.4f} A, displaced by sd 0.02 A, {'minus plus'.split()[sign > 0]}"
                        named(atoms, name + suffix, family, part, what, 0)
                        if suffix:
                            atoms.info["base"] = name
                        frames.append(atoms)
        return frames

    return make
