"""The graph network of the textbooks, to compare with: h ← σ(W(h + Σ_neighbours h)), without distances or directions.

Source: K. Xu et al., ICLR (2019), eq. 4.1 with a single matrix; the norm of the sum is ours.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ase_mlx.graph import Graph

from .radial import SILU_GAIN


class NeighbourSums(nn.Module):
    """Species and which atoms are neighbours → features of every layer, all scalars.

    Source: see the module.
    """

    rows = per_element = ("embedding",)

    def __init__(self, n_species: int, layers: int, channels: int, neighbors: float):
        """Set up with the mean number of `neighbors` and other sizes (dimensionless)."""
        super().__init__()
        self.scale = 1 / (
            (1 + neighbors) * math.sqrt(channels)
        )  # neighbours are alike: their sum grows with their number
        self.embedding = nn.Parameter(torch.randn(n_species, channels))
        self.mixes = nn.ParameterList(torch.randn(channels, channels) for _ in range(layers))

    def forward(
        self, graph: Graph, vectors: Float[Tensor, "edges 3"], species: Int[Tensor, " atoms"]
    ) -> list[Float[Tensor, "atoms 1 c"]]:
        """Return the dimensionless features after each layer; of the edge vectors (Å) nothing is read."""
        h, features = self.embedding[species], []
        for mix in self.mixes:
            summed = h.index_add(0, graph.center, h[graph.neighbor])
            h = nn.functional.silu(summed @ mix * self.scale) * SILU_GAIN
            features.append(h.unsqueeze(1))
        return features
