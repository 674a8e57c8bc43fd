"""Nequix: a potential for most elements, taught by others, whose checkpoints `adapters.checkpoints` imports.

E = Σ_i [E⁰(Z_i) + w·f_i], with the last layer's scalars f_i of four or so layers of message passing.

Source: T. Koker et al., arXiv 2508.16067, for the architecture; phonon fine-tuning arXiv 2601.07742.
"""

from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ase_mlx.graph import Graph
from ase_mlx.nn.angular import spherical_harmonics
from ase_mlx.nn.grouped import GroupedLayer, channel_groups, refresh_tables
from ase_mlx.nn.radial import Radial, envelope

from .foundation import Foundation
from .ranges import ELEMENTS, SIZE, expect_ranges

GAIN = 1.676562
"""Brings SiLU of normal numbers to a mean square of one (dimensionless), to the digits of e3nn-jax."""


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


class Nequix(Foundation):
    """Energy, forces and stress of a Nequix checkpoint, without error bars.

    Source: arXiv 2508.16067.
    """

    def __init__(self, config: NequixConfig):
        """Build with random weights from torch's generator; lengths in Å, energies in eV."""
        super().__init__(config.elements, config.reference_energies, config.cutoff)
        self.config, n = config, len(config.elements)

        def radial(count: int) -> Radial:
            made = Radial(config.cutoff, config.n_basis, config.radial_hidden, count, 1)
            made.envelope = partial(envelope, p=config.power)
            return made

        self.layers = nn.ModuleList(
            GroupedLayer(
                (n,) if t == 0 else config.channels,
                config.channels[:1] if t == config.layers - 1 else config.channels,
                config.l_max,
                radial,
                config.norm,
                GAIN,
                n if config.by_species and t else 0,
            )
            for t in range(config.layers)
        )
        self.readout = nn.Parameter(torch.randn(config.channels[0]))
        self.register_load_state_dict_post_hook(refresh_tables)

    def interaction(
        self, graph: Graph, vectors: Float[Tensor, "edges 3"]
    ) -> tuple[Float[Tensor, " atoms"], Float[Tensor, "atoms features"]]:
        """Energies (eV) of the atoms above their elements' references, at edge vectors in Å, and the last features."""
        distance = torch.linalg.vector_norm(vectors, dim=-1)
        y = spherical_harmonics(self.config.l_max, vectors / distance.unsqueeze(-1))
        species = self.species_index[graph.numbers]
        h = [nn.functional.one_hot(species, len(self.elements)).to(vectors.dtype).unsqueeze(1)]
        for layer in self.layers:
            h = layer(h, y, distance, species, graph)
        features = h[0][:, 0]
        return features @ self.readout, features
