"""A training that ends with the clock: the learning rate falls with the time that is used, not with epochs.

Source: ours.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ase_mlx.learn.files import load_state, model_folder, save_model
from ase_mlx.learn.fit import checkpoint_name, fit
from ase_mlx.learn.recipe import Recipe

MOST_EPOCHS = 1_000_000

LATE = 1.2
"""Share of its time after which a training ends within an epoch."""


class _TimeUp(Exception):
    """The time of a training is used."""


class _Timer:
    """Paces a training by the time that is used, and ends it."""

    def __init__(self, by_share, seconds: float, now, used: float, keep, progress):
        self.by_share, self.seconds, self.now, self.keep, self.progress = by_share, seconds, now, keep, progress
        self.used, self.began, self.last, self.whole = used, now(), now(), used > 0

    def spent(self) -> float:
        return self.used + self.now() - self.began

    def pace(self, optimizers, step: int, done: float) -> None:
        share = self.spent() / max(self.seconds, 1e-9)
        if share > LATE and self.whole:
            self.keep(self.spent())
            raise _TimeUp
        self.by_share(optimizers, step, min(share, 1.0))

    def report(self, epoch) -> None:
        took, self.last, self.whole = self.now() - self.last, self.now(), True
        self.keep(self.spent())
        self.progress(int(self.spent()), int(self.seconds))
        if self.spent() + took / 2 > self.seconds:
            raise _TimeUp


def train_for(
    recipe: Recipe,
    folder: str | Path,
    seconds: float,
    now: Callable[[], float],
    used: float = 0.0,
    keep: Callable[[float], None] = lambda used: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    card: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Train a model of one stage for some seconds and write it to a folder; a later call goes on from the checkpoint.

    Args:
        recipe: with all data read.
        folder: gets the checkpoint, then the model.
        seconds: of the whole training, seconds.
        now: the clock, seconds.
        used: of these by earlier calls, seconds.
        keep: called after each epoch, and where one is broken off, with the seconds used.
        progress: called after each epoch with the seconds used and all, whole numbers.
        card: more lines for the card.

    Returns:
        The lines of the card (units in their names).

    Raises:
        ValueError: the checkpoint belongs to another training.
        OSError: the folder cannot be written.

    Source: ours.
    """
    (stage,) = recipe.stages()
    folder, timer = Path(folder), _Timer(stage.method.pace, seconds, now, used, keep, progress)
    timed = replace(stage, method=replace(stage.method, pace=timer.pace, epochs=MOST_EPOCHS))
    with model_folder(folder, recipe.model):
        try:
            fit(timed, folder, timer.report)
        except _TimeUp:
            tensors, meta = load_state(folder / checkpoint_name(stage.name))
            best = {name.removeprefix("best."): x for name, x in tensors.items() if name.startswith("best.")}
            recipe.model.load_state_dict(best)
            recipe.epochs = {stage.name: meta["epoch"]}
        recipe.model.to("cpu").eval()
        lines = recipe.finish() | (card or {})
        save_model(recipe.model, folder, lines)
    return lines
