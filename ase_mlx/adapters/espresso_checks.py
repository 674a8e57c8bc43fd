"""Whether settings of Quantum ESPRESSO are converged for a cell, and whether the program is as fast as it can be.

Source: ours; the limits are from convergence tests of this project, which docs/label.md shows.
"""

import json
import math
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from ase_mlx.data.label import Teacher

METAL_RY = 0.01
"""Ry: a smearing from here on is a metal's."""

COARSEST, COARSEST_METAL = 0.45, 0.30
"""1/Å: largest spacing of k points, 2π included. Of eight atoms of group IV, forces are within 8 meV/Å at 3³ (0.38),
off by 90 at 2³ (0.57; so is one point in 64 atoms); those of four Al within 13 at 6³ (0.26), off by 50 at 4³ (0.39)."""

ACCEPTED = ("k_mesh", "cutoff")
"""What a config can say is right although a check refuses it."""

FAST = ("openblas", "mkl", "blis", "atlas", "accelerate", "armpl", "essl", "nvpl")
"""In the names of libraries that are no reference BLAS."""


BANDS_PER_ELECTRON, MORE_BANDS = 0.9, 6
"""Of a metal's cell: pw.x's own 0.6 leave up to 0.8 of an electron in the highest band of slabs and stacks of Al."""


def bands_of(settings: Mapping[str, Any], atoms: Atoms, files: Mapping[str, Path]) -> dict[str, int]:
    """Give the bands that a metal's cell needs, where the settings name none and the pseudopotentials their electrons.

    Args:
        settings: of its family.
        atoms: the structure.
        files: of pseudopotentials (UPF), by symbol.

    Source: ours.
    """
    if settings["smearing_Ry"] < METAL_RY or "nbnd" in settings["input"].get("system", {}):
        return {}
    valence = {symbol: _valence(files[symbol]) for symbol in set(atoms.symbols)}
    if None in valence.values():
        return {}
    electrons = sum(valence[symbol] for symbol in atoms.symbols)
    return {"nbnd": math.ceil(BANDS_PER_ELECTRON * electrons) + MORE_BANDS}


def _valence(path: Path) -> float | None:
    with path.open(encoding="utf-8", errors="replace") as file:
        head = file.read(100_000)
    number = re.search(r'z_valence\s*=\s*"\s*([\d.Ee+-]+)"|([\d.Ee+-]+)\s+Z valence', head)
    return float(number[1] or number[2]) if number else None


def mesh_of(settings: Mapping[str, Any], atoms: Atoms) -> list[int]:
    """Give the mesh of k points of a structure: the settings' own, or the smallest of their `k_spacing` (1/Å).

    Directions without boundaries have one.

    Source: ours.
    """
    if settings.get("k_mesh") is not None:
        return list(settings["k_mesh"])
    counts = np.ceil(_heights(atoms) / settings["k_spacing"] - 1e-9).astype(int).clip(1)
    return [int(n) if periodic else 1 for n, periodic in zip(counts, atoms.pbc, strict=True)]


def _heights(atoms: Atoms) -> np.ndarray:
    """Lengths of the reciprocal vectors, 2π included (1/Å)."""
    return 2 * np.pi * np.linalg.norm(atoms.cell.complete().reciprocal().array, axis=1)


def expect_mesh(settings: Mapping[str, Any], atoms: Atoms, accept: Any = ()) -> list[int]:
    """Give the mesh of k points of a structure (Å), one as dense as its cell asks.

    Args:
        settings: of its family.
        atoms: the structure.
        accept: what is right although it is refused.

    Raises:
        ValueError: it is too coarse for the cell.

    Source: ours.
    """
    mesh = mesh_of(settings, atoms)
    limit = COARSEST_METAL if settings["smearing_Ry"] >= METAL_RY else COARSEST
    spacing = np.where(atoms.pbc, _heights(atoms) / mesh, 0.0)
    if spacing.max() > limit * 1.001 and "k_mesh" not in accept:
        needed = " × ".join(str(n) for n in mesh_of({"k_spacing": limit}, atoms))
        raise ValueError(
            f"k points are {spacing.max():.2f} 1/Å apart with a mesh of {' × '.join(map(str, mesh))} for "
            f"{len(atoms)} atoms, expected at most {limit:g} (a mesh of {needed}): labels would be far from converged; "
            f'give k_spacing = {limit:g} in place of k_mesh, or accept = ["k_mesh"] in the config to have them anyway'
        )
    return mesh


def expect_cutoff(ecut: float, files: Mapping[str, Path], where: str) -> None:
    """Refuse a cutoff (Ry) below what a pseudopotential's file says that it needs.

    Raises:
        ValueError: naming it.

    Source: ours.
    """
    for symbol, path in files.items():
        with path.open(encoding="utf-8", errors="replace") as file:
            head = file.read(20_000)
        texts = re.findall(r'wfc_cutoff="\s*([\d.EeDd+-]+)"|cutoff for wavefunctions:\s*([\d.]+)', head)
        stated = [float((a or b).replace("D", "E").replace("d", "e")) for a, b in texts]
        if stated and ecut < max(stated) - 1e-6:
            raise ValueError(
                f"got ecut_Ry = {ecut:g} in {where}, below the {max(stated):g} Ry that {path.name} of {symbol} asks; "
                'raise it, or give accept = ["cutoff"] in the config'
            )


def slow_blas(command: str) -> str:
    """Say in a sentence that a program of Quantum ESPRESSO uses the reference BLAS, or nothing where it does not.

    Source: ours; what the dynamic linker resolves, by `ldd`.
    """
    program = shutil.which(next((w for w in reversed(shlex.split(command)) if w.endswith("pw.x")), "pw.x"))
    if program is None or shutil.which("ldd") is None:
        return ""
    try:
        text = subprocess.run(["ldd", program], capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return reference_blas(text, program)


def reference_blas(libraries: str, program: str = "pw.x") -> str:
    """Say in a sentence that the libraries which `ldd` lists have the reference BLAS, or nothing.

    Source: ours.
    """
    blas = re.findall(r"^\s*libblas\S* => (\S+)", libraries, re.MULTILINE)
    names = [*re.findall(r"^\s*(\S+)", libraries, re.MULTILINE), *(str(Path(path).resolve()) for path in blas)]
    if not blas or any(name in each.lower() for each in names for name in FAST):
        return ""
    return (
        f"{program} uses the reference BLAS ({blas[0]}), with which a step of 64 atoms takes six times as long: "
        "apt-get install libopenblas0-pthread (Debian, Ubuntu), or link another optimised BLAS"
    )


def k_points(teacher: Teacher, atoms: Atoms) -> int:
    """Count the points of the mesh that a teacher takes for a structure (Å); 1 where it is no plane-wave code.

    Source: ours.
    """
    spec = json.loads(teacher.command[-1]).get("espresso") if teacher.name == "espresso" else None
    if spec is None:
        return 1
    families = spec["families"]
    return math.prod(mesh_of(families.get(str(atoms.info.get("family", "")), families[""]), atoms))


def blas_of(teacher: Teacher) -> str:
    """Say in a sentence that a teacher's `pw.x` uses the reference BLAS; empty where it does not, or is no `pw.x`.

    Source: ours.
    """
    return slow_blas(json.loads(teacher.command[-1])["espresso"]["command"]) if teacher.name == "espresso" else ""
