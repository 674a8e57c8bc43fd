"""One word of extrapolation for every gate: what share of the atoms' environments is beyond a model's training data.

A distance score is dimensionless, 1 is the edge of the training data: of structures like those of the training data one
in forty has an atom beyond it.

Source: ours.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np

COMMON, FAR = 0.01, 1.5
"""Dimensionless: more than this share of environments beyond the edge matters, and one that is so far out."""


@dataclass(frozen=True)
class Extrapolation:
    """How many environments were looked at, how many are beyond the edge, the largest score (all dimensionless).

    Source: ours.
    """

    environments: int
    outside: int
    largest: float

    @property
    def share(self) -> float:
        """Share of environments beyond the edge (dimensionless)."""
        return self.outside / self.environments

    @property
    def matters(self) -> bool:
        """Whether this is more than structures like those of the training data have beyond its edge."""
        return self.largest > FAR or self.share > COMMON

    def __add__(self, other: "Extrapolation") -> "Extrapolation":
        """Join what was seen of two sets of environments."""
        return Extrapolation(
            self.environments + other.environments, self.outside + other.outside, max(self.largest, other.largest)
        )

    def __str__(self) -> str:
        """Say it in one sentence."""
        share = f"{100 * self.share:.2g}" if self.share < 0.995 else "100"
        far = "numbers may be far off; " if self.largest > FAR else ""
        return (
            f"Extrapolation: {share} % of the atoms' environments are beyond the model's training data (distance score "
            f"up to {self.largest:.3g}, 1 = edge): {far}error bars of energy, forces and stress, of phonons, elastic "
            "constants and conductivities, where there are some, are widened for it; those of an equation of state are "
            "not and may be too small."
        )

    def as_dict(self) -> dict[str, float | None]:
        """Give what JSON holds (dimensionless); None is a distance that is no number."""
        largest = self.largest if np.isfinite(self.largest) else None
        return {"environments": self.environments, "share_outside": self.share, "largest_distance": largest}


class ExtrapolationWarning(UserWarning):
    """A model was asked outside its training data; `extrapolation` holds how far.

    Source: ours.
    """

    def __init__(self, extrapolation: Extrapolation):
        """Say it in the words of `Extrapolation`."""
        super().__init__(str(extrapolation))
        self.extrapolation = extrapolation


def extrapolation(distance: Any) -> Extrapolation | None:
    """Count environments beyond the edge by their distance scores (dimensionless, any shape); None without any.

    Source: ours.
    """
    values = np.asarray(0.0 if distance is None else distance, dtype=float).ravel()
    if distance is None or not values.size:
        return None
    # a distance that is not a number is beyond every edge
    return Extrapolation(values.size, int(np.sum(~(values <= 1))), float(np.nan_to_num(values, nan=np.inf).max()))


class Environments:
    """The environments that one call has looked at.

    Source: ours.
    """

    def __init__(self):
        """Begin with none."""
        self.seen: Extrapolation | None = None

    def join(self, other: Extrapolation | None) -> None:
        """Count what another call has looked at."""
        if other is not None:
            self.seen = other if self.seen is None else self.seen + other


_outer: ContextVar[Environments | None] = ContextVar("_outer", default=None)


@contextmanager
def once(speak: bool = True, stacklevel: int = 2) -> Iterator[Environments]:
    """Gather the environments of one call, and warn once at its end where they are extrapolation; also a decorator.

    Within, models and calculators do not warn by themselves, what counts is told by `see`, and a call inside another
    hands on to it what it has seen.

    Args:
        speak: False leaves the word to the caller, who reads `seen`.
        stacklevel: as of `warnings.warn` in the body of the function that opens this.

    Source: ours.
    """
    outer, environments = _outer.get(), Environments()
    token = _outer.set(environments)
    try:
        yield environments
    finally:
        _outer.reset(token)
        if outer is not None and speak:
            outer.join(environments.seen)
    if outer is None and speak:
        _warn(environments.seen, stacklevel + 3)


def see(distance: Any) -> None:
    """Count environments by their distance scores in the call that `once` is around; None counts none.

    Source: ours.
    """
    environments = _outer.get()
    if environments is not None:
        environments.join(extrapolation(distance))


def warn(distance: Any, stacklevel: int = 2) -> bool:
    """Warn of distance scores that are extrapolation, unless a call around this does; tell whether.

    Source: ours.
    """
    return _outer.get() is None and _warn(extrapolation(distance), stacklevel + 2)


def _warn(seen: Extrapolation | None, stacklevel: int) -> bool:
    if seen is None or not seen.matters:
        return False
    warnings.warn(ExtrapolationWarning(seen), stacklevel=stacklevel)
    return True
