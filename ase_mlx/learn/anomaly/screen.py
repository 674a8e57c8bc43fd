"""Screening as one pure function: data frames of crystals in, data frames of scores out.

Every row comes back, in its order: with scores, or with the reason why it has none. The numbers of a row depend on that
row alone, to the last digit that is kept, so any engine that cuts the table in any way finds the same.

Source: ours.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ase_mlx.descriptors import NAMES
from ase_mlx.graph import Graph, batch
from ase_mlx.learn.anomaly.crystals import STRUCTURE_COLUMNS, graph_of
from ase_mlx.models.anomaly import AnomalyModel, Mode

DIGITS = 6
"""Decimals that are kept: double precision makes them the same on every engine."""

TOP = 5
"""Descriptors that are named a row."""

VOLUMES = (1.5, 500.0)
"""Å³ per atom; beyond these a cell is in other units, or empty."""

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
                f"got mode {self.mode!r} with reported={self.reported!r}, expected a column of reported formation energies "
                "(eV/atom) for 'residual', and none for the other modes"
            )


def screen(
    frames: Iterable[pd.DataFrame], model: AnomalyModel, wanted: Screening, keep: tuple[str, ...] = ()
) -> Iterator[pd.DataFrame]:
    """Score the crystals of data frames.

    Args:
        frames: with `lattice` (nine numbers, Å), `numbers`, `frac_coords`; where a column `problem` has text, that row is
            passed on.
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
        asked = (*STRUCTURE_COLUMNS, *keep, *([wanted.reported] if wanted.reported else []))
        missing = [name for name in asked if name not in frame.columns]
        if missing:
            raise ValueError(
                f"got no column {', '.join(missing)}, expected it among {', '.join(map(str, frame.columns))}"
            )
        scored = _score(frame, model, wanted)
        yield pd.concat([frame[list(keep)].reset_index(drop=True), scored], axis=1)


def _score(frame: pd.DataFrame, model: AnomalyModel, wanted: Screening) -> pd.DataFrame:
    count = len(frame)
    told = frame["problem"].tolist() if "problem" in frame.columns else [None] * count
    problems: list[str | None] = [text if isinstance(text, str) and text else None for text in told]
    reported = frame[wanted.reported].to_numpy(dtype=np.float64) if wanted.reported else None
    graphs: dict[int, Graph] = {}
    for place, values in enumerate(zip(*(frame[name] for name in STRUCTURE_COLUMNS), strict=True)):
        if problems[place] is None:
            try:
                graphs[place] = _checked(graph_of(*values), model)
                if reported is not None and not np.isfinite(reported[place]):
                    raise ValueError(f"got no number in {wanted.reported!r}, expected a formation energy in eV/atom")
            except (ValueError, TypeError, OverflowError) as error:
                problems[place] = str(error)
    table = {name: np.full(count, np.nan) for name in SCORES}
    lists: dict[str, list] = {name: [None] * count for name in LISTS}
    places = np.array(sorted(graphs), dtype=int)
    for some in np.array_split(places, max(1, -(-len(places) // 64))):
        if len(some):
            values = reported[some] if reported is not None else None
            _fill(table, lists, some, [graphs[p] for p in some], model, wanted, values)
    columns = {**table, **lists, "problem": problems}
    columns["anomaly"] = pd.array([None if np.isnan(x) else bool(x) for x in table["anomaly"]], dtype="boolean")
    return pd.DataFrame({name: columns[name] for name in COLUMNS})


def _checked(graph: Graph, model: AnomalyModel) -> Graph:
    model.check_elements(graph)
    volume = float(graph.volume[0]) / len(graph.numbers)
    if not VOLUMES[0] <= volume <= VOLUMES[1]:
        raise ValueError(
            f"got a volume of {volume:.3g} Å³ per atom, expected {VOLUMES[0]} to {VOLUMES[1]:.0f}; is the lattice in Å "
            "(not nm or Bohr), and no site counted twice?"
        )
    return graph


def _fill(table, lists, places: np.ndarray, graphs: list[Graph], model, wanted: Screening, reported) -> None:
    found, judged, rows = model.judged(batch(graphs), reported)
    anomaly = judged[wanted.mode]
    energy, hull = "formation_energy", "hull_distance"
    values = (
        anomaly.score, anomaly.std, anomaly.probability, anomaly.flagged.astype(float), found[energy], found.std[energy],
        found[hull], found.std[hull],
    )  # fmt: skip
    for name, value in zip(SCORES, values, strict=True):
        table[name][places] = np.round(value, DIGITS)
    terms = np.round(model.contributions(rows, wanted.mode, reported)[:, : len(NAMES)], DIGITS)
    order = np.argsort(-terms, axis=1, kind="stable")[:, :TOP]
    members = np.round(found.members[energy], DIGITS)
    for k, place in enumerate(places):
        lists["top_descriptors"][place] = [NAMES[i] for i in order[k]]
        lists["top_contributions"][place] = terms[k, order[k]].tolist()
        lists["members"][place] = members[:, k].tolist()
