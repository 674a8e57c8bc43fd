"""Crystals whose sites several elements share, arranged as near to random mixing as a small cell can be.

Source: A. Zunger, S.-H. Wei, L. G. Ferreira and J. E. Bernard, Phys. Rev. Lett. 65, 353 (1990), by pairs alone.
"""

from collections.abc import Mapping
from itertools import combinations_with_replacement

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list
from jaxtyping import Float

from ase_mlx.adapters.ase.teaching_frames import nearest_distance
from ase_mlx.data.elements import ground_states
from ase_mlx.quantities import SYMBOLS

DRAWS = 200
"""Arrangements that are looked at; eight sites have some dozens that differ."""

SHELLS = (1.15, 1.75)
"""Radii that hold the first and the second shell of neighbours of diamond, fcc and sc, in nearest distances."""


def site_volumes(elements: tuple[str, ...]) -> dict[str, float]:
    """Give the volume an atom of each element's ground state, Å³: where a relaxation may begin.

    Raises:
        ValueError: an element whose ground state is not known here.

    Source: `ase_mlx.data.elements.ground_states`.
    """
    states = ground_states()
    if missing := [symbol for symbol in elements if symbol not in states]:
        raise ValueError(f"got {', '.join(missing)}, whose ground state is not among the {len(states)} known here")
    return {symbol: float(states[symbol].get_volume() / len(states[symbol])) for symbol in elements}


def mixed_crystal(crystal: str, counts: Mapping[str, int], volumes: Mapping[str, float]) -> tuple[Atoms, int]:
    """Share the sites of a cubic crystal among elements in given proportions, as near to random mixing as can be.

    Of random arrangements that is taken whose pairs of neighbours, in the first two shells, are nearest to those of a
    random alloy. It depends on the proportions alone, not on the order in which elements are named.

    Args:
        crystal: ASE's name of the lattice: "diamond", "fcc", "bcc" or "sc".
        counts: parts of each element; the cell is the smallest stack of cubic cells whose sites they divide.
        volumes: of an atom of each element, Å³; the alloy's is their mean.

    Returns:
        The crystal (Å), and how many cubic cells it holds.

    Raises:
        ValueError: no parts, or a negative number of them.

    Source: ours, after A. Zunger et al., Phys. Rev. Lett. 65, 353 (1990).
    """
    numbers = sorted((SYMBOLS.index(symbol), n) for symbol, n in counts.items())
    parts = np.array([n for _, n in numbers])
    if parts.min(initial=0) < 0 or not parts.any():
        raise ValueError(f"got {dict(counts)} parts, expected at least one, none negative")
    cubic = bulk("X", crystal, a=1.0, cubic=True)
    repeat = _repeat(len(cubic), int(parts.sum()))
    mean = sum(n * volumes[SYMBOLS[z]] for z, n in numbers) / parts.sum()
    atoms = cubic.repeat(repeat)
    atoms.set_cell(atoms.cell.array * (mean * len(cubic)) ** (1 / 3), scale_atoms=True)
    sites = np.repeat([z for z, _ in numbers], parts * (len(atoms) // parts.sum()))
    shells = _shells(atoms)
    rng = np.random.default_rng(parts.tolist())
    drawn = [sites] if (parts > 0).sum() == 1 else [rng.permutation(sites) for _ in range(DRAWS)]
    atoms.numbers = min(drawn, key=lambda order: _departure(order, shells))
    return atoms, int(np.prod(repeat))


def _repeat(sites: int, parts: int) -> tuple[int, int, int]:
    """How often a cell is repeated so that its sites can be shared out: as few cells as can be, as cubic as can be."""
    cells = parts // int(np.gcd(sites, parts))
    repetitions = [
        (cells // (b * c), b, c)
        for b in range(1, cells + 1)
        for c in range(1, b + 1)
        if cells % (b * c) == 0 and cells // (b * c) >= b
    ]
    return min(repetitions, key=lambda numbers: numbers[0])


def _shells(atoms: Atoms) -> list[np.ndarray]:
    """Pairs of sites that are neighbours, of the first shell and of the second."""
    nearest = nearest_distance(atoms)
    i, j, d = neighbor_list("ijd", atoms, SHELLS[1] * nearest)
    first = d < SHELLS[0] * nearest
    return [np.stack([i[mask], j[mask]]) for mask in (first, ~first)]


def _departure(numbers: np.ndarray, shells: list[np.ndarray]) -> Float[np.ndarray, " shells"] | list[float]:
    """Squared departure of the shares of pairs from those of a random alloy, each shell before the next."""
    elements, counts = np.unique(numbers, return_counts=True)
    share = dict(zip(elements.tolist(), counts / len(numbers), strict=True))
    out = []
    for i, j in shells:
        total = 0.0
        for a, b in combinations_with_replacement(elements.tolist(), 2):
            pairs = np.mean((numbers[i] == a) & (numbers[j] == b))
            total += float(pairs - share[a] * share[b]) ** 2 * (1 if a == b else 2)
        out.append(round(total, 9))
    return out
