"""Densities of other programs: CHGCAR and cube files, as what training reads.

Source: the formats' own documentation (VASP wiki, CHGCAR and POSCAR; Gaussian's cubegen).
"""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from jaxtyping import Float

from ase_mlx.data.densities import DensityFrame
from ase_mlx.quantities import SYMBOLS
from ase_mlx.reading import reading, unpacked
from ase_mlx.units import BOHR_IN_A

PACKED = (".gz", ".bz2", ".xz")

DENSITIES = ("CHG", "AECCAR")
"""In the names of VASP's files with densities: CHGCAR, CHG, PARCHG, AECCAR0 to 2."""

OTHERS = {
    "LOCPOT": "a potential",
    "POT": "a potential",
    "ELFCAR": "an electron localisation function",
    "WAVECAR": "wave functions",
    "WAVEDER": "derivatives of wave functions",
}

NEGATIVE = 0.1
"""Share of a field's positive part above which its negative part makes it no density: an orbital, a difference."""

_NO_DENSITY = re.compile(r"potential|orbital|\bMOs?\b|\bESP\b|\bELF\b|locali[sz]ation|spin density|laplacian", re.I)
_NO_E = re.compile(r"(?<=[0-9.])([+-][0-9]{3})$")


def read_density(path: str | Path, name: str | None = None, **info: Any) -> DensityFrame:
    """Read the density of a CHGCAR (ρ·V, without its augmentation) or a cube (e/bohr³), in e/Å³.

    A name with CHG or AECCAR in it is VASP's, one that ends in .cube or .cub is a cube; both may be packed (.gz, .bz2,
    .xz). Of several densities in a CHGCAR the first is read, the total one.

    Args:
        path: the file.
        name: of the frame; the file's name, with that of its folder, where None.
        info: kept with the frame, such as part = "train".

    Returns:
        Structure (Å) and density (e/Å³) on the grid of the cell.

    Raises:
        FileNotFoundError: no such file.
        ValueError: neither of the formats; a truncated file, lines too many or of another length, numbers that are
            none; a potential, orbital or difference of densities; a cube of several values a point, in Å, or whose
            grid is not the cell; VASP 4, which names no elements.

    Source: ours.
    """
    path = Path(path)
    read, what = _kind(path)
    with reading(path, what):
        with unpacked(path) as stream:
            lines = stream.read().decode("utf-8", errors="replace").splitlines()
        atoms, density = read(lines)
        _check_density(density)
    return DensityFrame(name or f"{path.parent.name}/{path.name}", atoms, density, dict(info))


def _kind(path: Path):
    plain = path.with_suffix("") if path.suffix.lower() in PACKED else path
    if plain.suffix.lower() in (".cube", ".cub"):
        return _cube, "a cube file"
    for word, content in OTHERS.items():
        if word in plain.name.upper():
            raise ValueError(f"got {str(path)!r}, by its name {content}, expected a density: CHGCAR, CHG or AECCAR0")
    if any(word in plain.name.upper() for word in DENSITIES):
        return _chgcar, "a CHGCAR"
    raise ValueError(f"got {str(path)!r}, expected a name that ends in .cube or has CHG in it (or AECCAR)")


def _check_density(density: np.ndarray) -> None:
    """Refuse fields that no density can be."""
    positive, negative = float(density[density > 0].sum()), -float(density[density < 0].sum())
    if not positive > 0 or negative > NEGATIVE * positive:
        raise ValueError(
            f"got values below zero that hold {negative:.3g} where those above hold {positive:.3g}, expected a "
            "density: an orbital, a potential, a spin density or a difference of densities is none"
        )


def _words(lines: list[str], number: int, what: str, least: int = 1) -> list[str]:
    """The words of a line of the head."""
    words = lines[number].split() if number < len(lines) else []
    if len(words) < least:
        raise ValueError(f"got {' '.join(words)!r} in line {number + 1}, expected {what}; the file is damaged")
    return words


def _reals(lines: list[str], number: int, what: str, count: int, first: int = 0) -> np.ndarray:
    """Finite numbers of a line of the head, from the word `first` on."""
    words = _words(lines, number, what, first + count)[first : first + count]
    try:
        values = np.array([float(word) for word in words])
    except ValueError:
        values = np.full(count, np.nan)
    if not np.isfinite(values).all():
        raise ValueError(f"got {' '.join(words)!r} in line {number + 1}, expected {what}; the file is damaged")
    return values


def _counts(words: list[str], number: int, what: str) -> list[int]:
    """Whole numbers above zero."""
    if not words or not all(word.isascii() and word.isdigit() and int(word) > 0 for word in words):
        raise ValueError(f"got {' '.join(words)!r} in line {number + 1}, expected {what}; the file is damaged")
    return [int(word) for word in words]


def _cell_of(cell: np.ndarray) -> np.ndarray:
    size = np.linalg.norm(cell, axis=1)
    if not abs(np.linalg.det(cell)) > 1e-6 * max(float(size.prod()), 1e-6):
        raise ValueError(f"got a cell without volume ({cell.tolist()} Å), expected three independent vectors")
    return cell


def _values(lines: list[str], start: int, count: int, row: int = 0) -> tuple[np.ndarray, int]:
    """`count` numbers from a line on, and the line after them: all lines of one length, but for the last.

    With `row`, each run of so many numbers may begin a new line.
    """
    columns = min(len(lines[start].split()), count) if start < len(lines) else 0
    if columns == 0:
        raise ValueError(f"got no values, expected {count}; the file is truncated")
    layouts = [_layout(count, columns)] + ([np.tile(_layout(row, columns), count // row)] if row else [])
    words = [line.split() for line in lines[start : start + max(len(layout) for layout in layouts)]]
    lengths = np.array([len(line) for line in words])
    for layout in layouts:
        if np.array_equal(lengths[: len(layout)], layout):
            return _floats([word for line in words[: len(layout)] for word in line]), start + len(layout)
    padded = np.append(lengths, -1)
    odd = max(int((padded[: len(layout)] != layout[: len(padded)]).argmax()) for layout in layouts)
    here = f"{padded[odd]} values in line {start + odd + 1}"
    here = here if odd < len(lengths) else f"{lengths.sum()} values in all"
    raise ValueError(
        f"got {here}, expected {count} in lines of {columns}; lines are missing or too many, or the file is truncated"
    )


def _layout(count: int, columns: int) -> np.ndarray:
    """How many of `count` numbers stand in each line."""
    rest = count % columns
    return np.array([columns] * (count // columns) + ([rest] if rest else []))


def _floats(words: list[str]) -> Float[np.ndarray, " values"]:
    """Finite numbers, also where Fortran had no room for the E of an exponent, or wrote a D."""
    try:
        values = np.array(words, dtype=np.float64)
    except ValueError:
        values = np.array([_float(word) for word in words])
    if not np.isfinite(values).all():
        raise ValueError("got values that are not finite numbers, expected a density; the file is damaged")
    return values


def _float(word: str) -> float:
    try:
        return float(_NO_E.sub(r"E\1", word.replace("D", "E").replace("d", "E")))
    except ValueError as error:
        raise ValueError(f"got {word[:40]!r} among the values, expected numbers; the file is damaged") from error


def _check_size(shape: tuple[int, ...], lines: list[str], start: int) -> int:
    """Number of points, refused before memory is asked for where the file is too short for them."""
    count = math.prod(shape)
    if count > sum(len(line) + 1 for line in lines[start:]):
        raise ValueError(f"got a grid of {shape} points in a file too short for them; it is truncated or damaged")
    return count


def _cube(lines: list[str]) -> tuple[Atoms, np.ndarray]:
    title = " ".join(lines[:2])
    if _NO_DENSITY.search(title):
        raise ValueError(f"got a cube that says {title.strip()[:100]!r}, expected an electron density")
    head = _words(lines, 2, "the number of atoms and the origin", 4)
    if head[0].startswith("-"):
        raise ValueError(f"got {head[0]} atoms, which says that orbitals follow; expected a density, not orbitals")
    (n_atoms,) = _counts(head[:1], 2, "the number of atoms")
    if len(head) > 4 and head[4] != "1":
        raise ValueError(f"got {head[4]} values a point, expected one, the density; write it alone")
    origin = _reals(lines, 2, "the origin", 3, 1)
    sizes = [_words(lines, k, "a number of points and a step", 4)[0] for k in (3, 4, 5)]
    if any(size.startswith("-") for size in sizes):
        raise ValueError(
            f"got {', '.join(sizes)} points, which says that lengths are in Å: then the density's unit is not known; "
            "write the cube in bohr"
        )
    shape = tuple(_counts([size], 3 + k, "a number of points")[0] for k, size in enumerate(sizes))
    if np.abs(origin).max() > 1e-6:
        raise ValueError(f"got an origin of {origin} bohr, expected 0 0 0: the grid has to be that of the cell")
    steps = np.array([_reals(lines, k, "a step of the grid", 3, 1) for k in (3, 4, 5)])
    start = 6 + n_atoms
    count = _check_size(shape, lines, start)
    rows = np.array([_reals(lines, k, "an atom: number, charge, position", 5) for k in range(6, start)])
    numbers = rows[:, 0].astype(int)
    if (numbers != rows[:, 0]).any() or numbers.min() < 1 or numbers.max() >= len(SYMBOLS):
        raise ValueError(f"got atomic numbers {sorted(set(rows[:, 0].tolist()))}, expected those of elements")
    cell = _cell_of(steps * np.array(shape)[:, None] * BOHR_IN_A)
    values, end = _values(lines, start, count, shape[2])
    rest = " ".join(lines[end:]).split()
    if rest:
        raise ValueError(f"got {len(rest)} words behind the {count} values, expected none; lines were added or doubled")
    return Atoms(numbers, rows[:, 2:] * BOHR_IN_A, cell=cell, pbc=True), values.reshape(shape) / BOHR_IN_A**3


def _chgcar(lines: list[str]) -> tuple[Atoms, np.ndarray]:
    cell = np.array([_reals(lines, k, "a cell vector", 3) for k in (2, 3, 4)])
    scale = _scale(lines, cell)
    cell = _cell_of(cell * scale)
    numbers, start = _species(lines)
    if _words(lines, start, "Direct or Cartesian")[0][0].lower() == "s":  # selective dynamics
        start += 1
    mode = _words(lines, start, "Direct or Cartesian")[0]
    if mode[0].lower() not in "dck":
        raise ValueError(f"got {mode!r} in line {start + 1}, expected Direct or Cartesian; the file is damaged")
    first = start + 1
    coordinates = np.array([_reals(lines, k, "a position", 3) for k in range(first, first + len(numbers))])
    atoms = Atoms(numbers, coordinates @ cell if mode[0].lower() == "d" else coordinates * scale, cell=cell, pbc=True)
    start = first + len(numbers)
    while start < len(lines) and not lines[start].strip():
        start += 1
    grid = _words(lines, start, "the numbers of points along the three cell vectors")
    shape = tuple(_counts(grid, start, "the numbers of points along the three cell vectors"))
    if len(shape) != 3:
        raise ValueError(f"got {len(shape)} numbers in line {start + 1}, expected three numbers of points")
    values, end = _values(lines, start + 1, _check_size(shape, lines, start + 1))
    _check_end(lines, end, grid, len(numbers))
    return atoms, values.reshape(shape, order="F") / abs(np.linalg.det(cell))


def _scale(lines: list[str], cell: np.ndarray) -> np.ndarray:
    """Factors of the Cartesian components: one, one that is minus the volume (Å³), or three."""
    words = _words(lines, 1, "the scale: one number, or three")
    count = 3 if len(words) >= 3 and all(re.fullmatch(r"[-+0-9.eEdD]+", word) for word in words[:3]) else 1
    scale = _reals(lines, 1, "the scale: one number, or three", count)
    if count == 1 and scale[0] < 0:
        volume = abs(np.linalg.det(_cell_of(cell)))
        return np.full(3, (-scale[0] / volume) ** (1 / 3))
    if scale.min() <= 0:
        raise ValueError(f"got the scale {' '.join(words)!r}, expected a factor above zero, minus a volume, or three")
    return scale * np.ones(3)


def _species(lines: list[str]) -> tuple[np.ndarray, int]:
    """Atomic numbers, and the line after their counts; VASP wraps both lists after twenty, and adds POTCAR and hash."""
    end, symbols, counts = 5, [], []
    while not (words := _words(lines, end, "the elements"))[0].isdigit():
        symbols += words
        end += 1
    if not symbols:
        raise ValueError(
            f"got {lines[5].strip()!r} in line 6, numbers where the elements belong: VASP 4 did not name them; "
            "expected a line such as 'Si Ge' before it: add it"
        )
    while len(counts) < len(symbols):
        counts += _counts(_words(lines, end, "how many atoms of each element"), end, "how many atoms of each element")
        end += 1
    names = [re.split("[/_.]", symbol)[0] for symbol in symbols]
    unknown = [name for name in names if name not in SYMBOLS[1:]]
    if unknown or len(counts) != len(names):
        raise ValueError(
            f"got the elements {' '.join(symbols)!r} with the counts {counts}, expected symbols of elements, one count "
            "each; the file is damaged"
        )
    if sum(counts) > len(lines):
        raise ValueError(f"got {sum(counts)} atoms in {len(lines)} lines, expected a line each; the file is damaged")
    return np.repeat([SYMBOLS.index(name) for name in names], counts), end


def _check_end(lines: list[str], end: int, grid: list[str], n_atoms: int) -> None:
    """Refuse what does not begin as an augmentation or a second density does: lines were added before it."""
    while end < len(lines) and not lines[end].strip():
        end += 1
    moments: list[str] = []  # VASP writes those of the atoms before a spin density
    while end < len(lines) and len(moments) < n_atoms and not _begins(lines[end], grid):
        moments += lines[end].split()
        end += 1
    begins = end < len(lines) and _begins(lines[end], grid)
    if len(moments) not in (0, n_atoms) or (moments and not begins) or (not begins and end < len(lines)):
        raise ValueError(
            f"got {' '.join(moments)[:60]!r} behind the values of the grid, expected the end, an augmentation or a "
            "second density; lines were added or doubled"
        )


def _begins(line: str, grid: list[str]) -> bool:
    return line.split() == grid or line.strip().lower().startswith("augmentation")
