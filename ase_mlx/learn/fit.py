"""The one training loop.

Epochs are shuffled by seed and number, so a resumed run passes through the same states as one never stopped.

Source: ours; optimisers and averages as the functions say.
"""

import copy
import hashlib
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ase_mlx.data.samples import Trainable, batches

from .config import FitConfig
from .files import load_state, save_state
from .muon import Muon

Loss = Callable[[Any, Any], tuple[Tensor, dict[str, float]]]
CHECKPOINT = "checkpoint.safetensors"


@dataclass
class Progress:
    """One line a finished epoch: losses are dimensionless, `parts` in the units of the loss's parts.

    Source: ours.
    """

    epoch: int
    epochs: int
    train_loss: float
    val_loss: float
    best_val_loss: float
    parts: dict[str, float] = field(default_factory=dict)


def learning_rate(config: FitConfig, step: int, steps: int) -> float:
    """Warm up linearly, then fall along a half cosine (dimensionless).

    Source: Loshchilov and Hutter, arXiv 1608.03983, without restarts.
    """
    warm = min(1.0, (step + 1) / max(config.warmup_steps, 1))
    return config.learning_rate * (warm * 0.5 * (1 + math.cos(math.pi * step / steps)) + 1e-4)


def mean_loss(
    model: nn.Module, loss: Loss, samples: list[Trainable], batch_size: int
) -> tuple[float, dict[str, float]]:
    """Average a loss and its parts over samples, without training (units of the loss).

    A part is averaged over the batches that have it.

    Source: ours.
    """
    total, parts, counts = 0.0, {}, {}
    for group in batches(samples, batch_size):
        value, now = loss(model, group)
        total += float(value.detach()) * group.graph.n_graphs
        for name, x in now.items():
            parts[name] = parts.get(name, 0.0) + x * group.graph.n_graphs
            counts[name] = counts.get(name, 0) + group.graph.n_graphs
    return total / len(samples), {name: x / counts[name] for name, x in parts.items()}


def optimizers(model: nn.Module, rate: float) -> tuple[torch.optim.Optimizer, ...]:
    """Give weight matrices to Muon; embeddings, gains, heads, spreads, vectors to AdamW, at one (dimensionless) rate.

    Source: Jordan et al. (2024), kellerjordan.github.io/posts/muon; Loshchilov and Hutter, arXiv 1711.05101.
    """
    matrices, others = [], []
    for name, p in model.named_parameters():
        single = p.ndim < 2 or name.rsplit(".", 1)[-1] in ("embedding", "gain", "head", "spread")
        (others if single else matrices).append(p)
    return (
        Muon(matrices, rate),
        torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.99), eps=1e-10, weight_decay=0.0),
    )


class _State:
    """Everything that a resumed run needs: weights, their average, the best average, the optimiser's moments."""

    def __init__(self, model: nn.Module, config: FitConfig, data: str):
        self.data = data
        self.model, self.average, self.best = model, copy.deepcopy(model), copy.deepcopy(model)
        self.optimizers = optimizers(model, config.learning_rate)
        self.epoch, self.best_loss, self.best_epoch = 0, math.inf, 0
        self.history: list[dict[str, float]] = []

    def stale(self, patience: int) -> bool:
        return patience > 0 and self.epoch - self.best_epoch >= patience

    def save(self, path: Path, config: FitConfig) -> None:
        tensors = {}
        for prefix, module in (("model", self.model), ("average", self.average), ("best", self.best)):
            tensors |= {f"{prefix}.{k}": v for k, v in module.state_dict().items()}
        for which, optimizer in enumerate(self.optimizers):
            for k, entry in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer.{which}.{k}.{name}": torch.as_tensor(v) for name, v in entry.items()}
        meta = {n: getattr(self, n) for n in ("epoch", "best_loss", "best_epoch", "history")} | {"fit": asdict(config)}
        meta["data"] = self.data
        save_state(path, tensors, meta)

    def load(self, path: Path, config: FitConfig) -> None:
        tensors, meta = load_state(path)
        if meta.get("data") != self.data:
            raise ValueError(
                f"got a checkpoint of a run on other frames, or from another start, in {path}, expected those of this "
                "run; restore them, choose another folder with -o, or delete the checkpoint to start anew"
            )
        if meta["fit"] != asdict(config):
            changed = [k for k, v in asdict(config).items() if meta["fit"].get(k) != v]
            raise ValueError(
                f"got a checkpoint of a run with other settings of {', '.join(changed)} in {path}, expected the same; "
                "restore them, choose another folder with -o, or delete the checkpoint to start anew"
            )
        try:
            for prefix, module in (("model", self.model), ("average", self.average), ("best", self.best)):
                n = len(prefix) + 1
                module.load_state_dict({k[n:]: v for k, v in tensors.items() if k.startswith(prefix + ".")})
        except RuntimeError as error:
            raise ValueError(f"got a checkpoint of another model in {path}; choose another folder with -o") from error
        for which, optimizer in enumerate(self.optimizers):
            state: dict[int, dict[str, Tensor]] = {}
            for key, value in tensors.items():
                if key.startswith(f"optimizer.{which}."):
                    _, _, index, name = key.split(".")
                    state.setdefault(int(index), {})[name] = value
            optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
        for name in ("epoch", "best_loss", "best_epoch", "history"):
            setattr(self, name, meta[name])


def fit(
    model: nn.Module,
    loss: Loss,
    train: list[Trainable],
    val: list[Trainable],
    config: FitConfig,
    folder: Path | None = None,
    report: Callable[[Progress], None] | None = None,
    origin: str = "",
) -> tuple[nn.Module, list[dict[str, float]]]:
    """Fit any model by any loss; returns the average of weights with the lowest validation loss, and the history.

    Args:
        model: trained in place, in its own dtype, on its own device.
        loss: (model, sample) → (scalar, parts), dimensionless scalar.
        train: samples (eV, Å).
        val: samples (eV, Å) that choose the epoch and stop the run; never trained on.
        config: settings, dimensionless.
        folder: where `checkpoint.safetensors` is kept and resumed from; None keeps nothing.
        report: called after each epoch.
        origin: where the weights come from; a checkpoint of another origin is refused.

    Raises:
        ValueError: the checkpoint belongs to another run.
        FloatingPointError: the loss became NaN or infinite.

    Source: ours.
    """
    state = _State(model.train(), config, _digest([*train, *val], origin))
    state.average.train()
    path = Path(folder) / CHECKPOINT if folder is not None else None
    if path is not None and path.exists():
        state.load(path, config)
    steps_per_epoch = math.ceil(len(train) / config.batch_size)
    while state.epoch < config.epochs and not state.stale(config.patience):
        train_loss = _epoch(state, loss, train, config, steps_per_epoch)
        state.epoch += 1
        val_loss, parts = mean_loss(state.average, loss, val, 4 * config.batch_size)
        if val_loss < state.best_loss:
            state.best_loss, state.best_epoch = val_loss, state.epoch
            state.best.load_state_dict(state.average.state_dict())
        state.history.append({"epoch": state.epoch, "train_loss": train_loss, "val_loss": val_loss} | parts)
        if path is not None:
            state.save(path, config)
        if report is not None:
            report(Progress(state.epoch, config.epochs, train_loss, val_loss, state.best_loss, parts))
    return state.best.eval(), state.history


def _digest(samples: list[Trainable], origin: str) -> str:
    """Fingerprint of positions, targets and origin, by which a checkpoint knows its run."""
    found = hashlib.sha256(origin.encode())
    for s in samples:
        for array in (s.graph.numbers, s.graph.positions, *s.targets.values(), *s.weight.values()):
            found.update(array.cpu().numpy().tobytes())
    return found.hexdigest()


def _loss(loss: Loss, model: nn.Module, picked: list[Trainable]) -> Tensor:
    """Mean loss of a batch; crystals and structures without a volume go through the model apart."""
    groups = batches(picked, len(picked))
    return sum(loss(model, g)[0] * (g.graph.n_graphs / len(picked)) for g in groups)


def _epoch(state: _State, loss: Loss, train: list[Trainable], config: FitConfig, steps_per_epoch: int) -> float:
    """Train one epoch; the order depends on seed and epoch alone. Returns the mean loss (dimensionless)."""
    order = np.random.default_rng([config.seed, state.epoch]).permutation(len(train))
    total = 0.0
    for k in range(steps_per_epoch):
        step = state.epoch * steps_per_epoch + k
        for group in (g for optimizer in state.optimizers for g in optimizer.param_groups):
            group["lr"] = learning_rate(config, step, config.epochs * steps_per_epoch)
        picked = [train[i] for i in order[k * config.batch_size : (k + 1) * config.batch_size]]
        state.model.zero_grad(set_to_none=True)
        value = _loss(loss, state.model, picked)
        if not torch.isfinite(value):
            names = ", ".join(name for s in picked for name in s.names)
            raise FloatingPointError(
                f"got a loss of {float(value.detach())} in epoch {state.epoch + 1} on {names}, expected a finite "
                "number; lower fit.learning_rate or look for wrong labels there; the last checkpoint is intact"
            )
        value.backward()
        torch.nn.utils.clip_grad_norm_(state.model.parameters(), config.clip)
        for optimizer in state.optimizers:
            optimizer.step()
        total += float(value.detach()) * len(picked)
        decay = min(config.ema_decay, (2 + step) / (11 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(state.average.parameters()), list(state.model.parameters()), 1 - decay)
    return total / len(train)
