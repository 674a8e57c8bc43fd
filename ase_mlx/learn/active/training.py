"""One training of an active learning, in a folder of its own: killed, it goes on; done, it is done.

Source: ours.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ase_mlx.data.io import write_frames
from ase_mlx.data.label import content_key
from ase_mlx.keep import digest
from ase_mlx.progress import Steps

from ..cards import CARD
from ..config import build
from ..recipes.potential import PotentialRecipe, PotentialTraining
from ..run import run

FRAMES = "frames.extxyz"


def train_in(
    folder: Path, frames: Sequence[Any], table: dict[str, Any], card: dict[str, Any], steps: Steps | None = None
) -> None:
    """Train a potential on labelled structures (eV, Å) into a folder, unless that is done.

    Args:
        folder: of this training alone; it keeps the structures, and the checkpoint until it is done.
        frames: with `info["part"]`.
        table: settings of the training without the file.
        card: more lines for the card.
        steps: called with epochs done and all.

    Raises:
        ValueError: settings or structures that nothing can be trained on.
        OSError: the folder cannot be written.

    Source: ours.
    """
    if (folder / CARD).is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / FRAMES).is_file():
        write_frames(folder / FRAMES, list(frames))
    data = table.get("data", {}) | {"file": str(folder / FRAMES)}
    recipe = PotentialRecipe(build(PotentialTraining, table | {"data": data}))
    run(recipe, folder, None if steps is None else lambda p: steps(p.epoch, p.epochs), card=card)
    for checkpoint in folder.glob("checkpoint*"):
        checkpoint.unlink()


def labels_digest(frames: Sequence[Any]) -> str:
    """Know labelled structures (Å, eV) again by what is on them, and what they are for.

    Source: ours.
    """
    numbers = [(content_key(atoms), dict(atoms.calc.results) if atoms.calc is not None else {}) for atoms in frames]
    return digest(numbers)[:12]
