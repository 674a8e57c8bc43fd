"""The equivariant message-passing trunk that energies, densities and scores read.

Source: Batzner et al., Nat. Commun. 13, 2453 (2022); order of operations and normalisation are ours.
"""

import math
from types import SimpleNamespace
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ase_mlx.graph import Graph

from .angular import dimension, paths, spherical_harmonics
from .blocks import DegreeLinear, ElementGains, EquivariantNorm, Gate, Product
from .convolution import convolve, convolve_tabulated
from .radial import Radial, tables_serve

TABLE_INTERVALS = 512


class Layer(nn.Module):
    """Normalise, mix channels, convolve, mix, add the species' own features, gate.

    In a tabulated layer the radial functions are cubic Hermite splines on the CPU's fused road.

    Source: Batzner et al., Nat. Commun. 13, 2453 (2022), fig. 1.
    """

    def __init__(
        self,
        trunk: "Trunk | SimpleNamespace",
        l_in: int,
        l_out: int,
        n_basis: int,
        hidden: tuple[int, ...],
        products: bool,
    ):
        """Set up from the trunk's sizes and cutoff (Å)."""
        super().__init__()
        c, n_species = trunk.channels, trunk.n_species
        self.paths = paths(l_in, trunk.l_max, l_out)
        self.l_out, self.scale = l_out, 1 / math.sqrt(trunk.neighbors)
        self.gate = Gate(l_out, c)
        self.norm = EquivariantNorm(l_in, c)
        self.up = DegreeLinear(l_in, c, c)
        self.radial = Radial(trunk.cutoff, n_basis, hidden, len(self.paths), c)
        self.down = DegreeLinear(l_out, c, c)
        self.down_scalars = DegreeLinear(0, c, self.gate.scalars)
        by_element = ElementGains if trunk.by_element == "gains" else DegreeLinear
        self.keep = by_element(min(l_in, l_out), c, c, n_species)
        self.keep_scalars = by_element(0, c, self.gate.scalars, n_species)
        self.product = Product(l_out, l_out, c) if products else None
        self.knots: Tensor | None = None

    def forward(
        self,
        h: Float[Tensor, "atoms m c"],
        y: Float[Tensor, "edges m2"],
        distance: Float[Tensor, " edges"],
        species: Int[Tensor, " atoms"],
        graph: Graph,
    ) -> Float[Tensor, "core m_out c"]:
        """Update dimensionless features from neighbours at `distance` (Å) and dimensionless harmonics y.

        Of a graph whose edges belong to its first atoms alone, these are updated.
        """
        x = self.up(self.norm(h))
        if self.knots is None:
            message = convolve(y, self.radial(distance), x, graph, self.paths)
        else:
            position = distance * ((len(self.knots) - 1) / self.radial.cutoff)
            message = convolve_tabulated(y, position, x, self.knots, graph, self.paths)
        n = len(graph.first_edge) - 1
        message, h, species = message[:n] * self.scale, h[:n], species[:n]
        if self.product is not None:
            message = message + self.product(message)
        scalars = self.down_scalars(message[:, :1]) + self.keep_scalars(h[:, :1], species)
        out = self.down(message)
        kept = self.keep(h[:, : dimension(min(self.paths.l_in, self.l_out))], species)
        out = torch.cat([out[:, : kept.shape[1]] + kept, out[:, kept.shape[1] :]], dim=1)
        return self.gate(scalars[:, 0], out)


class Trunk(nn.Module):
    """Species and edge vectors → features of every layer; the last layer keeps scalars only.

    `eval()` on a CPU tabulates the radial functions, `train()` evaluates their networks.

    Source: Batzner et al., Nat. Commun. 13, 2453 (2022).
    """

    rows = per_element = ("embedding",)

    def __init__(
        self,
        n_species: int,
        cutoff: float,
        l_max: int,
        layers: int,
        channels: int,
        n_basis: int,
        hidden: tuple[int, ...],
        products: bool,
        neighbors: float,
        by_element: Literal["matrices", "gains"] = "matrices",
    ):
        """Set up with a cutoff in Å, the mean number of `neighbors` and other sizes (dimensionless)."""
        super().__init__()
        self.n_species, self.cutoff, self.l_max = n_species, cutoff, l_max
        self.channels, self.neighbors, self.by_element = channels, neighbors, by_element
        self.register_load_state_dict_post_hook(_tabulate_anew)
        self.embedding = nn.Parameter(torch.randn(n_species, channels))
        self.layers = nn.ModuleList(
            Layer(self, 0 if t == 0 else l_max, 0 if t == layers - 1 else l_max, n_basis, hidden, products)
            for t in range(layers)
        )

    def forward(
        self, graph: Graph, vectors: Float[Tensor, "edges 3"], species: Int[Tensor, " atoms"], depth: int | None = None
    ) -> list[Float[Tensor, "core _ c"]]:
        """Return the dimensionless features after each of the first `depth` layers, for edge vectors in Å."""
        distance = torch.linalg.vector_norm(vectors, dim=-1)
        y = spherical_harmonics(self.l_max, vectors / distance.unsqueeze(-1))
        h = self.embedding[species].unsqueeze(1)
        features = []
        for layer in self.layers[:depth]:
            h = layer(h, y, distance, species, graph)
            features.append(h)
        return features

    def refresh(self) -> None:
        """Tabulate, or drop the tables, as the mode and the device ask (knots at even distances in Å)."""
        tabulated = tables_serve(self, self.embedding)
        for layer in self.layers:
            layer.knots = layer.radial.table(TABLE_INTERVALS) if tabulated else None

    def train(self, mode: bool = True) -> "Trunk":
        """Switch between exact radial networks (train) and tables (eval)."""
        super().train(mode)
        self.refresh()
        return self

    def _apply(self, fn, recurse=True):
        super()._apply(fn, recurse)
        self.refresh()
        return self


def _tabulate_anew(trunk: Trunk, _: object) -> None:
    trunk.refresh()
