"""Files of labelled structures; the only module that imports `ase.io`.

Source: ours.
"""

import lzma
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms

from ase_mlx.whole import whole_file


def read_frames(path: str | Path) -> list[Atoms]:
    """Read all frames of a structure file (lengths in Å, energies in eV); `.xz` is unpacked on the way.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds no frame, or cannot be read as a structure file.

    Source: `ase.io`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"got {str(path)!r}, expected an existing structure file; check the path")
    try:
        if path.suffix == ".xz":
            with lzma.open(path, "rt") as stream:
                frames = ase.io.read(stream, index=":", format=ase.io.formats.filetype(path.stem, read=False))
        else:
            frames = ase.io.read(path, index=":")
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".removesuffix(": ")
        raise ValueError(
            f"got {str(path)!r}, which ase.io cannot read ({reason}); expected extxyz, POSCAR, cif or another format "
            "of ASE with the usual ending"
        ) from error
    if not frames:
        raise ValueError(f"got {str(path)!r} without a single frame, expected at least one structure")
    return frames


def each_frame(path: str | Path) -> Iterator[Atoms]:
    """Read the frames of a structure file one after the other (Å), so that a long one never is in memory whole.

    Source: `ase.io`.
    """
    return ase.io.iread(path, index=":")


def read_cif(text: str) -> Atoms:
    """Read the text of a CIF (Å); partial occupancies are in `info["occupancy"]`.

    Source: `ase.io`.
    """
    return ase.io.read(StringIO(text), format="cif")


def write_frames(path: str | Path, frames: list[Atoms]) -> None:
    """Write extxyz (Å, eV, eV/Å, eV/Å³), packed if the name ends in `.xz`, whole or not at all.

    Raises:
        OSError: the file cannot be written; what was there is untouched.

    Source: `ase.io`.
    """
    with whole_file(path) as part:
        if part.suffix == ".xz":
            with lzma.open(part, "wt", preset=9) as stream:
                ase.io.write(stream, frames, format="extxyz")
        else:
            ase.io.write(part, frames, format="extxyz")


def poscar(atoms: Atoms) -> str:
    """Write the head of VASP's files: lattice (Å), species in order of appearance, scaled positions.

    Source: `ase.io`.
    """
    order = np.argsort([list(dict.fromkeys(atoms.numbers)).index(z) for z in atoms.numbers], kind="stable")
    plain = Atoms(atoms.numbers[order], atoms.positions[order], cell=atoms.cell, pbc=True)
    text = StringIO()
    ase.io.write(text, plain, format="vasp", direct=True, vasp5=True)
    return text.getvalue()
