"""Encoder and decoder of genes.

Source: as of the package.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ase_mlx.descriptors.gene_rows import ELEMENTS, ENUMERATIONS, GROUPS, GeneRows, wyckoff_tables
from ase_mlx.nn.attention import Block, Numbers, waves

from .config import CrystalsConfig

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

    `composition` is what the latent alone, linearly, says of the elements of the sites: no part of the probability.

    Source: ours.
    """

    group: Float[Tensor, " crystals"]
    elements: Float[Tensor, " crystals"]
    positions: Float[Tensor, " crystals"]
    coordinates: Float[Tensor, " crystals"]
    lattice: Float[Tensor, " crystals"]
    composition: Float[Tensor, " crystals"]


def by_number(count: int, width: int) -> nn.Embedding:
    """Make a table with a row for each element, group or the like, whose rows learn apart.

    Source: ours.
    """
    table = nn.Embedding(count, width)
    table.rows = ("weight",)
    return table


class Sites(nn.Module):
    """What occupies which position, as a vector a site.

    Source: ours.
    """

    def __init__(self, width: int):
        """Set up with random weights."""
        super().__init__()
        self.element, self.symmetry = by_number(ELEMENTS, width), by_number(len(wyckoff_tables().symbols), width)
        self.enumeration, self.count = by_number(ENUMERATIONS, width), nn.Linear(1, width)

    def forward(self, rows: GeneRows) -> Float[Tensor, "genes sites width"]:
        """Describe all sites by dimensionless features; what stands where there is none says nothing."""
        atoms = rows.multiplicities[..., None].float()
        known = self.element(rows.numbers) + self.symmetry(rows.symmetries.clamp(min=0))
        return known + self.enumeration(rows.enumerations.clamp(min=0)) + self.count(atoms.log1p())


class Places(nn.Module):
    """Where the free coordinates put a site, as a vector.

    Source: ours.
    """

    def __init__(self, width: int):
        """Set up with random weights."""
        super().__init__()
        self.place = nn.Linear(27, width)

    def forward(self, rows: GeneRows) -> Float[Tensor, "genes sites width"]:
        """Describe free coordinates by dimensionless features."""
        free = rows.free[..., None]
        return self.place(torch.cat([waves(rows.coordinates) * free, free.float()], -1).flatten(-2))


class Encoder(nn.Module):
    """From a set of sites to the latent, whatever their order.

    Source: see the module.
    """

    def __init__(self, config: CrystalsConfig):
        """Set up with random weights."""
        super().__init__()
        width = config.width
        self.sites, self.places, self.group = Sites(width), Places(width), by_number(GROUPS + 1, width)
        self.lattice, self.composition = nn.Linear(12, width), nn.Linear(ELEMENTS, width)
        self.blocks = nn.ModuleList(Block(width, config.heads) for _ in range(config.layers))
        self.out = nn.Linear(2 * width, 2 * config.latent)

    def forward(self, rows: GeneRows) -> Latent:
        """Encode genes."""
        composition = self.composition(rows.composition)
        condition = self.group(rows.groups) + self.lattice(torch.cat([rows.lattice, rows.chosen.float()], -1))
        x = torch.cat([(condition + composition)[:, None], self.sites(rows) + self.places(rows)], 1)
        sees = torch.cat([torch.ones_like(rows.sites[:, :1]), rows.sites], 1)[:, None]
        for block in self.blocks:
            x = block(x, condition, sees)
        whole = torch.cat([nn.functional.layer_norm(x[:, 0], x.shape[-1:]), composition], -1)
        mean, log_std = self.out(whole).chunk(2, -1)
        return Latent(mean, (log_std - 1.0).clamp(-6.0, 1.0))


class Skeletons(nn.Module):
    """Probabilities of element, site symmetry and enumeration of each site, after those before it.

    Source: see the module.
    """

    def __init__(self, config: CrystalsConfig):
        """Set up with random weights."""
        super().__init__()
        width, symbols = config.width, len(wyckoff_tables().symbols)
        self.sites, self.unknown = Sites(width), nn.Parameter(0.1 * torch.randn(width))
        self.place, self.so_far = by_number(config.most_sites + 1, width), nn.Linear(ELEMENTS, width)
        self.blocks = nn.ModuleList(Block(width, config.heads) for _ in range(config.layers))
        self.to_element, self.weigh = nn.Linear(width, ELEMENTS), nn.Linear(width, 3)
        self.element, self.symmetry = by_number(ELEMENTS, width), by_number(symbols, width)
        self.to_symmetry = nn.Sequential(nn.GELU(), nn.Linear(width, symbols))
        self.to_enumeration = nn.Sequential(nn.GELU(), nn.Linear(width, ENUMERATIONS))

    def forward(
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
        return causal(self.blocks, x + self.so_far(_so_far(rows, dropped).log1p()), condition)

    def elements(
        self,
        hidden: Float[Tensor, "crystals steps width"],
        composition: Float[Tensor, "crystals elements"],
        rows: GeneRows,
        dropped: Bool[Tensor, "crystals sites"] | None = None,
    ) -> Float[Tensor, "crystals steps elements"]:
        """Give logits (dimensionless: nats) of the next element, 0 for the end.

        Each element knows how many atoms of it there are already.
        """
        of_latent, of_count, of_presence = self.weigh(hidden).unsqueeze(-2).unbind(-1)
        so_far = _so_far(rows, dropped)
        logits = self.to_element(hidden) + (1 + of_latent) * composition[:, None]
        return logits + of_count * so_far.log1p() + of_presence * (so_far > 0)

    def likelihood(
        self,
        condition: Float[Tensor, "crystals width"],
        composition: Float[Tensor, "crystals elements"],
        rows: GeneRows,
        dropped: Bool[Tensor, "crystals sites"] | None,
    ) -> tuple[Float[Tensor, " crystals"], Float[Tensor, " crystals"]]:
        """Give log-probabilities (dimensionless: nats) of elements, and of their positions."""
        hidden = self(condition, rows, dropped)
        ends = nn.functional.pad(rows.numbers, (0, 1))  # 0 after the last site
        counted = nn.functional.pad(rows.sites, (1, 0), value=True)
        log = self.elements(hidden, composition, rows, dropped).log_softmax(-1)
        elements = (log.gather(-1, ends[..., None])[..., 0] * counted).sum(1)
        symmetries = rows.symmetries.clamp(min=0)
        context = hidden[:, :-1] + self.element(rows.numbers)
        log = _of_group(self.to_symmetry(context), rows.groups).log_softmax(-1)
        positions = log.gather(-1, symmetries[..., None])[..., 0]
        there = wyckoff_tables().position.to(hidden.device)[rows.groups[:, None], symmetries] >= 0
        log = self.to_enumeration(context + self.symmetry(symmetries)).masked_fill(~there, NEVER).log_softmax(-1)
        positions = positions + log.gather(-1, rows.enumerations.clamp(min=0)[..., None])[..., 0]
        return elements, (positions * rows.sites).sum(1)


class Arrangement(nn.Module):
    """Densities of the lattice, then of the free coordinates of each site: both know all that is occupied.

    Source: ours.
    """

    def __init__(self, config: CrystalsConfig):
        """Set up with random weights."""
        super().__init__()
        width = config.width
        self.sites, self.place = Sites(width), by_number(config.most_sites + 1, width)
        self.blocks = nn.ModuleList(Block(width, config.heads) for _ in range(config.layers))
        self.lattice = Numbers(width, 6, config.components, periodic=False)
        self.cell, self.places, self.before = nn.Linear(12, width), Places(width), nn.Linear(width, width)
        self.after = nn.ModuleList(Block(width, config.heads) for _ in range(config.layers))
        self.coordinates = Numbers(width, 3, config.components, periodic=True)

    def forward(
        self, condition: Float[Tensor, "crystals width"], rows: GeneRows
    ) -> tuple[Float[Tensor, "crystals width"], Float[Tensor, "crystals sites width"]]:
        """Give what the lattice knows, and what each site knows of what is occupied (dimensionless)."""
        x = torch.cat([condition[:, None], self.sites(rows)], 1) + self.place.weight[: rows.numbers.shape[1] + 1]
        sees = nn.functional.pad(rows.sites, (1, 0), value=True)[:, None]
        for block in self.blocks:
            x = block(x, condition, sees)
        x = nn.functional.layer_norm(x, x.shape[-1:])
        return x[:, 0], x[:, 1:]

    def placed(
        self,
        condition: Float[Tensor, "crystals width"],
        sites: Float[Tensor, "crystals sites width"],
        rows: GeneRows,
    ) -> Float[Tensor, "crystals sites width"]:
        """Say what each site knows of the lattice and of where those before it are (dimensionless)."""
        condition = condition + self.cell(torch.cat([rows.lattice, rows.chosen.float()], -1))
        before = self.before(sites) + self.places(rows)
        return causal(self.after, sites + nn.functional.pad(before, (0, 0, 1, -1)), condition)

    def likelihood(
        self, condition: Float[Tensor, "crystals width"], rows: GeneRows
    ) -> tuple[Float[Tensor, " crystals"], Float[Tensor, " crystals"]]:
        """Give log-densities (dimensionless: nats) of coordinates and of the lattice."""
        whole, sites = self(condition, rows)
        lattice = self.lattice(whole, rows.lattice, rows.chosen).sum(-1)
        moving = rows.free.any(-1)
        coordinates = torch.zeros_like(moving, dtype=lattice.dtype)
        if moving.any():
            context = self.placed(condition, sites, rows)[moving]
            coordinates[moving] = self.coordinates(context, rows.coordinates[moving], rows.free[moving]).sum(-1)
        return coordinates.sum(1), lattice


class Decoder(nn.Module):
    """From the latent to probabilities of space group, occupied positions, lattice and coordinates, one after another.

    Source: see the module.
    """

    def __init__(self, config: CrystalsConfig):
        """Set up with random weights."""
        super().__init__()
        width = config.width
        self.read = nn.Sequential(nn.Linear(config.latent, width), nn.GELU(), nn.Linear(width, width))
        self.composition = nn.Linear(config.latent, ELEMENTS)
        self.to_group = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, GROUPS + 1))
        self.group = by_number(GROUPS + 1, width)
        self.skeletons, self.arrangement = Skeletons(config), Arrangement(config)

    def likelihood(
        self, latent: Float[Tensor, "crystals latent"], rows: GeneRows, dropped: Bool[Tensor, "crystals sites"] | None
    ) -> Likelihood:
        """Give log-probabilities of genes (dimensionless: nats); of dropped sites later ones do not know."""
        base, composition = self.read(latent), self.composition(latent)
        group = self.to_group(base).log_softmax(-1).gather(-1, rows.groups[:, None])[:, 0]
        condition = base + self.group(rows.groups)
        elements, positions = self.skeletons.likelihood(condition, composition, rows, dropped)
        coordinates, lattice = self.arrangement.likelihood(condition, rows)
        log_shares = composition[:, 1:].log_softmax(-1).gather(-1, (rows.numbers - 1).clamp(min=0)) * rows.sites
        return Likelihood(group, elements, positions, coordinates, lattice, log_shares.sum(1) / rows.sites.sum(1))


def causal(
    blocks: nn.ModuleList, x: Float[Tensor, "crystals steps width"], condition: Float[Tensor, "crystals width"]
) -> Float[Tensor, "crystals steps width"]:
    """Pass steps (dimensionless) through layers in which each sees itself and those before it; normed.

    Source: ours.
    """
    steps = x.shape[1]
    sees = torch.ones(steps, steps, dtype=torch.bool, device=x.device).tril()[None].expand(len(x), -1, -1)
    for block in blocks:
        x = block(x, condition, sees)
    return nn.functional.layer_norm(x, x.shape[-1:])


def _so_far(rows: GeneRows, dropped: Bool[Tensor, "genes sites"] | None) -> Float[Tensor, "genes steps elements"]:
    """Count the atoms of each element before each step, without those of dropped sites."""
    atoms = rows.multiplicities if dropped is None else rows.multiplicities * ~dropped
    each = nn.functional.one_hot(rows.numbers, ELEMENTS) * atoms[..., None]
    return nn.functional.pad(each.cumsum(1), (0, 0, 1, 0)).float()


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
