"""How strange a crystal is, by the shipped model of anomalies.

Source: ours.
"""

import functools
from dataclasses import dataclass

from ase import Atoms

from ase_mlx.adapters.ase.job import Value
from ase_mlx.descriptors import CUTOFF
from ase_mlx.graph import from_atoms
from ase_mlx.models.anomaly import AnomalyModel
from ase_mlx.pretrained import load
from ase_mlx.quantities import SYMBOLS

REASONS = 3


@dataclass(frozen=True)
class Strangeness:
    """Novelty of a crystal, the share (%) of held-out crystals that are less strange, and what makes it so.

    Source: ours.
    """

    score: Value
    less_strange: Value
    flagged: bool
    reasons: tuple[str, ...]


def anomaly_of(atoms: Atoms, model: str = "bhnaa") -> Strangeness:
    """Judge one crystal (Å) in the mode `novelty`: nothing but its structure counts.

    Raises:
        ValueError: an element that the model does not know, no crystal, or one that is not in Å.

    Source: ours.
    """
    anomaly_model = _model(model)
    _, judged, rows = anomaly_model.judged(from_atoms(atoms, CUTOFF))
    novelty = judged["novelty"]
    names, _ = anomaly_model.reasons(rows, "novelty", REASONS)
    return Strangeness(
        Value(float(novelty.score[0]), float(novelty.std[0]), "nats", "members"),
        Value(100 * float(novelty.probability[0]), None, "%"),
        bool(novelty.flagged[0]),
        tuple(names[0]),
    )


def unseen(atoms: Atoms, model: str = "bhnaa") -> tuple[str, ...]:
    """List elements of a crystal (Å) that the model was not trained on.

    Source: ours.
    """
    return tuple(SYMBOLS[z] for z in sorted(set(atoms.numbers.tolist()) - set(_model(model).elements)))


@functools.cache
def _model(name: str) -> AnomalyModel:
    return load(name).double()
