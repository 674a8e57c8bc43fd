"""What the training loop draws batches from, and rows of tables in an order that seed and epoch fix.

Source: ours.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from ase_mlx.keep import digest


@runtime_checkable
class Batches(Protocol):
    """Batches of one training or validation part; a batch is a list of groups that go through the model one by one.

    Source: ours.
    """

    digest: str
    """By which a checkpoint knows its data."""

    def steps(self, epoch: int) -> int:
        """Count the batches of an epoch."""

    def epoch(self, epoch: int, start: int = 0, rank: int = 0, workers: int = 1) -> Iterator[list[Any]]:
        """Go through the batches of an epoch from `start` on; of each, one of several workers gets its share."""


@dataclass(frozen=True)
class Rows:
    """Rows of a table that the members of an ensemble see in one step, each its own; one worker's share of them.

    Source: ours.
    """

    places: Int[Tensor, "members rows"]
    size: int
    rank: int = 0
    workers: int = 1

    def to(self, device: str | torch.device) -> "Rows":
        """Move the places to a device."""
        return Rows(self.places.to(device), self.size, self.rank, self.workers)

    def draw(self, random: torch.Generator, *shape: int, kind: Callable = torch.rand) -> Tensor:
        """Draw random numbers (dimensionless) for each row, the same ones however workers share the rows."""
        numbers = kind((len(self.places), self.size, *shape), generator=random)[:, self.rank :: self.workers]
        return numbers.to(self.places.device)


@dataclass(frozen=True)
class TableBatches:
    """Batches of rows of a table (any unit): an order of its own for each member; short last batches are left out.

    Source: ours.
    """

    table: Sequence[Tensor]
    members: int
    size: int
    seed: int = 0

    def __post_init__(self):
        """Refuse a table that can train nothing.

        Raises:
            ValueError: fewer than two rows.
        """
        if self.rows < 2:
            raise ValueError(f"got a table of {self.rows} rows, expected at least 2 to train on")

    @property
    def rows(self) -> int:
        """Count the rows."""
        return len(self.table[0])

    @cached_property
    def digest(self) -> str:
        """By which a checkpoint knows its data."""
        return digest(list(self.table))[:16]

    def steps(self, epoch: int) -> int:
        """Count the batches of an epoch."""
        return self.rows // min(self.size, self.rows)

    def epoch(self, epoch: int, start: int = 0, rank: int = 0, workers: int = 1) -> Iterator[list[Rows]]:
        """Go through the batches of an epoch from `start` on; of each, one of several workers gets its share."""
        random = np.random.default_rng([self.seed, epoch])
        orders = torch.from_numpy(np.stack([random.permutation(self.rows) for _ in range(self.members)]))
        size = min(self.size, self.rows)
        for k in range(start, self.steps(epoch)):
            yield [Rows(orders[:, k * size : (k + 1) * size][:, rank::workers], size, rank, workers)]
