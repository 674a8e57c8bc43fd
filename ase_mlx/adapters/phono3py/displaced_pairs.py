"""phono3py's sets of displaced supercells: one atom, a pair, or all at random; and its files FORCES_FC3, FORCES_FC2.

Source: A. Togo, L. Chaput and I. Tanaka, Phys. Rev. B 91, 094306 (2015).
"""

import copy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from phonopy.file_IO import get_dataset_type2

from ase_mlx.reading import reading, unpacked

MOST = 2**31
"""Bytes of text."""

AT_REST = 1e-8
"""Å."""

LEFT_OVER = 0.1
"""eV/Å; forces that a crystal at rest may have been left with."""


def has_forces(dataset: dict) -> bool:
    """Tell whether each displaced supercell that counts has its forces.

    Source: ours.
    """
    if "first_atoms" in dataset:
        return all("forces" in entry for entry in _entries(dataset) if entry.get("included", True))
    return "forces" in dataset


def _entries(dataset: dict) -> Iterator[dict]:
    """All displaced supercells in the order of FORCES_FC3: single atoms, then pairs."""
    yield from dataset["first_atoms"]
    for first in dataset["first_atoms"]:
        yield from first.get("second_atoms", ())


def displaced(dataset: dict, atoms: int) -> tuple[np.ndarray, np.ndarray]:
    """Give displacements (Å) of all atoms and their forces (eV/Å), one row a supercell that counts.

    Raises:
        ValueError: an atom that is not there, forces on another number of atoms, or large ones on atoms at rest.

    Source: ours.
    """
    if "first_atoms" not in dataset:
        return np.asarray(dataset["displacements"], dtype=float), np.asarray(dataset["forces"], dtype=float)
    moves, forces = [], []
    for number, first in enumerate(dataset["first_atoms"], 1):
        alone = np.zeros((atoms, 3))
        alone[_index(first, atoms)] = first["displacement"]
        moves.append(alone)
        forces.append(_forces(first, atoms, f"displacement {number}"))
        for second in first.get("second_atoms", ()):
            if not second.get("included", True):
                continue
            both = alone.copy()
            both[_index(second, atoms)] += second["displacement"]
            pair = _forces(second, atoms, f"a pair of displacement {number}")
            if np.abs(both).max() < AT_REST:  # an atom moved there and back
                _check_rest(pair, np.abs(_forces(first, atoms, f"displacement {number}")).max(), number)
                continue
            moves.append(both)
            forces.append(pair)
    return np.array(moves), np.array(forces)


def _check_rest(forces: np.ndarray, displaced: float, number: int) -> None:
    """Refuse forces (eV/Å) of atoms at rest that are none: as large as those of a displaced atom, or not finite."""
    largest = np.abs(forces).max()
    if not largest <= max(displaced, LEFT_OVER):
        raise ValueError(
            f"got forces up to {largest:.3g} eV/Å in a pair of displacement {number} whose atom is moved there and "
            f"back, expected next to none (one displaced atom gives {displaced:.3g}): compute that supercell again"
        )


def _index(entry: dict, atoms: int) -> int:
    if not 0 <= entry["number"] < atoms:
        raise ValueError(f"got a displaced atom {entry['number'] + 1}, expected 1 to {atoms}")
    return int(entry["number"])


def _forces(entry: dict, atoms: int, what: str) -> np.ndarray:
    forces = np.asarray(entry["forces"], dtype=float)
    if forces.shape != (atoms, 3):
        raise ValueError(
            f"got forces of shape {forces.shape} for {what}, expected {(atoms, 3)}: a line is missing, or twice"
        )
    return forces


def read_forces(path: Path, dataset: dict | None, atoms: int) -> dict:
    """Read FORCES_FC3 or FORCES_FC2, in the units of their calculator, into the displacements they are for.

    Args:
        path: the file, packed or not.
        dataset: displacements, without forces; None where the file holds them (random displacements).
        atoms: of the supercell.

    Raises:
        ValueError: damaged, more or fewer numbers than the displacements ask for, or none to put them to.

    Source: A. Togo, L. Chaput and I. Tanaka, Phys. Rev. B 91, 094306 (2015).
    """
    with reading(path, f"phono3py's {path.name}"):
        with unpacked(path) as stream:
            data = stream.read(MOST + 1)
        if len(data) > MOST:
            raise ValueError(f"got {str(path)!r}, more than {MOST // 2**20} MiB, expected less")
        rows = [line for line in data.decode().splitlines() if line.strip() and not line.lstrip().startswith("#")]
        if rows and len(rows[0].split()) == 6:
            return get_dataset_type2(rows, atoms)
        if dataset is None or "first_atoms" not in dataset:
            raise ValueError(f"got {str(path)!r}, forces alone, and no displaced atoms in the yaml, expected both")
        filled = copy.deepcopy(dataset)
        entries = list(_entries(filled))
        if len(rows) != len(entries) * atoms:
            raise ValueError(
                f"got {str(path)!r} of {len(rows)} lines of forces, expected {len(entries)} supercells of {atoms} "
                f"atoms, {len(entries) * atoms} lines: a line is missing or twice"
            )
        forces = np.array([row.split() for row in rows], dtype=float).reshape(len(entries), atoms, 3)
        for entry, one in zip(entries, forces, strict=True):
            entry["forces"] = one
        return filled
