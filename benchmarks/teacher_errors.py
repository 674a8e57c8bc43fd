"""How far open foundation potentials are from DFT, without new DFT: crystals at rest, formation energies, hot cells.

    python benchmarks/teacher_errors.py CHECKPOINT... [--quick] [--json FILE]
    python benchmarks/teacher_errors.py CHECKPOINT --bars --students universal    # coverage of std_dft

Crystals are the test part of data/mp_crystals.parquet, minima of the Materials Project's PBE (with U for oxides and
fluorides of eight metals): forces and stress of a potential that agrees vanish there, so that their mean is an upper
bound of its error, since those relaxations stop at an energy. Formation energies: energies less one fitted reference an
element, with and without the mixtures of both functionals. Hot and strained cells are the Quantum ESPRESSO frames of
data/sigesn.extxyz.xz and data/al.extxyz.xz (PBE, other pseudopotentials, 24 Ry; Ge and Sn with d electrons in the
core, so apart), which no teacher saw; columns of the Hessian and frames of one k point are left out. What the
cards of `ase-mlx import` say of a known file is from here (`ase_mlx/adapters/checkpoints/published.py`).

With --bars, or --students that the checkpoint taught: the errors of labels by class of bonding as in the cards
(`data/against_dft.py`), but of one half of the formulas, drawn with a fixed seed; and how much of the other half lies
inside `std_dft`. References of the elements and the factors of 95 % are the first half's too. Frames of Si and Al are
cut by frame; Si–Ge–Sn has no part in the table. With --quick there are hardly more crystals than references of
elements: energies then say nothing.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from ase import Atoms
from verdict import machine, print_machine

import ase_mlx as am
from ase_mlx.adapters.checkpoints import read_checkpoint
from ase_mlx.descriptors.bond_classes import has_u
from ase_mlx.models.predict import predict
from ase_mlx.units import EV_PER_A3_IN_GPA as GPA

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "data"))
from against_dft import (  # noqa: E402
    FRAMES,
    SHARES,
    at_rest,
    coverage,
    crystals,
    dft_frames,
    fitted,
    halves,
    inside,
    measured,
    of_frames,
    print_coverage,
    print_table,
    relative,
    species,
    tails,
    with_energies,
)


def row(checkpoint: Path, quick: bool) -> dict[str, float]:
    """All figures of one checkpoint: meV/Å, GPa, meV/atom, %."""
    model, out = read_checkpoint(checkpoint).float(), {}
    atoms, formation = crystals(quick)
    known = [set(a.numbers) <= set(model.elements) for a in atoms]
    atoms, formation = [a for a, k in zip(atoms, known, strict=True) if k], formation[known]
    predictions = predict(model, atoms, std=False)
    out["crystals"] = len(atoms)
    out["forces at rest, meV/Å"] = 1e3 * float(np.mean([np.abs(np.asarray(p["forces"])).mean() for p in predictions]))
    out["stress at rest, GPa"] = GPA * float(np.mean([np.abs(np.asarray(p["stress"])).mean() for p in predictions]))
    energies = np.array([float(p["energy"]) / len(a) for p, a in zip(predictions, atoms, strict=True)])
    plus_u = np.array([has_u(a.symbols) for a in atoms])
    for name, which in (("without +U", ~plus_u), ("all", np.ones(len(atoms), bool))):
        some = [a for a, k in zip(atoms, which, strict=True) if k]
        kinds, above = [list(a.symbols) for a in some], (energies - formation)[which]
        left = 1e3 * np.abs(relative(above, kinds, fitted(above, kinds, rounds=2)))
        out[f"formation energy, {name}, median, meV/atom"] = float(np.median(left))
        out[f"formation energy, {name}, MAE, meV/atom"] = float(left.mean())
    for name, (file, elements) in FRAMES.items():
        frames = dft_frames(file, elements, quick)
        ours = predict(model, [Atoms(a.numbers, a.positions, cell=a.cell, pbc=True) for a in frames], std=False)
        wrong = np.concatenate([np.asarray(p["forces"]) - a.get_forces() for p, a in zip(ours, frames, strict=True)])
        size = np.concatenate([a.get_forces() for a in frames])
        out[f"{name}: frames"] = len(frames)
        out[f"{name}: forces, meV/Å"] = 1e3 * float(np.sqrt((wrong**2).mean()))
        out[f"{name}: forces, % of rms"] = 100 * float(np.sqrt((wrong**2).mean() / (size**2).mean()))
    return out


def bars(checkpoint: Path, students: list[str], quick: bool) -> dict[str, dict]:
    """Coverage of `std_dft` of a teacher and its students on formulas that the table was not made from, %."""
    teacher = read_checkpoint(checkpoint).float()
    cases, energies = at_rest(teacher, quick)
    first = halves(cases)
    references = fitted(energies[first], [species(c.atoms) for c, k in zip(cases, first, strict=True) if k])
    cases = with_energies(cases, energies, references)
    frames = {name: of_frames(teacher, name, quick) for name in FRAMES}
    half = {name: halves(some) for name, some in frames.items()}
    taken = {name: [c for c, k in zip(frames[name], half[name], strict=True) if k] for name in SHARES.values()}
    table = measured([c for c, k in zip(cases, first, strict=True) if k], taken, checkpoint.stem, "")
    print_table(table)
    formulas, rows = {c.formula for c, k in zip(cases, first, strict=True) if k}, {}
    for name in (checkpoint.stem, *students):
        if name in students:
            student = am.load(name)
            cases = with_energies(*at_rest(student, quick), references)
            frames = {which: of_frames(student, which, quick) for which in FRAMES}
        own = tails([c for c in cases if c.formula in formulas], table)
        rest = coverage([c for c in cases if c.formula not in formulas], own)
        for which, some in frames.items():
            judged = [c for c, k in zip(some, half[which], strict=True) if which not in taken or not k]
            rest[which] = inside(judged, own)
        print_coverage(f"{name}: formulas and frames that the table is not from", rest, own)
        rows[name] = rest
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="+", type=Path, metavar="CHECKPOINT")
    parser.add_argument("--quick", action="store_true", help="a tenth of the structures")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--bars", action="store_true", help="coverage of std_dft in place of the table of errors")
    parser.add_argument("--students", nargs="+", default=[], metavar="MODEL", help="taught by the first: their bars")
    arguments = parser.parse_args()
    print_machine(machine())
    if arguments.bars or arguments.students:
        rows = bars(arguments.checkpoints[0], arguments.students, arguments.quick)
        write(arguments.json, rows)
        return 0
    rows = {path.stem: row(path, arguments.quick) for path in arguments.checkpoints}
    print(f"{'':50}" + "".join(f"{name:>24}" for name in rows))
    for key in next(iter(rows.values())):
        print(f"{key:50}" + "".join(f"{one[key]:24.4g}" for one in rows.values()), flush=True)
    write(arguments.json, rows)
    return 0


def write(path: Path | None, rows: dict[str, dict]) -> None:
    """Keep all figures in a file, if one was named."""
    if path is not None:
        text = {"machine": machine(), "rows": rows}
        path.write_text(json.dumps(text, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
