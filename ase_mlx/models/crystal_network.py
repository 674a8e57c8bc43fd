"""Properties of whole crystals by message passing: a trunk, the mean over atoms, and a few members' readouts of it.

The vector of a crystal is the mean over its atoms of what a layer reads from the scalars of all layers of the trunk.
Every member reads all targets from it, and the width of its errors on crystals that were held out; what members
disagree about and these widths make σ. The trunk is that of potentials, so that one which has learned forces can be
taken over; or, to compare with, the neighbour sums of the textbooks.

Source: pooling after Xie and Grossman, Phys. Rev. Lett. 120, 145301 (2018), eq. 4; trunk and readouts are ours.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ase_mlx import quantities
from ase_mlx.descriptors import check_periodic
from ase_mlx.graph import Graph
from ase_mlx.nn.neighbour_sums import NeighbourSums
from ase_mlx.nn.radial import SILU_GAIN
from ase_mlx.nn.trunk import Trunk

from .mechanics import mechanics, sum_by_graph
from .model import Model
from .prediction import Prediction
from .ranges import ELEMENTS, SIZE, expect_ranges

TARGETS = ("formation_energy", "hull_distance", "band_gap", "metal_probability", "bulk_modulus", "shear_modulus")
"""What can be learned of a crystal."""

NEVER_NEGATIVE = ("hull_distance", "band_gap", "bulk_modulus", "shear_modulus")

LEVELS = torch.linspace(0.0, 0.99, 100, dtype=torch.float64)
"""Of the central intervals whose half widths are known from held-out crystals (dimensionless)."""

WIDTHS = (-7.0, 3.0)
"""Range of the logarithm of an error's width, in standard deviations of the target."""


@dataclass(frozen=True)
class CrystalNetworkConfig:
    """Sizes of the trunk (as a potential's; cutoff in Å), of the crystal's vector, of the readouts (dimensionless).

    `messages` is the rule: "equivariant" as in potentials, or "sums" of neighbours as in textbooks.

    Source: ours.
    """

    targets: tuple[str, ...]
    elements: tuple[int, ...]
    cutoff: float = 5.0
    l_max: int = 1
    layers: int = 3
    channels: int = 64
    n_basis: int = 8
    radial_hidden: tuple[int, ...] = (64,)
    neighbors: float = 40.0
    pooled: int = 128
    width: int = 64
    members: int = 8
    messages: Literal["equivariant", "sums"] = "equivariant"

    def __post_init__(self):
        """Refuse targets that nobody knows, and sizes without meaning."""
        if not self.targets or len(set(self.targets)) != len(self.targets) or not set(self.targets) <= set(TARGETS):
            raise ValueError(f"got targets={self.targets}, expected some of {', '.join(TARGETS)}, each once")
        expect_ranges(
            self, elements=ELEMENTS, cutoff=(0.5, 20), l_max=(0, 8), layers=(1, 20), channels=(1, 1024),
            n_basis=(1, 128), radial_hidden=SIZE, neighbors=(1e-3, 1e5), pooled=SIZE, width=SIZE, members=(2, 512),
        )  # fmt: skip


class CrystalNetwork(Model):
    """Formation energy and hull distance (eV/atom), band gap (eV), probability of a metal, moduli (GPa), with bars.

    Source: see the module.
    """

    rows = ("bias", "mean", "direct", "spread", "level")
    """`spread` and `level`, the widths', are set after the fit."""

    def __init__(self, config: CrystalNetworkConfig):
        """Make untrained networks with random weights from torch's generator."""
        super().__init__()
        self.config, self.cutoff, self.elements = config, config.cutoff, tuple(config.elements)
        self.outputs = tuple(quantities.ALL[name] for name in config.targets)
        n, c = len(config.elements), config.channels
        if config.messages == "sums":
            self.trunk = NeighbourSums(n, config.layers, c, config.neighbors)
        else:
            self.trunk = Trunk(
                n, config.cutoff, config.l_max, config.layers, c, config.n_basis, config.radial_hidden, False,
                config.neighbors, "gains",
            )  # fmt: skip
        self.pool = nn.Parameter(torch.randn(config.layers * c, config.pooled))
        self.hidden = nn.Parameter(torch.randn(config.members, config.pooled, config.width))
        self.bias = nn.Parameter(torch.randn(config.members, 1, config.width))
        self.mean = nn.Parameter(torch.zeros(config.members, config.width, len(config.targets)))
        self.direct = nn.Parameter(torch.randn(config.members, config.pooled, len(config.targets)))
        self.spread = nn.Parameter(torch.zeros(config.members, config.width, len(config.targets)))
        self.level = nn.Parameter(torch.zeros(config.members, 1, len(config.targets)))
        index = torch.full((120,), -1, dtype=torch.int64)
        index[list(config.elements)] = torch.arange(n)
        self.register_buffer("species_index", index, persistent=False)
        for name, start in (("target_center", 0.0), ("target_scale", 1.0), ("std_scale", 1.0)):
            self.register_buffer(name, torch.full((len(config.targets),), start, dtype=torch.float64))
        normal = math.sqrt(2) * torch.special.erfinv(LEVELS)
        self.register_buffer("half_widths", normal.repeat(len(config.targets), 1))

    def vector(self, graph: Graph, vectors: Float[Tensor, "edges 3"]) -> Float[Tensor, "graphs features"]:
        """Describe each crystal by the mean over its atoms (dimensionless), for edge vectors in Å.

        Raises:
            ValueError: an element that the model was not made for, or an open direction.
        """
        self.check_elements(graph)
        check_periodic(graph)
        layers = self.trunk(graph, vectors.to(self.pool.dtype), self.species_index[graph.numbers])
        x = torch.cat([h[:, 0] for h in layers], dim=-1) @ self.pool / math.sqrt(self.pool.shape[0])
        return sum_by_graph(graph, nn.functional.silu(x) * SILU_GAIN) / graph.n_atoms.unsqueeze(1).to(x.dtype)

    def hiddens(self, crystals: Float[Tensor, "graphs features"]) -> Float[Tensor, "members graphs width"]:
        """Give what each member's readouts are linear in (dimensionless)."""
        x = crystals @ self.hidden / math.sqrt(crystals.shape[-1]) + self.bias
        return nn.functional.silu(x) * SILU_GAIN

    def means(
        self, crystals: Float[Tensor, "graphs features"], hiddens: Float[Tensor, "members graphs width"]
    ) -> Float[Tensor, "members graphs targets"]:
        """Give each member's standardised targets, and the logit of a metal (dimensionless).

        What is linear in the mean over atoms is a mean of what atoms give, as an energy is; `hiddens` add the rest.
        """
        of_atoms = crystals @ self.direct / math.sqrt(self.config.pooled)
        return of_atoms + hiddens @ self.mean / math.sqrt(self.config.width)

    def widths(self, hiddens: Float[Tensor, "members graphs width"]) -> Float[Tensor, "members graphs targets"]:
        """Give the widths of Laplace distributions of each member's errors, in standard deviations of the targets."""
        return torch.exp((hiddens @ self.spread / math.sqrt(self.config.width) + self.level).clamp(*WIDTHS))

    def _values(self, graph: Graph, vectors: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
        """Values, the members' and the noise's standard deviation in the targets' units."""
        crystals = self.vector(graph, vectors)
        hiddens = self.hiddens(crystals)
        means, widths = self.means(crystals, hiddens).to(torch.float64), self.widths(hiddens).to(torch.float64)
        values, members, noise = {}, {}, {}
        for k, name in enumerate(self.config.targets):
            center, scale = self.target_center[k], self.target_scale[k]
            each = center + scale * means[..., k]
            if name == "metal_probability":
                each = torch.sigmoid(means[..., k])
            members[name] = each.clamp_min(0.0) if name in NEVER_NEGATIVE else each
            values[name] = members[name].mean(0)
            if name != "metal_probability":  # the noise of a yes or no is the probability itself
                noise[name] = self.std_scale[k] * scale * widths[..., k].square().mean(0).mul(2).sqrt()
        return values, members, noise

    def forward(self, graph: Graph) -> Prediction:
        """Predict crystals, in eV/atom, eV, GPa."""
        return Prediction(self._values(graph, graph.vectors())[0])

    @torch.no_grad()
    def with_std(self, graph: Graph) -> Prediction:
        """Predict crystals with calibrated standard deviations and members, in the targets' units."""
        values, members, noise = self._values(graph, graph.vectors())
        std = {}
        for k, name in enumerate(self.config.targets):
            between = self.std_scale[k] * members[name].std(0)
            std[name] = torch.sqrt(between.square() + noise.get(name, torch.zeros_like(between)).square())
        return Prediction(values, std, members, noise=noise)

    def by_strain(self, graph: Graph, name: str) -> tuple[Float[Tensor, " graphs"], Float[Tensor, "graphs 6"]]:
        """Give a property and its derivative by a homogeneous strain (Voigt, its unit): fractional coordinates stay.

        A third of the first three's sum is the derivative by the logarithm of the volume; shear strains are
        engineering ones, γ = 2 ε.

        Raises:
            ValueError: another property than the model's, an element that it was not made for, or an open direction.

        Source: ours.
        """
        if name not in self.config.targets:
            raise ValueError(f"got {name!r}, expected one of this network's {', '.join(self.config.targets)}")
        vectors = graph.vectors().detach().requires_grad_()
        with torch.enable_grad():
            value = self._values(graph, vectors)[0][name]
            (slope,) = torch.autograd.grad(value.sum(), vectors)
        like_stress = mechanics(graph, vectors.detach(), slope)["stress"]
        return value.detach(), like_stress * graph.volume.unsqueeze(1)

    def half_width(self, name: str, level: float = 0.9) -> float:
        """Give the half width of a central interval of that probability, in standard deviations (dimensionless)."""
        return float(np.interp(level, LEVELS, self.half_widths[self.config.targets.index(name)].cpu()))
