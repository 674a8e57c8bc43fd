"""Whether two crystals are one structure: the same elements in the same surroundings, at about the same volume.

Source: ours.
"""

import numpy as np
from ase import Atoms
from ase.data import atomic_masses
from jaxtyping import Float

from ase_mlx.graph import neighbor_pairs

VOLUME = 0.1
"""Relative: volumes an atom that are further apart are those of other phases, or of a crystal under force."""

NEIGHBORS, OFF = 30, 0.03
"""So many neighbours of each element are compared; their distances may differ by this part of the atoms' spacing."""


ISOTOPE = 0.01
"""Relative: a mass further from the element's standard one is that of an isotope, and vibrations are others."""


def is_reference(atoms: Atoms, symbols: list[str], cell: list, scaled_positions: list) -> bool:
    """Compare a crystal (Å, amu) of natural isotopes with a structure as a table of references holds it.

    Source: ours.
    """
    if np.any(np.abs(atoms.get_masses() / atomic_masses[atoms.numbers] - 1) > ISOTOPE):
        return False
    return same_structure(atoms, Atoms(symbols, cell=cell, scaled_positions=scaled_positions, pbc=True))


def same_structure(one: Atoms, other: Atoms) -> bool:
    """Compare two crystals (Å) whatever their cells, orientations and origins: volume, composition, neighbours' shells.

    Source: ours.
    """
    volumes = [atoms.cell.volume / len(atoms) for atoms in (one, other)]
    if not all(volumes) or abs(volumes[0] / volumes[1] - 1) > VOLUME:
        return False
    elements = sorted(set(one.numbers.tolist()))
    if elements != sorted(set(other.numbers.tolist())):
        return False
    shells = [_shells(atoms, elements) for atoms in (one, other)]
    for element in elements:
        first, second = (shell[atoms.numbers == element] for shell, atoms in zip(shells, (one, other), strict=True))
        if abs(len(first) / len(one) - len(second) / len(other)) > 1e-9:
            return False
        apart = np.abs(first[:, None] - second[None]).max(axis=2)
        if max(apart.min(axis=1).max(), apart.min(axis=0).max()) > OFF:
            return False
    return True


def _shells(atoms: Atoms, elements: list[int]) -> Float[np.ndarray, "atoms distances"]:
    """Distances of each atom's nearest neighbours of each element, in units of the atoms' mean spacing."""
    spacing = (atoms.cell.volume / len(atoms)) ** (1 / 3)
    reach = spacing * (1.2 * 3 * NEIGHBORS * max(_rarity(atoms)) / 4 / np.pi) ** (1 / 3) + spacing
    center, neighbor, shift = neighbor_pairs(atoms.positions, atoms.cell.array, atoms.pbc, reach)
    length = np.linalg.norm(atoms.positions[neighbor] - atoms.positions[center] + shift @ atoms.cell.array, axis=1)
    rows = []
    for atom in range(len(atoms)):
        own = center == atom
        rows.append(
            np.concatenate([np.sort(length[own & (atoms.numbers[neighbor] == z)])[:NEIGHBORS] for z in elements])
        )
    return np.array(rows) / spacing


def _rarity(atoms: Atoms) -> list[float]:
    """How many atoms there are for one of each element."""
    return [len(atoms) / np.count_nonzero(atoms.numbers == z) for z in set(atoms.numbers.tolist())]
