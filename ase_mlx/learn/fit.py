"""The one training loop: batches of graphs, of points or of rows, in one process or several, resumed where it stopped.

Every step depends on the seed, the epoch and its number alone, so a resumed run passes through the same states as one
never stopped; a loss is a sum of weighted means, so processes that share a batch make the model of one process.

Source: ours.
"""

import copy
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ase_mlx.keep import digest
from ase_mlx.nn.terms import Terms, counts, value

from .batches import Batches
from .distributed import add_up, count_up, processes
from .files import load_state, save_state
from .methods import Method

Loss = Callable[[Any, Any, torch.Generator], Terms]
"""(model, group of a batch, random numbers that are the same in every process) → terms."""

CHECKPOINT = "checkpoint.safetensors"
DATA, START = "data", "start"
GONE = ("feature_mean", "feature_precision", "distance_scale")
"""Buffers that potentials of earlier versions had, which were set after the fit."""
ADDED = {"model.by_element": "matrices", "model.repulsion": 1.0, "constant": 0.0, "forces_floor": 0.0}
"""Settings that earlier versions had not, and what those did."""
SECONDS = 300.0
"""Between checkpoints within an epoch; at the ends of epochs they are at most `SHORT` seconds apart."""
SHORT = 1.0


@dataclass(frozen=True)
class Stage:
    """One fit of a training: what is fitted, by which loss, on which batches.

    `name` tells the stages of one training apart; `start` says where the weights come from; `settings` are what else
    decides the outcome. A stage that has no validation batches ends with its last weights.

    Source: ours.
    """

    model: nn.Module
    loss: Loss
    train: Batches
    method: Method
    val: Batches | None = None
    name: str = ""
    start: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Progress:
    """A finished epoch: losses (dimensionless), None without validation, `parts` by term in the loss's units.

    Source: ours.
    """

    stage: str
    epoch: int
    epochs: int
    train_loss: float
    val_loss: float | None = None
    best_val_loss: float | None = None
    parts: dict[str, float] = field(default_factory=dict)


Report = Callable[[Progress], None]


def checkpoint_name(stage: str) -> str:
    """Name the checkpoint file of a stage.

    Source: ours.
    """
    return CHECKPOINT if not stage else f"checkpoint-{stage.replace(' ', '-')}.safetensors"


class _Clock:
    """How much of a training is done (dimensionless): by epochs, or by the seconds that this call has."""

    def __init__(self, method: Method, limit: float | None, now: Callable[[], float]):
        if limit is not None and not (limit > 0 and method.constant > 0 and processes()[1] == 1):
            raise ValueError(
                f"got {limit} seconds for a training with constant = {method.constant} in {processes()[1]} processes, "
                "expected some, one process, and fit.constant above 0: the next call goes on from the constant rate"
            )
        self.method, self.limit, self.now, self.began = method, limit, now, now()
        self.falling = False

    def done(self, epochs: float) -> float:
        return epochs / self.method.epochs if self.limit is None else (self.now() - self.began) / self.limit

    def over(self, epochs: float) -> bool:
        return self.done(epochs) >= 1

    def falls(self, done: float) -> bool:
        """Tell whether the learning rate falls with the time of this call."""
        return self.limit is not None and done > self.method.constant


class _State:
    """Everything that a resumed run needs: weights, their average, the best average, the optimisers' moments."""

    def __init__(self, stage: Stage):
        self.run = identity(stage)
        self.model = stage.model
        self.average = copy.deepcopy(self.model) if stage.method.ema_decay else self.model
        self.best = copy.deepcopy(self.model) if stage.val is not None else self.average
        self.optimizers = stage.method.optimizers(self.model)
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        self.averaged = list(self.average.parameters()), list(self.model.parameters())
        self.epoch, self.batch, self.step, self.total = 0, 0, 0, 0.0
        self.best_loss, self.best_epoch = math.inf, 0
        self.history: list[dict[str, float]] = []
        self.saved, self.kept = time.monotonic() - SHORT, None

    counters = ("epoch", "batch", "step", "total", "best_loss", "best_epoch", "history")

    def stale(self, method: Method) -> bool:
        """Whether the held-out loss has gained too little over the last epochs."""
        losses = [line["val_loss"] for line in self.history if "val_loss" in line]
        before, since = losses[: -method.patience], losses[-method.patience :]
        return bool(method.patience and before and not min(since) < (1 - method.gain) * min(before))

    def _modules(self) -> dict[str, nn.Module]:
        modules = {"best": self.best, "average": self.average, "model": self.model}
        return {name: module for module, name in {module: name for name, module in modules.items()}.items()}

    def save(self, path: Path) -> None:
        tensors = {}
        for prefix, module in self._modules().items():
            tensors |= {f"{prefix}.{k}": v for k, v in module.state_dict().items()}
        for which, optimizer in enumerate(self.optimizers):
            for k, entry in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer.{which}.{k}.{name}": torch.as_tensor(v) for name, v in entry.items()}
        save_state(path, tensors, {name: getattr(self, name) for name in self.counters} | {"run": self.run})
        self.saved, self.kept = time.monotonic(), (self.epoch, self.batch)

    def load(self, path: Path) -> None:
        tensors, meta = load_state(path)
        _expect_same(meta.get("run", {}), self.run, path)
        try:
            for prefix, module in self._modules().items():
                n, buffers = len(prefix) + 1, dict(module.named_buffers())
                stored = {k[n:]: v for k, v in tensors.items() if k.startswith(prefix + ".")}
                # what an earlier version had not, or has no more, is set after the fit
                added = {k: v for k, v in module.state_dict().items() if k in buffers and k not in stored}
                module.load_state_dict({k: v for k, v in stored.items() if k not in GONE} | added)
        except RuntimeError as error:
            raise ValueError(f"got a checkpoint of another model in {path}; choose another folder with -o") from error
        for which, optimizer in enumerate(self.optimizers):
            state: dict[int, dict[str, Tensor]] = {}
            for key, moment in tensors.items():
                if key.startswith(f"optimizer.{which}."):
                    _, _, index, name = key.split(".")
                    state.setdefault(int(index), {})[name] = moment
            optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
        for name in self.counters:
            setattr(self, name, meta[name])
        self.kept = self.epoch, self.batch


def fit(
    stage: Stage,
    folder: Path | None = None,
    report: Report | None = None,
    device: str | torch.device = "cpu",
    seconds: float = SECONDS,
    limit: float | None = None,
    now: Callable[[], float] = time.monotonic,
) -> list[dict[str, float]]:
    """Fit a stage's model in place, to the average of weights with the lowest validation loss; returns the history.

    Under `torch.distributed` each process takes its share of every batch; the first one writes the checkpoint.

    With a `limit` the training ends with the clock, within an epoch: the learning rate falls over the last part of
    this call's time, the checkpoint is that from before the fall, and the next call goes on from there. So the
    checkpoints of any calls are those of one training at a constant rate, whatever the clock did.

    Args:
        stage: model, loss, batches, method.
        folder: where the checkpoint is kept and resumed from; None keeps nothing.
        report: called after each epoch.
        device: for the fit; the model ends on the CPU.
        seconds: between checkpoints within an epoch (seconds).
        limit: seconds that this call has, in place of the method's number of epochs.
        now: the clock of the limit, seconds.

    Raises:
        ValueError: the checkpoint belongs to another run; a limit without a share of constant rate.
        FloatingPointError: the loss became NaN or infinite.

    Source: ours.
    """
    method, first, clock = stage.method, processes()[0] == 0, _Clock(stage.method, limit, now)
    stage.model.to(device).train()
    state = _State(stage)
    path = Path(folder) / checkpoint_name(stage.name) if folder is not None else None
    if path is not None and path.exists():
        state.load(path)

    def save(at_most_every: float = 0.0) -> None:
        due = time.monotonic() - state.saved >= at_most_every and state.kept != (state.epoch, state.batch)
        if path is not None and first and not clock.falling and due:
            state.save(path)

    while not clock.over(state.epoch) and not state.stale(method):
        progress = _judged(state, stage, device, _epoch(state, stage, device, clock, save, seconds))
        save(min(seconds, SHORT))
        if report is not None and first:
            report(progress)
    save()
    if state.best is not stage.model:
        stage.model.load_state_dict(state.best.state_dict())
    stage.model.to("cpu").eval()
    return state.history


def _judged(state: _State, stage: Stage, device: str | torch.device, train_loss: float) -> Progress:
    """Validate the average of weights, and keep it where it is the best."""
    progress = Progress(stage.name, state.epoch, max(stage.method.epochs, state.epoch), train_loss)
    line = {"epoch": state.epoch, "train_loss": train_loss}
    if stage.val is not None:
        progress.val_loss, progress.parts = mean_loss(state.average, stage, device)
        if progress.val_loss < state.best_loss:
            state.best_loss, state.best_epoch = progress.val_loss, state.epoch
            state.best.load_state_dict(state.average.state_dict())
        progress.best_val_loss = state.best_loss
        line |= {"val_loss": progress.val_loss} | progress.parts
    state.history.append(line)
    return progress


def mean_loss(model: nn.Module, stage: Stage, device: str | torch.device = "cpu") -> tuple[float, dict[str, float]]:
    """Evaluate the loss of a stage (dimensionless) and its terms over all validation batches, without training.

    Source: ours.
    """
    parts: list[Terms] = []
    for k, groups in enumerate(stage.val.epoch(0, 0, *processes())):
        random = _random(stage.method.seed, 0, k)
        for terms in (stage.loss(model, group.to(device), random) for group in groups):
            parts.append({name: replace(term, total=term.total.detach()) for name, term in terms.items()})
    shares, means = value(parts, count_up(counts(parts)))
    return float(add_up([shares.detach()])[0]), count_up(means)


def _epoch(
    state: _State, stage: Stage, device: str | torch.device, clock: _Clock, save: Callable[[float], None], every: float
) -> float:
    """Train one epoch, from the batch on that the state is at; returns the mean loss of its batches.

    Where the time is over it stays within the epoch.
    """
    steps = stage.train.steps(state.epoch)
    for groups in stage.train.epoch(state.epoch, state.batch, *processes()):
        done = clock.done(state.epoch + state.batch / steps)
        if clock.limit is not None and done >= 1:
            return state.total / max(state.batch, 1)
        if clock.falls(done) and not clock.falling:
            save(0.0)
            clock.falling = True
        stage.method.pace(state.optimizers, state.step, done)
        state.total += _step(state, stage, [group.to(device) for group in groups])
        state.batch, state.step = state.batch + 1, state.step + 1
        save(every)
    mean = state.total / steps
    state.epoch, state.batch, state.total = state.epoch + 1, 0, 0.0
    return mean


def _step(state: _State, stage: Stage, groups: list[Any]) -> float:
    """Move the weights once; returns the loss of the whole batch."""
    if stage.method.step is not None:
        return stage.method.step(state.model, state.optimizers, groups)
    random = _random(stage.method.seed, state.epoch, state.batch)
    parts = [stage.loss(state.model, group, random) for group in groups]
    loss, _ = value(parts, count_up(counts(parts)))
    for p in state.trained:
        p.grad = None
    if loss.requires_grad:
        loss.backward()
    (total,) = add_up([loss.detach()], state.trained)
    if not math.isfinite(float(total)):
        names = ", ".join(name for group in groups for name in getattr(group, "names", ()))
        raise FloatingPointError(
            f"got a loss of {float(total)} in epoch {state.epoch + 1}{f' on {names}' if names else ''}, expected a "
            "finite number; lower fit.learning_rate or look for wrong labels there; the last checkpoint is intact"
        )
    torch.nn.utils.clip_grad_norm_(state.trained, stage.method.clip)
    for optimizer in state.optimizers:
        optimizer.step()
    if stage.method.ema_decay:
        decay = min(stage.method.ema_decay, (2 + state.step) / (11 + state.step))
        with torch.no_grad():
            torch._foreach_lerp_(*state.averaged, 1 - decay)
    return float(total)


def _random(seed: int, epoch: int, batch: int) -> torch.Generator:
    state = np.random.SeedSequence([seed, epoch, batch]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> 1))


def identity(stage: Stage) -> dict[str, Any]:
    """Collect all that decides what a run becomes, by which a checkpoint knows it: settings, model, data, start.

    Source: ours.
    """
    model = stage.model
    config = asdict(model.config) if is_dataclass(getattr(model, "config", None)) else {}
    weights = next(model.parameters(), torch.empty(0))
    run = dict(stage.settings) | {f"model.{name}": setting for name, setting in config.items()}
    run |= {"model.class": type(model).__name__, "dtype": str(weights.dtype).removeprefix("torch.")}
    fixed = {name for name, p in model.named_parameters() if not p.requires_grad}
    held = {name: t for name, t in model.state_dict().items() if name in fixed} | dict(model.named_buffers())
    data = [stage.train.digest, "" if stage.val is None else stage.val.digest]
    cpu = {name: tensor.detach().cpu() for name, tensor in held.items()}
    run |= {DATA: digest(data)[:16], START: digest(stage.start, cpu)[:16]}
    return json.loads(json.dumps(run, default=str))


def _expect_same(before: dict[str, Any], run: dict[str, Any], path: Path) -> None:
    before = {name: setting for name, setting in ADDED.items() if name in run} | before
    changed = [name for name in before | run if before.get(name) != run.get(name)]
    if not changed:
        return
    changes = ", ".join(f"{name} ({_short(before.get(name))}, now {_short(run.get(name))})" for name in changed)
    of_model = any(name.startswith("model.") for name in changed)
    kinds = {"another model": of_model, "other data": DATA in changed, "another start": START in changed}
    what = " and ".join(kind for kind, so in kinds.items() if so) or f"other settings of {', '.join(changed)}"
    raise ValueError(
        f"got a checkpoint of {what} in {path} (differ: {changes}), expected that of this run; restore them, "
        "choose another folder with -o, or delete the checkpoint to start anew"
    )


def _short(setting: Any) -> str:
    text = json.dumps(setting, ensure_ascii=False)
    return text if len(text) < 40 else f"{text[:40]}…"
