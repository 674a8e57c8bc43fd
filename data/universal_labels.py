"""The labelled frames of `universal.py` as one small file: what takes an hour to label is kept in the repository.

A frame is first put on a grid, and labelled there, so that the file holds exactly what the teacher saw: the cell in
lower triangular form in steps of `CELL`, fractional coordinates in steps of at most `PLACE` along each vector, the
smallest at 0. Forces and stress are rounded in the file alone. As the bytes of each place apart, xz'd.
"""

import lzma
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from ase_mlx.adapters.ase.teaching_frames import KIND
from ase_mlx.whole import write_bytes

CELL, PLACE, FORCE, STRESS = 5e-4, 4e-3, 4e-3, 1e-4
"""Å, Å, eV/Å, eV/Å³: steps of cells, coordinates, forces and stresses."""

PARTS = ("train", "val")
LOWER = np.tril_indices(3)


def on_grid(atoms: Atoms) -> Atoms:
    """The same frame, turned and moved by at most half a step of the grid."""
    cell, places = _grid(atoms)
    frame = _frame(atoms.numbers, cell, places, bool(atoms.pbc.all()))
    frame.info = dict(atoms.info)
    return frame


def _grid(atoms: Atoms) -> tuple[np.ndarray, np.ndarray]:
    """Cell (6) and coordinates (atoms, 3) in steps of the grid."""
    periodic = bool(atoms.pbc.all())
    if not periodic and atoms.pbc.any():
        raise ValueError(f"got a frame with pbc {atoms.pbc}, expected all or none")
    if not periodic:
        places = np.rint(atoms.positions / PLACE).astype(int)
        return np.zeros(6, int), places - places.min(axis=0)
    cell = np.rint(atoms.cell.standard_form()[0].array[LOWER] / CELL).astype(int)
    steps = _steps(cell)
    places = np.rint(atoms.get_scaled_positions(wrap=False) * steps).astype(int) % steps
    return cell, places - places.min(axis=0)


def _steps(cell: np.ndarray) -> np.ndarray:
    """Steps of the grid along each vector of a cell (6 steps)."""
    return np.ceil(np.linalg.norm(_lower(cell), axis=1) / PLACE).astype(int)


def _lower(cell: np.ndarray) -> np.ndarray:
    matrix = np.zeros((3, 3))
    matrix[LOWER] = cell * CELL
    return matrix


def _frame(numbers: np.ndarray, cell: np.ndarray, places: np.ndarray, periodic: bool) -> Atoms:
    if not periodic:
        return Atoms(numbers, places * PLACE)
    return Atoms(numbers, scaled_positions=places / _steps(cell), cell=_lower(cell), pbc=True)


def pack(frames: Sequence[Atoms], file: Path) -> None:
    """Write labelled frames of the grid: eV, eV/Å, eV/Å³; their parts, kinds and crystals with them."""
    kinds = sorted({str(a.info[KIND]) for a in frames})
    grids = [_grid(a) for a in frames]
    forces = np.concatenate([a.get_forces() for a in frames])
    stress = np.array([a.calc.results.get("stress", np.zeros(6)) for a in frames])
    columns = {
        "atoms": np.array([len(a) for a in frames], np.uint16),
        "part": np.array([PARTS.index(a.info["part"]) for a in frames], np.uint8),
        "kind": np.array([kinds.index(a.info[KIND]) for a in frames], np.uint8),
        "material": np.array([_material(a) for a in frames], np.int32),
        "periodic": np.array([a.pbc.all() for a in frames], np.uint8),
        "energy": np.array([a.get_potential_energy() / len(a) for a in frames], np.float32),
        "cell": np.array([cell for cell, _ in grids], np.int32),
        "stress": _whole(stress / STRESS, np.int16),
        "numbers": np.concatenate([a.numbers for a in frames]).astype(np.uint8),
        "places": _whole(np.concatenate([places for _, places in grids]), np.uint16),
        "forces": _whole(forces / FORCE, np.int16),
    }
    head = ["\t".join(kinds), *(f"{name} {c.dtype.str} {' '.join(map(str, c.shape))}" for name, c in columns.items())]
    body = b"".join(_planes(column) for column in columns.values())
    write_bytes(file, lzma.compress("\n".join(head).encode() + b"\n\n" + body, preset=9 | lzma.PRESET_EXTREME))


def _whole(values: np.ndarray, dtype: type) -> np.ndarray:
    values = np.rint(values)
    if values.min() < np.iinfo(dtype).min or values.max() > np.iinfo(dtype).max:
        raise ValueError(f"got values up to {np.abs(values).max():g} steps, expected what {np.dtype(dtype)} holds")
    return values.astype(dtype)


def _planes(column: np.ndarray) -> bytes:
    """The first bytes of all values of each column, then the second ones: alike beside alike."""
    rows = column.reshape(len(column), -1)
    return rows.T.copy().view(np.uint8).reshape(-1, column.itemsize).T.tobytes()


def _column(body: bytes, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    planes = np.frombuffer(body, np.uint8).reshape(dtype.itemsize, -1)
    values = planes.T.copy().view(dtype).reshape(-1, shape[0]).T
    return np.ascontiguousarray(values).reshape(shape)


def _material(atoms: Atoms) -> int:
    name = str(atoms.info.get("config_name", ""))
    return int(name.removeprefix("mp-")) if name.startswith("mp-") else -1


def unpack(file: Path) -> Iterator[Atoms]:
    """Read the labelled frames: Å, eV, eV/Å, eV/Å³."""
    head, body = lzma.decompress(file.read_bytes()).split(b"\n\n", 1)
    kinds, *lines = head.decode().split("\n")
    columns, at = {}, 0
    for line in lines:
        name, code, *sizes = line.split()
        dtype, shape = np.dtype(code), tuple(map(int, sizes))
        size = dtype.itemsize * int(np.prod(shape))
        columns[name], at = _column(body[at : at + size], dtype, shape), at + size
    first = np.concatenate([[0], np.cumsum(columns["atoms"], dtype=int)])
    for k, (start, stop) in enumerate(zip(first[:-1], first[1:], strict=True)):
        periodic = bool(columns["periodic"][k])
        frame = _frame(columns["numbers"][start:stop], columns["cell"][k], columns["places"][start:stop], periodic)
        frame.info = {KIND: kinds.split("\t")[columns["kind"][k]], "part": PARTS[columns["part"][k]]}
        if columns["material"][k] >= 0:
            frame.info["config_name"] = f"mp-{columns['material'][k]}"
        results = {
            "energy": float(columns["energy"][k]) * len(frame),
            "forces": columns["forces"][start:stop] * FORCE,
        }
        if periodic:
            results["stress"] = columns["stress"][k] * STRESS
        frame.calc = SinglePointCalculator(frame, **results)
        yield frame
