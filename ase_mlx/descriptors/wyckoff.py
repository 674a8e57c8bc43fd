"""Wyckoff positions of the 230 space groups, in the standard setting, and the operations that make their orbits.

Unique axis b and cell choice 1 of monoclinic groups, hexagonal axes of rhombohedral ones, origin choice 2.

Source: International Tables for Crystallography, volume A; coordinates from pyxtal (MIT), site symmetries and
operations from moyopy (MIT, Apache 2.0), `scripts/wyckoff_table.py`.
"""

import csv
import functools
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import moyopy
import numpy as np
from jaxtyping import Float

TABLE = Path(__file__).with_name("wyckoff.csv")


@dataclass(frozen=True, eq=False)
class WyckoffPosition:
    """One Wyckoff position: its places are `matrix` @ free + `shift` (dimensionless, of the cell) and their images.

    `enumeration` counts the positions of a group that have the same site symmetry, from the letter a on. `free` of the
    three coordinates may be chosen: those whose column of `matrix` is not zero.

    Source: see the module.
    """

    letter: str
    multiplicity: int
    site_symmetry: str
    enumeration: int
    matrix: Float[np.ndarray, "3 3"]
    shift: Float[np.ndarray, " 3"]

    @property
    def free(self) -> tuple[int, ...]:
        """Which of the coordinates x, y and z may be chosen."""
        return tuple(np.flatnonzero(self.matrix.any(axis=0)).tolist())


def matrix_of(coordinates: str) -> tuple[np.ndarray, np.ndarray]:
    """Read coordinates such as "x,x+1/2,z" as a matrix and a shift (dimensionless, of the cell).

    Source: ours.
    """
    matrix, shift = np.zeros((3, 3)), np.zeros(3)
    for row, text in enumerate(coordinates.split(",")):
        for sign, factor, letter, number in re.findall(r"([+-]?)(?:(\d*)([xyz])|(\d+(?:/\d+)?))", text):
            value = float(Fraction(number)) if number else float(factor or 1)
            value = -value if sign == "-" else value
            if letter:
                matrix[row, "xyz".index(letter)] += value
            else:
                shift[row] += value
    return matrix, shift


@functools.cache
def _table() -> dict[int, tuple[WyckoffPosition, ...]]:
    groups: dict[int, list[WyckoffPosition]] = {}
    with TABLE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            group = groups.setdefault(int(row["space_group"]), [])
            symbol = row["site_symmetry"]
            same = sum(position.site_symmetry == symbol for position in group)
            matrix, shift = matrix_of(row["coordinates"])
            group.append(WyckoffPosition(row["letter"], int(row["multiplicity"]), symbol, same, matrix, shift))
    return {number: tuple(group) for number, group in groups.items()}


def wyckoff_positions(space_group: int) -> tuple[WyckoffPosition, ...]:
    """List the Wyckoff positions of a space group by its number, from the letter a to the general one.

    Raises:
        ValueError: a number that is not in 1 to 230.

    Source: see the module.
    """
    if space_group not in _table():
        raise ValueError(f"got space group {space_group}, expected a number from 1 to 230")
    return _table()[space_group]


@functools.cache
def operations(space_group: int) -> tuple[Float[np.ndarray, "n 3 3"], Float[np.ndarray, "n 3"]]:
    """Give rotations and translations of a space group on coordinates of the conventional cell (dimensionless).

    Source: see the module.
    """
    ops = moyopy.operations_from_number(space_group, setting=moyopy.Setting.standard())
    return np.array(ops.rotations, dtype=float), np.array(ops.translations, dtype=float)


def orbit(space_group: int, place: Float[np.ndarray, " 3"], near: float = 1e-4) -> Float[np.ndarray, "images 3"]:
    """Make all images of a place (fractional) in the conventional cell; images within `near` are one.

    Args:
        space_group: its number.
        place: coordinates (dimensionless, of the cell).
        near: how close two images are the same (dimensionless, of the cell).

    Source: ours.
    """
    rotations, translations = operations(space_group)
    images = (rotations @ place + translations) % 1.0
    apart = images[:, None] - images[None]
    apart -= np.rint(apart)
    length = np.linalg.norm(apart, axis=-1)
    first = (length < near).argmax(axis=1)
    return images[np.unique(first)]
