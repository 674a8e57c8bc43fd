"""Files of labelled structures: with `data.cif` the only modules that import `ase.io`.

A name is a name: what stands behind an `@` is no slice, and nothing in it is taken for a data base's address.

Source: ours.
"""

import io
import lzma
import re
import warnings
from collections.abc import Iterator
from io import StringIO
from itertools import islice
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms, FixCartesian
from ase.io.extxyz import key_val_str_to_dict
from jaxtyping import Float, Int

from ase_mlx.data.cif import read_cifs
from ase_mlx.occupancy import check_occupancy
from ase_mlx.reading import reading, unpacked
from ase_mlx.whole import whole_file

BLOCK = 2**20
"""Letters of a file that are in memory at a time, or one frame's."""

WHAT = "extxyz, POSCAR, cif or another structure of ASE with the usual ending"


def read_frames(path: str | Path) -> list[Atoms]:
    """Read all frames of a structure file (lengths in Å, energies in eV); gz, xz and bz2 are unpacked on the way.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds no frame, or cannot be read as a structure file.

    Source: `ase.io`.
    """
    frames = list(each_frame(path))
    if not frames:
        raise ValueError(f"got {str(path)!r} without a single frame, expected at least one structure")
    return frames


def read_structure(path: str | Path) -> Atoms:
    """Read the last frame of a structure file (lengths in Å), each of whose sites is one whole atom.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds no frame, cannot be read as a structure file, or has sites of partial occupancy.

    Source: `ase.io`.
    """
    atoms = read_frames(path)[-1]
    try:
        check_occupancy(atoms)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return atoms


def each_frame(path: str | Path, start: int = 0) -> Iterator[Atoms]:
    """Read the frames of a structure file one after the other (Å), so that a long one never is in memory whole.

    Args:
        path: the file.
        start: how many frames to pass over.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file cannot be read as a structure file, is truncated, or unpacks to a flood.

    Source: `ase.io`.
    """
    path = Path(path)
    with reading(path, WHAT, "look at the file, or save it again"):
        name = str(path.absolute())  # relative names may look like options or addresses of data bases
        form = ase.io.formats.get_ioformat(ase.io.formats.filetype(name))
        if form.name == "db":
            yield from islice(_rows(name), start, None)
            return
        if not form.acceptsfd:
            yield from islice(ase.io.iread(name, ":", form.name, do_not_split_by_at_sign=True), start, None)
            return
        with unpacked(path) as stream:
            if form.name == "cif":
                yield from islice(read_cifs(stream.read()), start, None)
            elif form.isbinary:
                yield from islice(ase.io.iread(stream, ":", form.name), start, None)
            else:
                _expect_text(stream, form.name)
                with io.TextIOWrapper(stream, encoding="utf-8-sig") as text:
                    yield from _text_frames(text, form.name, start)


def _rows(place: str) -> Iterator[Atoms]:
    """As ASE reads a database, with a row's own keys and data in `info`."""
    from ase.db import connect

    with connect(place, type="db", serial=True) as rows:
        for row in rows.select():
            atoms = row.toatoms()
            atoms.info |= dict(row.data or {}) | row.key_value_pairs
            yield atoms


def _text_frames(text: io.TextIOWrapper, form: str, start: int) -> Iterator[Atoms]:
    words = {"properties_parser": _properties} if form == "extxyz" else {}
    if form not in ("extxyz", "xyz"):
        yield from islice(ase.io.iread(text, ":", form, **words), start, None)
        return
    for block in _blocks(text, start):
        yield from ase.io.iread(StringIO(block), ":", form, **words)


def _blocks(lines: Iterator[str], start: int) -> Iterator[str]:
    """Cut a file into texts of whole frames: ASE goes back in what it reads, and a packed file begins anew then."""
    frame, block, size = 0, [], 0
    for line in lines:
        if not line.strip():
            break
        if not line.lstrip().startswith("VEC"):
            if size > BLOCK:
                yield "".join(block)
                block, size = [], 0
            own = [line, *islice(lines, int(line) + 1)]
            frame += 1
        else:
            own = [line]
        if frame > start:
            block += own
            size += sum(map(len, own))
    if block:
        yield "".join(block)


def _properties(line: str) -> dict:
    """As ASE reads a frame's second line, but a crystal's name stays the word it is: 00123 is not 123."""
    values = key_val_str_to_dict(line)
    for name, quoted, plain in re.findall(r"(?:^|\s)(id|material_id|config_name)=(?:\"([^\"]*)\"|([^\s\"]+))", line):
        if name in values and str(values[name]) != (quoted or plain):
            values[name] = quoted or plain
    return values


def _expect_text(stream: io.BufferedIOBase, form: str) -> None:
    """Refuse zeroed blocks, and counts that the lines do not hold, before a reader works by them."""
    lines = _text_lines(stream)
    if form in ("extxyz", "xyz"):
        _expect_frames(lines)
    elif form == "vasp":
        _expect_sites(list(lines))
    else:
        for _ in lines:
            pass
    stream.seek(0)


def _text_lines(stream: io.BufferedIOBase) -> Iterator[bytes]:
    for number, line in enumerate(stream, 1):
        if b"\0" in line:
            raise ValueError(f"got a zero byte in line {number}, expected text; the file is damaged: copy it again")
        yield line


def _expect_frames(lines: Iterator[bytes]) -> None:
    frame, empty = 0, False
    for line in lines:
        if not line.strip():
            empty = True  # ASE reads no further
            continue
        if empty:
            raise ValueError(f"got an empty line behind frame {frame - 1}, and more after it; take it out")
        if line.lstrip().startswith(b"VEC"):
            continue
        count = line.removeprefix(b"\xef\xbb\xbf").strip()
        if not count.isdigit():
            raise ValueError(
                f"got {line.strip()[:40].decode(errors='replace')!r} where frame {frame} should begin, expected its "
                "number of atoms; lines are missing or doubled before it"
            )
        for k in range(int(count) + 1):
            if next(lines, None) is None:
                raise ValueError(
                    f"got {max(k - 1, 0)} of {int(count)} atoms in frame {frame}, the last, expected all of them; the "
                    "file is truncated: copy it again, or take out this frame"
                )
        frame += 1


def _expect_sites(lines: list[bytes]) -> None:
    """No further site may follow those that a POSCAR counts: behind an empty line there are velocities."""
    rows = [line.split() for line in lines]
    head = next((k for k in (5, 6) if k < len(rows) and rows[k] and all(x.isdigit() for x in rows[k])), None)
    if head is None:
        return
    begin = head + 2 + (rows[head + 1][:1] and rows[head + 1][0][:1] in (b"S", b"s"))
    end = begin + sum(map(int, rows[head]))
    if end < len(rows) and len(rows[end]) > 2 and all(_is_number(x) for x in rows[end][:3]):
        raise ValueError(
            f"got more sites than the {end - begin} that line {head + 1} counts, expected as many; take out line "
            f"{end + 1}, or put an empty line before velocities"
        )


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def read_cif(text: str) -> Atoms:
    """Read the text of a CIF with one crystal, or the last of several (Å); occupancies are in `info["occupancy"]`.

    Raises:
        ValueError: as `read_cifs`.

    Source: `ase.io`.
    """
    if "\n" not in text.strip():
        raise ValueError(
            f"got {text.strip()[:60]!r} in place of a CIF, expected its text, not the name of a file; put the contents "
            "into the table, or screen the folder of the files"
        )
    return list(read_cifs(text.encode("utf-8")))[-1]


def write_frames(path: str | Path, frames: list[Atoms]) -> None:
    """Write extxyz (Å, eV, eV/Å, eV/Å³), packed if the name ends in `.xz`, whole or not at all.

    What is on the atoms is in the file; a constraint that it cannot hold is said, and left out.

    Raises:
        OSError: the file cannot be written; what was there is untouched.

    Source: `ase.io`.
    """
    lost = {
        type(c).__name__ for atoms in frames for c in atoms.constraints if not isinstance(c, FixAtoms | FixCartesian)
    }
    if lost:
        warnings.warn(f"extxyz cannot hold {', '.join(sorted(lost))}: {path} is without it.", stacklevel=2)
    with whole_file(path) as part:
        if part.suffix == ".xz":
            with lzma.open(part, "wt", preset=9) as stream:
                ase.io.write(stream, frames, format="extxyz")
        else:
            ase.io.write(part, frames, format="extxyz")


def write_cif(path: str | Path, atoms: Atoms) -> None:
    """Write a crystal (Å) as a CIF without symmetry, whole or not at all.

    Raises:
        OSError: the file cannot be written; what was there is untouched.

    Source: `ase.io`.
    """
    with whole_file(path) as part:
        ase.io.write(part, atoms, format="cif")


def poscar(
    numbers: Int[np.ndarray, " atoms"], positions: Float[np.ndarray, "atoms 3"], cell: Float[np.ndarray, "3 3"]
) -> str:
    """Write the head of VASP's files: lattice (Å), species in order of appearance, scaled positions.

    Source: `ase.io`.
    """
    order = np.argsort([list(dict.fromkeys(numbers)).index(z) for z in numbers], kind="stable")
    plain = Atoms(numbers[order], positions[order], cell=cell, pbc=True)
    text = StringIO()
    ase.io.write(text, plain, format="vasp", direct=True, vasp5=True)
    return text.getvalue()
