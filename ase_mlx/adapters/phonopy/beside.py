"""Force files that lie beside phonopy's yaml: FORCE_SETS, FORCE_CONSTANTS, force_constants.hdf5.

Source: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023).
"""

from pathlib import Path

import h5py
import numpy as np
from phonopy import Phonopy
from phonopy.file_IO import check_force_constants_indices, get_dataset_type2, parse_FORCE_SETS_from_strings
from phonopy.interface.calculator import get_force_constant_conversion_factor
from phonopy.structure.dataset import get_displacements_and_forces

from ase_mlx.adapters.phonopy.consistency import check_force_constants, residuals
from ase_mlx.adapters.phonopy.physical_units import FileUnits
from ase_mlx.reading import reading, unpacked

MOST = 2**30
"""Bytes of text."""

SAME = 1e-3
"""Å: displacements that differ by more are others."""

DIFFERENT = 0.1
"""Relative: forces and force constants that differ by more are others."""


def read_force_sets(path: Path, ph: Phonopy, units: FileUnits) -> dict:
    """Read FORCE_SETS of either layout for the supercell of `ph`; displacements in Å and forces in eV/Å come out.

    Raises:
        ValueError: damaged, more or fewer numbers than it announces, or other displacements than `ph` has.

    Source: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023).
    """
    atoms = len(ph.supercell)
    with reading(path, "phonopy's FORCE_SETS"):
        dataset = units.dataset(_parsed(path, _text(path), atoms))
        if "first_atoms" in dataset:
            _check_atoms(path, dataset, atoms)
        if ph.dataset is not None:
            _check_displacements(path, dataset, ph.dataset)
    return dataset


def _text(path: Path) -> str:
    with unpacked(path) as stream:
        data = stream.read(MOST + 1)
    if len(data) > MOST:
        raise ValueError(f"got {str(path)!r}, more than {MOST // 2**20} MiB, expected less")
    return data.decode()


def _parsed(path: Path, text: str, atoms: int) -> dict:
    lines = [line.split() for line in text.splitlines() if line.strip()]
    rows = [line for line in lines if not line[0].startswith("#")]
    if not rows:
        raise ValueError(f"got {str(path)!r}, which is empty, expected forces")
    if len(rows[0]) == 6:
        return get_dataset_type2([" ".join(row) for row in rows], atoms)
    if len(rows[0]) != 1 or len(rows) < 2:
        raise ValueError(f"got {str(path)!r}, which begins with {' '.join(rows[0])[:40]!r}, expected a number of atoms")
    if int(rows[0][0]) != atoms:
        raise ValueError(f"got {str(path)!r} of {rows[0][0]} atoms, expected {atoms}, those of the supercell")
    count = int(rows[1][0])
    expected = [1, 1, *([1, 3] + [3] * atoms) * count] if 0 < count * (atoms + 2) <= len(rows) else None
    if expected is None or [len(row) for row in rows] != expected:
        wrong = 0 if expected is None else _first_difference([len(row) for row in rows], expected)
        raise ValueError(
            f"got {str(path)!r} of {len(rows)} lines for {count} supercells of {atoms} atoms, expected "
            f"{2 + count * (atoms + 2)} lines of the right length (first wrong: {wrong + 1}): a line is missing, "
            "twice, or damaged"
        )
    return parse_FORCE_SETS_from_strings("\n".join(" ".join(row) for row in rows), natom=atoms)


def _first_difference(written: list[int], expected: list[int]) -> int:
    return next(
        (k for k, (a, b) in enumerate(zip(written, expected, strict=False)) if a != b),
        min(map(len, (written, expected))),
    )


def _check_atoms(path: Path, dataset: dict, atoms: int) -> None:
    for k, entry in enumerate(dataset["first_atoms"]):
        if not 0 <= entry["number"] < atoms:
            raise ValueError(
                f"got {str(path)!r} where supercell {k + 1} moves atom {entry['number'] + 1}, expected 1 to {atoms}"
            )


def _check_displacements(path: Path, dataset: dict, expected: dict) -> None:
    theirs, ours = get_displacements_and_forces(dataset)[0], get_displacements_and_forces(expected)[0]
    fewer = "displacements" in dataset and len(theirs) < len(ours)  # snapshots that were not all computed
    if (len(theirs) != len(ours) and not fewer) or not np.allclose(theirs, ours[: len(theirs)], atol=SAME):
        raise ValueError(
            f"got {str(path)!r} with other displacements than the yaml beside it ({len(theirs)} supercells, there "
            f"{len(ours)}), expected the same: it belongs to another calculation"
        )


def read_force_constants(path: Path, ph: Phonopy, units: FileUnits) -> np.ndarray:
    """Read FORCE_CONSTANTS, or an hdf5 file of force constants, into eV/Å².

    Args:
        path: the file; hdf5 by its name.
        ph: phonopy's or phono3py's object, whose primitive cell and supercell they are for.
        units: they are in, where the file says none.

    Raises:
        ValueError: damaged, of another cell, or force constants that cannot be.

    Source: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023).
    """
    with reading(path, "force constants of phonopy"):
        if path.suffix == ".hdf5":
            constants, indices, unit = _hdf5(path)
            factor = None if unit is None else get_force_constant_conversion_factor(unit, "vasp")
            constants = units.constants(constants) if factor is None else constants * factor
        else:
            constants, indices = _table(path)
            constants = units.constants(constants)
        primitive = ph.primitive
        if indices is not None:
            check_force_constants_indices(constants.shape[:2], indices, primitive.p2s_map, path.name)
        check_force_constants(constants, primitive, len(ph.supercell), f"force constants in {path.name}")
    return constants if len(constants) == len(primitive) else constants[primitive.p2s_map]


def _table(path: Path) -> tuple[np.ndarray, np.ndarray]:
    rows = [line.split() for line in _text(path).splitlines() if line.strip()]
    head = [int(word) for word in rows[0]] if rows else []
    shape = (head[0], head[-1]) if head else (0, 0)
    if len(rows) != 1 + 4 * shape[0] * shape[1] or not all(shape):
        raise ValueError(
            f"got {str(path)!r} of {len(rows)} lines for {shape[0]} x {shape[1]} atoms, expected "
            f"{1 + 4 * shape[0] * shape[1]}: a line is missing or twice"
        )
    pairs = np.array([row[:2] for row in rows[1::4]], dtype=int)
    second = np.tile(np.arange(1, shape[1] + 1), shape[0])
    if not np.array_equal(pairs[:, 1], second):
        raise ValueError(f"got {str(path)!r}, whose pairs of atoms are out of order, expected 1 to {shape[1]} for each")
    numbers = np.array([rows[k : k + 3] for k in range(2, len(rows), 4)], dtype=float)
    return numbers.reshape(*shape, 3, 3), pairs[:: shape[1], 0] - 1


def _hdf5(path: Path) -> tuple[np.ndarray, np.ndarray | None, str | None]:
    with h5py.File(path, "r") as file:
        name = next((key for key in ("fc2", "force_constants") if key in file), None)
        if name is None:
            raise ValueError(f"got {str(path)!r} without fc2 or force_constants, expected either")
        unit = file["physical_unit"][0].decode() if "physical_unit" in file else None
        indices = file["p2s_map"][:] if "p2s_map" in file else None
        return np.array(file[name], dtype=float), indices, unit


def contradict(path: Path, ph: Phonopy, units: FileUnits) -> bool:
    """Tell whether a force file says something else than the forces (eV/Å) or force constants (eV/Å²) of `ph`.

    Source: ours.
    """
    try:
        if path.name == "FORCE_SETS":
            displacements, forces = get_displacements_and_forces(read_force_sets(path, ph, units))
            answers = residuals(displacements, forces, ph.force_constants, ph.primitive)
            return bool(answers.max() > DIFFERENT)
        other = read_force_constants(path, ph, units)
    except (ValueError, OSError):
        return True
    ours = ph.force_constants if len(ph.force_constants) == len(other) else ph.force_constants[ph.primitive.p2s_map]
    return bool(np.linalg.norm(other - ours) > DIFFERENT * np.linalg.norm(ours))
