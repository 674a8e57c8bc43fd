"""Forces of displaced supercells for `conductivity_speed.py`, on crystals that no one tuned on.

    .venvs/matcalc/bin/python benchmarks/peers/force_constants.py FOLDER [NAME ...]

Writes benchmarks/force_constants/NAME.yaml.xz, phono3py's file with displacements and forces in eV/Å, by CHGNet 0.4.2
(Si216: by this package's `sigesn`); supercells are kept in FOLDER. CdTe, TiNiSn and Cu3VS4 take half an hour.
"""

import lzma
import sys
from pathlib import Path

import numpy as np
from ase.build import bulk
from ase.spacegroup import crystal

from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.factories import BY_NAME, made_by
from ase_mlx.adapters.phono3py import third_order

CRYSTALS = {
    "Si216": (bulk("Si"), 16.0),
    "CdTe": (bulk("CdTe", "zincblende", a=6.48), 10.0),
    "TiNiSn": (
        crystal(
            ("Ti", "Ni", "Sn"), [(0.5, 0.5, 0.5), (0.25, 0.25, 0.25), (0, 0, 0)],
            spacegroup=216, cellpar=[5.93] * 3 + [90] * 3, primitive_cell=True,
        ),
        10.0,
    ),
    "Cu3VS4": (
        crystal(
            ("Cu", "V", "S"), [(0.5, 0, 0), (0, 0, 0), (0.2372, 0.2372, 0.2372)],
            spacegroup=215, cellpar=[5.393] * 3 + [90] * 3,
        ),
        10.0,
    ),
}  # fmt: skip
"""Structures to begin with and least heights of the supercells in Å."""


def make(name: str, folder: Path) -> None:
    structure, height = CRYSTALS[name]
    calculator = Calculator("sigesn", dtype="float64") if name == "Si216" else made_by(BY_NAME["chgnet"])
    ph = third_order(structure, calculator, height, 0.03, True, folder=folder / name)
    ph.forces = np.round(ph.forces, 6)  # single precision has no more
    plain = folder / f"{name}.yaml"
    ph.save(plain, settings={"force_sets": True, "displacements": True, "force_constants": False})
    out = Path(__file__).resolve().parents[1] / "force_constants" / f"{name}.yaml.xz"
    out.parent.mkdir(exist_ok=True)
    out.write_bytes(lzma.compress(plain.read_bytes(), preset=9))
    print(f"{out.name}: {len(ph.supercell)} atoms, {out.stat().st_size / 1024:.0f} KiB", flush=True)


if __name__ == "__main__":
    for name in sys.argv[2:] or CRYSTALS:
        make(name, Path(sys.argv[1]))
