"""Nequix: a potential for most elements, taught by others, whose checkpoints `adapters.checkpoints` imports.

E = Σ_i [E⁰(Z_i) + w·f_i], with the last layer's scalars f_i of four or so layers of message passing.

Source: T. Koker et al., arXiv 2508.16067, for the architecture; phonon fine-tuning arXiv 2601.07742.
"""

from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ase_mlx.nn.grouped import GroupedLayer
from ase_mlx.nn.radial import Radial, envelope

from .foundation import Foundation, expect_sizes

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
        expect_sizes(self, n_basis=(1, 128))
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
        super().__init__(config)
        n = len(config.elements)

        def radial(count: int) -> Radial:
            network = Radial(config.cutoff, config.n_basis, config.radial_hidden, count, 1)
            network.envelope = partial(envelope, p=config.power)
            return network

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

    def embedded(self, species: Int[Tensor, " atoms"]) -> Float[Tensor, "atoms elements"]:
        """One number for each element, 1 for the atom's own (dimensionless)."""
        return nn.functional.one_hot(species, len(self.elements)).to(self.readout.dtype)
