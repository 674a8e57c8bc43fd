"""How weights move: optimisers, their pace over a training, averages.

Source: as each function says.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ase_mlx.nn.ensemble import Ensemble
from ase_mlx.nn.parameters import declared

from .config import FitConfig, TableFit
from .muon import Muon

Optimizers = tuple[torch.optim.Optimizer, ...]


@dataclass(frozen=True)
class Method:
    """Optimisers of a module, and their settings at each step of a training.

    `pace` is called with the optimisers, the number of the step and the share of the training that is done; all numbers
    are dimensionless.

    Source: ours.
    """

    optimizers: Callable[[nn.Module], Optimizers]
    pace: Callable[[Optimizers, int, float], None]
    epochs: int
    seed: int
    clip: float
    ema_decay: float = 0.0
    patience: int = 0
    gain: float = 0.0
    """By which share of itself the held-out loss has to fall within `patience` epochs."""
    constant: float = 0.0
    """Share of the training (dimensionless) within which `pace` does not depend on it."""
    step: Callable[[nn.Module, Optimizers, list[Any]], float] | None = None
    """Moves the weights by the groups of a batch and gives the loss before, in place of the gradient of the loss."""


def learning_rate(config: FitConfig, step: int, done: float) -> float:
    """Warm up linearly, then fall along a half cosine of the share of the training that is done (dimensionless).

    Where the fall begins later, at `config.constant`, the rate is at its highest until then.

    Source: Loshchilov and Hutter, arXiv 1608.03983, without restarts.
    """
    warm = min(1.0, (step + 1) / max(config.warmup_steps, 1))
    fallen = max(0.0, (done - config.constant) / (1 - config.constant))
    return config.learning_rate * (warm * 0.5 * (1 + math.cos(math.pi * fallen)) + 1e-4)


def network(config: FitConfig) -> Method:
    """Train by Muon and AdamW, warmed up, with an average of the weights: for networks on graphs and points.

    Source: Jordan et al. (2024), kellerjordan.github.io/posts/muon; Loshchilov and Hutter, arXiv 1711.05101.
    """

    def optimizers(model: nn.Module) -> Optimizers:
        """Give weight matrices to Muon; vectors, and what its module declares as rows, to AdamW."""
        rows = declared(model, "rows")
        matrices = [p for name, p in model.named_parameters() if p.ndim >= 2 and name not in rows]
        others = [p for name, p in model.named_parameters() if p.ndim < 2 or name in rows]
        rate = config.learning_rate
        muon = (Muon(matrices, rate),) if matrices else ()
        adam = (torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.99), eps=1e-10, weight_decay=0.0),) if others else ()
        return (*muon, *adam)

    def pace(optimizers: Optimizers, step: int, done: float) -> None:
        for group in (g for optimizer in optimizers for g in optimizer.param_groups):
            group["lr"] = learning_rate(config, step, done)

    return Method(
        optimizers,
        pace,
        config.epochs,
        config.seed,
        config.clip,
        config.ema_decay,
        config.patience,
        constant=config.constant,
    )


def ensemble(config: TableFit) -> Method:
    """Train by AdamW along one cycle: for ensembles on tables.

    Source: I. Loshchilov and F. Hutter, arXiv 1711.05101; schedule of L. Smith and N. Topin, arXiv 1708.07120.
    """

    def optimizers(networks: Ensemble) -> Optimizers:
        """Let weights decay that are matrices of a member and that no prior holds."""
        held = declared(networks.plan, "undecayed")
        free = [p.ndim < 3 or name in held for name, p in zip(networks.names, networks.stacked, strict=True)]
        groups = [
            {"params": [p for p, alone in zip(networks.stacked, free, strict=True) if alone is which], **decay}
            for which, decay in ((False, {"weight_decay": config.weight_decay}), (True, {"weight_decay": 0.0}))
        ]
        return (torch.optim.AdamW(groups, lr=config.learning_rate),)

    def pace(optimizers: Optimizers, step: int, done: float) -> None:
        for group in optimizers[0].param_groups:
            group["lr"] = config.learning_rate * _cycle(done, 1 / 25, 1.0, 1 / 25e4)
            group["betas"] = (_cycle(done, 0.95, 0.85, 0.95), group["betas"][1])

    return Method(optimizers, pace, config.epochs, config.seed, config.clip)


RISE = 0.1
"""Share of a cycle in which the learning rate rises."""


def _cycle(done: float, start: float, middle: float, end: float) -> float:
    """Go from start to middle to end along half cosines."""
    if done < RISE:
        return middle + (start - middle) * 0.5 * (1 + math.cos(math.pi * done / RISE))
    return end + (middle - end) * 0.5 * (1 + math.cos(math.pi * (done - RISE) / (1 - RISE)))
