"""Valence densities of free atoms, which superpose to a first density of anything.

Source: ours; the table's own `origin` says how it was made.
"""

import functools
import json
from pathlib import Path

import numpy as np
from jaxtyping import Float

from ase_mlx.graph.points import near
from ase_mlx.quantities import SYMBOLS

TABLE = Path(__file__).resolve().parents[1] / "weights" / "free_atoms.json"


@functools.cache
def _table() -> dict:
    return json.loads(TABLE.read_text(encoding="utf-8"))


def free_atom(number: int) -> tuple[Float[np.ndarray, " radii"], Float[np.ndarray, " radii"], float]:
    """Radii (Å), valence density (e/Å³) and number of valence electrons of a free atom.

    Raises:
        ValueError: an element that the table lacks.

    Source: ours.
    """
    table = _table()
    symbol = SYMBOLS[number] if 0 <= number < len(SYMBOLS) else "?"
    if symbol not in table["atoms"]:
        raise ValueError(
            f"got {symbol}, expected an element with a reference atom ({', '.join(table['atoms'])}); make one by "
            "scripts/free_atoms.py"
        )
    atom = table["atoms"][symbol]
    density = np.array(atom["density"])
    return np.arange(len(density)) * table["radius_step"], density, float(atom["electrons"])


def superpose(
    points: Float[np.ndarray, "points 3"], numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray
) -> Float[np.ndarray, " points"]:
    """Superpose free atoms (positions and cell in Å) at points (Å), e/Å³.

    Raises:
        ValueError: an element without a reference atom.

    Source: ours.
    """
    tables = {int(z): free_atom(int(z)) for z in np.unique(numbers)}
    reach = max(radius[-1] for radius, _, _ in tables.values())
    atom, point, vector = near(points, positions, cell, pbc, reach)
    distance, values = np.linalg.norm(vector, axis=1), np.zeros(len(point))
    for z, (radius, density, _) in tables.items():
        mine = np.asarray(numbers)[atom] == z
        values[mine] = np.interp(distance[mine], radius, density, right=0.0)
    return np.bincount(point, values, len(points))
