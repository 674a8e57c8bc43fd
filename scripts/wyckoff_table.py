"""Write ase_mlx/descriptors/wyckoff.csv, Wyckoff positions of all groups: `python scripts/wyckoff_table.py FILE`.

FILE is wyckoff_list.csv of the package pyxtal (MIT; `pip download --no-deps pyxtal`, then `unzip`): coordinates of
every position in the standard setting (unique axis b and cell choice 1, hexagonal axes, origin choice 2), the general
one first. The first of each is kept. Symbols of the site symmetry are those that moyopy gives a crystal that has an
atom on the position and others in general places. Both are those of International Tables, volume A.
"""

import ast
import csv
import sys
from pathlib import Path
from string import ascii_lowercase

import moyopy
import numpy as np

from ase_mlx.descriptors.wyckoff import matrix_of

OUT = Path(__file__).resolve().parents[1] / "ase_mlx" / "descriptors" / "wyckoff.csv"
LETTERS = ascii_lowercase + "A"
ANGLES = {**dict.fromkeys(range(1, 3), (83.0, 97.0, 106.0)), **dict.fromkeys(range(3, 16), (90.0, 99.0, 90.0))}
HEXAGONAL, CUBIC, TETRAGONAL = range(143, 195), range(195, 231), range(75, 143)


def cell_of(number: int) -> np.ndarray:
    """A generic cell of a group's crystal system, Å."""
    from ase.geometry import cellpar_to_cell

    lengths = [7.1, 9.3, 11.9]
    if number in CUBIC:
        lengths = [9.3] * 3
    elif number in HEXAGONAL or number in TETRAGONAL:
        lengths = [7.1, 7.1, 11.9]
    angles = (90.0, 90.0, 120.0) if number in HEXAGONAL else ANGLES.get(number, (90.0, 90.0, 90.0))
    return cellpar_to_cell([*lengths, *angles])


def orbit(number: int, place: np.ndarray) -> np.ndarray:
    """All images of a fractional place in the conventional cell."""
    operations = moyopy.operations_from_number(number, setting=moyopy.Setting.standard())
    images = np.array(operations.rotations) @ place + np.array(operations.translations)
    images %= 1.0
    apart = images[:, None] - images[None]
    same = (np.abs(apart - np.rint(apart)) < 1e-6).all(-1)
    return images[[k for k in range(len(images)) if not same[k, :k].any()]]


def site_symmetry(number: int, coordinates: str, multiplicity: int) -> str:
    """The symbol of a position, by moyopy."""
    matrix, shift = matrix_of(coordinates)
    own = orbit(number, matrix @ np.array([0.1234, 0.2345, 0.3719]) + shift)
    if len(own) != multiplicity:
        raise ValueError(f"got {len(own)} images of {coordinates} in group {number}, expected {multiplicity}")
    others = [orbit(number, np.array(p)) for p in ((0.0713, 0.1931, 0.3137), (0.4517, 0.2719, 0.1193))]
    places = np.concatenate([own, *others])
    numbers = [1] * len(own) + [2] * len(others[0]) + [3] * len(others[1])
    cell = moyopy.Cell(cell_of(number).tolist(), places.tolist(), numbers)
    data = moyopy.MoyoDataset(cell, symprec=1e-4, setting=moyopy.Setting.standard())
    if data.number != number:
        raise ValueError(f"got group {data.number} of a crystal that was made in {number}")
    return data.site_symmetry_symbols[0]


def main(path: str) -> None:
    """Write the table."""
    with open(path, encoding="utf-8", newline="") as file:
        listed = [ast.literal_eval(row[1]) for row in csv.reader(file) if row[0].isdigit() and row[1]]
    rows = []
    for number, positions in enumerate(listed, 1):
        for k, images in enumerate(reversed(positions)):
            coordinates = images[0].replace(" ", "")
            symbol = site_symmetry(number, coordinates, len(images))
            rows.append((number, LETTERS[k], len(images), symbol, coordinates))
    with OUT.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("space_group", "letter", "multiplicity", "site_symmetry", "coordinates"))
        writer.writerows(rows)
    print(f"{len(rows)} positions of {len(listed)} groups")


if __name__ == "__main__":
    main(sys.argv[1])
