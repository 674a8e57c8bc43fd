"""What an imported potential says of crystals: phonons and thermal functions, elastic constants, conductivities.

    python benchmarks/teacher_properties.py --model FOLDER [--second FOLDER] [--kappa FILE --kappa-model FOLDER]
        [--quick] [--json FILE]

FOLDER is a model of `ase-mlx import`. Phonons, C_V and S (300 K, per mole of atoms) of 30 crystals: the test part of
data/mp_crystals.parquet, stable, of at most twelve atoms, drawn by seed, relaxed, supercells of 10 Å, beside those of a
second potential. Bulk moduli and cubic elastic constants of 20 solids, likewise. Conductivities at 300 K of ten of the
103 binaries of Matbench Discovery, drawn by seed, beside what it publishes (kappa-103-analysis.jsonl: relaxation times
and coherences, no Born charges, larger supercells of the second order) for the same potential, `--kappa-model`, and for
PBE. No figure is judged: there is no truth here but the last one.
"""

import argparse
import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.data import covalent_radii
from verdict import machine, print_machine

DATA = Path(__file__).resolve().parents[1] / "data"
CRYSTALS, BINARIES, MOST_ATOMS = 30, 10, 12
CONSTANTS = {"a": "{:.3f}", "B": "{:.0f}", "C11": "{:.0f}", "C12": "{:.0f}", "C44": "{:.0f}"}
SOLIDS = (
    ("Al", "fcc", 4.05), ("Cu", "fcc", 3.61), ("Ag", "fcc", 4.09), ("Au", "fcc", 4.08), ("Ni", "fcc", 3.52),
    ("Pd", "fcc", 3.89), ("Pt", "fcc", 3.92), ("W", "bcc", 3.16), ("Mo", "bcc", 3.15), ("Na", "bcc", 4.23),
    ("C", "diamond", 3.57), ("Si", "diamond", 5.43), ("Ge", "diamond", 5.66), ("GaAs", "zincblende", 5.65),
    ("SiC", "zincblende", 4.36), ("BN", "zincblende", 3.62), ("MgO", "rocksalt", 4.21), ("NaCl", "rocksalt", 5.64),
    ("LiF", "rocksalt", 4.03), ("CaO", "rocksalt", 4.81),
)  # fmt: skip
"""With experimental lattice constants, Å, to start from."""
LATTICES = {225: "rocksalt", 216: "zincblende", 186: "wurtzite"}


def potential(folder: str):
    """The model of a folder, in double precision."""
    from ase_mlx.adapters.ase import Calculator

    return Calculator(folder, dtype="float64")


def crystals(count: int) -> list[Atoms]:
    """Stable test crystals, drawn by seed."""
    import pandas as pd

    table = pd.read_parquet(DATA / "mp_crystals.parquet")
    table = table[(table.part == "test") & (table.e_above_hull == 0) & (table.nsites <= MOST_ATOMS)]
    drawn = table.iloc[np.random.default_rng(29).permutation(len(table))[:count]]
    atoms = []
    for row in drawn.itertuples():
        cell, places = row.lattice.reshape(3, 3), row.frac_coords.reshape(-1, 3)
        atoms.append(Atoms(row.numbers, cell=cell, scaled_positions=places, pbc=True, info={"name": row.formula}))
    return atoms


def thermal(atoms: Atoms, calculator) -> dict[str, float]:
    """Highest and lowest frequency (THz), C_V and S (J/(K mol) of atoms) at 300 K."""
    from ase_mlx.adapters.phonopy import harmonic, phonons

    ph = phonons(atoms, calculator, supercell=10.0, on_imaginary="report")
    result = harmonic(ph, temperatures=np.array([300.0]), mesh=40.0, on_imaginary="report")
    row = {"highest": float(result.frequencies.max()), "lowest": float(result.frequencies.min())}
    if result.heat_capacity is not None:
        row |= {"C_V": float(result.heat_capacity[0]) / result.natoms, "S": float(result.entropy[0]) / result.natoms}
    return row


def moduli(solid: tuple, calculator) -> dict[str, float]:
    """Lattice constant (Å), bulk modulus and cubic constants (GPa) of a solid, relaxed."""
    from ase_mlx.adapters.ase import elastic
    from ase_mlx.adapters.ase.relaxation import relax

    relaxed = relax(bulk(*solid[:2], a=solid[2], cubic=True), calculator).atoms
    c = elastic(relaxed, calculator, relax=False).tensor
    lattice = float(relaxed.cell.volume ** (1 / 3))
    return {"a": lattice, "B": float(c[:3, :3].mean()), "C11": c[0, 0], "C12": c[0, 1], "C44": c[3, 3]}


def conductivities(file: Path, folder: str, count: int) -> list[dict]:
    """κ(300 K) of binaries drawn by seed: ours, what is published for the potential, and PBE's, W/(m K)."""
    from ase_mlx.adapters.phonopy import conductivity

    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    base, name = lines[0]["_base"], json.loads((Path(folder) / "card.json").read_text(encoding="utf-8"))["title"]
    published = next(line for line in lines[1:] if line.get("key") == name)
    rows = []
    for k in np.random.default_rng(103).permutation(len(base["formulas"]))[:count]:
        formula, lattice = base["formulas"][k], LATTICES[base["spg_nums"][k]]
        radii = sum(covalent_radii[z] for z in Atoms(formula).numbers[[0, -1]])
        a = {"rocksalt": 2.1, "zincblende": 2.31, "wurtzite": 1.63}[lattice] * radii
        begun = time.process_time()
        row = {"crystal": f"{formula}, {lattice}", "published": published["kappa_ml"][k], "PBE": base["kappa_dft"][k]}
        try:
            k_all = conductivity(bulk(formula, lattice, a=a), potential(folder), mesh=60.0, temperatures=[300.0])
            row["ours"] = float((k_all.kappa + k_all.coherence)[0, :3].mean())
        except Exception as error:  # an unstable crystal is a row, too
            row["ours"], row["why"] = None, f"{type(error).__name__}: {str(error)[:60]}"
        rows.append(row | {"CPU s": time.process_time() - begun})
        print(text(rows[-1]), flush=True)
    return rows


def text(row: dict) -> str:
    """A row in words."""
    number = lambda x: f"{x:10.4g}" if isinstance(x, float) else f"{x if x is not None else '-':>10}"  # noqa: E731
    return "  ".join(f"{name} {number(value)}" for name, value in row.items())


def table(title: str, items: list, names: list[str], measure, calculators: dict) -> list[dict]:
    """Rows of an item each, by every potential; one that fails is a row with its reason."""
    print(f"\n{title}", flush=True)
    rows = []
    for item, name in zip(items, names, strict=True):
        for label, calculator in calculators.items():
            begun = time.process_time()
            try:
                row = measure(item, calculator)
            except Exception as error:
                row = {"why": f"{type(error).__name__}: {str(error)[:80]}"}
            rows.append({"crystal": name, "potential": label, **row, "CPU s": time.process_time() - begun})
            print(text(rows[-1]), flush=True)
    return rows


def show_moduli(rows: list[dict]) -> None:
    """One line a solid; the second potential's values in brackets."""
    print(f"\nLattice constants (Å) and elastic constants (GPa)\n{'':6}" + "".join(f"{name:>15}" for name in CONSTANTS))
    for crystal in dict.fromkeys(row["crystal"] for row in rows):
        first, *second = (row for row in rows if row["crystal"] == crystal)
        cells = []
        for name, form in CONSTANTS.items():
            texts = [form.format(row[name]) if name in row else "-" for row in (first, *second)]
            cells.append(" ".join([texts[0], *(f"({text})" for text in texts[1:])]))
        print(f"{crystal:6}" + "".join(f"{cell:>15}" for cell in cells))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, metavar="FOLDER")
    parser.add_argument("--second", metavar="FOLDER")
    parser.add_argument("--kappa", type=Path, metavar="FILE")
    parser.add_argument("--kappa-model", metavar="FOLDER")
    parser.add_argument("--quick", action="store_true", help="three of each")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    print_machine(machine())
    warnings.simplefilter("ignore")
    folders = [arguments.model] + ([arguments.second] if arguments.second else [])
    calculators = {Path(folder).name: potential(folder) for folder in folders}
    drawn, solids = crystals(3 if arguments.quick else CRYSTALS), SOLIDS[: 3 if arguments.quick else None]
    out = {
        "phonons": table(
            "Phonons (THz), C_V and S (J/(K mol atom)) at 300 K",
            drawn, [atoms.info["name"] for atoms in drawn], thermal, calculators,
        ),
        "elastic": table("Elastic constants (GPa)", list(solids), [s[0] for s in solids], moduli, calculators),
    }  # fmt: skip
    show_moduli(out["elastic"])
    if arguments.kappa:
        print("\nConductivity at 300 K, W/(m K)")
        folder = arguments.kappa_model or arguments.model
        out["kappa"] = conductivities(arguments.kappa, folder, 3 if arguments.quick else BINARIES)
    if arguments.json:
        lines = {"machine": machine(), **out}
        arguments.json.write_text(json.dumps(lines, indent=1, ensure_ascii=False, default=float) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
