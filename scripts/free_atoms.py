"""Free atoms' valence densities from finished `pw.x` runs: `python scripts/free_atoms.py FOLDER` (FOLDER/atom_SYMBOL).

Each run is one atom at the origin of a cubic box of 12 Å (Γ point, Martyna-Tuckerman, Fermi-Dirac smearing, so that the
p shell is filled evenly) with the settings and pseudopotentials of data/. Written: ase_mlx/weights/free_atoms.json.
"""

import json
import sys
from pathlib import Path

import numpy as np

from ase_mlx.data.espresso_density import read_charge_density

HERE = Path(__file__).resolve().parents[1]
ELECTRONS = {"Al": 3, "Si": 4, "Ge": 4, "Sn": 4}
BOX, STEP, END = 12.0, 0.025, 6.0


def radial(path: Path) -> np.ndarray:
    """Spherical average about the origin, e/Å³, at even radii."""
    miller, waves = read_charge_density(path)
    length = np.linalg.norm(miller, axis=1) * 2 * np.pi / BOX
    shells, which = np.unique(np.round(length, 8), return_inverse=True)
    amplitude = np.bincount(which, weights=waves.real)
    r = np.arange(0, END + STEP / 2, STEP)
    return (amplitude[None] * np.sinc(np.outer(r, shells) / np.pi)).sum(1)


def main(folder: str) -> None:
    """Write the table."""
    atoms = {}
    for symbol, electrons in ELECTRONS.items():
        density = radial(Path(folder) / f"atom_{symbol}" / "pwscf.save" / "charge-density.dat")
        r = np.arange(len(density)) * STEP
        density = np.maximum(density, 0)
        density *= electrons / np.trapezoid(4 * np.pi * r**2 * density, r)
        atoms[symbol] = {"electrons": electrons, "density": [round(float(x), 8) for x in density]}
    table = {
        "unit": "e/Å³",
        "radius_step": STEP,
        "origin": "Quantum ESPRESSO pw.x 6.7, PBE, 24 Ry, pseudopotentials of data/README.md; made for this project",
        "atoms": atoms,
    }
    path = HERE / "ase_mlx" / "weights" / "free_atoms.json"
    path.write_text(json.dumps(table, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{path.name}: {', '.join(atoms)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
