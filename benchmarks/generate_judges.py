"""What `generate.py` judges crystals by: validity, symmetry, novelty, and properties by trees that no search saw."""

import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from ase import Atoms

import ase_mlx as am
from ase_mlx.descriptors.gene_rows import genes_of
from ase_mlx.descriptors.genes import structure_of
from ase_mlx.graph.symmetry import symmetry_of
from ase_mlx.learn.anomaly.crystals import describe_crystals

TABLE = Path(__file__).resolve().parents[1] / "data" / "mp_crystals.parquet"
SEED = 27
PUBLISHED = {"stol": 0.5, "ltol": 0.3, "angle_tol": 10}
"""StructureMatcher for reconstructions (CDVAE)."""
UNIQUE = {"stol": 0.3, "ltol": 0.2, "angle_tol": 5}
"""StructureMatcher for uniqueness and novelty (MatterGen)."""
STATES, MOST_ELEMENTS = "icsd24", 8
COLUMNS = {"formation_energy": "formation_energy_per_atom", "band_gap": "band_gap"}


def rows_table(part: str) -> pd.DataFrame:
    """Give the rows of a part."""
    frame = pd.read_parquet(TABLE)
    return frame[frame.part == part].reset_index(drop=True)


def crystal(row) -> Atoms:
    """Build a row's crystal."""
    cell = np.asarray(row.lattice, dtype=float).reshape(3, 3)
    return Atoms(row.numbers, cell=cell, scaled_positions=np.vstack(row.frac_coords).reshape(-1, 3), pbc=True)


def pymatgen(atoms):
    """Build pymatgen's structure of ASE's or ours."""
    from pymatgen.core import Lattice, Structure

    return Structure(Lattice(np.asarray(atoms.cell)), list(atoms.numbers), atoms.positions, coords_are_cartesian=True)


def structure_valid(atoms) -> bool:
    """No pair closer than 0.5 Å, a volume of at least 0.1 Å³."""
    if abs(np.linalg.det(np.asarray(atoms.cell))) < 0.1:
        return False
    distances = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True).get_all_distances(mic=True)
    image = min(np.linalg.norm(np.asarray(atoms.cell), axis=1))
    return min(distances[np.triu_indices(len(distances), 1)].min(initial=9.0), image) >= 0.5


@cache
def composition_valid(formula: str) -> bool:
    """SMACT's word on a formula; more elements than any crystal of the data has are none (SMACT would not end)."""
    from pymatgen.core import Composition
    from smact.screening import smact_validity

    if len(Composition(formula)) > MOST_ELEMENTS:
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bool(smact_validity(formula, use_pauling_test=True, include_alloys=True, oxidation_states_set=STATES))


def reduced(atoms) -> str:
    """Give the reduced formula."""
    from pymatgen.core import Composition

    numbers, counts = np.unique(atoms.numbers, return_counts=True)
    symbols = am.quantities.SYMBOLS
    return Composition({symbols[z]: int(n) for z, n in zip(numbers, counts, strict=True)}).reduced_formula


def space_group(atoms) -> int:
    """Find the space group's number at 0.1 Å, 0 where none is found."""
    cell = np.asarray(atoms.cell)
    try:
        return symmetry_of(cell, atoms.positions @ np.linalg.inv(cell), np.asarray(atoms.numbers), 0.1).number
    except ValueError:
        return 0


def built(rows) -> list:
    """Build crystals of genes; None where there is none."""
    crystals = []
    for k in range(len(rows)):
        try:
            crystals.append(structure_of(*genes_of(rows.take(torch.tensor([k])))))
        except ValueError:
            crystals.append(None)
    return crystals


def same(one, other, matcher) -> bool:
    """Tell whether two crystals are the same."""
    return matcher.fit(pymatgen(one), pymatgen(other))


def distinct(samples: list, known: pd.DataFrame) -> tuple[float, float]:
    """Percent unique among themselves, and novel against known crystals, by formula and matcher."""
    from pymatgen.analysis.structure_matcher import StructureMatcher

    matcher = StructureMatcher(**UNIQUE)
    by_formula: dict[str, list] = {}
    unique = 0
    rows = {formula: group for formula, group in known.groupby("formula")}
    novel = 0
    for atoms in samples:
        formula = reduced(atoms)
        before = by_formula.setdefault(formula, [])
        unique += not any(same(atoms, other, matcher) for other in before)
        before.append(atoms)
        there = rows.get(formula)
        novel += there is None or not any(same(atoms, crystal(row), matcher) for row in there.itertuples())
    return 100 * unique / len(samples), 100 * novel / len(samples)


def as_frame(crystals: list) -> pd.DataFrame:
    """Lay crystals out as a table."""
    return pd.DataFrame(
        {
            "lattice": [np.asarray(a.cell).ravel() for a in crystals],
            "numbers": [np.asarray(a.numbers) for a in crystals],
            "frac_coords": [(a.positions @ np.linalg.inv(np.asarray(a.cell))).ravel() for a in crystals],
        }
    )


class Judge:
    """Predicts a property of crystals; no search sees it."""

    def __init__(self, name: str):
        from sklearn.ensemble import ExtraTreesRegressor

        self.trees = ExtraTreesRegressor(300, random_state=SEED, n_jobs=1, min_samples_leaf=2)
        parts = {part: self._known(part, name) for part in ("val", "test")}
        self.trees.fit(*parts["val"])
        self.error = float(np.abs(self.trees.predict(parts["test"][0]) - parts["test"][1]).mean())

    @staticmethod
    def _known(part: str, name: str) -> tuple[np.ndarray, np.ndarray]:
        frame = rows_table(part)
        frame = frame[np.isfinite(frame[COLUMNS[name]])].iloc[:2000]
        return describe_crystals(frame, (), False).rows, frame[COLUMNS[name]].to_numpy()

    def __call__(self, crystals: list) -> np.ndarray:
        """Predict; crystals that cannot be described have NaN."""
        values = []
        for atoms in crystals:
            try:
                values.append(self.trees.predict(describe_crystals(as_frame([atoms]), (), False).rows)[0])
            except ValueError:
                values.append(np.nan)
        return np.array(values)


def inside(values: np.ndarray, window: tuple[float, float]) -> float:
    """Percent of values in a window."""
    return 100 * float(np.mean((values >= window[0]) & (values <= window[1])))


def until_ten(values: np.ndarray, window: tuple[float, float]) -> float:
    """Crystals that are judged until ten lie in a window; infinite where they do not."""
    hit = np.flatnonzero((values >= window[0]) & (values <= window[1]))
    return float(hit[9] + 1) if len(hit) > 9 else float("inf")
