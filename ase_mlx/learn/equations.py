"""Networks that obey an equation: rows that have to be zero at points, and all weights moved at once towards it.

Source: ours; the steps as of `gauss_newton`.
"""

import abc
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp, vmap

from ase_mlx.models.ranges import WHOLE, expect_ranges
from ase_mlx.nn.terms import Term

from .fit import Stage
from .gauss_newton import GaussNewton
from .methods import Method
from .recipe import Recipe

GAIN = 0.5
"""Share of the mean squares that `patience` steps must take away."""
CHUNK = 64
"""Weights by which derivatives are taken at once."""


@dataclass(frozen=True)
class EquationFit:
    """How to solve: `points` of a domain, `epochs` (steps) at most, `patience` (steps without gain that end it).

    With 0 points there are as many as the kind holds right.

    Source: ours.
    """

    points: int = 0
    epochs: int = 100
    patience: int = 10
    seed: int = 0

    def __post_init__(self):
        """Refuse numbers that solve nothing."""
        expect_ranges(self, "fit.", points=(0, 1e6), epochs=(1, 1e5), patience=WHOLE, seed=WHOLE)


@dataclass(frozen=True)
class Sample:
    """All points at once: an epoch is one step over everything. `content` is what rows are made from.

    Source: ours.
    """

    content: Any
    digest: str

    def to(self, device: str | torch.device) -> "Sample":
        """Stay on the CPU.

        Raises:
            ValueError: another device.
        """
        if torch.device(device).type != "cpu":
            raise ValueError(f"got device {str(device)!r} for an equation, expected cpu: its networks are small")
        return self

    def steps(self, epoch: int) -> int:
        """Count the batches of an epoch."""
        return 1

    def epoch(self, epoch: int, start: int = 0, rank: int = 0, workers: int = 1) -> Iterator[list["Sample"]]:
        """Go through the batches of an epoch from `start` on; a step needs all rows, so every worker gets them."""
        if start == 0:
            yield [self]


Linear = Callable[[Any, Any, bool], tuple[Tensor, Tensor | None]]
"""(model, content, with derivatives) → rows (dimensionless) whose squares are the loss, and their derivatives."""


def newton(fit: EquationFit, weights: Callable[[Any], list[nn.Parameter]], linear: Linear) -> Method:
    """Move weights by steps of Gauss and Newton over the whole sample.

    Source: as of `gauss_newton`.
    """

    def optimizers(model: nn.Module) -> tuple[GaussNewton]:
        return (GaussNewton(weights(model)),)

    def step(model: nn.Module, optimizers: tuple[GaussNewton], groups: list[Sample]) -> float:
        content = groups[0].content
        return optimizers[0].step(lambda: linear(model, content, False)[0], lambda: linear(model, content, True))

    def pace(optimizers: tuple, step: int, done: float) -> None:
        """Steps have their own size."""

    return Method(optimizers, pace, fit.epochs, fit.seed, 1.0, patience=fit.patience, gain=GAIN, step=step)


class _AllRows(nn.Module):
    def __init__(self, model: nn.Module, rows: Callable[[Any, Any], dict[str, Tensor]]):
        super().__init__()
        self.model, self.rows = model, rows

    def forward(self, content: Any) -> Tensor:
        return torch.cat([part.reshape(-1) for part in self.rows(self.model, content).values()])


def moved(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that are fitted, by name; units are dimensionless.

    Source: ours.
    """
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def linearised(
    model: nn.Module, content: Any, rows: Callable[[Any, Any], dict[str, Tensor]], derivatives: bool
) -> tuple[Tensor, Tensor | None]:
    """Rows (dimensionless) and their derivatives by all weights that are fitted, by forward differentiation.

    Source: ours.
    """
    whole = _AllRows(model, rows)
    with torch.no_grad():
        if not derivatives:
            return whole(content), None
        weights = moved(model)
        sizes = [p.numel() for p in weights.values()]
        flat = torch.cat([p.detach().reshape(-1) for p in weights.values()])

        def of(numbers: Tensor) -> Tensor:
            parts = zip(weights.items(), numbers.split(sizes), strict=True)
            values = {f"model.{name}": part.view_as(p) for (name, p), part in parts}
            return functional_call(whole, values, (content,))

        def along(direction: Tensor) -> Tensor:
            return jvp(of, (flat,), (direction,))[1]

        by = vmap(along, out_dims=1, chunk_size=CHUNK)(torch.eye(len(flat), dtype=flat.dtype))
        return whole(content), by


class EquationRecipe(Recipe):
    """Recipes of networks that obey an equation: `rows` at the points of `content`, in one stage.

    Source: ours.
    """

    fit: EquationFit

    @abc.abstractmethod
    def content(self, seed: int) -> tuple[Any, str]:
        """Points at which the equation is asked, and data; and a digest of both."""

    @staticmethod
    @abc.abstractmethod
    def rows(model: Any, content: Any) -> dict[str, Tensor]:
        """Rows by name, dimensionless; the sum of all squares is the loss, so means are divided by their counts."""

    @classmethod
    def linear(cls, model: Any, content: Any, derivatives: bool) -> tuple[Tensor, Tensor | None]:
        """All rows (dimensionless), and their derivatives by the weights; kinds whose rows are many do it by hand."""
        return linearised(model, content, cls.rows, derivatives)

    def stages(self) -> Iterable[Stage]:
        """Fit all weights; other points tell when to stop."""
        fit, rows = self.fit, type(self).rows
        train, val = (Sample(*self.content(fit.seed + 100 * part)) for part in (0, 1))

        def loss(model: Any, sample: Sample, random: torch.Generator) -> dict[str, Term]:
            return {name: Term(part.square().sum(), 1.0) for name, part in rows(model, sample.content).items()}

        method = newton(fit, lambda model: list(moved(model).values()), type(self).linear)
        yield Stage(self.model, loss, train, method, val, settings=asdict(fit))
