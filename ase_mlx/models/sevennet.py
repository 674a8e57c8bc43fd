"""SevenNet: a potential for most elements, taught by others, whose checkpoints `adapters.checkpoints` imports.

E = Σ_i [E⁰(Z_i) + s(Z_i) w·f_i], with the last layer's scalars f_i of some five layers of message passing. Couplings of
every parity take part, as in its own code: mirror images differ by what training left of it.

Source: Y. Park et al., J. Chem. Theory Comput. 20, 4857 (2024), after Batzner et al., Nat. Commun. 13, 2453 (2022).
"""

from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ase_mlx.nn.grouped import GroupedLayer
from ase_mlx.nn.radial import Radial, envelope, xplor

from .foundation import Foundation, expect_sizes

GAIN = 1.6791767923989418
"""Brings SiLU to a mean square of one over the numbers that e3nn draws for it (dimensionless)."""


@dataclass(frozen=True)
class SevenNetConfig:
    """Sizes of a SevenNet; `cutoff` in Å, `reference_energies` in eV, everything else dimensionless.

    `channels` are those of degrees 0, 1, …; `orders` the frequencies of the radial basis in units of π over the cutoff;
    `onset` where XPLOR's envelope begins to fall, in units of the cutoff, 0 for a polynomial one of that `power`.

    Source: the module's.
    """

    elements: tuple[int, ...]
    reference_energies: tuple[float, ...]
    orders: tuple[float, ...]
    cutoff: float = 5.0
    l_max: int = 2
    channels: tuple[int, ...] = (128, 64, 32)
    layers: int = 5
    radial_hidden: tuple[int, ...] = (64, 64)
    onset: float = 0.0
    power: int = 6

    def __post_init__(self):
        """Refuse sizes without meaning."""
        expect_sizes(self, orders=(0, 1e3), onset=(0, 0.999))
        if len(self.channels) != self.l_max + 1:
            raise ValueError(
                f"got channels of {len(self.channels)} degrees with l_max={self.l_max}, expected {self.l_max + 1}"
            )


class SevenNet(Foundation):
    """Energy, forces and stress of a SevenNet checkpoint, without error bars.

    Source: the module's.
    """

    def __init__(self, config: SevenNetConfig):
        """Build with random weights from torch's generator; lengths in Å, energies in eV."""
        super().__init__(config)
        c = config.channels

        def radial(count: int) -> Radial:
            network = Radial(config.cutoff, len(config.orders), config.radial_hidden, count, 1)
            network.order = torch.tensor(config.orders, dtype=torch.float64)
            network.envelope = partial(xplor, onset=config.onset) if config.onset else partial(envelope, p=config.power)
            return network

        self.embedding = nn.Parameter(torch.randn(len(config.elements), c[0]))
        last = config.layers - 1
        self.layers = nn.ModuleList(
            GroupedLayer(c if t else c[:1], c[:1] if t == last else c, config.l_max, radial, False, GAIN, natural=False)
            for t in range(config.layers)
        )
        self.readout = nn.Parameter(torch.randn(c[0]))
        self.scale = nn.Parameter(torch.ones(len(config.elements)))

    def embedded(self, species: Int[Tensor, " atoms"]) -> Float[Tensor, "atoms channels"]:
        """The element's own features (dimensionless)."""
        return self.embedding[species]

    def scaled(self, energies: Float[Tensor, " atoms"], species: Int[Tensor, " atoms"]) -> Float[Tensor, " atoms"]:
        """Energies (eV) of atoms by their elements' scales (eV)."""
        return energies * self.scale[species]
