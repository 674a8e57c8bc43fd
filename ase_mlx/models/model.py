"""The base of all models that predict: a `torch.nn.Module` from a graph to a `Prediction`.

Source: ours.
"""

import abc

import numpy as np
import torch
from jaxtyping import Int
from torch import nn

from ase_mlx.graph import Graph, Points
from ase_mlx.quantities import SYMBOLS

from .against_dft import AgainstDFT
from .contract import Predicts
from .prediction import Prediction


def check_numbers(numbers: Int[np.ndarray, " atoms"], elements: tuple[int, ...]) -> None:
    """Refuse atomic numbers that are not among the elements of a model.

    Raises:
        ValueError: naming them, the elements that the model knows, and the ways on.

    Source: ours.
    """
    unknown = set(numbers.tolist()) - set(elements)
    if unknown:
        missing, covered = (", ".join(_symbol(z) for z in sorted(zs)) for zs in (unknown, elements))
        if len(elements) > 20:
            covered = f"{len(elements)} elements from {_symbol(min(elements))} to {_symbol(max(elements))}"
        hint = "take 'universal', which ships and knows most elements roughly, or" if len(elements) <= 20 else "use"
        raise ValueError(
            f"got {missing}, but this model knows {covered} only; {hint} an open potential of most elements (`ase-mlx "
            "import --list`) or another calculator, or train a model on data with these elements (`ase-mlx train`; "
            "`start` in its settings fine-tunes a potential of our kind)"
        )


PRECISIONS = (torch.float32, torch.float64)
"""In which models compute."""


def check_precision(dtype: torch.dtype) -> None:
    """Refuse weights of another precision than the kernels and error bars are made for.

    Raises:
        ValueError: naming it, and what to do.

    Source: ours.
    """
    if dtype not in PRECISIONS:
        raise ValueError(
            f"got a model in {dtype}, expected torch.float32 or torch.float64: forces are derivatives, of which fewer "
            "digits leave none; convert it by model.float() or model.double(), or load it anew"
        )


def _symbol(z: int) -> str:
    return SYMBOLS[z] if 0 <= z < len(SYMBOLS) else f"number {z}"


class Model(nn.Module, Predicts):
    """A learned model: what it gives (`outputs`), how far it sees (`cutoff`, Å), which atomic numbers (`elements`).

    `against_dft` holds the errors of its labels against DFT, where another model made them and they were measured.

    Source: ours.
    """

    against_dft: AgainstDFT | None = None

    def _apply(self, fn, recurse=True):
        """Refuse another precision before a weight is converted."""
        check_precision(fn(torch.zeros(0, dtype=torch.float32)).dtype)
        return super()._apply(fn, recurse)

    def check_elements(self, graph: Graph) -> None:
        """Refuse atoms of elements (numbers) that the model was not made for.

        Raises:
            ValueError: naming them, the elements that the model knows, and the ways on.
        """
        check_numbers(torch.unique(graph.numbers).cpu().numpy(), self.elements)

    @abc.abstractmethod
    def forward(self, graph: Graph, points: Points | None = None) -> Prediction:
        """Predict all outputs of a batched graph, in the package's units; arrays are torch tensors.

        A model with a field that is no `Field` predicts it here, at `points` of one structure.
        """

    @abc.abstractmethod
    def with_std(self, graph: Graph, points: Points | None = None) -> Prediction:
        """Predict as `forward`, with `std` and what `members` cost nothing beside it, in the package's units."""

    def with_members(self, graph: Graph) -> Prediction:
        """Predict as `with_std`, with all `members` that the model has, in the package's units."""
        return self.with_std(graph)
