"""Ground-state structures of the elements, to which formation energies refer.

Source: `weights/elements.extxyz`, made by `scripts/elements.py`; `data/README.md` says where each comes from.
"""

from pathlib import Path

from ase import Atoms

from ase_mlx.data.io import read_frames

FILE = Path(__file__).resolve().parents[1] / "weights" / "elements.extxyz"


def ground_states() -> dict[str, Atoms]:
    """Give each element's stable crystal (primitive cell, Å), at formation energy and hull distance zero by definition.

    `info` says the space group and the `source`. Elements are those of the Materials Project's crystals in `data/`.

    Source: see the module.
    """
    return {atoms.get_chemical_symbols()[0]: atoms for atoms in read_frames(FILE)}
