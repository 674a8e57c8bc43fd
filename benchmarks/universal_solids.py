"""Cubic solids by a potential of all elements, its teacher, PBE and experiment: lattices, stiffness, cohesion.

    python benchmarks/universal_solids.py [MODEL] --teacher FOLDER [--also NAME=FOLDER] [--solids N] [--json FILE]

Each potential at its own minimum: lattice constant (Å), bulk modulus (of an equation of state) and elastic constants
(GPa), cohesive energy (eV/atom, against its own free atoms). PBE is WIEN2k's for elements and the Materials Project's
for the compounds that `data/mp_crystals.parquet` has; experiment is without thermal and zero-point expansion; both
of elements as in ASE's `dcdft` (K. Lejaeghere et al., Crit. Rev. Solid State 39, 1 (2014); Science 351, aad3000
(2016)). Where no source was found the place is empty; diamond is not there, since carbon's crystal is graphite.

σ is MODEL's against DFT (`p.std_dft`), brought from stress to the lattice constant by σ(a)/a = σ(p)/3B, and to the bulk
modulus as if the errors of the pressure at both ends of the equation of state were apart.
"""

import argparse
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from ase import Atoms
from ase.build import bulk
from ase.collections import dcdft
from universal import SOLIDS
from verdict import machine, print_machine, verdict

import ase_mlx as am
from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.ase.elastic_constants import elastic
from ase_mlx.adapters.ase.job import equation_of_state, relax
from ase_mlx.models.extrapolation import once
from ase_mlx.units import EV_PER_A3_IN_GPA

DATA = Path(__file__).resolve().parents[1] / "data"
ATOMS = {"fcc": 4, "bcc": 2, "diamond": 8, "rocksalt": 8, "zincblende": 8}
"""In the cubic cell."""

SPACE_GROUPS = {"rocksalt": 225, "zincblende": 216}
POINTS, STRAIN = 7, 0.06
"""Volumes of the equations of state, and the largest change of volume among them."""

SOURCES = {"pbe": "wien2k", "exp": "exp"}
"""Columns, and what they are called in ASE's collection."""

NORMAL_95 = 1.96
CONSTANTS = {"C11": (0, 0), "C12": (0, 1), "C44": (3, 3)}


def pbe_and_experiment() -> dict[str, dict[str, float]]:
    """Lattice constants (Å) and bulk moduli (GPa) by solid: `a_pbe`, `a_exp`, `B_pbe`, `B_exp` where there are any."""
    table, values = pd.read_parquet(DATA / "mp_crystals.parquet"), {}
    for name, structure, _ in SOLIDS:
        row = dcdft.data.get(name) if name != "C" else None
        if row:
            values[name] = {f"a_{key}": lattice_constant(row[f"{of}_volume"], structure) for key, of in SOURCES.items()}
            values[name] |= {f"B_{key}": row[f"{of}_B"] for key, of in SOURCES.items()}
            continue
        same = table[(table.formula == name) & (table.spacegroup == SPACE_GROUPS.get(structure, 0))]
        volumes = [abs(np.linalg.det(np.reshape(r.lattice, (3, 3)))) / r.nsites for r in same.itertuples()]
        values[name] = {"a_pbe": lattice_constant(volumes[0], structure)} if volumes else {}
    return values


def lattice_constant(volume: float, structure: str) -> float:
    """Turn a volume an atom (Å³) into the side of the cubic cell (Å)."""
    return float((volume * ATOMS[structure]) ** (1 / 3))


def solid(name: str, structure: str, a: float, calculator: Calculator, model) -> dict[str, float]:
    """What a potential says of a solid; with σ against DFT where `model` knows one."""
    rest = relax(bulk(name, structure, a=a), calculator, fmax=2e-4).atoms
    rest.calc = None
    curve = equation_of_state(rest, calculator, STRAIN, POINTS)
    modulus = curve.bulk_modulus.value
    row = {"a": lattice_constant(curve.volume.value / len(rest), structure), "B": modulus}
    stiffness = elastic(rest, calculator, relax=False).tensor
    row |= {key: float(stiffness[place]) for key, place in CONSTANTS.items()}
    p = am.predict(model, rest)
    free_atoms = sum(float(am.predict(model, Atoms([z]), std=False)["energy"]) for z in rest.numbers)
    row["cohesion"] = (free_atoms - float(p["energy"])) / len(rest)
    if "stress" in p.std_dft:
        pressure_std = EV_PER_A3_IN_GPA * float(np.mean(p.std_dft["stress"][:3]))
        row["a_std"] = row["a"] * pressure_std / (3 * modulus)
        row["B_std"] = np.sqrt(2) * pressure_std / (2 * STRAIN)
    return row


def judged(potentials: dict, count: int) -> list[dict]:
    """Rows of all potentials, by solid; what fails says why."""
    calculators = {label: Calculator(model, dtype="float64") for label, model in potentials.items()}
    models, rows, beside = {label: am.load(m).double() for label, m in potentials.items()}, [], pbe_and_experiment()
    for name, structure, a in SOLIDS[:count]:
        row = {"solid": name, **beside[name]}
        for label, calculator in calculators.items():
            try:
                with warnings.catch_warnings(), once(speak=False):
                    warnings.simplefilter("ignore")
                    row[label] = solid(name, structure, a, calculator, models[label])
            except (ValueError, ArithmeticError, RuntimeError) as error:
                row[label] = {"problem": " ".join(str(error).split())[:60]}
        rows.append(row)
    return rows


def cell(value, width: int, digits: int) -> str:
    """A number, or a dot where there is none."""
    return f"{'·':>{width}}" if value is None else f"{value:{width}.{digits}f}"


def show_against_dft(rows: list[dict], labels: list[str]) -> None:
    """Lattice constants and bulk moduli beside PBE and experiment."""
    for key, unit, digits in (("a", "lattice constant, Å", 3), ("B", "bulk modulus, GPa", 0)):
        print(f"\n{unit:24}{'PBE':>9}{'exp.':>9}" + "".join(f"{label:>11}" for label in labels) + f"{'σ':>9}")
        for row in rows:
            cells = "".join(cell(row[label].get(key), 11, digits) for label in labels)
            sources = "".join(cell(row.get(f"{key}_{source}"), 9, digits) for source in SOURCES)
            print(f"{row['solid']:24}{sources}{cells}{cell(row[labels[0]].get(f'{key}_std'), 9, digits)}")


def show_stiffness(rows: list[dict], labels: list[str]) -> None:
    """Elastic constants and cohesive energies of the first two potentials."""
    keys = (*CONSTANTS, "cohesion")
    print(f"\n{'GPa, eV/atom':14}" + "".join(f"{key:^20}" for key in keys))
    print(f"{'':14}" + "".join(f"{label:>10}" for _ in keys for label in labels[:2]))
    for row in rows:
        cells = [cell(row[label].get(key), 10, 2 if key == "cohesion" else 0) for key in keys for label in labels[:2]]
        print(f"{row['solid']:14}" + "".join(cells))


def off(rows: list[dict], label: str, key: str, reference) -> np.ndarray:
    """Percent by which a potential is off, where `reference(row)` has a value."""
    pairs = [(row[label].get(key), reference(row)) for row in rows]
    return np.array([100 * (x / y - 1) for x, y in pairs if x is not None and y is not None])


def figures(rows: list[dict], labels: list[str]) -> list[tuple]:
    """Mean deviations, and how many PBE values lie inside the 95 % bars."""
    print(f"\n{'% off, mean of sizes':28}" + "".join(f"{label:>11}" for label in labels))
    for title, key, reference in (
        ("a, from PBE", "a", lambda r: r.get("a_pbe")),
        ("a, from experiment", "a", lambda r: r.get("a_exp")),
        ("B, from PBE", "B", lambda r: r.get("B_pbe")),
        ("B, from experiment", "B", lambda r: r.get("B_exp")),
        *(
            (f"{key}, from {labels[1]}", key, lambda r, key=key: r[labels[1]].get(key))
            for key in ("B", *CONSTANTS, "cohesion")
        ),
    ):
        each = [off(rows, label, key, reference) for label in labels]
        means = "".join(f"{np.abs(x).mean():11.1f}" if len(x) else f"{'·':>11}" for x in each)
        print(f"{title:28}{means}   ({len(each[0])} solids)")
    lines = []
    for key in ("a", "B"):
        inside = [
            abs(row[labels[0]][key] - row[f"{key}_pbe"]) <= NORMAL_95 * row[labels[0]][f"{key}_std"]
            for row in rows
            if f"{key}_pbe" in row and f"{key}_std" in row[labels[0]]
        ]
        lines.append((f"{key}: PBE inside 95 % bars, of {len(inside)}", float(sum(inside)), "≥", 0.9 * len(inside)))
    return lines


def main() -> int:
    """Print the tables; 1 where bars do not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="universal")
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--also", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--solids", type=int, default=len(SOLIDS))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    about = machine()
    print_machine(about)
    potentials = {"student": options.model, "teacher": options.teacher} | dict(x.split("=", 1) for x in options.also)
    rows = judged(potentials, options.solids)
    show_against_dft(rows, list(potentials))
    show_stiffness(rows, list(potentials))
    reached = verdict(figures(rows, list(potentials)))
    if options.json:
        options.json.write_text(json.dumps({"machine": about, "solids": rows}, indent=1, ensure_ascii=False))
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
