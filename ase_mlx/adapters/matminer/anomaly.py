"""How strange crystals are, and what makes them so, as columns of a dataframe.

Source: ours, on matminer (L. Ward et al., Comput. Mater. Sci. 152, 60 (2018)).
"""

import math
from pathlib import Path
from typing import Any

import numpy as np

from ase_mlx.adapters.matminer.model import CRYSTALS, exact, graph_for, loaded
from ase_mlx.adapters.matminer.one_process import Batched, ours
from ase_mlx.descriptors import NAMES
from ase_mlx.graph import Graph, batch
from ase_mlx.models import Model
from ase_mlx.models.anomaly import DIGITS, MODES, AnomalyModel, Mode


class AnomalyFeaturizer(Batched):
    """How strange each crystal is, in one of three modes that are never mixed, and which descriptors make it so.

    Modes:
        novelty: how surprising a crystal's structure is, given its composition and the rest of its structure.
        supervised_tail: whether the formation energy lies in the lowest tenth of its anion class.
        residual: whether a reported formation energy is wrong; it is a second input, in eV/atom, as in
            `featurize_dataframe(df, ["structure", "formation_energy"])`.
    Features:
        anomaly_score: `novelty`, mean surprise in nats a descriptor; `supervised_tail`, how far the predicted
            formation energy lies below the threshold, eV/atom; `residual`, reported minus predicted formation energy
            in calibrated standard deviations, dimensionless, negative where the report is too low.
        anomaly_score_std: spread of the ensemble's scores, in the score's unit.
        anomaly_probability: `novelty`, the share of held-out crystals that are less strange; `supervised_tail`,
            of lying in the tail; `residual`, of a wrong report; dimensionless.
        anomaly: whether it passes the threshold that held-out crystals set, bool.
    With `top` also, for k = 1 ... top:
        top_descriptor_k: name of the descriptor that adds the k-th most, text.
        top_contribution_k: what it adds; `novelty`, a share of the score, dimensionless; otherwise eV/atom, towards the
            tail or the reported side.
    Numbers are rounded to six decimals, as those of `ase-mlx screen`, and do not depend on which structures are
    evaluated together.

    Up to 256 structures are evaluated at once, in one process and double precision; a `MultipleFeaturizer` keeps that
    with `iterate_over_entries=False`, otherwise it asks for one structure at a time: the same numbers, but slower.

    Args:
        model: a shipped name, a model's folder, or a model of anomalies (one in single precision is copied for every
            call).
        mode: "novelty", "supervised_tail" or "residual".
        top: how many descriptors to name; text is no input of scikit-learn's regressors.

    Source: ours, after "Hyper-Precise Anomaly Detection ... via Bayesian Hyper-Network Attenuation".
    """

    def __init__(self, model: str | Path | Model = "bhnaa", mode: Mode = "novelty", top: int = 0):
        """Keep the arguments.

        Raises:
            ValueError: an unknown mode, more descriptors than there are, or a model without anomalies.
            FileNotFoundError: no such model.
        """
        self.model = model
        self.mode = mode
        self.top = top
        self.check()

    def check(self) -> None:
        """Refuse an unknown mode, more descriptors than there are, a model without anomalies.

        Raises:
            ValueError: naming them.

        Source: ours.
        """
        if self.mode not in MODES:
            raise ValueError(f"mode: got {self.mode!r}, expected one of {', '.join(MODES)}")
        if not isinstance(self.top, (int, np.integer)) or not 0 <= self.top <= len(NAMES):
            raise ValueError(f"top: got {self.top!r}, expected a whole number from 0 to {len(NAMES)}")
        model = loaded(self.model)
        if not isinstance(model, AnomalyModel):
            raise ValueError(
                f"got a {type(model).__name__}, expected a model of anomalies such as 'bhnaa'; for the outputs of "
                "other models take ModelFeaturizer"
            )

    @property
    def inputs(self) -> tuple[str, ...]:
        """What one row consists of: the structure (Å) and, for `residual`, the reported energy (eV/atom).

        Source: ours.
        """
        return ("structure", "formation_energy") if self.mode == "residual" else ("structure",)

    def featurize(self, structure: Any, *formation_energy: float) -> list:
        """Compute one row.

        Args:
            structure: a pymatgen Structure or ASE Atoms, Å.
            formation_energy: the reported one in eV/atom, in the mode `residual` alone.

        Returns:
            Values in the order and units of `feature_labels`; the class says them.

        Raises:
            TypeError: neither a pymatgen Structure nor ASE Atoms.
            ValueError: partial occupancy, an unknown element, no crystal, no number for a formation energy. Messages
                begin with the formula.

        Source: as the class.
        """
        return self._many([(structure, *formation_energy)], False, False)[0]

    def feature_labels(self) -> list[str]:
        """Name the columns; the class says what they are and their units.

        Source: ours.
        """
        pairs = ((f"top_descriptor_{k}", f"top_contribution_{k}") for k in range(1, self.top + 1))
        scores = ["anomaly_score", "anomaly_score_std", "anomaly_probability", "anomaly"]
        return [*scores, *(label for pair in pairs for label in pair)]

    def citations(self) -> list[str]:
        """Cite the descriptors, the crystals that were learned from, spglib and this package, in BibTeX.

        Source: ours.
        """
        return [*CRYSTALS, ours()]

    def _prepare(self, structure: Any, *reported: Any) -> tuple[Graph, float]:
        return graph_for(loaded(self.model), structure), _energy(*reported) if reported else math.nan

    def _evaluate(self, prepared: list[tuple[Graph, float]]) -> list[list]:
        model = exact(loaded(self.model))
        reported = np.array([energy for _, energy in prepared]) if self.mode == "residual" else None
        _, judged, rows = model.judged(batch([graph for graph, _ in prepared]), reported)
        values = judged[self.mode]
        scores = np.round(np.column_stack([values.score, values.std, values.probability]), DIGITS).tolist()
        table = [[*row, bool(flag)] for row, flag in zip(scores, values.flagged, strict=True)]
        if self.top:
            names, terms = model.reasons(rows, self.mode, self.top, reported)
            for row, *pair in zip(table, names, terms.tolist(), strict=True):
                row += [part for reason in zip(*pair, strict=True) for part in reason]
        return table


def _energy(reported: Any) -> float:
    """A reported formation energy in eV/atom."""
    try:
        energy = float(reported)
    except (TypeError, ValueError):
        energy = math.nan
    if not math.isfinite(energy):
        raise ValueError(f"got {reported!r}, expected a formation energy in eV/atom")
    return energy
