"""Bader and Hirshfeld charges of water and carbon monoxide beside published ones: PySCF makes the densities.

    python benchmarks/density_charges.py [--quick] [--json FILE]

Bader: weights, near-grid and on-grid, beside the electrons of the basins by steepest ascent along PySCF's analytic
gradient (an independent route) and beside published values of the same kind of density. Hirshfeld: Hartree-Fock with
the two basis sets of Davidson and Chakravorty, whose table gives two digits.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from peers.driver import ask
from verdict import machine, print_machine, verdict

from ase_mlx.fields import bader, hirshfeld
from ase_mlx.fields.bader import METHODS

CELL = np.array([9.0, 7.5, 9.0])
HALF = np.radians(104.52) / 2
WATER = [("O", (0.0, 0.0, 0.0)), ("H", (0.9572 * np.sin(HALF), 0.0, 0.9572 * np.cos(HALF))),
         ("H", (-0.9572 * np.sin(HALF), 0.0, 0.9572 * np.cos(HALF)))]  # fmt: skip
MONOXIDE = [("C", (0.0, 0.0, 0.0)), ("O", (0.0, 0.0, 1.1283))]
NUMBER = {"H": 1, "C": 6, "O": 8}

BADER = (
    ("PBE, aug-cc-pVTZ", "pbe", "aug-cc-pvtz", (9.13, 0.435), "GPAW's tutorial, all-electron density"),
    ("HF, 6-31G**", "hf", "6-31g**", (9.1566, 0.4238), "Henkelman et al. 2006, on-grid"),
)
HIRSHFELD = (
    ("H of H2O", WATER, 1, "sto-3g", 0.11),
    ("H of H2O", WATER, 1, "6-311g**", 0.18),
    ("C of CO", MONOXIDE, 0, "sto-3g", 0.06),
    ("C of CO", MONOXIDE, 0, "6-311g**", 0.14),
)
"""Davidson and Chakravorty, Theor. Chim. Acta 83, 319 (1992), Table 1."""


def solved(atoms: list, method: str, basis: str, spacing: float, basins: bool) -> tuple[np.ndarray, dict]:
    """Positions in the cell (Å), and what PySCF found."""
    shift = CELL / 2 - np.mean([p for _, p in atoms], axis=0)
    moved = [(s, tuple(float(x) for x in np.array(p) + shift)) for s, p in atoms]
    shape = [int(round(length / spacing)) for length in CELL]
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder, "density.npz"))
        ask("pyscf", {"task": "density", "atoms": moved, "basis": basis, "method": method, "cell": CELL.tolist(),
                      "shape": shape, "basins": basins, "out": out})  # fmt: skip
        with np.load(out) as arrays:
            return np.array([p for _, p in moved]), dict(arrays)


def bader_rows(name: str, method: str, basis: str, published: tuple, spacings: tuple[float, ...]) -> list[dict]:
    rows, exact = [], np.zeros(3)
    for spacing in spacings:
        positions, found = solved(WATER, method, basis, spacing, spacing == spacings[0])
        exact = found["basins"] if "basins" in found else exact
        for algorithm in METHODS:
            got = bader(found["density"], np.diag(CELL), positions, method=algorithm).electrons
            rows.append({"density": name, "spacing": spacing, "algorithm": algorithm, "O": got[0], "H": got[1:].mean(),
                         "exact": [exact[0], exact[1:].mean()], "published": published})  # fmt: skip
    return rows


def hirshfeld_row(name: str, atoms: list, place: int, basis: str, published: float, spacing: float) -> dict:
    positions, found = solved(atoms, "hf", basis, spacing, False)
    numbers = np.array([NUMBER[s] for s, _ in atoms])
    free = {NUMBER[s]: (found[f"radius {s}"], found[f"free {s}"], float(NUMBER[s])) for s in {s for s, _ in atoms}}
    charges = hirshfeld(found["density"], np.diag(CELL), positions, numbers, free)
    grid = np.stack(np.meshgrid(*[np.arange(n) / n for n in found["density"].shape], indexing="ij"), -1) * CELL
    distances = [np.linalg.norm(grid - p, axis=-1) for p in positions]
    superposed = sum(np.interp(d, *free[z][:2], right=0) for z, d in zip(numbers, distances, strict=True))
    # the cusps are not resolved: free atoms on the same grid have the same error
    charges = charges - hirshfeld(superposed, np.diag(CELL), positions, numbers, free)
    return {"atom": name, "basis": basis, "charge": float(charges[place]), "published": published}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="coarse grids")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    print_machine(machine())
    basins, verdicts = [], []
    spacings = (0.1,) if arguments.quick else (0.1, 0.06, 0.045)
    print(f"\nBader, electrons of water\n{'':20}{'Å':>7}{'':3}{'':12}{'O':>8}{'H':>8}{'exact O':>10}{'H':>8}"
          f"{'published O':>13}{'H':>8}")  # fmt: skip
    for name, method, basis, published, source in BADER:
        rows = bader_rows(name, method, basis, published, spacings)
        basins += rows
        for r in rows:
            print(f"{name:20}{r['spacing']:7.3f}{'':3}{r['algorithm']:12}{r['O']:8.3f}{r['H']:8.3f}"
                  f"{r['exact'][0]:10.3f}{r['exact'][1]:8.3f}{published[0]:13.3f}{published[1]:8.3f}")  # fmt: skip
        print(f"{'':20}published: {source}")
        sys.stdout.flush()
        last = dict(zip(METHODS, rows[-len(METHODS) :], strict=True))
        same = last["on-grid" if "on-grid" in source else "weight"]
        verdicts.append((f"{name}, {same['algorithm']}: H off the published", abs(same["H"] - published[1]), "≤", 0.02))
        best = last["weight"]
        verdicts.append((f"{name}, weight: H off the exact", abs(best["H"] - best["exact"][1]), "≤", 0.005))
    shares = [hirshfeld_row(*row, 0.15 if arguments.quick else 0.1) for row in HIRSHFELD]
    print(f"\nHirshfeld, Hartree-Fock\n{'':12}{'basis':12}{'charge':>10}{'published':>12}")
    for r in shares:
        print(f"{r['atom']:12}{r['basis']:12}{r['charge']:10.3f}{r['published']:12.2f}")
        verdicts.append((f"{r['atom']}, {r['basis']}: off the published", abs(r["charge"] - r["published"]), "≤", 0.01))
    if arguments.json:
        result = {"machine": machine(), "bader": basins, "hirshfeld": shares}
        arguments.json.write_text(json.dumps(result, indent=1, default=float) + "\n", encoding="utf-8")
    return 0 if verdict(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
