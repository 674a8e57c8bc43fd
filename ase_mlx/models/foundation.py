"""Potentials that others trained for most elements, on our kernels: what those of every architecture share.

Source: ours.
"""

import abc
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ase_mlx import quantities
from ase_mlx.graph import Graph, Points

from .mechanics import mechanics, sum_by_graph
from .model import Model
from .prediction import Prediction

NO_BARS = "this potential came from a checkpoint without error bars"


class Foundation(Model):
    """Energy, forces and stress of an imported potential; it has no error bars, and predictions say so.

    In `eval()` mode on a CPU the radial functions are cubic Hermite tables, and forces are the exact derivatives of
    that tabulated energy; on other devices, and in `train()`, they are evaluated in plain torch.

    Source: ours.
    """

    outputs = (
        quantities.energy, quantities.energies, quantities.forces, quantities.stress, quantities.stresses,
        quantities.features,
    )  # fmt: skip

    def __init__(self, elements: tuple[int, ...], reference: tuple[float, ...], cutoff: float):
        """Keep the elements' energies (eV) and the cutoff (Å)."""
        super().__init__()
        self.cutoff, self.elements = cutoff, tuple(elements)
        index = torch.full((120,), -1, dtype=torch.int64)
        index[list(elements)] = torch.arange(len(elements))
        self.register_buffer("species_index", index, persistent=False)
        self.register_buffer("reference", torch.tensor(reference, dtype=torch.float64), persistent=False)

    @abc.abstractmethod
    def interaction(
        self, graph: Graph, vectors: Float[Tensor, "edges 3"]
    ) -> tuple[Float[Tensor, " atoms"], Float[Tensor, "atoms features"]]:
        """Energies (eV) of the atoms above their elements' references, at edge vectors in Å, and the last features."""

    @property
    def tail(self) -> Mapping[str, float]:
        """Half widths of 95 % intervals in units of the std (dimensionless), of which none is known."""
        return {}

    def _apply(self, fn, recurse=True):
        """Keep the reference energies in float64 whatever the model's dtype: their sum is large."""
        super()._apply(fn, recurse)
        self.reference = self.reference.to(torch.float64)
        return self

    def _leaf(self, graph: Graph) -> Tensor:
        self.check_elements(graph)
        return graph.vectors().to(next(self.parameters()).dtype).detach().requires_grad_()

    def forward(self, graph: Graph, points: Points | None = None) -> Prediction:
        """Predict energy (eV), energies, forces (eV/Å), stress and stresses (Voigt, eV/Å³; absent without a volume).

        Raises:
            ValueError: an element that the model was not made for.
        """
        vectors = self._leaf(graph)
        with torch.enable_grad():
            interaction, features = self.interaction(graph, vectors)
            (slope,) = torch.autograd.grad(interaction.sum(), vectors, create_graph=self.training)
        values = {"energies": interaction.to(torch.float64) + self.reference[self.species_index[graph.numbers]]}
        values |= mechanics(graph, vectors, slope)
        values["energy"] = sum_by_graph(graph, values["energies"])
        values["features"] = features
        return Prediction(values if self.training else {k: v.detach() for k, v in values.items()}, note=NO_BARS)

    def with_std(self, graph: Graph, points: Points | None = None) -> Prediction:
        """Predict as `forward` (eV, eV/Å, eV/Å³): nothing is known of the errors."""
        return self(graph)

    def core_slope(self, graph: Graph, n_core: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, None]:
        """Energies (eV) of the first atoms, the derivative of their sum by edge vectors (eV/Å), and those (Å).

        The last is the place of the distance score, which these models do not have.
        """
        vectors = self._leaf(graph)
        with torch.enable_grad():
            interaction, _ = self.interaction(graph, vectors)
            (slope,) = torch.autograd.grad(interaction[:n_core].sum(), vectors)
        reference = self.reference[self.species_index[graph.numbers[:n_core]]]
        values = interaction[:n_core].detach().to(torch.float64) + reference
        return values.numpy(), slope.to(torch.float64).numpy(), vectors.detach().to(torch.float64).numpy(), None
