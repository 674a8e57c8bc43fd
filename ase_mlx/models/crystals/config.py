"""Sizes of a generator of crystals, and what its latent may tell.

Source: ours.
"""

from dataclasses import dataclass
from typing import Literal

from ..ranges import WHOLE, expect_ranges

PROPERTIES = {
    "formation_energy": "eV/atom", "hull_distance": "eV/atom", "band_gap": "eV", "volume_per_atom": "Å³",
    "density": "g/cm³",
}  # fmt: skip
"""What a latent may tell of its crystal, and units."""


@dataclass(frozen=True)
class CrystalsConfig:
    """Sizes of the autoencoder (dimensionless).

    `most_atoms` (of the conventional cell) and `most_sites` bound what is generated. Latents are drawn from the
    `prior`, a diffusion or a mixture of as many normal distributions as `mixture` says. `properties` are told from the
    latent, each by so many `members`: names of `PROPERTIES`. `known` counts the skeletons of genes that were taught.

    Source: ours.
    """

    elements: tuple[int, ...]
    latent: int = 64
    width: int = 96
    heads: int = 4
    layers: int = 2
    components: int = 8
    most_sites: int = 52
    most_atoms: int = 400
    prior: Literal["diffusion", "mixture"] = "diffusion"
    mixture: int = 64
    properties: tuple[str, ...] = ()
    members: int = 8
    known: int = 0

    def __post_init__(self):
        """Refuse sizes that make no network."""
        expect_ranges(
            self, "model.", latent=(1, 4096), width=(8, 4096), heads=(1, 64), layers=(1, 64), components=(1, 64),
            most_sites=(1, 1000), most_atoms=(1, 10000), mixture=(1, 10000),
            members=(2, 64), known=WHOLE,
        )  # fmt: skip
        if self.prior not in ("diffusion", "mixture"):
            raise ValueError(f"got model.prior = {self.prior!r}, expected 'diffusion' or 'mixture'")
        if unknown := [name for name in self.properties if name not in PROPERTIES]:
            raise ValueError(f"got model.properties {unknown}, expected some of {', '.join(PROPERTIES)}")
        if self.width % self.heads:
            raise ValueError(f"got model.width = {self.width} and model.heads = {self.heads}, expected a multiple")
