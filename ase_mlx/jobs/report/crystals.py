"""Crystals as a page holds them: cell, symbols, positions, to a thousandth of an Å.

Covalent radii are read from the table of the descriptors without these, whose import takes seconds.

Source: ours; covalent radii of B. Cordero et al., Dalton Trans. 2832 (2008).
"""

import csv
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from ase_mlx.jobs.report.content import MOST_ATOMS, MOST_CRYSTALS, Content
from ase_mlx.quantities import SYMBOLS

RADIUS = 1.5
"""Å; of elements that the table of covalent radii lacks."""


def add_crystal(
    content: Content,
    numbers: Integer[np.ndarray, " atoms"],
    positions: Float[np.ndarray, "atoms 3"],
    cell: Float[np.ndarray, "3 3"],
    pbc: tuple[bool, ...] = (True, True, True),
) -> int:
    """Add a structure (Å) to a page; -1 where it has too many atoms, or the page too many structures.

    Source: ours.
    """
    if len(content.crystals) >= MOST_CRYSTALS or not 0 < len(numbers) <= MOST_ATOMS:
        return -1
    if not (np.isfinite(positions).all() and np.isfinite(cell).all()):
        return -1
    symbols = [SYMBOLS[number] for number in numbers]
    for symbol in symbols:
        if symbol not in content.elements:
            content.elements[symbol] = _radius(symbol)
    content.crystals.append(
        {
            "symbols": symbols,
            "positions": np.round(np.asarray(positions, float), 3).ravel().tolist(),
            "cell": np.round(np.asarray(cell, float), 4).ravel().tolist(),
            "pbc": [int(bool(p)) for p in pbc],
        }
    )
    return len(content.crystals) - 1


def add_atoms(content: Content, atoms: Any) -> int:
    """Add ASE's atoms (Å) to a page, as `add_crystal`.

    Source: ours.
    """
    return add_crystal(content, atoms.numbers, atoms.positions, np.asarray(atoms.cell), tuple(map(bool, atoms.pbc)))


def add_row(content: Content, row: dict[str, Any]) -> int:
    """Add a row with `lattice` (nine numbers, Å), `numbers`, `frac_coords` to a page, as `add_crystal`.

    Source: ours.
    """
    if any(row.get(name) is None for name in ("lattice", "numbers", "frac_coords")):
        return -1
    cell = np.asarray(row["lattice"], float).reshape(3, 3)
    return add_crystal(
        content,
        np.asarray(row["numbers"], dtype=int),
        np.asarray(row["frac_coords"], float).reshape(-1, 3) @ cell,
        cell,
    )


@cache
def _radii() -> dict[str, str]:
    text = files("ase_mlx").joinpath("descriptors/elements.csv").read_text(encoding="utf-8")
    lines = csv.DictReader(text.splitlines())
    return {line["symbol"]: line["CovalentRadius"] for line in lines}


def _radius(symbol: str) -> float:
    text = _radii().get(symbol, "")
    return round(float(text) / 100, 2) if text else RADIUS  # pm
