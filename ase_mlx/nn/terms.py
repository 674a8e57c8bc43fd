"""Losses as sums of weighted means, which can be added up over groups of samples and over processes exactly.

Source: ours.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Term:
    """One part of a loss: `weight` times the mean of something, whose sum is `total` over a (weighted) `count`.

    The product of weight and mean is dimensionless.

    Source: ours.
    """

    total: Tensor
    count: Tensor | float
    weight: float = 1.0


Terms = Mapping[str, Term]


def counts(parts: Iterable[Terms]) -> dict[str, float]:
    """Add up the counts (dimensionless) of each term over groups of samples.

    Source: ours.
    """
    added: dict[str, float] = {}
    for terms in parts:
        for name, term in terms.items():
            added[name] = added.get(name, 0.0) + float(term.count)
    return added


def value(parts: list[Terms], count: Mapping[str, float] | None = None) -> tuple[Tensor, dict[str, float]]:
    """Evaluate a loss from its terms over groups of samples: the sum of weighted means, and the means by name.

    Args:
        parts: the terms of each group, in the units of the loss.
        count: of each term over all groups of all processes (dimensionless); None: of these groups. Shares of a loss
            that are divided by common counts add up to the loss.

    Source: ours.
    """
    count = counts(parts) if count is None else count
    means: dict[str, Tensor] = {}
    loss: Tensor | None = None
    for terms in parts:
        for name, term in terms.items():
            mean = term.total / max(count[name], 1e-12)
            share = term.weight * mean
            loss = share if loss is None else loss + share
            means[name] = means.get(name, 0.0) + mean.detach()
    if loss is None:
        loss = torch.zeros(())
    return loss, {name: float(mean) for name, mean in means.items()}
