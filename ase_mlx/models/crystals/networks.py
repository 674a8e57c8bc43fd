"""Encoder and decoder of genes.

Source: as of the package.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ase_mlx.descriptors.gene_rows import ENUMERATIONS, GROUPS, GeneRows, wyckoff_tables
from ase_mlx.nn.attention import Block, Numbers, waves

from .config import CrystalsConfig

ELEMENTS = 119
"""Atomic numbers with 0, which ends the list of sites."""

NEVER = -1e9
"""Logit of what cannot be."""


class Latent(NamedTuple):
    """Means and logarithms of the standard deviations of latent coordinates (dimensionless).

    Source: ours.
    """

    mean: Float[Tensor, "crystals latent"]
    log_std: Float[Tensor, "crystals latent"]


class Likelihood(NamedTuple):
    """Logarithms of the probabilities of each crystal's parts (dimensionless: nats).

    Source: ours.
    """

    group: Float[Tensor, " crystals"]
    elements: Float[Tensor, " crystals"]
    positions: Float[Tensor, " crystals"]
    coordinates: Float[Tensor, " crystals"]
    lattice: Float[Tensor, " crystals"]


class Sites(nn.Module):
    """What is known of a site, as a vector.

    Source: ours.
    """

    def __init__(self, width: int):
        """Set up with random weights."""
        super().__init__()
        self.element, self.symmetry = nn.Embedding(ELEMENTS, width), nn.Embedding(len(wyckoff_tables().symbols), width)
        self.enumeration, self.place = nn.Embedding(ENUMERATIONS, width), nn.Linear(27, width)
        self.count = nn.Linear(1, width)
        for part in (self.element, self.symmetry, self.enumeration):
            part.rows = ("weight",)

    def forward(self, rows: GeneRows) -> Float[Tensor, "genes sites width"]:
        """Describe all sites by dimensionless features; what stands where there is none says nothing."""
        free = rows.free[..., None]
        where = torch.cat([waves(rows.coordinates) * free, free.float()], -1).flatten(-2)
        atoms = rows.multiplicities[..., None].float()
        known = self.element(rows.numbers) + self.symmetry(rows.symmetries.clamp(min=0))
        return known + self.enumeration(rows.enumerations.clamp(min=0)) + self.place(where) + self.count(atoms.log1p())


class Encoder(nn.Module):
    """From a set of sites to the latent, whatever their order.

    Source: see the module.
    """

    def __init__(self, config: CrystalsConfig):
        """Set up with random weights."""
        super().__init__()
        width = config.width
        self.sites, self.group = Sites(width), nn.Embedding(GROUPS + 1, width)
        self.group.rows = ("weight",)
        self.lattice = nn.Linear(12, width)
        self.blocks = nn.ModuleList(Block(width, config.heads) for _ in range(config.layers))
        self.out = nn.Linear(width, 2 * config.latent)

    def forward(self, rows: GeneRows) -> Latent:
        """Encode genes."""
        condition = self.group(rows.groups) + self.lattice(torch.cat([rows.lattice, rows.chosen.float()], -1))
        x = torch.cat([condition[:, None], self.sites(rows)], 1)
        sees = torch.cat([torch.ones_like(rows.sites[:, :1]), rows.sites], 1)[:, None]
        for block in self.blocks:
            x = block(x, condition, sees)
        mean, log_std = self.out(nn.functional.layer_norm(x[:, 0], x.shape[-1:])).chunk(2, -1)
        return Latent(mean, (log_std - 1.0).clamp(-6.0, 1.0))


class Decoder(nn.Module):
    """From the latent to probabilities of space group, sites and lattice.

    Source: see the module.
    """

    def __init__(self, config: CrystalsConfig):
        """Set up with random weights."""
        super().__init__()
        width, symbols = config.width, len(wyckoff_tables().symbols)
        self.read = nn.Sequential(nn.Linear(config.latent, width), nn.GELU(), nn.Linear(width, width))
        self.to_group = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, GROUPS + 1))
        self.group, self.sites, self.unknown = (
            nn.Embedding(GROUPS + 1, width),
            Sites(width),
            nn.Parameter(0.1 * torch.randn(width)),
        )
        self.group.rows = ("weight",)
        self.place, self.so_far = nn.Embedding(config.most_sites + 1, width), nn.Linear(1, width)
        self.place.rows = ("weight",)
        self.blocks = nn.ModuleList(Block(width, config.heads) for _ in range(config.layers))
        self.to_element = nn.Linear(width, ELEMENTS)
        self.element, self.symmetry = nn.Embedding(ELEMENTS, width), nn.Embedding(symbols, width)
        self.enumeration = nn.Embedding(ENUMERATIONS, width)
        for part in (self.element, self.symmetry, self.enumeration):
            part.rows = ("weight",)
        self.to_symmetry = nn.Sequential(nn.GELU(), nn.Linear(width, symbols))
        self.to_enumeration = nn.Sequential(nn.GELU(), nn.Linear(width, ENUMERATIONS))
        self.coordinates = Numbers(width, 3, config.components, periodic=True)
        self.lattice = Numbers(width, 6, config.components, periodic=False)

    def hidden(
        self,
        condition: Float[Tensor, "crystals width"],
        rows: GeneRows,
        dropped: Bool[Tensor, "crystals sites"] | None = None,
    ) -> Float[Tensor, "crystals steps width"]:
        """Say what each step knows (dimensionless): the condition, and all sites before it but dropped ones."""
        known = self.sites(rows)
        if dropped is not None:
            known = torch.where(dropped[..., None], self.unknown, known)
        steps = rows.numbers.shape[1] + 1
        x = torch.cat([condition[:, None], known], 1) + self.place.weight[:steps]
        atoms = nn.functional.pad(rows.multiplicities.cumsum(1), (1, 0))[..., None]
        x = x + self.so_far(atoms.float().log1p())
        sees = torch.ones(steps, steps, dtype=torch.bool, device=x.device).tril()[None].expand(len(x), -1, -1)
        for block in self.blocks:
            x = block(x, condition, sees)
        return nn.functional.layer_norm(x, x.shape[-1:])

    def likelihood(
        self, latent: Float[Tensor, "crystals latent"], rows: GeneRows, dropped: Bool[Tensor, "crystals sites"] | None
    ) -> Likelihood:
        """Give log-probabilities of genes (dimensionless: nats), a site by what stands before it but dropped sites."""
        sites = rows.sites
        base = self.read(latent)
        log = self.to_group(base).log_softmax(-1)
        group = log.gather(-1, rows.groups[:, None])[:, 0]
        hidden = self.hidden(base + self.group(rows.groups), rows, dropped)
        ends = nn.functional.pad(rows.numbers, (0, 1))  # 0 after the last site
        counted = nn.functional.pad(sites, (1, 0), value=True)
        log = self.to_element(hidden).log_softmax(-1)
        elements = (log.gather(-1, ends[..., None])[..., 0] * counted).sum(1)
        context = hidden[:, :-1] + self.element(rows.numbers)
        log = _of_group(self.to_symmetry(context), rows.groups).log_softmax(-1)
        positions = log.gather(-1, rows.symmetries.clamp(min=0)[..., None])[..., 0]
        context = context + self.symmetry(rows.symmetries.clamp(min=0))
        table = wyckoff_tables().position.to(hidden.device)
        there = table[rows.groups[:, None], rows.symmetries.clamp(min=0)] >= 0
        log = self.to_enumeration(context).masked_fill(~there, NEVER).log_softmax(-1)
        positions = positions + log.gather(-1, rows.enumerations.clamp(min=0)[..., None])[..., 0]
        context = context + self.enumeration(rows.enumerations.clamp(min=0))
        moving = rows.free.any(-1)
        coordinates = torch.zeros_like(positions)
        coordinates[moving] = self.coordinates(context[moving], rows.coordinates[moving], rows.free[moving]).sum(-1)
        last = hidden[torch.arange(len(rows)), sites.sum(1)]
        lattice = self.lattice(last, rows.lattice, rows.chosen).sum(-1)
        return Likelihood(group, elements, (positions * sites).sum(1), coordinates.sum(1), lattice)


def _of_group(logits: Float[Tensor, "genes sites symbols"], groups: Int[Tensor, " genes"]) -> Tensor:
    """Keep the site symmetries that a group has."""
    there = (wyckoff_tables().position >= 0).any(-1).to(logits.device)[groups]
    return logits.masked_fill(~there[:, None], NEVER)


class Head(nn.Module):
    """Properties of a latent, standardised, with the logarithm of the noise.

    Source: D. Nix and A. Weigend, IEEE Int. Conf. Neural Networks (1994).
    """

    def __init__(self, latent: int, properties: int, width: int = 128):
        """Set up with random weights."""
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(latent, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, 2 * properties)
        )

    def forward(self, z: Float[Tensor, "crystals latent"]) -> tuple[Tensor, Tensor]:
        """Give means and logarithms of standard deviations (crystals, properties), dimensionless."""
        mean, log_std = self.layers(z).chunk(2, -1)
        return mean, log_std.clamp(-4.0, 2.0)
