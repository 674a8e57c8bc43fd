"""What every model is: a map from a graph to a `Prediction`.

Source: ours.
"""

import abc
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import nn

from ase_mlx.graph import Graph, Points
from ase_mlx.quantities import ALL, SYMBOLS, Quantity


class Prediction(Mapping[str, Any]):
    """A read-only map from quantity names to arrays in the package's units (eV, Å, eV/Å, eV/Å³).

    `std` maps the same names to calibrated standard deviations and `members` to the values of every ensemble member,
    member axis first; a name is absent there where nothing is known, never zero.

    Source: ours.
    """

    __slots__ = ("_values", "members", "std")

    def __init__(
        self, values: Mapping[str, Any], std: Mapping[str, Any] | None = None, members: Mapping[str, Any] | None = None
    ):
        """Wrap arrays in the package's units."""
        self._values = MappingProxyType(dict(values))
        self.std: Mapping[str, Any] = MappingProxyType(dict(std or {}))
        self.members: Mapping[str, Any] = MappingProxyType(dict(members or {}))

    def __getitem__(self, name: str) -> Any:
        """Return one quantity, or say which there are."""
        if name not in self._values:
            field = name in ALL and ALL[name].per == "point"
            hint = ": a field is predicted at points, such as am.predict(..., at=am.grid(atoms, spacing=0.2))"
            raise KeyError(f"got {name!r}, but this prediction holds {', '.join(self._values)}{hint if field else ''}")
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._values)

    def __len__(self) -> int:
        """Count the quantities."""
        return len(self._values)

    def __repr__(self) -> str:
        """List the names and which of them have an error bar."""
        return f"Prediction({', '.join(n + (' ± std' if n in self.std else '') for n in self)})"


def as_tensors(prediction: Prediction) -> Prediction:
    """Wrap a prediction's numpy arrays in torch tensors (same units), as every model returns them.

    Source: ours.
    """
    wrap = lambda arrays: {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()}  # noqa: E731
    return Prediction(wrap(prediction), wrap(prediction.std), wrap(prediction.members))


def check_numbers(numbers: Int[np.ndarray, " atoms"], elements: tuple[int, ...]) -> None:
    """Refuse atomic numbers that are not among the elements of a model.

    Raises:
        ValueError: naming them, the elements that the model knows, and the ways on.

    Source: ours.
    """
    unknown = set(numbers.tolist()) - set(elements)
    if unknown:
        missing, known = (", ".join(_symbol(z) for z in sorted(zs)) for zs in (unknown, elements))
        if len(elements) > 20:
            known = f"{len(elements)} elements from {_symbol(min(elements))} to {_symbol(max(elements))}"
        raise ValueError(
            f"got {missing}, but this model knows {known} only; train a model on data with these elements "
            "(`ase-mlx train`), fine-tune this one on such data (`start` in the config), or use another calculator "
            "for them"
        )


def _symbol(z: int) -> str:
    return SYMBOLS[z] if 0 <= z < len(SYMBOLS) else f"number {z}"


class Model(nn.Module, abc.ABC):
    """A learned model: what it gives (`outputs`), how far it sees (`cutoff`, Å), which atomic numbers (`elements`).

    Source: ours.
    """

    outputs: tuple[Quantity, ...]
    cutoff: float
    elements: tuple[int, ...]

    def check_elements(self, graph: Graph) -> None:
        """Refuse atoms of elements (numbers) that the model was not made for.

        Raises:
            ValueError: naming them, the elements that the model knows, and the ways on.
        """
        check_numbers(torch.unique(graph.numbers).cpu().numpy(), self.elements)

    @abc.abstractmethod
    def forward(self, graph: Graph, points: Points | None = None) -> Prediction:
        """Predict all outputs of a batched graph, in the package's units; arrays are torch tensors.

        Fields are predicted at `points`, of one structure; without points there are none.
        """

    @abc.abstractmethod
    def with_std(self, graph: Graph, points: Points | None = None) -> Prediction:
        """Predict as `forward`, with `std` and `members` where the model knows them, in the package's units."""
