"""Potentials that others trained for most elements, on our kernels: what those of every architecture share.

Source: ours.
"""

import abc
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ase_mlx import quantities
from ase_mlx.graph import Graph, Points
from ase_mlx.nn.angular import spherical_harmonics
from ase_mlx.nn.grouped import channel_groups, refresh_tables
from ase_mlx.nn.repulsion import covalent_radii, zbl

from .mechanics import mechanics, sum_by_graph
from .model import Model
from .prediction import Prediction
from .ranges import ELEMENTS, SIZE, expect_ranges

NO_BARS = "this potential came from a checkpoint without error bars"

CORE = 0.5
"""Sums of two covalent radii below which a screened nuclear repulsion is added: networks that were never shown such
distances let the energy fall there, and no atoms of a solid, a molecule or a hot liquid come so close."""


def expect_sizes(config: Any, **ranges: tuple[float, float]) -> None:
    """Refuse sizes (cutoff in Å, reference energies in eV) of an imported architecture that have no meaning.

    Args:
        config: has elements, reference energies and the sizes that all architectures share.
        ranges: the least and the largest value of others.

    Raises:
        ValueError: naming what is wrong.

    Source: ours.
    """
    if not config.elements or len(set(config.elements)) != len(config.elements):
        raise ValueError(f"got elements={config.elements}, expected distinct atomic numbers; list each once")
    if len(config.reference_energies) != len(config.elements):
        raise ValueError(
            f"got {len(config.reference_energies)} reference energies, expected one an element: {len(config.elements)}"
        )
    expect_ranges(
        config, elements=ELEMENTS, reference_energies=(-1e7, 1e7), cutoff=(0.5, 20), l_max=(0, 4), channels=SIZE,
        layers=(1, 20), radial_hidden=SIZE, power=(2, 20), **ranges,
    )  # fmt: skip
    channel_groups(config.channels)


class Foundation(Model):
    """Energy, forces and stress of an imported potential; it has no error bars, and predictions say so.

    Atoms closer than half the sum of their covalent radii repel each other as screened nuclei, which the checkpoint's
    own code leaves out. In `eval()` mode on a CPU the radial functions are cubic Hermite tables, and forces are the
    exact derivatives of that tabulated energy; on other devices, and in `train()`, they are evaluated in plain torch.

    Source: ours.
    """

    outputs = (
        quantities.energy, quantities.energies, quantities.forces, quantities.stress, quantities.stresses,
        quantities.features,
    )  # fmt: skip

    layers: nn.ModuleList
    readout: nn.Parameter

    def __init__(self, config: Any):
        """Keep the sizes: elements, their energies (eV), the cutoff (Å)."""
        super().__init__()
        self.config, self.cutoff, self.elements = config, config.cutoff, tuple(config.elements)
        index = torch.full((120,), -1, dtype=torch.int64)
        index[list(self.elements)] = torch.arange(len(self.elements))
        reference = torch.tensor(config.reference_energies, dtype=torch.float64)
        self.register_buffer("species_index", index, persistent=False)
        self.register_buffer("reference", reference, persistent=False)
        self.register_load_state_dict_post_hook(refresh_tables)

    @abc.abstractmethod
    def embedded(self, species: Int[Tensor, " atoms"]) -> Float[Tensor, "atoms channels"]:
        """What the first layer is given of each atom's element (dimensionless)."""

    def scaled(self, energies: Float[Tensor, " atoms"], species: Int[Tensor, " atoms"]) -> Float[Tensor, " atoms"]:
        """Energies (eV) of atoms from what the readout gives, where elements have scales of their own."""
        return energies

    def interaction(
        self, graph: Graph, vectors: Float[Tensor, "edges 3"]
    ) -> tuple[Float[Tensor, " atoms"], Float[Tensor, "atoms features"]]:
        """Energies (eV) of the atoms above their elements' references, at edge vectors in Å, and the last features."""
        distance = torch.linalg.vector_norm(vectors, dim=-1)
        y = spherical_harmonics(self.config.l_max, vectors / distance.unsqueeze(-1))
        species = self.species_index[graph.numbers]
        h = [self.embedded(species).unsqueeze(1)]
        for layer in self.layers:
            h = layer(h, y, distance, species, graph)
        features = h[0][:, 0]
        return self.scaled(features @ self.readout, species) + _cores(graph, distance), features

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


def _cores(graph: Graph, distance: Float[Tensor, " edges"]) -> Float[Tensor, " atoms"]:
    """Screened repulsion (eV) of the nuclei of atoms that are far too close (Å); nothing for all others."""
    radii = covalent_radii(distance)[graph.numbers]
    near = (distance < CORE * (radii[graph.center] + radii[graph.neighbor])).nonzero()[:, 0]
    energies = distance.new_zeros(len(graph.numbers))
    if not len(near):
        return energies
    center, neighbor = graph.center[near], graph.neighbor[near]
    pairs = zbl(distance[near], graph.numbers[center], graph.numbers[neighbor], CORE)
    return energies.index_add(0, center, pairs)
