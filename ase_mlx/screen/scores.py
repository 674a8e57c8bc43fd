"""Screening as one pure function: data frames of crystals in, data frames of scores out.

Every row comes back, in its order: with scores, or with the reason why it has none. The numbers of a row depend on that
row alone, to the last digit that is kept, so any engine that cuts the table in any way finds the same.

Source: ours.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from ase_mlx.data.tables import DESCRIBED, has_descriptors
from ase_mlx.descriptors import NAMES, anion_classes
from ase_mlx.descriptors.composition import anion_class, fractions_of
from ase_mlx.graph import Graph, batch
from ase_mlx.learn.anomaly.crystals import STRUCTURE_COLUMNS, graph_of
from ase_mlx.models.anomaly import DIGITS, AnomalyModel, Mode
from ase_mlx.models.crystal_property import ROWS, check_crystals
from ase_mlx.models.model import check_numbers

TOP = 5
"""Descriptors that are named a row."""

ATOMS = 4096
"""Crystals are described together until they have this many atoms: memory stays within some hundred MB."""

SCORES = (
    "anomaly_score", "anomaly_score_std", "anomaly_probability", "anomaly", "formation_energy", "formation_energy_std",
    "hull_distance", "hull_distance_std",
)  # fmt: skip
COLUMNS = (*SCORES, "top_descriptors", "top_contributions", "members", "problem")
"""Columns of the result: eV/atom where energies, else without a dimension; `members` are formation energies."""

TEXT, LISTS = ("problem",), ("top_descriptors", "top_contributions", "members")


@dataclass(frozen=True)
class Screening:
    """What to look for: the mode, and for `residual` the column with the reported formation energy in eV/atom.

    Source: ours.
    """

    mode: Mode
    reported: str | None = None

    def __post_init__(self):
        """Refuse a mode without what it needs."""
        if (self.mode == "residual") != (self.reported is not None):
            raise ValueError(
                f"got mode {self.mode!r} with reported={self.reported!r}, expected a column of reported formation "
                "energies (eV/atom) for 'residual', and none for the other modes"
            )


def screen(
    frames: Iterable[pd.DataFrame], model: AnomalyModel, wanted: Screening, keep: tuple[str, ...] = ()
) -> Iterator[pd.DataFrame]:
    """Score the crystals of data frames.

    Args:
        frames: with `lattice` (nine numbers, Å), `numbers`, `frac_coords`, or as `described` gives them, where blocks
            that are not known may be NaN; where a column `problem` has text, that row is passed on.
        model: in double precision, so that results do not depend on how rows are grouped.
        wanted: the mode.
        keep: further columns of the input to hand on.

    Yields:
        For each frame one with the columns `keep` and `COLUMNS`, in the same order of rows; energies in eV/atom.

    Raises:
        ValueError: a column is missing.

    Source: ours.
    """
    for frame in frames:
        structure = DESCRIBED if has_descriptors(frame.columns) else STRUCTURE_COLUMNS
        asked = (*structure, *keep, *([wanted.reported] if wanted.reported else []))
        missing = [name for name in asked if name not in frame.columns]
        if missing:
            raise ValueError(
                f"got no column {', '.join(missing)}, expected it among {', '.join(map(str, frame.columns))}"
            )
        scored = _score(frame, model, wanted, structure)
        yield pd.concat([frame[list(keep)].reset_index(drop=True), scored], axis=1)


def described(frame: pd.DataFrame, model: AnomalyModel) -> pd.DataFrame:
    """Add descriptors as an array column, so that several models or modes can be asked without describing again.

    Args:
        frame: crystals as array columns (Å).
        model: whose elements and blocks count.

    Returns:
        The frame with `descriptors` (their units) and, where a row has none, its `problem`.

    Source: ours.
    """
    problems = _problems(frame)
    crystals = _described(frame, model, STRUCTURE_COLUMNS, problems)
    rows = [crystals.rows[crystals.order[k]] if k in crystals.order else None for k in range(len(frame))]
    return frame.assign(**{DESCRIBED[1]: pd.Series(rows, index=frame.index, dtype=object), "problem": problems})


class _Described(NamedTuple):
    rows: np.ndarray
    anions: np.ndarray
    places: np.ndarray

    @property
    def order(self) -> dict[int, int]:
        return {int(place): k for k, place in enumerate(self.places)}


def _problems(frame: pd.DataFrame) -> list[str | None]:
    texts = frame["problem"].tolist() if "problem" in frame.columns else [None] * len(frame)
    return [text if isinstance(text, str) and text else None for text in texts]


def _described(frame, model: AnomalyModel, structure: tuple[str, ...], problems: list[str | None]) -> _Described:
    """Descriptors of the rows that have some; of the others `problems` gets the reason."""
    rows, anions, places = [np.zeros((0, sum(model.config.property.blocks)))], [np.zeros(0, dtype=int)], []
    waiting: list[Graph] = []
    size = 0

    def describe_waiting() -> None:
        if waiting:
            joined = batch(waiting)
            rows.append(model.property.described(joined))
            anions.append(anion_classes(joined))
            waiting.clear()

    for place, values in enumerate(zip(*(frame[name] for name in structure), strict=True)):
        if problems[place] is None:
            try:
                if structure == STRUCTURE_COLUMNS:
                    waiting.append(check_crystals(graph_of(*values), model.elements))
                    size += len(waiting[-1].numbers)
                else:
                    row, anion = _row(values[1], model), _anion(values[0], model)
                    rows.append(row)
                    anions.append(anion)
                places.append(place)
            except (ValueError, TypeError, OverflowError) as error:
                problems[place] = str(error)
        if size > ATOMS or len(waiting) == ROWS:
            describe_waiting()
            size = 0
    describe_waiting()
    return _Described(np.concatenate(rows), np.concatenate(anions), np.array(places, dtype=int))


def _row(descriptors, model: AnomalyModel) -> np.ndarray:
    row = np.asarray([] if descriptors is None else descriptors, dtype=np.float64).reshape(1, -1)
    model.property.views(row)
    return row


def _with_structure(crystals: _Described, problems: list[str | None]) -> _Described:
    """Those whose structure is known; of the others `problems` gets the reason."""
    complete = np.isfinite(crystals.rows[:, : len(NAMES)]).all(1)
    for place in crystals.places[~complete]:
        problems[place] = "got no structure, expected one: novelty is that of structures; ask for another mode"
    return _Described(*(part[complete] for part in crystals))


def _anion(numbers, model: AnomalyModel) -> np.ndarray:
    kinds = np.asarray(numbers, dtype=np.int64)
    check_numbers(kinds, model.elements)
    return anion_class(fractions_of(kinds, np.zeros(len(kinds), dtype=int), 1))


def _score(frame: pd.DataFrame, model: AnomalyModel, wanted: Screening, structure: tuple[str, ...]) -> pd.DataFrame:
    count, problems = len(frame), _problems(frame)
    reported = np.full(count, np.nan)
    if wanted.reported:
        reported = pd.to_numeric(frame[wanted.reported], errors="coerce").to_numpy(dtype=np.float64)
        for place in np.flatnonzero(~np.isfinite(reported)):
            problems[place] = problems[place] or (
                f"got no number in {wanted.reported!r}, expected a formation energy in eV/atom"
            )
    crystals = _described(frame, model, structure, problems)
    if wanted.mode == "novelty":
        crystals = _with_structure(crystals, problems)
    table = {name: np.full(count, np.nan) for name in SCORES}
    lists: dict[str, list] = {name: [None] * count for name in LISTS}
    if len(crystals.places):
        _fill(table, lists, crystals, model, wanted, reported[crystals.places] if wanted.reported else None)
    columns = {**table, **lists, "problem": problems}
    columns["anomaly"] = pd.array([None if np.isnan(x) else bool(x) for x in table["anomaly"]], dtype="boolean")
    return pd.DataFrame({name: columns[name] for name in COLUMNS})


def _fill(table, lists, crystals: _Described, model: AnomalyModel, wanted: Screening, reported) -> None:
    nats = model.nats(crystals.rows)
    predicted, judged = model.table(crystals.rows, crystals.anions, reported, nats)
    anomaly, places = judged[wanted.mode], crystals.places
    energy, hull = "formation_energy", "hull_distance"
    values = (
        anomaly.score, anomaly.std, anomaly.probability, anomaly.flagged.astype(float), predicted[energy],
        predicted.std[energy], predicted[hull], predicted.std[hull],
    )  # fmt: skip
    for name, value in zip(SCORES, values, strict=True):
        table[name][places] = np.round(value, DIGITS)
    names, terms = model.reasons(crystals.rows, wanted.mode, TOP, reported, nats)
    members = np.round(predicted.members[energy], DIGITS)
    for k, place in enumerate(places):
        lists["top_descriptors"][place] = names[k]
        lists["top_contributions"][place] = terms[k].tolist()
        lists["members"][place] = members[:, k].tolist()
