"""A potential of all elements against its teacher: the gates of its training.

    python benchmarks/universal.py MODEL --teacher FOLDER [--hours H] [--judged FOLDER] [--solids N] [--quick]

MODEL is what `ase-mlx train data/universal.toml` made; --teacher the folder or name of the potential that labelled the
frames; --judged the chunk `judged` of `data/universal.py`: 132 formulas that nothing was trained on, each at rest,
rattled, strained and hot. Errors of forces (mean over components, meV/Å), energies (meV/atom), stresses (GPa) and the
slope of the forces (least squares, 1 where they are right) by kind, and how far the bulk moduli of cubic solids are
from the teacher's, each at its own minimum. `--also NAME=FOLDER` judges another model on the same frames, `--json FILE`
keeps all figures. `--hours` are the core-hours that the training took: they choose the gate, and exit code 1 says that
it was missed. Columns for PBE and experiment stay out until there are values with sources.
"""

import argparse
import json
import sys
import warnings
from pathlib import Path

import numpy as np
from ase.build import bulk

import ase_mlx as am
from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.ase.teaching_frames import KIND
from ase_mlx.adapters.comparison import compare_lattice
from ase_mlx.data.shards import Shards
from ase_mlx.models.extrapolation import once
from ase_mlx.models.predict import predict
from ase_mlx.units import EV_PER_A3_IN_GPA

sys.path.insert(0, str(Path(__file__).resolve().parent))
from verdict import machine, print_machine, verdict  # noqa: E402

JUDGED = Path(__file__).resolve().parents[1] / "runs" / "universal" / "chunks" / "judged"
GATES = ((1.0, 105.0, 25.0), (3.0, 80.0, 18.0), (16.0, 60.0, 12.0))
"""Core-hours, and what is to be reached after them: forces (meV/Å), bulk moduli (%, mean of sizes)."""

SOLIDS = (
    ("Cu", "fcc", 3.63), ("NaCl", "rocksalt", 5.70), ("Si", "diamond", 5.47), ("Al", "fcc", 4.04),
    ("MgO", "rocksalt", 4.25), ("GaAs", "zincblende", 5.75), ("W", "bcc", 3.19), ("Ag", "fcc", 4.15),
    ("C", "diamond", 3.57), ("LiF", "rocksalt", 4.07), ("Ge", "diamond", 5.78), ("Pd", "fcc", 3.94),
    ("TiN", "rocksalt", 4.25), ("InP", "zincblende", 5.97), ("Mo", "bcc", 3.16), ("Na", "bcc", 4.20),
    ("CaO", "rocksalt", 4.84), ("ZnS", "zincblende", 5.45), ("Pt", "fcc", 3.97), ("SiC", "zincblende", 4.38),
)  # fmt: skip
"""Cubic solids and lattice constants (Å) to begin from."""


def judge(model, frames: list) -> dict[str, dict[str, float]]:
    """Errors of a model by kind of frame."""
    with once(speak=False):
        predictions = predict(model, frames, std=False)
    kinds = np.array([str(a.info[KIND]) for a in frames])
    rows = {}
    for kind in (*dict.fromkeys(kinds), "all"):
        pairs = [(p, a) for p, a, k in zip(predictions, frames, kinds, strict=True) if kind in (k, "all")]
        ours = np.concatenate([np.asarray(p["forces"]).ravel() for p, _ in pairs])
        right = np.concatenate([a.calc.results["forces"].ravel() for _, a in pairs])
        energies = [(float(p["energy"]) - a.calc.results["energy"]) / len(a) for p, a in pairs]
        stresses = [np.asarray(p["stress"]) - a.calc.results["stress"] for p, a in pairs]
        rows[kind] = {
            "frames": len(pairs),
            "forces_mae_meV_A": 1e3 * float(np.abs(ours - right).mean()),
            "forces_rms_meV_A": 1e3 * float(np.sqrt(np.square(right).mean())),
            "forces_slope": float(ours @ right / max(right @ right, 1e-12)),
            "energy_mae_meV_atom": 1e3 * float(np.abs(energies).mean()),
            "stress_mae_GPa": EV_PER_A3_IN_GPA * float(np.abs(stresses).mean()),
        }
    return rows


def moduli(model, teacher, count: int) -> list[dict]:
    """Bulk moduli and lattice constants of both, each at its own minimum; a solid that fails says why."""
    rows = []
    for name, structure, a in SOLIDS[:count]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                row = compare_lattice(bulk(name, structure, a=a), teacher, model)
        except (ValueError, ArithmeticError, RuntimeError) as error:
            row = {"problem": str(error)}
        rows.append({"solid": name} | row)
    return rows


def print_solids(rows: list[dict]) -> None:
    """One line a solid."""
    print("\nsolids: lattice constant    bulk modulus, GPa\n         off by, %    teacher    student ± σ   off by, %")
    for row in rows:
        if "problem" in row:
            print(f"{row['solid']:8} {row['problem']}")
            continue
        std = f" ± {row['bulk_modulus_std_GPa']:<4.0f}" if "bulk_modulus_std_GPa" in row else " " * 7
        shares = 100 * row["lattice_share"], 100 * row["bulk_modulus_share"]
        moduli = f"{row['bulk_modulus_teacher_GPa']:11.0f}{row['bulk_modulus_student_GPa']:9.0f}{std}"
        print(f"{row['solid']:8}{shares[0]:10.2f}{moduli}{shares[1]:11.1f}")


def print_judged(name: str, rows: dict[str, dict[str, float]]) -> None:
    """One line a kind."""
    print(f"\n{name}: {'frames':>8}{'forces':>9}{'rms F':>9}{'slope':>8}{'energy':>9}{'stress':>9}")
    print(f"{'':{len(name)}}  {'':8}{'meV/Å':>9}{'meV/Å':>9}{'':8}{'meV/atom':>9}{'GPa':>9}")
    for kind, row in rows.items():
        forces = f"{row['forces_mae_meV_A']:9.1f}{row['forces_rms_meV_A']:9.1f}{row['forces_slope']:8.3f}"
        print(f"{kind:10}{row['frames']:8}{forces}{row['energy_mae_meV_atom']:9.1f}{row['stress_mae_GPa']:9.2f}")


def main() -> int:
    """Judge a model; 1 where the gate of its core-hours is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--judged", type=Path, default=JUDGED)
    parser.add_argument("--also", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--hours", type=float, default=0.0)
    parser.add_argument("--solids", type=int, default=len(SOLIDS))
    parser.add_argument("--quick", action="store_true", help="every fourth frame, two solids")
    parser.add_argument("--json")
    given = parser.parse_args()
    about = machine()
    print_machine(about)
    frames = list(Shards(given.judged))[:: 4 if given.quick else 1]
    judged = {"student": judge(am.load(given.model), frames)}
    judged |= {name: judge(am.load(folder), frames) for name, folder in (each.split("=", 1) for each in given.also)}
    for name, rows in judged.items():
        print_judged(name, rows)
    student, teacher = (Calculator(m, dtype="float64") for m in (given.model, given.teacher))
    solids = moduli(student, teacher, 2 if given.quick else given.solids)
    print_solids(solids)
    shares = [100 * abs(row["bulk_modulus_share"]) for row in solids if "bulk_modulus_share" in row]
    off = float(np.mean(shares)) if len(shares) == len(solids) and shares else float("nan")
    forces = judged["student"]["all"]["forces_mae_meV_A"]
    print(
        f"\n{given.hours:g} core-hours: forces {forces:.1f} meV/Å, bulk moduli {off:.1f} % off ({len(shares)} solids)"
    )
    due = [(f, b) for hours, f, b in GATES if hours <= given.hours]
    lines = [("forces, meV/Å", forces, "≤", due[-1][0]), ("bulk moduli, % off", off, "≤", due[-1][1])] if due else []
    if given.json:
        report = {"machine": about, "hours": given.hours, "judged": judged, "solids": solids}
        Path(given.json).write_text(json.dumps(report, indent=1, ensure_ascii=False), encoding="utf-8")
    return 0 if verdict(lines) else 1


if __name__ == "__main__":
    sys.exit(main())
