"""What is to be said of a result beside its numbers: warnings, and extrapolation once for the whole call.

Source: ours.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

__all__ = ["Doubts", "doubts"]


@dataclass
class Doubts:
    """Sentences in the order of their warnings, and the numbers of extrapolation (dimensionless).

    Source: ours.
    """

    sentences: list[str] = field(default_factory=list)
    extrapolation: dict | None = None


@contextmanager
def doubts(words: Callable[[str], str] = str) -> Iterator[Doubts]:
    """Gather the warnings of some work; they are there at the end of the block, each put by `words`.

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
    gathered.sentences = [words(text) for text in dict.fromkeys(sentences)]
    gathered.extrapolation = None if seen is None else seen.as_dict()
