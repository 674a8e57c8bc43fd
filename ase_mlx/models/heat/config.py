"""What a field of temperature is of: the problem as its file gives it, and the sizes of the networks.

Source: ours.
"""

from dataclasses import dataclass, field
from typing import Any

from ase_mlx.heat import Face, Layer, Problem

from ..ranges import expect_ranges


@dataclass(frozen=True)
class Unknown:
    """What measurements are to tell: its `value` before, and either a `std` in its own unit or a relative `spread`.

    With a spread its logarithm is normal, so that it stays positive.

    Source: ours.
    """

    value: float
    std: float | None = None
    spread: float | None = None

    def __post_init__(self):
        """Refuse what is no prior.

        Raises:
            ValueError: both or none of the widths, or one that is not positive.
        """
        if (self.std is None) == (self.spread is None) or not (self.std or self.spread or 0) > 0:
            raise ValueError(f"got an unknown with std {self.std} and spread {self.spread}, expected one, above 0")
        if self.spread is not None and not self.value > 0:
            raise ValueError(f"got an unknown of value {self.value} with a spread, expected a positive value")


@dataclass(frozen=True)
class HeatConfig:
    """A problem as its file has it (m, s, K, W), and the networks of its layers, by `SeparableNetwork`'s sizes.

    `windows` is the number of stretches of time that are solved one after the other.

    Source: ours.
    """

    problem: dict[str, Any]
    unknowns: dict[str, Any] = field(default_factory=dict)
    rank: int = 6
    width: int = 12
    depth: int = 2
    steepness: float = 2.5
    windows: int = 1

    def __post_init__(self):
        """Refuse sizes that are none.

        Raises:
            ValueError: naming the setting.
        """
        expect_ranges(
            self, "model.", rank=(1, 64), width=(2, 64), depth=(1, 4), steepness=(1e-3, 100), windows=(1, 1000)
        )  # fmt: skip


def problem_of(table: dict[str, Any], unknowns: dict[str, float] | None = None) -> Problem:
    """Make the problem of a file's tables (m, s, K, W).

    Raises:
        ValueError: saying what is wrong.

    Source: ours.
    """
    table = dict(table)
    layers = tuple(layer if isinstance(layer, Layer) else _made(Layer, layer) for layer in table.pop("layers", ()))
    faces = {name: _made(Face, face) for name, face in table.pop("faces", {}).items()}
    size = table.pop("size", ())
    return Problem(tuple(map(float, size)), layers, faces, unknowns=unknowns or {}, **table)


def _made(kind: type, table: Any) -> Any:
    names = kind.__dataclass_fields__
    if not isinstance(table, dict) or set(table) - set(names):
        extra = ", ".join(sorted(set(table) - set(names))) if isinstance(table, dict) else repr(table)
        raise ValueError(f"got {extra} in a {kind.__name__.lower()}, expected {', '.join(names)}")
    return kind(**table)
