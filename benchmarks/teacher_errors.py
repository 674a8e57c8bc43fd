"""How far open foundation potentials are from DFT, without new DFT: crystals at rest, formation energies, hot cells.

    python benchmarks/teacher_errors.py CHECKPOINT... [--quick] [--json FILE]

Crystals are the test part of data/mp_crystals.parquet, minima of the Materials Project's PBE (with U for oxides and
fluorides of eight metals): forces and stress of a potential that agrees vanish there, so that their mean is an upper
bound of its error, since those relaxations stop at an energy. Formation energies: energies less one fitted reference an
element, with and without the mixtures of both functionals. Hot and strained cells are the Quantum ESPRESSO frames of
data/sigesn.extxyz.xz and data/al.extxyz.xz (PBE, other pseudopotentials, 24 Ry; Ge and Sn with d electrons in the
core, so apart), which no teacher saw; columns of the Hessian and frames of one k point are left out. What the
cards of `ase-mlx import` say of a known file is from here (`ase_mlx/adapters/checkpoints/published.py`).
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from ase import Atoms
from verdict import machine, print_machine

from ase_mlx.units import EV_PER_A3_IN_GPA as GPA

DATA = Path(__file__).resolve().parents[1] / "data"
PLUS_U = {"Co", "Cr", "Fe", "Mn", "Mo", "Ni", "V", "W"}
FRAMES = {
    "Si, hot and strained": ("sigesn.extxyz.xz", {"Si"}),
    "Si–Ge–Sn, hot and strained": ("sigesn.extxyz.xz", {"Si", "Ge", "Sn"}),
    "Al, hot and strained": ("al.extxyz.xz", {"Al"}),
}
SAMPLED = ("MD", "rattle", "ideal")
"""Words in `config_kind` of snapshots, and not of displaced supercells and columns of the Hessian."""


def crystals(quick: bool) -> tuple[list[Atoms], np.ndarray]:
    """Crystals of the test part and their formation energies in eV/atom."""
    import pandas as pd

    table = pd.read_parquet(DATA / "mp_crystals.parquet")
    table = table[table.part == "test"].iloc[:: 10 if quick else 1]
    atoms = [
        Atoms(n, cell=c.reshape(3, 3), scaled_positions=x.reshape(-1, 3), pbc=True)
        for n, c, x in zip(table.numbers, table.lattice, table.frac_coords, strict=True)
    ]
    return atoms, table.formation_energy_per_atom.to_numpy()


def dft_frames(file: str, elements: set[str], quick: bool) -> list[Atoms]:
    """Labelled snapshots with just these elements."""
    from ase_mlx.data.io import read_frames

    frames = []
    for atoms in read_frames(DATA / file):
        info, kinds = atoms.info, set(atoms.symbols)
        alone = kinds == elements if len(elements) == 1 else len(kinds) > 1
        if alone and len(atoms) >= 4 and any(word in str(info.get("config_kind", "")) for word in SAMPLED):
            one_point = str(info.get("k_grid", "")).startswith("1 1 1") or info.get("family") in ("si64", "sige64")
            frames += [] if one_point else [atoms]
    return frames[:: 10 if quick else 1]


def fitted(energies: np.ndarray, atoms: list[Atoms]) -> np.ndarray:
    """Residuals per atom of energies after the best reference of each element (robust: twice, without outliers)."""
    symbols = sorted({s for a in atoms for s in a.symbols})
    shares = np.array([[list(a.symbols).count(s) / len(a) for s in symbols] for a in atoms])
    kept = np.ones(len(atoms), bool)
    for _ in range(2):
        references = np.linalg.lstsq(shares[kept], energies[kept], rcond=None)[0]
        left = energies - shares @ references
        kept = np.abs(left) < 5 * np.median(np.abs(left))
    return left


def row(checkpoint: Path, quick: bool) -> dict[str, float]:
    """All figures of one checkpoint: meV/Å, GPa, meV/atom, %."""
    from ase_mlx.adapters.checkpoints import read_checkpoint
    from ase_mlx.models.predict import predict

    model, out = read_checkpoint(checkpoint).float(), {}
    atoms, formation = crystals(quick)
    known = [set(a.numbers) <= set(model.elements) for a in atoms]
    atoms, formation = [a for a, k in zip(atoms, known, strict=True) if k], formation[known]
    predictions = predict(model, atoms, std=False)
    out["crystals"] = len(atoms)
    out["forces at rest, meV/Å"] = 1e3 * float(np.mean([np.abs(np.asarray(p["forces"])).mean() for p in predictions]))
    out["stress at rest, GPa"] = GPA * float(np.mean([np.abs(np.asarray(p["stress"])).mean() for p in predictions]))
    energies = np.array([float(p["energy"]) / len(a) for p, a in zip(predictions, atoms, strict=True)])
    anions = [bool({"O", "F"} & set(a.symbols)) and bool(PLUS_U & set(a.symbols)) for a in atoms]
    for name, which in (("without +U", ~np.array(anions)), ("all", np.ones(len(atoms), bool))):
        some = [a for a, k in zip(atoms, which, strict=True) if k]
        left = 1e3 * np.abs(fitted((energies - formation)[which], some))
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="+", type=Path, metavar="CHECKPOINT")
    parser.add_argument("--quick", action="store_true", help="a tenth of the structures")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    print_machine(machine())
    rows = {path.stem: row(path, arguments.quick) for path in arguments.checkpoints}
    print(f"{'':50}" + "".join(f"{name:>24}" for name in rows))
    for key in next(iter(rows.values())):
        print(f"{key:50}" + "".join(f"{one[key]:24.4g}" for one in rows.values()), flush=True)
    if arguments.json:
        text = {"machine": machine(), "rows": rows}
        arguments.json.write_text(json.dumps(text, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
