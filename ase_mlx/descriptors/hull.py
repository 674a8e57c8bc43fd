"""Energy above the convex hull of known crystals, by linear programming.

Source: the lowest energy of a mixture of phases (W. Sun et al., Sci. Adv. 2, e1600225 (2016)); SciPy's HiGHS.
"""

import lzma
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.optimize import linprog

from ase_mlx.reading import reading
from ase_mlx.whole import write_bytes

FILE = "hull.csv.xz"
"""In the folder of a model: what its crystals have by that model's energies."""

Formula = tuple[tuple[int, int], ...]
"""Atomic numbers, ascending, and counts in lowest terms."""


@dataclass(frozen=True)
class Hull:
    """Crystals by formula with the lowest energy of each, eV/atom, all by one calculator.

    Source: see the module.
    """

    formulas: tuple[Formula, ...]
    energies: Float[np.ndarray, " crystals"]

    def lowest(self, formula: Formula) -> float:
        """Give the energy of the best mixture of known crystals, eV/atom; NaN where an element is not known.

        Args:
            formula: of the mixture.

        Raises:
            ValueError: no formula.
        """
        elements = [z for z, _ in formula]
        if not elements or any(count < 1 for _, count in formula):
            raise ValueError(f"got the formula {formula}, expected atomic numbers with counts from 1 on")
        within = [k for k, one in enumerate(self.formulas) if {z for z, _ in one} <= set(elements)]
        if {z for k in within for z, _ in self.formulas[k] if len(self.formulas[k]) == 1} != set(elements):
            return float("nan")
        shares = np.array([[_shares(self.formulas[k]).get(z, 0.0) for k in within] for z in elements])
        whole = _shares(formula)
        best = linprog(self.energies[within], A_eq=shares, b_eq=[whole[z] for z in elements], method="highs")
        return float(best.fun)


def _shares(formula: Formula) -> dict[int, float]:
    total = sum(count for _, count in formula)
    return {z: count / total for z, count in formula}


def hull_of(formulas: Sequence[Formula], energies: Sequence[float]) -> Hull:
    """Keep the lowest energy (eV/atom) of each formula.

    Source: ours.
    """
    lowest: dict[Formula, float] = {}
    for formula, energy in zip(formulas, energies, strict=True):
        if np.isfinite(energy):
            lowest[formula] = min(energy, lowest.get(formula, np.inf))
    return Hull(tuple(lowest), np.array(list(lowest.values()), dtype=float))


def write_hull(path: str | Path, hull: Hull) -> None:
    """Write formulas and energies (eV/atom) as packed text.

    Raises:
        OSError: the file cannot be written.

    Source: ours.
    """
    lines = sorted(
        f"{' '.join(f'{z}:{count}' for z, count in formula)},{energy:.4f}"
        for formula, energy in zip(hull.formulas, hull.energies, strict=True)
    )
    write_bytes(path, lzma.compress(("formula,energy\n" + "\n".join(lines) + "\n").encode(), preset=9))


def read_hull(path: str | Path) -> Hull:
    """Read formulas and energies (eV/atom).

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is damaged.

    Source: ours.
    """
    path = Path(path)
    with reading(path, "packed lines of formula and energy", "make it again with data/hull.py"):
        head, *lines = lzma.decompress(path.read_bytes()).decode().splitlines()
        if head != "formula,energy":
            raise ValueError(f"got the head {head!r}")
        pairs = [line.split(",") for line in lines]
        formulas = [_formula(text) for text, _ in pairs]
        return Hull(tuple(formulas), np.array([float(energy) for _, energy in pairs]))


def _formula(text: str) -> Formula:
    parts: Mapping[int, int] = {int(z): int(n) for z, n in (each.split(":") for each in text.split())}
    return tuple(sorted(parts.items()))
