"""The training loop of ensembles on tables: every member at once, its own order of rows, in one process or several.

`learn.fit` draws batches of graphs; here a batch is a slice of a table that is in memory, a thousand times cheaper.

Source: ours; optimiser of I. Loshchilov and F. Hutter, arXiv 1711.05101; schedule of L. Smith and N. Topin, arXiv
1708.07120.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, distributed

from ase_mlx.models.ranges import WHOLE, expect_ranges
from ase_mlx.nn.ensemble import Ensemble

Report = Callable[[int, int], None]
Draw = Callable[..., Tensor]
"""draw(*shape, kind=torch.rand): random numbers for the rows of a batch, the same ones however workers share them."""

Loss = Callable[[Ensemble, Tensor, Draw], Tensor]
"""(ensemble, rows of each member, random numbers) → loss a row and member, in nats."""


@dataclass(frozen=True)
class TableFit:
    """How to fit an ensemble to a table (dimensionless numbers).

    `posterior` how the hyper-network's comes about; `outliers` the share of targets that are suspected to be wrong.

    Source: ours.
    """

    epochs: int = 40
    batch_size: int = 256
    learning_rate: float = 4e-3
    weight_decay: float = 0.1
    clip: float = 5.0
    seed: int = 0
    posterior: Literal["variational", "laplace"] = "variational"
    outliers: float = 0.0

    def __post_init__(self):
        """Refuse numbers that cannot train anything."""
        expect_ranges(
            self, "fit.", epochs=(1, 1e6), batch_size=(1, 1e6), learning_rate=(1e-9, 1), weight_decay=(0, 1e3),
            clip=(1e-6, 1e9), seed=WHOLE, outliers=(0, 1),
        )  # fmt: skip


def fit_ensemble(
    ensemble: Ensemble,
    loss: Loss,
    rows: int,
    config: TableFit,
    shared: Callable[[], Tensor] | None = None,
    undecayed: tuple[str, ...] = (),
    report: Report | None = None,
) -> Ensemble:
    """Fit an ensemble in place by a loss of rows; under `torch.distributed` each worker takes its share of a batch.

    Workers draw the same orders, so the model is that of one worker but for the order of sums.

    Args:
        ensemble: trained in its own dtype.
        loss: see `Loss`, nats.
        rows: of the table (dimensionless).
        config: settings.
        shared: a cost of the weights alone, in nats over all rows (no unit), such as a divergence.
        undecayed: beginnings of names of weights that the decay leaves alone; vectors it always does.
        report: called with (epoch, epochs).

    Raises:
        ValueError: fewer rows than one batch holds.
        FloatingPointError: the loss became NaN or infinite.

    Source: see the module.
    """
    size = min(config.batch_size, rows)
    if size < 2:
        raise ValueError(f"got a table of {rows} rows, expected at least 2 to train on")
    random = torch.Generator().manual_seed(config.seed)
    steps = max(config.epochs * (rows // size), 2)
    optimizer = torch.optim.AdamW(_groups(ensemble, config.weight_decay, undecayed), lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=steps, pct_start=0.1 if steps > 10 else 1.5 / steps
    )
    rank, workers = (distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else (0, 1)

    def draw(*shape: int, kind: Callable = torch.rand) -> Tensor:
        return kind((len(ensemble), size, *shape), generator=random)[:, rank::workers]

    for epoch in range(config.epochs):
        orders = torch.stack([torch.randperm(rows, generator=random) for _ in range(len(ensemble))])
        for start in range(0, rows - size + 1, size):
            picked = orders[:, start : start + size]
            optimizer.zero_grad(set_to_none=True)
            value = loss(ensemble, picked[:, rank::workers], draw).sum() / size
            if shared is not None:
                value = value + shared() / (rows * workers)
            value.backward()
            _add_up(ensemble, workers)
            _check(value.detach(), epoch)
            torch.nn.utils.clip_grad_norm_(ensemble.parameters(), config.clip)
            optimizer.step()
            schedule.step()
        if report is not None:
            report(epoch + 1, config.epochs)
    return ensemble


def _groups(ensemble: Ensemble, decay: float, undecayed: tuple[str, ...]) -> list[dict]:
    free, held = [], []
    undecayed = undecayed or ("\0",)
    for name, weight in zip(ensemble.names, ensemble.stacked, strict=True):
        (free if weight.ndim < 3 or name.startswith(undecayed) else held).append(weight)
    return [{"params": held, "weight_decay": decay}, {"params": free, "weight_decay": 0.0}]


def _check(value: Tensor, epoch: int) -> None:
    if not bool(torch.isfinite(value)):
        raise FloatingPointError(
            f"got a loss of {float(value)} in epoch {epoch + 1}, expected a number; lower learning_rate or look for "
            "values out of range in the table"
        )


def _add_up(ensemble: Ensemble, workers: int) -> None:
    """Add the workers' gradients, in one message."""
    if workers == 1:
        return
    grads = [p.grad for p in ensemble.parameters() if p.grad is not None]
    flat = torch.cat([g.reshape(-1) for g in grads])
    distributed.all_reduce(flat)
    for grad, part in zip(grads, torch.split(flat, [g.numel() for g in grads]), strict=True):
        grad.copy_(part.view_as(grad))
