"""What a command has to say of its result beside the numbers: warnings, and extrapolation once for the whole call.

Source: ours.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ase_mlx.cli import exits

__all__ = ["Doubts", "doubts"]


@dataclass
class Doubts:
    """Sentences in the order of their warnings, and what `--json` holds of extrapolation (dimensionless).

    Source: ours.
    """

    sentences: list[str] = field(default_factory=list)
    extrapolation: dict | None = None


@contextmanager
def doubts() -> Iterator[Doubts]:
    """Gather the warnings of a command's work; they are there at the end of the block.

    Source: ours.
    """
    from ase_mlx.models.extrapolation import once

    gathered = Doubts()
    with warnings.catch_warnings(record=True) as caught, once(speak=False) as environments:
        warnings.simplefilter("always")
        yield gathered
    seen = environments.seen
    sentences = [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
    sentences += [str(seen)] if seen is not None and seen.matters else []
    gathered.sentences = [exits.in_options(text) for text in dict.fromkeys(sentences)]
    gathered.extrapolation = None if seen is None else seen.as_dict()
