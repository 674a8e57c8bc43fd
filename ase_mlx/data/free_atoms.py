"""Valence densities of free atoms, which superpose to a first density of anything.

Source: ours; the table's own `origin` says how it was made.
"""

import functools
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float

from ase_mlx.graph.points import near
from ase_mlx.quantities import SYMBOLS

WEIGHTS = Path(__file__).resolve().parents[1] / "weights"

FreeAtom = tuple[Float[np.ndarray, " radii"], Float[np.ndarray, " radii"], float]
"""Radii (Å), density (e/Å³) and number of electrons."""


@functools.cache
def _table(name: str) -> dict:
    content = (WEIGHTS / name).read_bytes()
    return json.loads(lzma.decompress(content) if name.endswith(".xz") else content)


def free_atom(number: int) -> FreeAtom:
    """Radii (Å), valence density (e/Å³) and electrons of a free atom with the pseudopotential of the shipped models.

    Raises:
        ValueError: an element that the table lacks.

    Source: ours.
    """
    return _atom("free_atoms.json", number, "make one by scripts/free_atoms.py")


def neutral_atom(number: int) -> FreeAtom:
    """Radii (Å), all-electron valence density (e/Å³) and valence electrons of a neutral atom, hydrogen to plutonium.

    Raises:
        ValueError: an element that the table lacks.

    Source: ours; by Quantum ESPRESSO's ld1.x, PBE, scalar relativistic.
    """
    return _atom("neutral_atoms.json.xz", number, "leave the structure out")


def _atom(name: str, number: int, way_on: str) -> FreeAtom:
    table = _table(name)
    symbol = SYMBOLS[number] if 0 <= number < len(SYMBOLS) else "?"
    if symbol not in table["atoms"]:
        present = list(table["atoms"])
        text = ", ".join(present) if len(present) < 10 else f"{present[0]} to {present[-1]}"
        raise ValueError(f"got {symbol}, expected an element with a reference atom ({text}); {way_on}")
    atom = table["atoms"][symbol]
    density = np.array(atom["density"])
    return np.arange(len(density)) * table["radius_step"], density, float(atom["electrons"])


def superpose(
    points: Float[np.ndarray, "points 3"],
    numbers: np.ndarray,
    positions: np.ndarray,
    cell: np.ndarray,
    pbc: np.ndarray,
    atom_of: Callable[[int], FreeAtom] = free_atom,
) -> Float[np.ndarray, " points"]:
    """Superpose atoms (positions and cell in Å) of a table, `free_atom` or `neutral_atom`, at points (Å), e/Å³.

    Raises:
        ValueError: an element without a reference atom.

    Source: ours.
    """
    tables = {int(z): atom_of(int(z)) for z in np.unique(numbers)}
    reach = max(radius[-1] for radius, _, _ in tables.values())
    atom, point, vector = near(points, positions, cell, pbc, reach)
    distance, values = np.linalg.norm(vector, axis=1), np.zeros(len(point))
    for z, (radius, density, _) in tables.items():
        of_element = np.asarray(numbers)[atom] == z
        values[of_element] = np.interp(distance[of_element], radius, density, right=0.0)
    return np.bincount(point, values, len(points))
