"""The laws of models that generate: seeds decide, and what comes out is a structure.

Source: ours.
"""

from collections.abc import Callable

from ase_mlx.graph import from_atoms
from ase_mlx.models import Generates

from .laws import LawBroken, dtype_of

COUNT, CUTOFF = 4, 3.0
"""Structures that are drawn, and how far (Å) their neighbours are looked for."""


def _equal(model: Generates, law: str, what: str, value: float, expected: float) -> None:
    if value != expected:
        raise LawBroken(law, f"{COUNT} samples", dtype_of(model), what, abs(value - expected), 0.0)


def seeds(model: Generates) -> None:
    """Equal seeds give equal structures (Å), as many as are asked for, and other seeds other ones.

    Raises:
        LawBroken: they do not.

    Source: ours.
    """
    drawn = [model.sample(COUNT, seed=seed) for seed in (3, 3, 4)]
    _equal(model, "seeds", "the number of structures", len(drawn[0]), COUNT)
    first, again, other = ([(s.numbers.tolist(), s.positions.tolist(), s.cell.tolist()) for s in one] for one in drawn)
    _equal(model, "seeds", "whether equal seeds give equal structures", float(first == again), 1.0)
    _equal(model, "seeds", "whether other seeds give equal structures", float(first == other), 0.0)


def structures(model: Generates) -> None:
    """What is drawn has a graph (Å): atoms in places of their own, a cell with a volume along periodic axes.

    Raises:
        LawBroken: it has elements that the model does not name.
        ValueError: it is no structure.

    Source: ours.
    """
    for structure in model.sample(COUNT, seed=5):
        from_atoms(structure, CUTOFF)
        strange = set(structure.numbers.tolist()) - set(model.elements)
        _equal(model, "structures", "the number of elements that are not the model's", len(strange), 0)


GENERATOR_LAWS: dict[str, Callable[[Generates], None]] = {"seeds": seeds, "structures": structures}
"""The laws by name; each takes a model that generates."""
