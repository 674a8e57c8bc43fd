"""Densities of other programs: CHGCAR and cube files, as what training reads.

Source: the formats' own documentation (VASP wiki, CHGCAR; Gaussian's cubegen).
"""

from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from ase_mlx.data.densities import DensityFrame
from ase_mlx.data.espresso_density import BOHR
from ase_mlx.quantities import SYMBOLS


def read_density(path: str | Path, name: str | None = None, **info: Any) -> DensityFrame:
    """Read the density of a CHGCAR (any name with CHG; ρ·V, without its augmentation) or a cube (e/bohr³), in e/Å³.

    Args:
        path: the file.
        name: of the frame; the file's name, with that of its folder, where None.
        info: kept with the frame, such as part = "train".

    Returns:
        Structure (Å) and density (e/Å³) on the grid of the cell.

    Raises:
        FileNotFoundError: no such file.
        ValueError: neither of the formats, a truncated file, numbers that are none, a cube whose grid is not the cell.

    Source: ours.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"got {str(path)!r}, expected a CHGCAR or cube file; check the path")
    read = _cube if path.suffix == ".cube" else _chgcar if "CHG" in path.name.upper() else None
    if read is None:
        raise ValueError(f"got {str(path)!r}, expected a name that ends in .cube or has CHG in it")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    try:
        atoms, density = read(lines)
    except (ValueError, IndexError, KeyError) as error:
        raise ValueError(f"got {str(path)!r}, which is damaged or no {read.__name__[1:]} file: {error}") from error
    return DensityFrame(name or f"{path.parent.name}/{path.name}", atoms, density, dict(info))


def _numbers(lines: list[str], count: int) -> np.ndarray:
    """The first numbers of a block of text."""
    found: list[str] = []
    for line in lines:
        found += line.split()
        if len(found) >= count:
            break
    if len(found) < count:
        raise ValueError(f"got {len(found)} of {count} values, expected all of them; the file is truncated")
    values = np.array(found[:count], dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("got values that are not finite numbers")
    return values


def _cube(lines: list[str]) -> tuple[Atoms, np.ndarray]:
    head = np.array(lines[2].split(), dtype=np.float64)
    n_atoms, origin = int(head[0]), head[1:4]
    axes = np.array([line.split()[:4] for line in lines[3:6]], dtype=np.float64)
    shape = tuple(int(n) for n in axes[:, 0])
    if n_atoms < 1 or min(shape) < 1:
        raise ValueError(f"got {n_atoms} atoms and {shape} points, expected a density in units of bohr, not orbitals")
    if np.abs(origin).max() > 1e-6:
        raise ValueError(f"got an origin of {origin} bohr, expected 0 0 0: the grid has to be that of the cell")
    rows = np.array([line.split()[:5] for line in lines[6 : 6 + n_atoms]], dtype=np.float64)
    cell = axes[:, 1:] * axes[:, :1] * BOHR
    atoms = Atoms(rows[:, 0].astype(int), rows[:, 2:] * BOHR, cell=cell, pbc=True)
    return atoms, _numbers(lines[6 + n_atoms :], int(np.prod(shape))).reshape(shape) / BOHR**3


def _chgcar(lines: list[str]) -> tuple[Atoms, np.ndarray]:
    scale = float(lines[1].split()[0])
    cell = np.array([line.split()[:3] for line in lines[2:5]], dtype=np.float64)
    cell *= scale if scale > 0 else (-scale / abs(np.linalg.det(cell))) ** (1 / 3)
    symbols, counts = lines[5].split(), [int(n) for n in lines[6].split()]
    numbers = np.repeat([SYMBOLS.index(s.split("_")[0]) for s in symbols], counts)
    places = np.array([line.split()[:3] for line in lines[8 : 8 + len(numbers)]], dtype=np.float64)
    direct = lines[7].strip().lower().startswith("d")
    atoms = Atoms(numbers, places @ cell if direct else places * scale, cell=cell, pbc=True)
    start = 8 + len(numbers)
    while not lines[start].strip():
        start += 1
    shape = tuple(int(n) for n in lines[start].split())
    values = _numbers(lines[start + 1 :], int(np.prod(shape)))
    return atoms, values.reshape(shape, order="F") / abs(np.linalg.det(cell))
