"""Bounds of settings, wherever they come from: a TOML file, a model's card, a call.

Source: ours.
"""

from typing import Any

SIZE = (1, 4096)
"""Of layers of networks: a hundred times what any model here has, and still a model that fits into memory."""

ELEMENTS = (1, 118)
"""Atomic numbers."""

WHOLE = (0, 2**32 - 1)
"""Of counts and seeds."""


def expect_ranges(config: Any, where: str = "", **ranges: tuple[float, float]) -> None:
    """Refuse settings (units as their class says) outside their bounds, NaN among them; None is no value.

    Args:
        config: has the settings as attributes; of a tuple every entry counts.
        where: put before the names in messages, as in "fit.".
        ranges: the least and the largest value of each.

    Raises:
        ValueError: a value is outside, or no number.

    Source: ours.
    """
    for name, (least, largest) in ranges.items():
        size = getattr(config, name)
        for value in size if isinstance(size, tuple | list) else (size,):
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if value is not None and not (number and least <= value <= largest):
                raise ValueError(f"got {where}{name} = {value!r}, expected a number from {least:g} to {largest:g}")
