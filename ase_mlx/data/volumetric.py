"""Writing fields on grids plane by plane, whole or not at all: CHGCAR, cube, npy, zarr.

Source: ours; the formats are those of VASP (CHGCAR holds ρ·V, first axis fastest), Gaussian (cube: bohr, third axis
fastest), NumPy and Zarr.
"""

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numba
import numpy as np
from ase import Atoms
from jaxtyping import Float

from ase_mlx.data.espresso_density import BOHR
from ase_mlx.data.io import poscar

Planes = Iterable[tuple[int, Float[np.ndarray, "planes n2 n3"]]]
"""First plane's number and planes, in order."""

KINDS = ("CHGCAR", "cube", "npy", "zarr")

_jit = numba.njit(cache=True, nogil=True, error_model="numpy")


_LOWEST = -99
_AT_A_TIME = 30_000  # numbers: their text stays in the cache
_POWERS = np.array([float(f"1e{k}") for k in range(_LOWEST, 308)])
_PAIRS = np.frombuffer("".join(f"{k:02d}" for k in range(100)).encode(), dtype=np.uint8).copy()


@_jit
def _exponent(size, guess, powers):
    """Decimal exponent of a positive number, looked for from a guess, below 10^-99 none."""
    k = guess
    while k < 306 and size >= powers[k + 1 - _LOWEST]:
        k += 1
    while k >= _LOWEST and size < powers[k - _LOWEST]:
        k -= 1
    return k


@_jit
def _digits(value, width, decimals, guess, powers, pairs, out, at):
    """Write one number as `%width.decimalsE` at out[at:], smaller ones than 1e-99 as zero; returns its exponent."""
    size = -value if value < 0 else value
    exponent = _exponent(size, guess, powers) if size > 0 else _LOWEST - 1
    mantissa, shown = np.int64(0), 0
    if exponent >= _LOWEST:
        shift, one = decimals - exponent, np.int64(powers[decimals - _LOWEST])
        scaled = size * powers[shift - _LOWEST] if shift <= 300 else size * powers[-_LOWEST - exponent] * one
        mantissa = np.int64(scaled + 0.5)
        if mantissa >= 10 * one:
            mantissa //= 10
            exponent += 1
        shown = exponent
    last = at + width - 1
    for k in range(width - decimals - 6):
        out[at + k] = 32
    out[last - 6 - decimals] = 45 if value < 0 and mantissa > 0 else 32
    pair = 2 * abs(shown)
    out[last], out[last - 1] = pairs[pair + 1], pairs[pair]
    out[last - 2], out[last - 3] = 45 if shown < 0 else 43, 69
    place = last - 4
    high = np.uint32(mantissa // 10000)  # two chains of short divisions run side by side
    low = np.uint32(mantissa - np.int64(high) * 10000)
    first, second = low // np.uint32(100), low % np.uint32(100)
    out[place], out[place - 1] = pairs[2 * second + 1], pairs[2 * second]
    out[place - 2], out[place - 3] = pairs[2 * first + 1], pairs[2 * first]
    place -= 4
    mantissa = high
    for _ in range(decimals // 2 - 2):
        rest = mantissa % np.uint32(100)
        mantissa = mantissa // np.uint32(100)
        out[place], out[place - 1] = pairs[2 * rest + 1], pairs[2 * rest]
        place -= 2
    out[place], out[place - 1] = 46, 48 + mantissa
    return max(exponent, _LOWEST)


@_jit
def _lines(values, width, decimals, per_line, already, row, powers, pairs, out):
    """Write numbers in lines of `per_line`, a new line too after each `row` of them; returns the bytes used."""
    at, column, written, guess = 0, already, 0, 0
    for k in range(values.size):
        guess = _digits(values[k], width, decimals, guess, powers, pairs, out, at)
        at += width
        column += 1
        written += 1
        if column == per_line or written == row:
            out[at] = 10
            at += 1
            column = 0
        if written == row:
            written = 0
    return at, column


class _Text:
    """Numbers as text to a file, without a Python object a number."""

    def __init__(self, stream: Any, width: int, decimals: int, per_line: int, row: int = 0):
        self.stream, self.shape, self.row, self.column = stream, (width, decimals, per_line), row, 0
        self.out = np.empty(_AT_A_TIME * (width + 1), dtype=np.uint8)

    def write(self, values: np.ndarray, factor: float) -> None:
        flat = values.reshape(-1)
        step = _AT_A_TIME - _AT_A_TIME % self.row if 0 < self.row <= _AT_A_TIME else _AT_A_TIME
        if self.row > _AT_A_TIME:  # a row is written whole, so that its end is known
            step = self.row
            self.out = np.empty(step * (self.shape[0] + 1), dtype=np.uint8)
        for k in range(0, flat.size, step):
            part = flat[k : k + step] * np.float64(factor)
            size, self.column = _lines(part, *self.shape, self.column, self.row, _POWERS, _PAIRS, self.out)
            self.stream.write(memoryview(self.out[:size]))

    def end(self) -> None:
        if self.column:
            self.stream.write(b"\n")


def kind_of(path: str | Path) -> str:
    """Tell the format by the name: *.cube, *.npy, *.zarr, or a name with CHGCAR, CHG or AECCAR in it.

    Raises:
        ValueError: none of them.

    Source: ours.
    """
    name = Path(path).name
    if Path(path).suffix in (".cube", ".npy", ".zarr"):
        return Path(path).suffix[1:]
    if "CHG" in name.upper():
        return "CHGCAR"
    raise ValueError(f"got {name!r}, expected CHGCAR, or a name that ends in .cube, .npy or .zarr")


def write(path: str | Path, atoms: Atoms, shape: tuple[int, int, int], planes: Callable[[bool], Planes]) -> int:
    """Write a field (e/Å³) as its planes come; a kill or a full disk leaves no file of that name.

    Args:
        path: its name tells the format.
        atoms: the structure (Å).
        shape: points along the cell vectors.
        planes: gives the planes along the first axis or, called with True, along the third one (axes reversed:
            [k, j, i]), which a CHGCAR wants.

    Returns:
        The bytes written.

    Raises:
        ValueError: an unknown format.
        OSError: the disk refused.

    Source: ours.
    """
    path, kind = Path(path), kind_of(path)
    part = path.with_name(f".{path.name}.part")
    try:
        if kind == "zarr":
            size = _zarr(part, atoms, shape, planes(False))
        else:
            with open(part, "wb", buffering=1 << 20) as stream:
                {"CHGCAR": _chgcar, "cube": _cube, "npy": _npy}[kind](stream, atoms, shape, planes)
                stream.flush()
                os.fsync(stream.fileno())
                size = stream.tell()
        _replace(part, path)
    except OSError as error:
        raise OSError(
            error.errno,
            f"could not write {path} ({error.strerror or error}); nothing half-written is left: free some space or "
            "choose another folder, a coarser grid, or npy, which is a quarter of the text",
        ) from error
    finally:
        _remove(part)
    return size


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _replace(part: Path, path: Path) -> None:
    if path.is_dir():
        _remove(path)
    part.replace(path)


def _chgcar(stream: Any, atoms: Atoms, shape: tuple[int, int, int], planes: Callable[[bool], Planes]) -> None:
    stream.write((poscar(atoms) + "\n" + "{:5d}{:5d}{:5d}\n".format(*shape)).encode())
    text = _Text(stream, 18, 10, 5)
    volume = atoms.cell.volume
    for _, values in planes(True):
        text.write(values, volume)
    text.end()


def _cube(stream: Any, atoms: Atoms, shape: tuple[int, int, int], planes: Callable[[bool], Planes]) -> None:
    lines = ["electron density, e/bohr^3, by ase_mlx", "OUTER LOOP: X, MIDDLE LOOP: Y, INNER LOOP: Z"]
    lines.append(f"{len(atoms):5d}{0.0:12.6f}{0.0:12.6f}{0.0:12.6f}")
    for n, vector in zip(shape, atoms.cell.array, strict=True):
        lines.append("{:5d}{:12.6f}{:12.6f}{:12.6f}".format(n, *(vector / n / BOHR)))
    for number, position in zip(atoms.numbers, atoms.positions, strict=True):
        lines.append("{:5d}{:12.6f}{:12.6f}{:12.6f}{:12.6f}".format(number, 0.0, *(position / BOHR)))
    stream.write(("\n".join(lines) + "\n").encode())
    text = _Text(stream, 16, 8, 6, shape[2])
    for _, values in planes(False):
        text.write(values, BOHR**3)


def _npy(stream: Any, atoms: Atoms, shape: tuple[int, int, int], planes: Callable[[bool], Planes]) -> None:
    header = None
    for _, values in planes(False):
        if header is None:
            descr = np.lib.format.dtype_to_descr(values.dtype)
            header = {"descr": descr, "fortran_order": False, "shape": tuple(shape)}
            np.lib.format.write_array_header_1_0(stream, header)
        stream.write(memoryview(np.ascontiguousarray(values)).cast("B"))


def _zarr(path: Path, atoms: Atoms, shape: tuple[int, int, int], planes: Planes) -> int:
    try:
        import zarr
    except ImportError as error:
        raise ValueError("got a .zarr to write, but zarr is not installed; pip install ase-mlx[zarr]") from error
    array = None
    for start, values in planes:
        if array is None:
            chunks = (len(values), *shape[1:])
            array = zarr.create_array(path, shape=tuple(shape), chunks=chunks, dtype=values.dtype, compressors=None)
            array.attrs.update({"unit": "e/Å³", "cell": atoms.cell.tolist(), "numbers": atoms.numbers.tolist()})
        array[start : start + len(values)] = values
    return sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
