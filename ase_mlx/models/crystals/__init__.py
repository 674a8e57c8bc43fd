"""New crystals from a latent space: a variational autoencoder of genes (space group, occupied positions, lattice).

A crystal is symmetric by construction: the decoder names a space group, then sites one after another (element → site
symmetry → which position of that symmetry), then, knowing all that is occupied, the free lattice parameters and the
free coordinates of each site. Choices that no crystal allows (a position without freedom taken twice, one that the
group has not) cannot be made. Latents of new crystals are drawn by a diffusion.

Source: D. Kingma and M. Welling, arXiv 1312.6114; free bits: D. Kingma et al., arXiv 1606.04934; genes and cascade:
N. Kazeev et al., arXiv 2503.02407, Z. Cao et al., arXiv 2403.15734; word dropout: S. Bowman et al., arXiv 1511.06349.
"""

from .conditions import PROPERTIES, Conditions
from .config import CrystalsConfig
from .model import Crystals
from .networks import Latent, Likelihood
from .priors import Diffusion, Mixture

__all__ = ["PROPERTIES", "Conditions", "Crystals", "CrystalsConfig", "Diffusion", "Latent", "Likelihood", "Mixture"]
