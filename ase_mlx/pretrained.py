"""The models that come with the package, and those that the user keeps by name.

Source: ours.
"""

import difflib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ase_mlx.learn.cards import CARD, read_card

if TYPE_CHECKING:
    from ase_mlx.adapters.ase.generator import Generator
    from ase_mlx.graph import Points
    from ase_mlx.models import Model, Prediction

FOLDER = Path(__file__).resolve().parent / "weights"


def names() -> tuple[str, ...]:
    """List the shipped names.

    Source: ours.
    """
    return tuple(sorted(p.parent.name for p in FOLDER.glob(f"*/{CARD}")))


def user_folder() -> Path:
    """Where `ase-mlx import NAME` keeps models: ASE_MLX_MODELS, or ase-mlx/models of the user's data folder.

    Source: the XDG base directory specification.
    """
    if own := os.environ.get("ASE_MLX_MODELS"):
        return Path(own)
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "ase-mlx" / "models"


def user_names() -> tuple[str, ...]:
    """List the names of the models in `user_folder`.

    Source: ours.
    """
    return tuple(sorted(p.parent.name for p in user_folder().glob(f"*/{CARD}")))


def find(name: str | Path) -> Path:
    """Find the folder of a shipped name, take an existing folder as it is, or find the user's model of that name.

    Raises:
        FileNotFoundError: none of these; the nearest name is suggested.

    Source: ours.
    """
    if str(name) in names():
        return FOLDER / str(name)
    if (Path(name) / CARD).is_file():
        return Path(name)
    if str(name) in (own := user_names()):
        return user_folder() / str(name)
    near = difflib.get_close_matches(str(name), (*names(), *own), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise FileNotFoundError(
        f"got {str(name)!r}, expected a shipped model ({', '.join(names())}) or a folder of `ase-mlx train` or "
        f"`ase-mlx import`{hint}"
    )


def load(name: str | Path) -> "Model | Generator":
    """Load a shipped model by name, or a trained one by its folder (units: eV, Å), float32, ready to predict.

    A model that generates structures speaks `ase.Atoms`: `sample`, `decode`, `interpolate` and `optimize` give them,
    `encode` takes them.

    Raises:
        FileNotFoundError: no such model.
        ValueError: a damaged model file.

    Source: ours.
    """
    folder = find(name)  # before torch is imported, which takes seconds
    import torch

    from ase_mlx.learn.files import load_model
    from ase_mlx.models import Generates

    # weights made within inference mode cannot be differentiated by, ever; tables made within autocast have two digits
    with torch.inference_mode(False), torch.autocast("cpu", enabled=False):
        model = load_model(folder)
    if not isinstance(model, Generates):
        return model
    from ase_mlx.adapters.ase.generator import Generator  # the one door from here to a gate: see pyproject.toml

    return Generator(model)


def predict(
    model: "Model | str | Path",
    atoms: Any,
    std: bool = True,
    at: "Points | list[Points] | None" = None,
    charge: float | None = None,
    blocks: bool = False,
    members: bool = False,
) -> "Prediction | list[Prediction]":
    """Predict with a model, a shipped name or a trained model's folder: `ase_mlx.models.predict.predict` (eV, Å, e).

    A model that is given by its name is loaded at every call: load it once, where there are many.

    Raises:
        FileNotFoundError: no such model.
        ValueError: as there.

    Source: ours.
    """
    loaded = load(model) if isinstance(model, str | Path) else model
    from ase_mlx.adapters.ase.generator import Generator
    from ase_mlx.models.predict import predict as predictions

    learned = loaded.model if isinstance(loaded, Generator) else loaded
    return predictions(learned, atoms, std, at, charge, blocks, members)


def available() -> list[dict[str, Any]]:
    """Describe the shipped models: name, outputs, elements, level of theory, errors (units in their names), licence.

    Source: ours.
    """
    keys = ("title", "elements", "outputs", "level_of_theory", "errors", "density", "licence")
    return [{"name": n} | {k: read_card(FOLDER / n).get(k) for k in keys} for n in names()]
