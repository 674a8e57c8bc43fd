"""The models that come with the package.

Source: ours.
"""

import difflib
from collections.abc import Sequence
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


def find(name: str | Path) -> Path:
    """Find the folder of a shipped name, or take an existing folder as it is.

    Raises:
        FileNotFoundError: neither; the nearest shipped name is suggested.

    Source: ours.
    """
    if str(name) in names():
        return FOLDER / str(name)
    if (Path(name) / CARD).is_file():
        return Path(name)
    near = difflib.get_close_matches(str(name), names(), n=1)
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

    with torch.inference_mode(False):  # weights that are made within it cannot be differentiated by, ever
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


def covering(
    symbols: Sequence[str], ways_on: str = "Name a model, or train one on these elements (`ase-mlx train`)."
) -> str:
    """Name the first shipped potential that knows all of some elements.

    Args:
        symbols: of a structure.
        ways_on: what to do where there is none.

    Raises:
        ValueError: no atoms, or no such model.

    Source: ours.
    """
    if not len(symbols):
        raise ValueError("got a structure without atoms, expected at least one")
    potentials = {card["name"]: tuple(card["elements"]) for card in available() if "forces" in card["outputs"]}
    for name, elements in potentials.items():
        if set(symbols) <= set(elements):
            return name
    shipped = ", ".join(f"{name} ({' '.join(elements)})" for name, elements in potentials.items())
    raise ValueError(
        f"got {', '.join(sorted(set(symbols)))}; no shipped model knows all of these: {shipped}. {ways_on}"
    )


def available() -> list[dict[str, Any]]:
    """Describe the shipped models: name, outputs, elements, level of theory, errors (units in their names), licence.

    Source: ours.
    """
    keys = ("title", "elements", "outputs", "level_of_theory", "errors", "density", "licence")
    return [{"name": n} | {k: read_card(FOLDER / n).get(k) for k in keys} for n in names()]
