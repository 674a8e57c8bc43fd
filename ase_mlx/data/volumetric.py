"""Writing fields on grids plane by plane, whole or not at all: CHGCAR, cube, npy, zarr.

Source: ours; the formats are those of VASP (CHGCAR holds ρ·V, first axis fastest), Gaussian (cube: bohr, third axis
fastest), NumPy and Zarr.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
from jaxtyping import Float
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ase_mlx.compiled import compiled
from ase_mlx.data.io import poscar
from ase_mlx.reading import parsed_json
from ase_mlx.units import BOHR_IN_A
from ase_mlx.whole import check_file, check_folder, check_replaceable, whole_file, whole_folder

if TYPE_CHECKING:
    from ase_mlx.structure import AtomsLike

Planes = Iterable[tuple[int, Float[np.ndarray, "planes n2 n3"]]]
"""First plane's number and planes, in order."""

WRITTEN_BY = "ase_mlx"
"""Marks our arrays among their attributes: no other folder is ever replaced."""

KINDS = ("CHGCAR", "cube", "npy", "zarr")

_jit = compiled(nogil=True, error_model="numpy")
_inlined = numba.njit(inline="always", error_model="numpy")  # arrays as arguments cost more than the digits


_LOWEST = -99
_AT_A_TIME = 30_000  # numbers: their text stays in the cache
_POWERS = np.array([float(f"1e{k}") for k in range(_LOWEST, 308)])


def _words(texts: list[str]) -> np.ndarray:
    """Eight bytes of each text as one number, the first byte lowest."""
    return np.array([int.from_bytes(text.ljust(8).encode(), "little") for text in texts], dtype=np.uint64)


_HEADS = {n: _words([f"  {k / 10**n:.{n}f}".ljust(4, ".") for k in range(10 ** (n + 1))]) for n in (0, 2)}
"""Two blanks and the first digits with their point, by the number of those behind it."""
_EXPONENTS = _words([f"E{k:+03d}" for k in range(_LOWEST, 100)])


_BINARY = np.floor((np.arange(2048) - 1023) * np.log10(2)).astype(np.int64)
"""Decimal exponent of a float64 or one less, by the eleven bits of its binary one."""


@intrinsic
def _store(typing, array, at, word):
    """Write the eight bytes of a uint64 at array[at:], wherever that is in memory."""

    def code(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        pointer = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(64).as_pointer())
        builder.store(arguments[2], pointer, align=1)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.uint64), code


@_inlined
def _eight_digits(number):
    """The eight decimal digits of a number below 10^8 as text in a uint64, all at once."""
    four = number // np.uint64(10000)
    word = four | (number - four * np.uint64(10000)) << np.uint64(32)
    tens = (word * np.uint64(10486) >> np.uint64(20)) & np.uint64(0x0000007F0000007F)
    word = tens | (word - tens * np.uint64(100)) << np.uint64(16)
    tens = (word * np.uint64(103) >> np.uint64(10)) & np.uint64(0x000F000F000F000F)
    return (tens | (word - tens * np.uint64(10)) << np.uint64(8)) + np.uint64(0x3030303030303030)


@_inlined
def _number(value, bits, decimals, heads, out, at):
    """Write a number as `%WIDTH.decimalsE` (8 or 10 decimals) at out[at:], smaller ones than 1e-99 as zero.

    Returns whether it is below 1e99; larger ones, infinity and NaN are not written.
    """
    exponent = _BINARY[(bits >> np.uint64(52)) & np.uint64(0x7FF)]
    if exponent >= 98 and not abs(value) < _POWERS[99 - _LOWEST]:
        return False
    size, mantissa, shown = abs(value), np.uint64(0), 0
    if exponent >= _LOWEST - 1 and size >= _POWERS[0]:
        exponent += size >= _POWERS[exponent + 1 - _LOWEST]
        one = _POWERS[decimals - _LOWEST]
        scaled = size * _POWERS[decimals - exponent - _LOWEST] + 0.5
        if scaled >= 10 * one:
            exponent += 1
            scaled = one
        mantissa, shown = np.uint64(np.int64(scaled)), exponent
    high = mantissa // np.uint64(100_000_000)
    head = heads[high]
    if value < 0 and mantissa > 0:
        head ^= np.uint64(0x0D00)  # the second blank becomes a minus
    _store(out, at, head)
    at += decimals - 4
    _store(out, at, _eight_digits(mantissa - high * np.uint64(100_000_000)))
    _store(out, at + 8, _EXPONENTS[shown - _LOWEST])
    return True


@_jit
def _lines(values, bits, width, decimals, per_line, already, row, heads, out):
    """Write numbers in lines of `per_line`, a new line too after each `row` of them.

    Returns the bytes used (negative: a number of 1e99 or more, or none at all) and the numbers on the last line.
    """
    at, column, written = 0, already, 0
    for k in range(values.size):
        if not _number(values[k], bits[k], decimals, heads, out, at):
            return -1, 0
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

    def __init__(self, stream: Any, decimals: int, per_line: int, row: int = 0):
        self.stream, self.shape, self.row, self.column = stream, (decimals + 8, decimals, per_line), row, 0
        self.heads = _HEADS[decimals - 8]
        self.out = np.empty(_AT_A_TIME * (decimals + 9) + 8, dtype=np.uint8)

    def write(self, values: np.ndarray, factor: float) -> None:
        flat = values.reshape(-1)
        step = _AT_A_TIME - _AT_A_TIME % self.row if 0 < self.row <= _AT_A_TIME else _AT_A_TIME
        if self.row > _AT_A_TIME:  # a row is written whole, so that its end is known
            step = self.row
            self.out = np.empty(step * (self.shape[0] + 1) + 8, dtype=np.uint8)
        for k in range(0, flat.size, step):
            part = flat[k : k + step] * np.float64(factor)
            bits = part.view(np.uint64)
            size, self.column = _lines(part, bits, *self.shape, self.column, self.row, self.heads, self.out)
            if size < 0:
                raise ValueError(f"got {np.abs(part).max():.3g} among the values, expected less than 1e99, and numbers")
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


def check(path: str | Path, points: int, itemsize: int = 8) -> None:
    """Look, before the work, whether a field of so many points could be written to this path.

    Args:
        path: its name tells the format.
        points: of the grid.
        itemsize: bytes of a number in memory, which npy and zarr keep.

    Raises:
        ValueError: an unknown format.
        OSError: the place cannot be written, the disk has not that much space, or a folder is there that is no zarr
            array which `write` wrote.

    Source: ours.
    """
    path, kind = Path(path), kind_of(path)
    size = points * {"CHGCAR": 19, "cube": 17}.get(kind, itemsize)
    if kind == "zarr":
        check_replaceable(path, _is_ours)
        check_folder(path.parent, size)
    else:
        check_file(path, size)


def write(path: str | Path, atoms: "AtomsLike", shape: tuple[int, int, int], planes: Callable[[bool], Planes]) -> int:
    """Write a field (e/Å³) as its planes come; a kill or a full disk leaves no file of that name.

    Args:
        path: its name tells the format.
        atoms: the structure (Å).
        shape: points along the cell vectors.
        planes: gives the planes, in e/Å³, along the first axis or, called with True, along the third one (axes
            reversed: [k, j, i]), which a CHGCAR wants.

    Returns:
        The bytes written.

    Raises:
        ValueError: an unknown format.
        OSError: the disk refused, or a folder is there that is no zarr array which this function wrote.

    Source: ours.
    """
    path, kind = Path(path), kind_of(path)
    if kind == "zarr":
        with whole_folder(path, _is_ours) as part:
            return _zarr(part, atoms, shape, planes(False))
    with whole_file(path) as part, open(part, "wb", buffering=1 << 20) as stream:
        {"CHGCAR": _chgcar, "cube": _cube, "npy": _npy}[kind](stream, atoms, shape, planes)
        return stream.tell()


def _is_ours(folder: Path) -> bool:
    """Whether a folder is a zarr array that `write` wrote, with nothing else in it."""
    try:
        head = parsed_json((folder / "zarr.json").read_text(encoding="utf-8"))
        marked = head["attributes"]["written_by"] == WRITTEN_BY
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False
    inside = (str(path.relative_to(folder)) for path in folder.rglob("*"))
    return marked and all(re.fullmatch(r"zarr\.json|c(/\d+){0,3}", name) for name in inside)


def _chgcar(stream: Any, atoms: "AtomsLike", shape: tuple[int, int, int], planes: Callable[[bool], Planes]) -> None:
    stream.write(
        (
            poscar(atoms.numbers, atoms.positions, np.asarray(atoms.cell)) + "\n" + "{:5d}{:5d}{:5d}\n".format(*shape)
        ).encode()
    )
    text = _Text(stream, 10, 5)
    volume = abs(float(np.linalg.det(np.asarray(atoms.cell))))
    for _, values in planes(True):
        text.write(values, volume)
    text.end()


def _cube(stream: Any, atoms: "AtomsLike", shape: tuple[int, int, int], planes: Callable[[bool], Planes]) -> None:
    lines = ["electron density, e/bohr^3, by ase_mlx", "OUTER LOOP: X, MIDDLE LOOP: Y, INNER LOOP: Z"]
    lines.append(f"{len(atoms.numbers):5d}{0.0:12.6f}{0.0:12.6f}{0.0:12.6f}")
    for n, vector in zip(shape, np.asarray(atoms.cell), strict=True):
        lines.append("{:5d}{:12.6f}{:12.6f}{:12.6f}".format(n, *(vector / n / BOHR_IN_A)))
    for number, position in zip(atoms.numbers, atoms.positions, strict=True):
        lines.append("{:5d}{:12.6f}{:12.6f}{:12.6f}{:12.6f}".format(number, 0.0, *(position / BOHR_IN_A)))
    stream.write(("\n".join(lines) + "\n").encode())
    text = _Text(stream, 8, 6, shape[2])
    for _, values in planes(False):
        text.write(values, BOHR_IN_A**3)


def _npy(stream: Any, atoms: "AtomsLike", shape: tuple[int, int, int], planes: Callable[[bool], Planes]) -> None:
    header = None
    for _, values in planes(False):
        if header is None:
            descr = np.lib.format.dtype_to_descr(values.dtype)
            header = {"descr": descr, "fortran_order": False, "shape": tuple(shape)}
            np.lib.format.write_array_header_1_0(stream, header)
        stream.write(memoryview(np.ascontiguousarray(values)).cast("B"))


def _zarr(path: Path, atoms: "AtomsLike", shape: tuple[int, int, int], planes: Planes) -> int:
    try:
        import zarr
    except ImportError as error:
        raise ValueError("got a .zarr to write, but zarr is not installed; pip install ase-mlx[zarr]") from error
    array = None
    for start, values in planes:
        if array is None:
            chunks = (len(values), *shape[1:])
            array = zarr.create_array(path, shape=tuple(shape), chunks=chunks, dtype=values.dtype, compressors=None)
            array.attrs.update(
                {"unit": "e/Å³", "cell": np.asarray(atoms.cell).tolist(), "numbers": atoms.numbers.tolist()}
            )
            array.attrs["written_by"] = WRITTEN_BY
        array[start : start + len(values)] = values
    return sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
