"""What the Materials Project's crystals at rest do not say: energies under strain, and of elements in other lattices.

    python data/property_labels.py TEACHER -o runs/property/labelled.parquet

Writes `mp_crystals.parquet` with further rows of the part `train`, for networks of crystals' properties
(`data/property.toml`). TEACHER is the folder of nequix-oam-1-pft (`ase-mlx import`), which says by how much energies
differ; where a difference begins is the Materials Project's.

- 5,000 training crystals of at most 12 atoms, drawn by a fixed seed, each under one strain: formation energy and hull
  distance are those at rest and the teacher's difference. No gap: nobody computed it.
- elements in simple lattices, at rest and under strain, as `universal_labels.xz` has them: energies above the
  element's ground state (`ase_mlx/weights/elements.extxyz`). Gaps of metals' are zero, those of others are not known.

Rows more than `HIGHEST` above rest, or above the ground state, are left out.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from ase import Atoms

import ase_mlx as am
from ase_mlx.adapters.ase.teaching_frames import KIND
from ase_mlx.data.elements import ground_states

sys.path.insert(0, str(Path(__file__).resolve().parent))
from universal_labels import unpack  # noqa: E402

HERE = Path(__file__).resolve().parent
SEED, COUNT, LARGEST = 31, 5000, 12
VOLUME, SHEAR = 0.03, 0.015
"""Standard deviations of strains: equal in all directions, and of each component beside (dimensionless)."""

HIGHEST = 1.0
"""eV/atom."""

NONMETALS = frozenset("H He B C N O F Ne Si P S Cl Ar Ge As Se Br Kr Te I Xe Rn At".split())


def energies(model, frames: list[Atoms]) -> np.ndarray:
    """Energies by the teacher, eV/atom."""
    each = am.predict(model, frames, std=False)
    return np.array([float(p["energy"]) / len(a) for p, a in zip(each, frames, strict=True)])


def crystal(row) -> Atoms:
    """Make the crystal of a row of the table."""
    cell = np.asarray(row.lattice, dtype=float).reshape(3, 3)
    return Atoms(row.numbers, scaled_positions=np.reshape(row.frac_coords, (-1, 3)), cell=cell, pbc=True)


def as_row(atoms: Atoms, **columns) -> dict:
    """Put a crystal (Å) into the table's columns, as a training crystal."""
    return columns | {
        "part": "train",
        "nsites": len(atoms),
        "nelements": len(set(atoms.numbers)),
        "formula": atoms.get_chemical_formula(empirical=True),
        "lattice": atoms.cell.array.ravel(),
        "numbers": atoms.numbers.astype(np.uint8),
        "frac_coords": atoms.get_scaled_positions(wrap=False).ravel(),
    }


def strained(model, table: pd.DataFrame) -> list[dict]:
    """Rows of training crystals under strain."""
    random = np.random.default_rng(SEED)
    rows = table[(table.part == "train") & (table.nsites <= LARGEST)].sort_values("material_id")
    rows = rows[[set(numbers) <= set(model.elements) for numbers in rows.numbers]]
    rows = rows.iloc[random.permutation(len(rows))[:COUNT]]
    rest = [crystal(row) for row in rows.itertuples()]
    moved = []
    for atoms in rest:
        strain = random.normal(scale=SHEAR, size=(3, 3))
        atoms = atoms.copy()
        change = np.eye(3) * (1 + random.normal(scale=VOLUME)) + (strain + strain.T) / 2
        atoms.set_cell(atoms.cell.array @ change, scale_atoms=True)
        moved.append(atoms)
    above = energies(model, moved) - energies(model, rest)
    return [
        as_row(
            atoms,
            material_id=row.material_id,
            formation_energy_per_atom=row.formation_energy_per_atom + step,
            e_above_hull=row.e_above_hull + step,
            band_gap=np.nan,
        )
        for row, atoms, step in zip(rows.itertuples(), moved, above, strict=True)
        if step <= HIGHEST
    ]


def elements(model) -> list[dict]:
    """Rows of elements in simple lattices."""
    grounds = ground_states()
    lowest = dict(zip(grounds, energies(model, list(grounds.values())), strict=True))
    rows = []
    for atoms in unpack(HERE / "universal_labels.xz"):
        symbols = set(atoms.symbols)
        if len(symbols) > 1 or not symbols <= set(lowest) or not atoms.pbc.all():
            continue
        (symbol,) = symbols
        if atoms.info["part"] == "train" and atoms.info[KIND] in ("rest", "strained") and len(atoms) <= 2:
            above = atoms.get_potential_energy() / len(atoms) - lowest[symbol]
            gap = np.nan if symbol in NONMETALS else 0.0
            if above <= HIGHEST:
                rows.append(as_row(atoms, formation_energy_per_atom=above, e_above_hull=above, band_gap=gap))
    return rows


def main() -> int:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("teacher", metavar="TEACHER")
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args()
    model = am.load(options.teacher)
    table = pd.read_parquet(HERE / "mp_crystals.parquet")
    added = [strained(model, table), elements(model)]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    pd.concat([table, *map(pd.DataFrame, added)], ignore_index=True).to_parquet(options.out)
    above = [np.abs([r["formation_energy_per_atom"] for r in rows]).mean() for rows in added]
    print(f"{len(added[0])} crystals under strain, {len(added[1])} elements in lattices ({above[1]:.2f} eV/atom above)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
