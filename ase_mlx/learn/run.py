"""The one training: read, fit stage by stage, finish, write the model with its card. For every kind of model.

Source: ours.
"""

from contextlib import nullcontext
from dataclasses import asdict, is_dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ase_mlx.processes import expect_device

from .distributed import meet, processes
from .files import load_state, model_folder, save_model, save_state
from .fit import Report, Stage, checkpoint_name, fit, identity
from .recipe import Recipe

ENDED = "ended-{}"
"""Weights at the end of a call of limited time, until its model is written."""

ENDING = 60.0
"""Seconds that processes of an attempt which lost one of them may take to end, and hold the folder."""


def run(
    recipe: Recipe,
    folder: str | Path,
    report: Report | None = None,
    device: str = "cpu",
    card: dict[str, Any] | None = None,
    minutes: float | None = None,
) -> tuple[torch.nn.Module, dict[str, Any]]:
    """Train a model and write it to a folder; run again after a kill, it goes on where it stopped.

    Under `torch.distributed` every process runs this; the first one writes.

    Args:
        recipe: of a kind, made with its settings: `read_training` gives both.
        folder: gets model.safetensors, card.json and the checkpoints.
        report: called after each epoch of each stage.
        device: "cpu" or a torch device for the fit; what follows is done on the CPU.
        card: more lines for the card, such as a title.
        minutes: that each stage with a share of constant rate, and the first, has in this call, in place of epochs, in
            units of 60 s; `fit` says how it goes on.

    Returns:
        The model and the lines of its card (units in their names).

    Raises:
        ValueError: no such device, a checkpoint of another training, minutes without a constant rate; nothing is
            written.
        OSError: the folder cannot be written, or another process is training into it.

    Source: ours.
    """
    place = expect_device(device)
    rank, count = processes()
    first = rank == 0
    patience = ENDING if count > 1 else 0.0
    with model_folder(folder, recipe.model, patience) if first else nullcontext(Path(folder)) as folder:
        meet()  # nobody reads a checkpoint that an earlier attempt may still write
        config = getattr(recipe.model, "config", None)
        sizes = {f"model.{key}": size for key, size in asdict(config).items()} if is_dataclass(config) else {}
        recipe.epochs = {}
        for stage in recipe.stages():
            by_epochs = minutes is None or (recipe.epochs and not stage.method.constant)  # a later, short stage
            limit = None if by_epochs else 60 * minutes
            history = _fitted(replace(stage, settings=dict(stage.settings) | sizes), folder, report, place, limit)
            recipe.epochs[stage.name] = history[-1]["epoch"]
        lines = recipe.finish() | (card or {})
        if first:
            save_model(recipe.model, folder, lines)
            recipe.write(folder)
            for ended in folder.glob(ENDED.format("*")):
                ended.unlink()
    return recipe.model, lines


def _fitted(
    stage: Stage, folder: Path, report: Report | None, device: torch.device, limit: float | None
) -> list[dict[str, float]]:
    """Fit a stage, or take up what a call of limited time had fitted before it was killed on its way to the model."""
    if limit is None:
        return fit(stage, folder, report, device)
    ended, run = folder / ENDED.format(checkpoint_name(stage.name)), identity(stage)
    if ended.exists():
        tensors, meta = load_state(ended)
        if meta["run"] == run:
            stage.model.load_state_dict(tensors)
            stage.model.eval()
            return meta["history"]
    history = fit(stage, folder, report, device, limit=limit)
    save_state(ended, stage.model.state_dict(), {"run": run, "history": history})
    return history
