"""Cards of model folders, read without torch: what a model is, before anything slow is imported.

Source: ours.
"""

from pathlib import Path
from typing import Any

from ase_mlx.reading import parsed_json, reading

from .upgrades import SCHEMA, upgrade

WEIGHTS, CARD = "model.safetensors", "card.json"
AGAIN = "the file is damaged: copy the model folder again from where it came"


def read_card(folder: str | Path, as_written: bool = False) -> dict[str, Any]:
    """Read the card of a model folder (units as the card says), brought to today's schema unless `as_written`.

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
    if not as_written:
        upgrade(card)
    return card


def weights_of(folder: str | Path, card: dict[str, Any]) -> tuple[Path, str]:
    """Find the folder with a model's weights, and what their names begin with.

    A model that is a part of another one says `part_of` in its card: the name of that model's folder, beside its own,
    and the prefix of its weights there.

    Raises:
        ValueError: `part_of` names no neighbour.

    Source: ours.
    """
    part = card.get("part_of")
    if part is None:
        return Path(folder), ""
    name = str(part["model"])
    if name != Path(name).name or name in ("", "..") or not str(part["prefix"]):
        raise ValueError(
            f"got a card that is part of {name!r}, expected the name of a model's folder beside it; {AGAIN}"
        )
    return Path(folder).parent / name, str(part["prefix"])


def _no_constant(name: str) -> float:
    raise ValueError(f"got {name} in a card, expected finite numbers; {AGAIN}")
