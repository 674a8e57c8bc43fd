"""Charges of atoms by shares in the superposition of free atoms.

Source: Hirshfeld, Theor. Chim. Acta 44, 129 (1977).
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Int

from ase_mlx.graph.points import near

from .averages import grid_points, warn_of_cut

FreeAtom = tuple[np.ndarray, np.ndarray, float]
"""Radii (Å), density (e/Å³) and number of electrons of a free atom."""


def hirshfeld(
    density: Float[np.ndarray, "n1 n2 n3"],
    cell: Float[np.ndarray, "3 3"],
    positions: Float[np.ndarray, "atoms 3"],
    numbers: Int[np.ndarray, " atoms"],
    free: Mapping[int, FreeAtom],
    pbc: Bool[np.ndarray, " 3"] | None = None,
) -> Float[np.ndarray, " atoms"]:
    """Net charges in units of e (dimensionless): free electrons minus the atom's share of the density.

    Takes what `hirshfeld_moments` takes (Å, e/Å³).

    Raises:
        ValueError: an element without a free atom.

    Source: Hirshfeld, Theor. Chim. Acta 44, 129 (1977).
    """
    return hirshfeld_moments(density, cell, positions, numbers, free, pbc)[0]


def hirshfeld_moments(
    density: Float[np.ndarray, "n1 n2 n3"],
    cell: Float[np.ndarray, "3 3"],
    positions: Float[np.ndarray, "atoms 3"],
    numbers: Int[np.ndarray, " atoms"],
    free: Mapping[int, FreeAtom],
    pbc: Bool[np.ndarray, " 3"] | None = None,
) -> tuple[Float[np.ndarray, " atoms"], Float[np.ndarray, "atoms 3"]]:
    """Net charges (e) as `hirshfeld`, and dipoles of the atoms' shares about their nuclei (e Å, electrons negative).

    Args:
        density: e/Å³ on the grid of the cell.
        cell: rows, Å.
        positions: Å.
        numbers: atomic numbers.
        free: radii (Å) and density (e/Å³) of free atoms of these elements, with the same electrons as in the density.
        pbc: periodic axes; all where None.

    Raises:
        ValueError: an element without a free atom.

    Source: Hirshfeld, Theor. Chim. Acta 44, 129 (1977).
    """
    lacking = sorted({int(z) for z in numbers} - set(free))
    if lacking:
        raise ValueError(f"got elements {lacking} without a free atom, expected one for each; give them in `free`")
    periodic = np.ones(3, dtype=bool) if pbc is None else np.asarray(pbc, dtype=bool)
    warn_of_cut(density, periodic)
    reach = max(float(free[int(z)][0][-1]) for z in numbers)
    atom, point, vector = near(grid_points(density.shape, cell), positions, cell, periodic, reach)
    distance, share = np.linalg.norm(vector, axis=1), np.empty(len(point))
    for z in {int(z) for z in numbers}:
        of_element = numbers[atom] == z
        share[of_element] = np.interp(distance[of_element], free[z][0], free[z][1], right=0.0)
    total = np.bincount(point, share, density.size)
    part = share * density.reshape(-1)[point] / np.maximum(total[point], 1e-30)
    volume = abs(float(np.linalg.det(cell))) / density.size
    electrons = np.bincount(atom, part, len(numbers)) * volume
    dipoles = np.stack([np.bincount(atom, -part * vector[:, k], len(numbers)) for k in range(3)], 1) * volume
    return np.array([free[int(z)][2] for z in numbers]) - electrons, dipoles
