"""Cards of model folders, read without torch: what a model is, before anything slow is imported.

Source: ours.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ase_mlx.reading import parsed_json, reading

SCHEMA = 1
WEIGHTS, CARD = "model.safetensors", "card.json"
AGAIN = "the file is damaged: copy the model folder again from where it came"

UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""From schema n to n + 1: one named step a version."""


def read_card(folder: str | Path) -> dict[str, Any]:
    """Read and upgrade the card of a model folder (units as the card says).

    Raises:
        FileNotFoundError: no such folder, or no card in it.
        ValueError: no valid card, or one of a newer schema.

    Source: ours.
    """
    path = Path(folder) / CARD
    if not path.is_file():
        raise FileNotFoundError(
            f"got {str(folder)!r}, expected a model folder with {CARD} and {WEIGHTS}; check the path"
        )
    with reading(path, "a valid model card", AGAIN):
        card = parsed_json(path.read_text(encoding="utf-8"), parse_constant=_no_constant)
        version = card["schema"]
        if type(version) is not int or version < 1:
            raise ValueError(f"got {path} of schema {version!r}, expected 1 to {SCHEMA}; {AGAIN}")
        if version > SCHEMA:
            raise ValueError(f"got {path} of schema {version}, but this ase_mlx reads up to {SCHEMA}; update ase_mlx")
    for step in range(version, SCHEMA):
        card = UPGRADES[step](card)
    return card


def _no_constant(name: str) -> float:
    raise ValueError(f"got {name} in a card, expected finite numbers; {AGAIN}")
