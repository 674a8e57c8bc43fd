"""Tables of crystals: structures as array columns, their descriptors, and how to split them honestly.

Source: ours.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from ase_mlx.data.elements import ground_states
from ase_mlx.descriptors import CUTOFF, anion_classes, describe
from ase_mlx.graph import Graph, batch, from_atoms
from ase_mlx.models.crystal_property import check_volume
from ase_mlx.quantities import SYMBOLS
from ase_mlx.structure import Structure

STRUCTURE_COLUMNS = ("lattice", "numbers", "frac_coords")
"""Nine numbers in Å, row by row; one atomic number a site; three fractional coordinates a site."""

Parts = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Crystals:
    """Crystals as numbers: descriptors, anion classes, formulas, properties in eV/atom (NaN: unknown).

    Source: ours.
    """

    rows: Float[np.ndarray, "crystals n"]
    anions: Int[np.ndarray, " crystals"]
    formulas: np.ndarray
    properties: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        """Count the crystals."""
        return len(self.rows)

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that occur in these crystals."""
        return elements_of(self.formulas)

    def take(self, places: np.ndarray) -> "Crystals":
        """Take some of the crystals (same units), by place or mask."""
        return replace(
            self,
            rows=self.rows[places],
            anions=self.anions[places],
            formulas=self.formulas[places],
            properties={name: values[places] for name, values in self.properties.items()},
        )


def graph_of(lattice: Any, numbers: Any, frac_coords: Any, cutoff: float = CUTOFF) -> Graph:
    """Build the graph of one crystal from array columns (Å), with edges up to `cutoff` (Å).

    Raises:
        ValueError: columns of the wrong lengths, numbers that are no elements, or no physical structure.

    Source: ours.
    """
    if lattice is None or numbers is None or frac_coords is None:
        raise ValueError("got a row without a structure, expected lattice, numbers and frac_coords; fill them in")
    cell, fractional = (np.asarray(x, dtype=np.float64).reshape(-1) for x in (lattice, frac_coords))
    kinds = np.asarray(numbers)
    if len(cell) != 9 or len(fractional) != 3 * len(kinds):
        raise ValueError(
            f"got {len(cell)} numbers for the lattice and {len(fractional)} coordinates for {len(kinds)} sites, "
            "expected 9 and three a site; the arrays were probably cut"
        )
    if not np.issubdtype(kinds.dtype, np.number) or (kinds != kinds.astype(int)).any() or (kinds < 1).any():
        raise ValueError(f"got atomic numbers {list(numbers)[:5]}, expected whole numbers from 1")
    cell = cell.reshape(3, 3)
    check_volume(abs(np.linalg.det(cell)) / max(len(kinds), 1))  # before a cell in nm has a million neighbours
    positions = fractional.reshape(-1, 3) @ cell
    return from_atoms(Structure(kinds.astype(int), positions, cell, np.ones(3, dtype=bool)), cutoff)


def describe_crystals(
    frame: pd.DataFrame, properties: Sequence[str] = (), diffraction: bool = False, batch_size: int = 64
) -> Crystals:
    """Describe the crystals of a table with array columns.

    Args:
        frame: with `lattice` (nine numbers, Å), `numbers`, `frac_coords`.
        properties: further columns to keep, in eV/atom.
        diffraction: powder patterns too.
        batch_size: crystals at once.

    Raises:
        ValueError: a column is missing, or a crystal cannot be described; its place is named.

    Source: ours.
    """
    missing = [name for name in (*STRUCTURE_COLUMNS, *properties) if name not in frame.columns]
    if missing:
        raise ValueError(
            f"got a table without {', '.join(missing)}, expected them; its columns are {', '.join(frame.columns)}"
        )
    graphs, rows, anions = [], [], []
    for place, values in zip(frame.index, zip(*(frame[name] for name in STRUCTURE_COLUMNS), strict=True), strict=True):
        try:
            graphs.append(graph_of(*values))
        except ValueError as error:
            raise ValueError(f"row {place}: {error}") from error
    for start in range(0, len(graphs), batch_size):
        joined = batch(graphs[start : start + batch_size])
        rows.append(describe(joined, diffraction))
        anions.append(anion_classes(joined))
    numbers = [np.asarray(n) for n in frame["numbers"]]
    return Crystals(
        np.concatenate(rows),
        np.concatenate(anions),
        np.array([reduced_formula(n) for n in numbers]),
        {name: frame[name].to_numpy(dtype=np.float64) for name in properties},
    )


def described_elements(properties: Sequence[str], diffraction: bool = False) -> Crystals:
    """Describe the ground states of the elements, whose properties (eV/atom) are zero by definition.

    Source: `ase_mlx.data.elements`.
    """
    atoms = list(ground_states().values())
    columns = {
        "lattice": [a.cell.array.ravel() for a in atoms],
        "numbers": [a.numbers for a in atoms],
        "frac_coords": [a.get_scaled_positions().ravel() for a in atoms],
    }
    return describe_crystals(pd.DataFrame(columns | dict.fromkeys(properties, 0.0)), properties, diffraction)


def join(parts: list[Crystals]) -> Crystals:
    """Put tables of crystals below one another (same units).

    Source: ours.
    """
    return Crystals(
        np.concatenate([p.rows for p in parts]),
        np.concatenate([p.anions for p in parts]),
        np.concatenate([p.formulas for p in parts]),
        {name: np.concatenate([p.properties[name] for p in parts]) for name in parts[0].properties},
    )


def elements_of(formulas: np.ndarray) -> tuple[int, ...]:
    """List the atomic numbers (no unit) that occur in reduced formulas.

    Source: ours.
    """
    return tuple(sorted({SYMBOLS.index(x) for f in formulas for x in re.findall("[A-Z][a-z]?", f)}))


def reduced_formula(numbers: np.ndarray) -> str:
    """Write the composition of a cell with the smallest whole numbers, elements by atomic number (no unit).

    Source: ours.
    """
    kinds, counts = np.unique(numbers, return_counts=True)
    counts = counts // np.gcd.reduce(counts)
    return "".join(f"{SYMBOLS[z]}{n if n > 1 else ''}" for z, n in zip(kinds, counts, strict=True))


def split(
    formulas: Sequence[str] | np.ndarray,
    by: Literal["formula", "system", "time"] = "formula",
    years: Any = None,
    seed: int = 0,
) -> np.ndarray:
    """Split crystals 70 : 15 : 15 into "train", "val", "test" so that no group straddles parts.

    Args:
        formulas: reduced formulas (no unit).
        by: groups share their formula, their elements ("system"), or are cut in the order of their years ("time").
        years: for "time" (years).
        seed: changes what goes where, not the shares; not used for "time".

    Returns:
        One of the three words a crystal (no unit).

    Raises:
        ValueError: "time" without years.

    Source: ours.
    """
    if by == "time":
        if years is None or not np.isfinite(np.asarray(years, dtype=float)).all():
            raise ValueError("got no years for a split by time, expected one a crystal; leave out rows without")
        share = pd.Series(np.asarray(years, dtype=float)).rank(method="min", pct=True).to_numpy()
        return np.where(share <= 0.7, "train", np.where(share <= 0.85, "val", "test"))
    groups = formulas if by == "formula" else [_system(f) for f in formulas]
    share = np.array([_hash(f"{seed}:{group}") for group in groups])
    return np.where(share < 0.7, "train", np.where(share < 0.85, "val", "test"))


def _system(formula: str) -> str:
    return "-".join(str(z) for z in elements_of(np.array([formula])))


def _hash(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
