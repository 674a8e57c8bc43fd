"""The one training loop.

Epochs are shuffled by seed and number, so a resumed run passes through the same states as one never stopped.

Source: ours; optimisers and averages as the functions say.
"""

import copy
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ase_mlx.data.samples import Trainable, batches
from ase_mlx.keep import digest

from .config import FitConfig
from .files import load_state, save_state
from .muon import Muon

Loss = Callable[[Any, Any], tuple[Tensor, dict[str, float]]]
CHECKPOINT = "checkpoint.safetensors"
FRAMES, START = "frames", "start"


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

    def __init__(self, model: nn.Module, config: FitConfig, run: dict[str, Any]):
        self.run = run
        self.model, self.average, self.best = model, copy.deepcopy(model), copy.deepcopy(model)
        self.optimizers = optimizers(model, config.learning_rate)
        self.epoch, self.best_loss, self.best_epoch = 0, math.inf, 0
        self.history: list[dict[str, float]] = []

    def stale(self, patience: int) -> bool:
        return patience > 0 and self.epoch - self.best_epoch >= patience

    def save(self, path: Path) -> None:
        tensors = {}
        for prefix, module in (("model", self.model), ("average", self.average), ("best", self.best)):
            tensors |= {f"{prefix}.{k}": v for k, v in module.state_dict().items()}
        for which, optimizer in enumerate(self.optimizers):
            for k, entry in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer.{which}.{k}.{name}": torch.as_tensor(v) for name, v in entry.items()}
        meta = {n: getattr(self, n) for n in ("epoch", "best_loss", "best_epoch", "history")} | {"run": self.run}
        save_state(path, tensors, meta)

    def load(self, path: Path) -> None:
        tensors, meta = load_state(path)
        before = meta.get("run", {})
        changed = [name for name in before | self.run if before.get(name) != self.run.get(name)]
        if changed:
            told = ", ".join(
                f"{name} ({_short(before.get(name))}, now {_short(self.run.get(name))})" for name in changed
            )
            of_model = any(name.startswith("model.") for name in changed)
            kinds = {"another model": of_model, "other frames": FRAMES in changed, "another start": START in changed}
            what = " and ".join(kind for kind, so in kinds.items() if so) or f"other settings of {', '.join(changed)}"
            raise ValueError(
                f"got a checkpoint of {what} in {path} (differ: {told}), expected that of this run; restore them, "
                "choose another folder with -o, or delete the checkpoint to start anew"
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
    state = _State(model.train(), config, _run(model, config, train, val, origin))
    state.average.train()
    path = Path(folder) / CHECKPOINT if folder is not None else None
    if path is not None and path.exists():
        state.load(path)
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
            state.save(path)
        if report is not None:
            report(Progress(state.epoch, config.epochs, train_loss, val_loss, state.best_loss, parts))
    return state.best.eval(), state.history


def _run(
    model: nn.Module, config: FitConfig, train: list[Trainable], val: list[Trainable], origin: str
) -> dict[str, Any]:
    """All that decides what a run becomes, by which a checkpoint knows it: settings, model, frames, start."""
    settings = asdict(model.config) if is_dataclass(getattr(model, "config", None)) else {}
    weights = next(model.parameters(), torch.empty(0))
    run = asdict(config) | {f"model.{name}": value for name, value in settings.items()}
    run |= {"model.class": type(model).__name__, "dtype": str(weights.dtype).removeprefix("torch.")}
    fixed = {name: None for name, p in model.named_parameters() if not p.requires_grad}
    held = {name: tensor for name, tensor in model.state_dict().items() if name in fixed} | dict(model.named_buffers())
    run |= {FRAMES: digest([_plain(s) for s in (*train, *val)])[:16], START: digest(origin, held)[:16]}
    return json.loads(json.dumps(run, default=str))


def _plain(value: Any) -> Any:
    """What a sample holds, without its class and its names."""
    if is_dataclass(value):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value) if each.name != "names"}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "graph") and hasattr(value, "targets"):
        return _plain([value.graph, dict(value.targets), dict(value.weight)])
    return value


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) < 40 else f"{text[:40]}…"


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
