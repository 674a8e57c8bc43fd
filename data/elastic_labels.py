"""Bulk and shear moduli of 3,000 crystals by a potential, for networks of crystals' properties.

    python data/elastic_labels.py TEACHER -o runs/elastic.csv [--minutes M]
    python data/elastic_labels.py TEACHER -o runs/elastic.csv --pack data/elastic_labels.csv.xz

TEACHER is the folder of nequix-oam-1-pft (`ase-mlx import`). Crystals of at most 20 atoms of `mp_crystals.parquet`,
drawn by a fixed seed, each brought to rest by the teacher; Hill's means (GPa). A line is written when it is done, so
the same call goes on. What fails, or gives way to a strain, has an empty modulus and the reason.
"""

import argparse
import csv
import lzma
import sys
import warnings
from pathlib import Path
from time import monotonic

import numpy as np
import pandas as pd
from ase import Atoms

from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.ase.elastic_constants import elastic
from ase_mlx.whole import write_bytes

SEED, COUNT, LARGEST = 29, 3000, 20
COLUMNS = ("material_id", "bulk_modulus", "shear_modulus", "note")


def drawn(table: Path, elements: tuple[int, ...]) -> pd.DataFrame:
    """Draw the crystals, in an order that the seed fixes."""
    rows = pd.read_parquet(table).sort_values("material_id")
    rows = rows[(rows.nsites <= LARGEST) & [set(numbers) <= set(elements) for numbers in rows.numbers]]
    return rows.iloc[np.random.default_rng(SEED).permutation(len(rows))[:COUNT]]


def moduli(row, calculator: Calculator) -> tuple[str, str, str]:
    """Bulk and shear modulus (GPa) of a row, or why there are none."""
    cell = np.asarray(row.lattice, dtype=float).reshape(3, 3)
    atoms = Atoms(row.numbers, scaled_positions=np.reshape(row.frac_coords, (-1, 3)), cell=cell, pbc=True)
    try:
        constants = elastic(atoms, calculator)
    except (ValueError, RuntimeError, ArithmeticError, np.linalg.LinAlgError) as error:
        return "", "", " ".join(str(error).split())[:100]
    if constants.moduli is None:
        return "", "", "elastically unstable"
    return f"{constants.moduli.bulk:.2f}", f"{constants.moduli.shear:.2f}", ""


def main() -> int:
    """Go on with what is not done, until all is or the minutes are over."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("teacher", metavar="TEACHER")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--pack", type=Path, metavar="FILE")
    given = parser.parse_args()
    began, calculator = monotonic(), Calculator(given.teacher, dtype="float64")
    rows = drawn(Path(__file__).with_name("mp_crystals.parquet"), calculator.model.elements)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    done = set(pd.read_csv(given.out).material_id) if given.out.exists() else set()
    with given.out.open("a", newline="", encoding="utf-8") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        writer = csv.writer(file)
        if not done:
            writer.writerow(COLUMNS)
        for row in rows.itertuples():
            if monotonic() - began > 60 * given.minutes:
                break
            if row.material_id not in done:
                writer.writerow((row.material_id, *moduli(row, calculator)))
                file.flush()
    table = pd.read_csv(given.out)
    print(f"{len(table)} of {len(rows)} crystals, {table.bulk_modulus.notna().sum()} with moduli")
    if given.pack:
        write_bytes(given.pack, lzma.compress(given.out.read_bytes(), preset=9))
    return 0


if __name__ == "__main__":
    sys.exit(main())
