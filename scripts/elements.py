"""Write ase_mlx/weights/elements.extxyz: the structures of the elements in the crystals of data/mp_crystals.parquet.

    python scripts/elements.py [--check]     # --check compares with ASE's reference states and with mp_crystals

Cells are primitive. Sources: ASE's copy of the Delta project's cells (PBE, as the Materials Project's: K. Lejaeghere
et al., Crit. Rev. Solid State Mater. Sci. 39, 1 (2014)); for lanthanides and actinides of simple lattices ASE's
`reference_states`; the others from diffraction, below. data/README.md says more.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import spglib
from ase import Atoms
from ase.build import bulk
from ase.collections import dcdft
from ase.data import atomic_numbers, chemical_symbols, reference_states
from ase.io import write
from ase.spacegroup import crystal

HERE = Path(__file__).resolve().parents[1]
FILE = HERE / "ase_mlx" / "weights" / "elements.extxyz"
CRYSTALS = HERE / "data" / "mp_crystals.parquet"
TOLERANCE = 0.01  # Å, of symmetry

DELTA = "Delta project (PBE)"
NOT_FROM_DELTA = ("Mn", "S")  # simplified there: fcc, simple rhombohedral
LATTICES = ("fcc", "bcc", "hcp")

DOUBLE_HEXAGONAL = {  # a, c in Å, space group 194: 2a and 2c
    "La": (3.774, 12.171, "Spedding, Daane, Herrmann, Acta Cryst. 9, 559 (1956)"),
    "Pr": (3.6721, 11.8326, "Spedding, Daane, Herrmann, Acta Cryst. 9, 559 (1956)"),
    "Nd": (3.6582, 11.7966, "Spedding, Daane, Herrmann, Acta Cryst. 9, 559 (1956)"),
    "Pm": (3.65, 11.65, "Pallmer, Chikalla, J. Less-Common Met. 24, 233 (1971)"),
}

BY_HAND = {  # space group, cell in Å and degrees, sites, origin choice, source
    "S": (70, (10.4646, 12.8660, 24.4860, 90, 90, 90), [
        (0.14415, 0.04732, 0.04860), (0.29277, 0.22690, 0.25406), (0.21598, 0.28022, 0.32618),
        (0.21405, 0.15761, 0.37947)], 2, "alpha-S8: Rettig, Trotter, Acta Cryst. C 43, 2260 (1987)"),
    "Mn": (217, (8.911, 8.911, 8.911, 90, 90, 90), [
        (0, 0, 0), (0.31787, 0.31787, 0.31787), (0.35706, 0.35706, 0.03457), (0.08958, 0.08958, 0.28194)], 1,
        "alpha-Mn: Oberteuffer, Ibers, Acta Cryst. B 26, 1499 (1970)"),
    "Ce": (225, (4.85, 4.85, 4.85, 90, 90, 90), [(0, 0, 0)], 1, 
        "alpha-Ce, 77 K: Koskenmaki, Gschneidner, Handbook on the Physics and Chemistry of Rare Earths 1, 337 (1978)"),
    "Sm": (166, (3.629, 3.629, 26.207, 90, 90, 120), [(0, 0, 0), (0, 0, 0.2222)], 1,
        "Daane, Rundle, Smith, Spedding, Acta Cryst. 7, 532 (1954)"),
    "Pa": (139, (3.925, 3.925, 3.238, 90, 90, 90), [(0, 0, 0)], 1, "Zachariasen, Acta Cryst. 5, 19 (1952)"),
    "U": (63, (2.854, 5.869, 4.955, 90, 90, 90), [(0, 0.1025, 0.25)], 1,
        "alpha-U: Barrett, Mueller, Hitterman, Phys. Rev. 129, 625 (1963)"),
    "Np": (62, (6.663, 4.723, 4.887, 90, 90, 90), [(0.036, 0.25, 0.208), (0.319, 0.25, 0.842)], 1,
        "alpha-Np: Zachariasen, Acta Cryst. 5, 660 (1952)"),
    "Pu": (11, (6.183, 4.822, 10.963, 90, 101.79, 90), [
        (0.345, 0.25, 0.162), (0.767, 0.25, 0.168), (0.128, 0.25, 0.340), (0.657, 0.25, 0.457),
        (0.025, 0.25, 0.618), (0.473, 0.25, 0.653), (0.328, 0.25, 0.926), (0.869, 0.25, 0.894)], 1,
        "alpha-Pu: Zachariasen, Ellinger, Acta Cryst. 16, 777 (1963)"),
}  # fmt: skip


def structure(symbol: str) -> Atoms | None:
    """The structure of an element, its cell in Å, with its source; None where it is not known here."""
    state = reference_states[atomic_numbers[symbol]] or {}
    if symbol in BY_HAND:
        group, cell, sites, setting, source = BY_HAND[symbol]
        atoms = crystal([symbol] * len(sites), sites, spacegroup=group, cellpar=cell, setting=setting)
    elif symbol in DOUBLE_HEXAGONAL:
        a, c, source = DOUBLE_HEXAGONAL[symbol]
        cell = (a, a, c, 90, 90, 120)
        atoms = crystal([symbol] * 2, [(0, 0, 0), (1 / 3, 2 / 3, 0.25)], spacegroup=194, cellpar=cell)
    elif symbol in dcdft.names and symbol not in NOT_FROM_DELTA:
        atoms, source = dcdft[symbol], DELTA
    elif state.get("symmetry") in LATTICES:
        atoms, source = bulk(symbol), "ase.data.reference_states"
    else:
        return None
    return primitive(atoms, source)


def primitive(atoms: Atoms, source: str) -> Atoms:
    """The standard primitive cell, without rotation to other axes; places to 1e-6 Å."""
    described = (atoms.cell[:], atoms.get_scaled_positions(), atoms.numbers)
    cell, places, numbers = spglib.standardize_cell(described, to_primitive=True, symprec=TOLERANCE)
    small = Atoms(numbers, scaled_positions=places, cell=cell, pbc=True)
    small.info = {"source": source, "spacegroup": group_of(small)}
    return small


def group_of(atoms: Atoms) -> int:
    """Number of the space group."""
    described = (atoms.cell[:], atoms.get_scaled_positions(), atoms.numbers)
    return spglib.get_symmetry_dataset(described, symprec=TOLERANCE).number


def nearest(atoms: Atoms) -> float:
    """Shortest distance, Å."""
    distances = atoms.repeat(3).get_all_distances(mic=True)
    return float(distances[distances > 0].min())


def check(found: dict[str, Atoms]) -> None:
    """Print volumes an atom (Å³) and shortest distances beside ASE's reference states and the table's crystals."""
    frame = pd.read_parquet(CRYSTALS)
    frame = frame[frame["nelements"] == 1]
    print(f"{'':3}{'atoms':>6}{'group':>6}{'Å³/atom':>9}{'shortest':>9}{'ASE':>14}{'ratio':>7}   lowest in mp_crystals")
    for symbol, atoms in found.items():
        volume, state, text = atoms.get_volume() / len(atoms), reference_states[atomic_numbers[symbol]] or {}, ""
        ratio = "-"
        if state.get("symmetry") in (*LATTICES, "bct", "diamond") and "basis" not in state:
            textbook = bulk(symbol)
            ratio = f"{volume / (textbook.get_volume() / len(textbook)):.3f}"
        same = frame[[n[0] == atomic_numbers[symbol] for n in frame["numbers"]]].sort_values("e_above_hull")
        if len(same):
            row = same.iloc[0]
            other = abs(np.linalg.det(np.reshape(row["lattice"], (3, 3)).astype(float))) / len(row["numbers"])
            text = f"{row['material_id']}: +{row['e_above_hull']:.4f} eV/atom, {row['spacegroup']}, {other:.2f} Å³"
        print(f"{symbol:3}{len(atoms):6}{atoms.info['spacegroup']:6}{volume:9.3f}{nearest(atoms):9.3f}"
              f"{state.get('symmetry', '-'):>14}{ratio:>7}   {text}")  # fmt: skip


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    args = parser.parse_args()
    numbers = sorted({int(z) for column in pd.read_parquet(CRYSTALS, columns=["numbers"])["numbers"] for z in column})
    every = {chemical_symbols[z]: structure(chemical_symbols[z]) for z in numbers}
    found = {symbol: atoms for symbol, atoms in every.items() if atoms is not None}
    print(f"{len(found)} elements; left out: {', '.join(every.keys() - found.keys()) or 'none'}")
    if args.check:
        check(found)
    else:
        write(FILE, list(found.values()), format="extxyz")


if __name__ == "__main__":
    main()
