"""Settings of trainings: TOML into validated frozen dataclasses.

Source: ours.
"""

import dataclasses
import difflib
import tomllib
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ase_mlx.models.ranges import WHOLE, expect_ranges
from ase_mlx.reading import reading

TOML = "a valid TOML file of settings"


@dataclass(frozen=True)
class FitConfig:
    """How to fit a network: dimensionless numbers.

    `constant` is the share of the training after which the learning rate falls.

    Source: ours.
    """

    epochs: int = 300
    batch_size: int = 5
    learning_rate: float = 3e-3
    warmup_steps: int = 100
    ema_decay: float = 0.99
    clip: float = 10.0
    patience: int = 0
    seed: int = 0
    constant: float = 0.0

    def __post_init__(self):
        """Refuse numbers that cannot train anything."""
        expect_ranges(
            self, "fit.", epochs=(1, 1e7), batch_size=(1, 1e6), learning_rate=(1e-9, 10), warmup_steps=WHOLE,
            ema_decay=(0, 1 - 1e-9), clip=(1e-9, 1e9), patience=WHOLE, seed=WHOLE, constant=(0, 0.99),
        )  # fmt: skip


@dataclass(frozen=True)
class TableFit:
    """How to fit an ensemble to a table (dimensionless numbers).

    `posterior` how the hyper-network's comes about; `outliers` the share of targets that are suspected to be wrong.

    Source: ours.
    """

    epochs: int = 40
    batch_size: int = 256
    learning_rate: float = 4e-3
    weight_decay: float = 0.1
    clip: float = 5.0
    seed: int = 0
    posterior: Literal["variational", "laplace"] = "variational"
    outliers: float = 0.0

    def __post_init__(self):
        """Refuse numbers that cannot train anything."""
        expect_ranges(
            self, "fit.", epochs=(1, 1e6), batch_size=(1, 1e6), learning_rate=(1e-9, 1), weight_decay=(0, 1e3),
            clip=(1e-6, 1e9), seed=WHOLE, outliers=(0, 1),
        )  # fmt: skip


def build(cls: type, values: dict[str, Any], where: str = "") -> Any:
    """Make a config dataclass (units as its class says) from a table, naming unknown, missing and mistyped keys.

    `where` is the table's name in messages, empty at the top of a file.

    Raises:
        ValueError: an unknown key (with the nearest known one), a missing key, or a value of another type.

    Source: ours.
    """
    place = f"in [{where}]" if where else "outside the tables"
    if not isinstance(values, dict):
        raise ValueError(f"got {values!r} {place}, expected a table of settings")
    fields = {f.name: f for f in dataclasses.fields(cls)}
    hints = typing.get_type_hints(cls)
    for key in values:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"got unknown key {key!r} {place}{hint} (known: {', '.join(fields)})")
    for name, f in fields.items():
        required = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if required and name not in values:
            if dataclasses.is_dataclass(hints[name]):
                raise ValueError(f"got no table [{name}], expected one; add it")
            raise ValueError(f"got no {name!r} {place}, expected it; add a line `{name} = …`")
    return cls(**{k: _convert(hints[k], v, f"{where}.{k}" if where else k) for k, v in values.items()})


def _convert(hint: Any, value: Any, where: str) -> Any:
    if hint is Any:
        return value
    if typing.get_origin(hint) is types.UnionType:  # X | None
        return None if value is None else _convert(typing.get_args(hint)[0], value, where)
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise ValueError(f"got {where} = {value!r}, expected a table [{where}]")
        return build(hint, value, where)
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"got {where} = {value!r}, expected a list")
        return tuple(_convert(typing.get_args(hint)[0], v, where) for v in value)
    if typing.get_origin(hint) is typing.Literal:
        if value not in typing.get_args(hint):
            raise ValueError(f"got {where} = {value!r}, expected one of {', '.join(map(repr, typing.get_args(hint)))}")
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    plain = typing.get_origin(hint) or hint
    if isinstance(plain, type) and (not isinstance(value, plain) or (plain is not bool and isinstance(value, bool))):
        raise ValueError(f"got {where} = {value!r} ({type(value).__name__}), expected {plain.__name__}")
    return value


def read_toml(path: str | Path) -> dict[str, Any]:
    """Read the tables of a TOML file, UTF-8 whatever the locale.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no valid TOML.

    Source: ours.
    """
    path = Path(path)
    with reading(path, TOML, "save it as UTF-8 text"):
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
