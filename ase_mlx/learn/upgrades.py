"""From model files of earlier versions to today's: one named step a schema. Nothing here imports torch.

Source: ours.
"""

from collections.abc import Callable, MutableMapping
from typing import Any

Tensors = MutableMapping[str, Any]


def without_counter_of_draws(card: dict[str, Any], tensors: Tensors) -> None:
    """Leave out of point densities the counter that their loss once kept in the model.

    Source: ours.
    """
    if card.get("kind") == "point_density":
        tensors.pop("draws", None)


UPGRADES: dict[int, Callable[[dict[str, Any], Tensors], None]] = {1: without_counter_of_draws}
"""From schema n to n + 1; each changes a card, and the tensors where they are at hand, in place."""

SCHEMA = 1 + len(UPGRADES)


def upgrade(card: dict[str, Any], tensors: Tensors | None = None) -> None:
    """Bring a card, and the tensors that belong to it, to today's schema, in place.

    Source: ours.
    """
    for version in range(card["schema"], SCHEMA):
        UPGRADES[version](card, {} if tensors is None else tensors)
    card["schema"] = SCHEMA
