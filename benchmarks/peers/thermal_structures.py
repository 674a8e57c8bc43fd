"""Make benchmarks/thermal_speed_structures.extxyz.xz: `python benchmarks/peers/thermal_structures.py CRYSTALS.parquet`.

Run it in .venvs/matcalc. All Materials Project crystals of the table with Si, Ge and Sn alone and at most ten atoms;
then ordered Si-Ge-Sn arrangements on the eight-atom diamond cell, up to twenty. Each as its primitive cell, positions
and cell relaxed by CHGNet within its space group.
"""

import itertools
import lzma
import sys
from pathlib import Path

import numpy as np
import pandas
import spglib
from ase import Atoms
from ase.build import bulk
from ase.data import atomic_numbers
from ase.io import write
from chgnet.model.dynamics import CHGNetCalculator

from ase_mlx.adapters.ase.job import relax

OUT = Path(__file__).resolve().parents[1] / "thermal_speed_structures.extxyz.xz"
LATTICE = {"Si": 5.43, "Ge": 5.66, "Sn": 6.49}
"""Å, experiment: where the relaxation starts."""
COUNT, MOST_ATOMS, FORCE = 20, 10, 5e-4


def crystals(table: str) -> list[tuple[str, Atoms]]:
    """The Materials Project's, by number."""
    rows = pandas.read_parquet(table)
    allowed = {atomic_numbers[symbol] for symbol in LATTICE}
    found = []
    for row in rows[rows.nsites <= MOST_ATOMS].itertuples():
        if set(row.numbers) <= allowed:
            cell = np.reshape(row.lattice, (3, 3))
            atoms = Atoms(row.numbers, cell=cell, scaled_positions=np.reshape(row.frac_coords, (-1, 3)), pbc=True)
            found.append((row.material_id, atoms))
    return sorted(found, key=lambda pair: int(pair[0].removeprefix("mp-")))


def orderings(count: int) -> list[tuple[str, Atoms]]:
    """`count` of the 141 inequivalent occupations, spread evenly over their list by symmetry and composition."""
    ideal = bulk("Si", "diamond", a=1.0, cubic=True)
    x = ideal.get_scaled_positions()
    symmetry = spglib.get_symmetry((ideal.cell.array, x, ideal.numbers))
    permutations = []
    for rotation, translation in zip(symmetry["rotations"], symmetry["translations"], strict=True):
        offset = (x @ rotation.T + translation)[:, None] - x
        permutations.append(np.argmin(np.square(offset - np.rint(offset)).sum(-1), axis=1))
    symbols, found = list(LATTICE), {}
    for labels in itertools.product(range(len(symbols)), repeat=len(ideal)):
        images = {tuple(np.array(labels)[p].tolist()) for p in permutations}
        found[min(images)] = (len(images), [labels.count(k) for k in range(len(symbols))])
    ordered = sorted(found, key=lambda labels: (found[labels], labels))
    pairs = []
    for k in np.linspace(0, len(ordered) - 1, count).round().astype(int):
        labels = ordered[k]
        a = np.mean([LATTICE[symbols[label]] for label in labels])
        cell = bulk("Si", "diamond", a=a, cubic=True)
        cell.symbols = [symbols[label] for label in labels]
        pairs.append((f"ordering {k}", cell))
    return pairs


def primitive(atoms: Atoms) -> Atoms:
    """The primitive cell, axes kept parallel."""
    cell, positions, numbers = spglib.find_primitive(
        (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers), symprec=1e-2
    )
    return Atoms(numbers, cell=cell, scaled_positions=positions, pbc=True)


def main(table: str) -> None:
    """Choose, relax, write."""
    known = crystals(table)
    calculator, frames = CHGNetCalculator(use_device="cpu"), []
    for name, atoms in known + orderings(COUNT - len(known)):
        relaxed = relax(primitive(atoms), calculator, fmax=FORCE, steps=2000)
        frame = Atoms(relaxed.atoms.numbers, relaxed.atoms.positions, cell=relaxed.atoms.cell, pbc=True)
        spacegroup = relaxed.spacegroup.split()[0]
        frame.info = {"name": name, "spacegroup": spacegroup, "origin": "ours"}
        if name.startswith("mp-"):
            frame.info["origin"] = "Materials Project, CC BY 4.0, doi 10.1063/1.4812323, relaxed with CHGNet 0.4.2"
        print(f"{name:22}{frame.get_chemical_formula():12}{spacegroup:10}{relaxed.steps:5} {relaxed.largest_force:.1e}")
        if not relaxed.converged:
            raise RuntimeError(f"{name}: {relaxed.notes}")
        frames.append(frame)
    with lzma.open(OUT, "wt") as file:
        write(file, frames, format="extxyz")


if __name__ == "__main__":
    main(*sys.argv[1:])
