"""Nequix: a potential for most elements, taught by others, whose checkpoints `adapters.checkpoints` imports.

E = Σ_i [E⁰(Z_i) + w·f_i], with the last layer's scalars f_i of four or so layers of message passing.

Source: T. Koker et al., arXiv 2508.16067, for the architecture; phonon fine-tuning arXiv 2601.07742.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ase_mlx.graph import Graph
from ase_mlx.nn.angular import spherical_harmonics
from ase_mlx.nn.grouped import GroupedConvolution, GroupedNorm, channel_groups, gated

from .foundation import Foundation
from .ranges import ELEMENTS, SIZE, expect_ranges


@dataclass(frozen=True)
class NequixConfig:
    """Sizes of a Nequix; `cutoff` in Å, `reference_energies` in eV, everything else dimensionless.

    `channels` are those of degrees 0, 1, …; `power` is that of the radial envelope; with `by_species` features are
    kept by matrices of each element.

    Source: arXiv 2508.16067.
    """

    elements: tuple[int, ...]
    reference_energies: tuple[float, ...]
    cutoff: float = 6.0
    l_max: int = 3
    channels: tuple[int, ...] = (128, 64, 32, 32)
    layers: int = 4
    n_basis: int = 8
    radial_hidden: tuple[int, ...] = (64, 64)
    power: int = 6
    norm: bool = True
    by_species: bool = False

    def __post_init__(self):
        """Refuse sizes without meaning."""
        if not self.elements or len(set(self.elements)) != len(self.elements):
            raise ValueError(f"got elements={self.elements}, expected distinct atomic numbers; list each once")
        if len(self.reference_energies) != len(self.elements):
            raise ValueError(
                f"got {len(self.reference_energies)} reference energies, expected one an element: {len(self.elements)}"
            )
        expect_ranges(
            self, elements=ELEMENTS, reference_energies=(-1e7, 1e7), cutoff=(0.5, 20), l_max=(0, 4),
            channels=SIZE, layers=(1, 20), n_basis=(1, 128), radial_hidden=SIZE, power=(2, 20),
        )  # fmt: skip
        channel_groups(self.channels)
        if len(self.channels) > self.l_max + 1:
            raise ValueError(
                f"got channels of {len(self.channels)} degrees with l_max={self.l_max}, expected at most "
                f"{self.l_max + 1}"
            )


class NequixLayer(nn.Module):
    """Mix channels, convolve, mix, add the atoms' own features, normalise, gate; the first takes species alone.

    Source: arXiv 2508.16067, fig. 1.
    """

    def __init__(self, config: NequixConfig, first: bool, last: bool):
        """Set up from the model's sizes and cutoff (Å)."""
        super().__init__()
        n = len(config.elements)
        self.first, self.channels = first, config.channels[:1] if last else config.channels
        channels = (n,) if first else config.channels
        out = (sum(self.channels), *self.channels[1:])  # a scalar more for each channel that is gated
        self.convolution = GroupedConvolution(
            channels, config.l_max, out, config.cutoff, config.n_basis, config.radial_hidden, config.power
        )
        self.up = nn.ParameterList(nn.Parameter(torch.randn(c, c)) for c in channels)
        species = (n,) if config.by_species and not first else ()
        self.keep = nn.ParameterList(
            nn.Parameter(torch.randn(*species, a, b)) for a, b in zip(channels, out, strict=False)
        )
        self.norm = GroupedNorm(out) if config.norm else None

    def forward(
        self,
        h: list[Float[Tensor, "atoms _ _"]],
        y: Float[Tensor, "edges m2"],
        distance: Float[Tensor, " edges"],
        species: Int[Tensor, " atoms"],
        graph: Graph,
    ) -> list[Float[Tensor, "atoms _ _"]]:
        """Update dimensionless features from neighbours at `distance` (Å) and dimensionless harmonics y."""
        if self.first:
            x, kept = ([weight[species].unsqueeze(1)] for weight in (self.up[0], self.keep[0]))
        else:
            x = [part @ weight for part, weight in zip(h, self.up, strict=True)]
            kept = [
                part @ (weight if weight.ndim == 2 else weight[species])
                for part, weight in zip(h, self.keep, strict=False)
            ]
        out = self.convolution(x, y, distance, graph)
        out = [part + kept[l] if l < len(kept) else part for l, part in enumerate(out)]
        return gated(out if self.norm is None else self.norm(out), self.channels)


class Nequix(Foundation):
    """Energy, forces and stress of a Nequix checkpoint, without error bars.

    Source: arXiv 2508.16067.
    """

    def __init__(self, config: NequixConfig):
        """Build with random weights from torch's generator; lengths in Å, energies in eV."""
        super().__init__(config.elements, config.reference_energies, config.cutoff)
        self.config = config
        self.layers = nn.ModuleList(NequixLayer(config, t == 0, t == config.layers - 1) for t in range(config.layers))
        self.readout = nn.Parameter(torch.randn(config.channels[0]))
        self.register_load_state_dict_post_hook(_tabulate_anew)

    def interaction(
        self, graph: Graph, vectors: Float[Tensor, "edges 3"]
    ) -> tuple[Float[Tensor, " atoms"], Float[Tensor, "atoms features"]]:
        """Energies (eV) of the atoms above their elements' references, at edge vectors in Å, and the last features."""
        distance = torch.linalg.vector_norm(vectors, dim=-1)
        y = spherical_harmonics(self.config.l_max, vectors / distance.unsqueeze(-1))
        species, h = self.species_index[graph.numbers], []
        for layer in self.layers:
            h = layer(h, y, distance, species, graph)
        features = h[0][:, 0]
        return features @ self.readout, features


def _tabulate_anew(model: Nequix, _: object) -> None:
    for layer in model.layers:
        layer.convolution.refresh()
