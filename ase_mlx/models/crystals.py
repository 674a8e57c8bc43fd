"""New crystals from a latent space: a variational autoencoder of genes (space group, occupied positions, lattice).

A crystal is symmetric by construction: the decoder names a space group, then sites one after another (element → site
symmetry → which position of that symmetry → its free coordinates), then the free lattice parameters. Choices that no
crystal allows (a position without freedom taken twice, one that the group has not) cannot be made.

Source: D. Kingma and M. Welling, arXiv 1312.6114; free bits: D. Kingma et al., arXiv 1606.04934; genes and cascade:
N. Kazeev et al., arXiv 2503.02407, Z. Cao et al., arXiv 2403.15734; word dropout: S. Bowman et al., arXiv 1511.06349.
"""

import difflib
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ase_mlx.descriptors.gene_rows import (
    ENUMERATIONS,
    GROUPS,
    GeneRows,
    chosen_parameters,
    genes_of,
    rows_of,
    wyckoff_tables,
)
from ase_mlx.descriptors.genes import Gene, gene_of, structure_of
from ase_mlx.nn.attention import Block, Numbers, drawn, waves
from ase_mlx.nn.ensemble import Ensemble
from ase_mlx.quantities import SYMBOLS
from ase_mlx.structure import AtomsLike, Structure

from .contract import Generates
from .ranges import WHOLE, expect_ranges

ELEMENTS = 119
"""Atomic numbers with 0, which ends the list of sites."""

PROPERTIES = {
    "formation_energy": "eV/atom", "hull_distance": "eV/atom", "band_gap": "eV", "volume_per_atom": "Å³",
    "density": "g/cm³",
}  # fmt: skip
"""What a latent may tell of its crystal, and units."""

POOL = 50
"""Latents that are drawn for each one whose properties are wanted."""

TRIES = 20
"""Times that a crystal is decoded anew where its sites coincide or its cell does not exist."""


@dataclass(frozen=True)
class CrystalsConfig:
    """Sizes of the autoencoder (dimensionless).

    `most_atoms` (of the conventional cell) and `most_sites` bound what is generated; `prior` is how many normal
    distributions the prior is a mixture of. `properties` are told from the latent, each by so many `members`: names
    of `PROPERTIES`. `known` counts the skeletons of genes that were taught.

    Source: ours.
    """

    elements: tuple[int, ...]
    latent: int = 64
    width: int = 160
    heads: int = 5
    layers: int = 3
    components: int = 8
    most_sites: int = 52
    most_atoms: int = 400
    prior: int = 64
    properties: tuple[str, ...] = ()
    members: int = 8
    known: int = 0

    def __post_init__(self):
        """Refuse sizes that make no network."""
        expect_ranges(
            self, "model.", latent=(1, 4096), width=(8, 4096), heads=(1, 64), layers=(1, 64), components=(1, 64),
            most_sites=(1, 1000), most_atoms=(1, 10000), prior=(1, 10000),
            members=(2, 64), known=WHOLE,
        )  # fmt: skip
        if unknown := [name for name in self.properties if name not in PROPERTIES]:
            raise ValueError(f"got model.properties {unknown}, expected some of {', '.join(PROPERTIES)}")
        if self.width % self.heads:
            raise ValueError(f"got model.width = {self.width} and model.heads = {self.heads}, expected a multiple")


class Latent(NamedTuple):
    """Means and logarithms of the standard deviations of latent coordinates (dimensionless).

    Source: ours.
    """

    mean: Float[Tensor, "crystals latent"]
    log_std: Float[Tensor, "crystals latent"]


class Likelihood(NamedTuple):
    """Logarithms of the probabilities of each crystal's parts (nats).

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
        """Describe all sites; what stands where there is none says nothing."""
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
        """Encode genes (dimensionless)."""
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
        self.group, self.sites, self.unknown = nn.Embedding(GROUPS + 1, width), Sites(width), nn.Parameter(0.1 * torch.randn(width))
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
        """Say what each step knows: the condition, and all sites before it but those that are dropped."""
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


class Crystals(nn.Module, Generates):
    """Crystals by a variational autoencoder of their genes.

    Source: see the module.
    """

    def __init__(self, config: CrystalsConfig):
        """Set up with random weights from torch's generator."""
        super().__init__()
        self.config, self.elements = config, tuple(config.elements)
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        count = len(config.properties)
        self.organise = nn.Linear(config.latent, count) if count else None
        self.heads = Ensemble([Head(config.latent, count) for _ in range(config.members)]) if count else None
        self.register_buffer("property_mean", torch.zeros(count))
        self.register_buffer("property_scale", torch.ones(count))
        self.register_buffer("std_scale", torch.ones(count))
        self.register_buffer("property_least", torch.zeros(count))
        self.register_buffer("property_most", torch.zeros(count))
        self.register_buffer("known", torch.zeros(config.known, dtype=torch.int64))
        self.register_buffer("prior_mean", torch.zeros(config.prior, config.latent))
        self.register_buffer("prior_log_std", torch.zeros(config.prior, config.latent))
        self.register_buffer("prior_weight", torch.ones(config.prior))

    def likelihood(
        self, latent: Float[Tensor, "crystals latent"], rows: GeneRows, dropped: Bool[Tensor, "crystals sites"] | None
    ) -> Likelihood:
        """Give the log-probabilities of genes (nats), each site by what stands before it but dropped sites."""
        d, sites = self.decoder, rows.sites
        base = d.read(latent)
        log = d.to_group(base).log_softmax(-1)
        group = log.gather(-1, rows.groups[:, None])[:, 0]
        hidden = d.hidden(base + d.group(rows.groups), rows, dropped)
        ends = nn.functional.pad(rows.numbers, (0, 1))  # 0 after the last site
        counted = nn.functional.pad(sites, (1, 0), value=True)
        log = d.to_element(hidden).log_softmax(-1)
        elements = (log.gather(-1, ends[..., None])[..., 0] * counted).sum(1)
        context = hidden[:, :-1] + d.element(rows.numbers)
        log = self._allowed(d.to_symmetry(context), rows.groups).log_softmax(-1)
        positions = log.gather(-1, rows.symmetries.clamp(min=0)[..., None])[..., 0]
        context = context + d.symmetry(rows.symmetries.clamp(min=0))
        table = wyckoff_tables().position.to(hidden.device)
        there = table[rows.groups[:, None], rows.symmetries.clamp(min=0)] >= 0
        log = d.to_enumeration(context).masked_fill(~there, -1e9).log_softmax(-1)
        positions = positions + log.gather(-1, rows.enumerations.clamp(min=0)[..., None])[..., 0]
        context = context + d.enumeration(rows.enumerations.clamp(min=0))
        moving = rows.free.any(-1)
        coordinates = torch.zeros_like(positions)
        coordinates[moving] = d.coordinates(context[moving], rows.coordinates[moving], rows.free[moving]).sum(-1)
        last = hidden[torch.arange(len(rows)), sites.sum(1)]
        lattice = d.lattice(last, rows.lattice, rows.chosen).sum(-1)
        return Likelihood(group, elements, (positions * sites).sum(1), coordinates.sum(1), lattice)

    def _allowed(self, logits: Tensor, groups: Tensor) -> Tensor:
        there = (wyckoff_tables().position >= 0).any(-1).to(logits.device)[groups]
        return logits.masked_fill(~there[:, None], -1e9)

    def properties(
        self, latents: Float[Tensor, "crystals latent"]
    ) -> tuple[Float[Tensor, "crystals properties"], Float[Tensor, "crystals properties"]]:
        """Tell the properties of latents and their standard deviations, in the units of `PROPERTIES`."""
        means, log_stds = self.heads(latents)
        mean = means.mean(0)
        std = self.std_scale * (means.var(0, correction=0) + (2 * log_stds).exp().mean(0)).sqrt()
        return self.property_mean + self.property_scale * mean, self.property_scale * std

    @torch.no_grad()
    def encode(self, structures: AtomsLike | Sequence[AtomsLike]) -> Float[Tensor, "crystals latent"]:
        """Find the latent means (dimensionless) of crystals (Å).

        Raises:
            ValueError: no crystal, an element that the model does not know, or as of `descriptors.genes.gene_of`.
        """
        several = [structures] if hasattr(structures, "numbers") else list(structures)
        genes = [gene_of(one) for one in several]
        unknown = sorted({site.number for gene in genes for site in gene.sites} - set(self.elements))
        if unknown:
            raise ValueError(f"got crystals with the elements {unknown}, expected those of the model: {self.elements}")
        return self.encoder(rows_of(genes)).mean

    def decode(
        self, latents: Float[Tensor, "crystals latent"], seed: int | None = None, **conditions: Any
    ) -> list[Structure]:
        """Build the crystals (Å) of latents, the likeliest at each step; with a seed they are drawn.

        Raises:
            ValueError: as of `sample`.
        """
        limits = Limits.of(self, **conditions)
        random = None if seed is None else torch.Generator().manual_seed(seed)
        return self._structures(torch.as_tensor(latents).float(), random, limits)

    def sample(self, n: int, seed: int = 0, **conditions: Any) -> list[Structure]:
        """Draw crystals (Å).

        `info` of each says its `space_group`, whether the same elements on the same positions of it were taught
        (`known`), and the properties that its latent tells, with their standard deviations (`…_std`).

        Args:
            n: how many.
            seed: equal seeds give equal crystals.
            **conditions: `elements` that each has, those `allowed` in it (symbols or numbers), `space_group`, `atoms`
                of the conventional cell (a number or a range); ranges of properties by their names, in the units of
                `PROPERTIES`, as in band_gap=(1.2, 1.6).

        Raises:
            ValueError: conditions that contradict each other or that the model does not know.
        """
        if not isinstance(n, int) or n < 1:
            raise ValueError(f"got n = {n!r}, expected a number of crystals from 1 on")
        limits = Limits.of(self, **conditions)
        random = torch.Generator().manual_seed(seed)
        return self._structures(self._wanted(n, random, limits.ranges), random, limits)

    @torch.no_grad()
    def _wanted(self, n: int, random: torch.Generator, ranges: dict[str, tuple[float, float]]) -> Tensor:
        """Draw latents from the prior; where ranges of properties are wanted, by the probability to lie in them."""
        if not ranges:
            return self.draw_latents(n, random)
        z = self.draw_latents(POOL * n, random)
        return z[torch.multinomial(self.inside(z, ranges), n, generator=random)]

    def inside(
        self, latents: Float[Tensor, "crystals latent"], ranges: dict[str, tuple[float, float]]
    ) -> Float[Tensor, " crystals"]:
        """Give the probability (dimensionless) that all properties lie within their ranges (units of `PROPERTIES`)."""
        mean, std = self.properties(latents)
        inside = torch.ones(len(latents))
        for name, (least, most) in ranges.items():
            k = self.config.properties.index(name)
            ends = [torch.special.ndtr((end - mean[:, k]) / std[:, k]) for end in (least, most)]
            inside = inside * (ends[1] - ends[0])
        return inside.clamp(min=1e-30)

    def draw_latents(self, n: int, random: torch.Generator) -> Float[Tensor, "n latent"]:
        """Draw from the prior (dimensionless): a mixture of normal distributions that the training leaves."""
        which = torch.multinomial(self.prior_weight, n, replacement=True, generator=random)
        noise = torch.randn(n, self.config.latent, generator=random)
        return self.prior_mean[which] + self.prior_log_std[which].exp() * noise

    def _structures(self, latents: Tensor, random: torch.Generator | None, limits: "Limits") -> list[Structure]:
        """Decode, and again where the sites coincide or the cell does not exist."""
        done: dict[int, Structure] = {}
        left = torch.arange(len(latents))
        for attempt in range(TRIES):
            again = random if attempt == 0 or random is not None else torch.Generator().manual_seed(attempt)
            rows = self.decoded(latents[left], again, limits)
            failed = []
            for k, place in enumerate(left.tolist()):
                try:
                    (gene,) = genes_of(rows.take(torch.tensor([k])))
                    structure = structure_of(gene)
                except ValueError:
                    failed.append(place)
                    continue
                if limits.fulfilled(structure):
                    about = {"space_group": gene.space_group, "known": self.knows(gene)}
                    done[place] = replace(structure, info=about)
                else:
                    failed.append(place)
            left = torch.tensor(failed, dtype=torch.long)
            if not failed:
                break
        if len(done) < len(latents):
            raise ValueError(f"got {len(left)} of {len(latents)} latents without a crystal after {TRIES} attempts")
        return self._told([done[k] for k in range(len(latents))], latents)

    @torch.no_grad()
    def _told(self, structures: list[Structure], latents: Tensor) -> list[Structure]:
        """Write what the latents tell of their crystals beside them."""
        if not self.config.properties:
            return structures
        mean, std = (values.tolist() for values in self.properties(latents))
        told = []
        for k, structure in enumerate(structures):
            about = dict(structure.info)
            for j, name in enumerate(self.config.properties):
                about |= {name: mean[k][j], f"{name}_std": std[k][j]}
            told.append(replace(structure, info=about))
        return told

    def knows(self, gene: Gene) -> bool:
        """Tell whether a crystal with the same elements on the same positions of the same group was taught."""
        return bool((self.known == gene.key).any())

    @torch.no_grad()
    def decoded(
        self, latents: Float[Tensor, "crystals latent"], random: torch.Generator | None, limits: "Limits"
    ) -> GeneRows:
        """Decode latents to genes; without a random generator the likeliest choice at each step."""
        d, n, tables = self.decoder, len(latents), wyckoff_tables()
        base = d.read(latents)
        groups = drawn(d.to_group(base), limits.groups.expand(n, -1), random)
        condition = base + d.group(groups)
        width = self.config.most_sites
        wide = {"numbers": torch.zeros(n, width, dtype=torch.long), "positions": torch.zeros(n, width, dtype=torch.long)}
        rows = GeneRows(
            groups, **wide, coordinates=torch.zeros(n, width, 3), free=torch.zeros(n, width, 3, dtype=torch.bool),
            lattice=torch.zeros(n, 6), chosen=chosen_parameters()[groups],
        )  # fmt: skip
        open_, atoms = tables.symmetry[groups] >= 0, torch.zeros(n, dtype=torch.long)
        growing, last = torch.ones(n, dtype=torch.bool), torch.zeros(n, d.place.embedding_dim)
        wanted = limits.required.expand(n, -1).clone()
        for step in range(width + 1):
            going = torch.nonzero(growing)[:, 0]
            if not len(going):
                break
            sofar = replace(rows, **{k: getattr(rows, k)[:, :step] for k in ("numbers", "positions", "coordinates", "free")})
            part = replace(sofar, **{f: getattr(sofar, f)[going] for f in GeneRows.__dataclass_fields__})
            hidden = d.hidden(condition[going], part)[:, -1]
            room = limits.most - atoms[going]
            here = open_[going] & (tables.multiplicity[groups[going]] <= room[:, None])
            may = limits.elements.expand(len(going), -1) & here.any(1)[:, None]
            missing = wanted[going].sum(1)
            left = width - step
            may = torch.where((missing > 0)[:, None] & (missing >= left)[:, None], may & wanted[going], may)
            end = (atoms[going] >= limits.fewest) & (missing == 0) & (step > 0)
            may[:, 0] = end | ~may.any(1)
            if step == width:
                may[:, 1:] = False
                may[:, 0] = True
            numbers = drawn(d.to_element(hidden), may, random)
            ended = numbers == 0
            last[going[ended]] = hidden[ended]
            growing[going[ended]] = False
            going, hidden, numbers, here = going[~ended], hidden[~ended], numbers[~ended], here[~ended]
            if not len(going):
                continue
            wanted[going, numbers] = False
            group = groups[going]
            context = hidden + d.element(numbers)
            symbols = torch.zeros(len(going), len(tables.symbols), dtype=torch.long)
            symbols.scatter_add_(1, tables.symmetry[group].clamp(min=0), here.long())
            symmetry = drawn(d.to_symmetry(context), symbols > 0, random)
            context = context + d.symmetry(symmetry)
            table = tables.position[group, symmetry]
            there = (table >= 0) & here.gather(1, table.clamp(min=0))
            enumeration = drawn(d.to_enumeration(context), there, random)
            context = context + d.enumeration(enumeration)
            position = table.gather(1, enumeration[:, None])[:, 0]
            free = tables.free[group, position]
            rows.numbers[going, step], rows.positions[going, step] = numbers, position
            rows.free[going, step] = free
            rows.coordinates[going, step] = d.coordinates.draw(context, free, random)
            atoms[going] += tables.multiplicity[group, position]
            fixed = ~free.any(1)
            open_[going[fixed], position[fixed]] = False
        rows.lattice[:] = d.lattice.draw(last, rows.chosen, random)
        return rows

    def optimize(
        self, structures: Sequence[AtomsLike], steps: int = 200, prior: float = 0.05, seed: int | None = None, **wanted: Any
    ) -> list[tuple[Structure, dict[str, tuple[float, float]]]]:
        """Move crystals through the latent space until their properties are the wanted ones.

        The steps raise the probability that all properties lie within their ranges, by the ensemble's own bars, and
        that of the prior.

        Args:
            structures: to begin from (Å).
            steps: of Adam, at a rate of 0.05.
            prior: weight of the prior's log-density against that of the ranges (dimensionless).
            seed: draws the crystals of the last latents; None takes the likeliest.
            **wanted: ranges by the names and units of `PROPERTIES`, and conditions as of `sample`.

        Returns:
            Each crystal with its properties and their standard deviations.

        Raises:
            ValueError: no range, or as of `encode` and `sample`.
        """
        limits = Limits.of(self, **wanted)
        if not limits.ranges:
            raise ValueError("got no range of a property, expected one, as in band_gap=(1.2, 1.6)")
        z = self.encode(structures).clone().requires_grad_(True)
        mover = torch.optim.Adam([z], lr=0.05)
        for _ in range(steps):
            mover.zero_grad()
            loss = -self.inside(z, limits.ranges).log().sum() - prior * self.log_prior(z).sum()
            (z.grad,) = torch.autograd.grad(loss, [z])
            mover.step()
        z = z.detach()
        with torch.no_grad():
            mean, std = self.properties(z)
        told = [
            {name: (float(mean[k, j]), float(std[k, j])) for j, name in enumerate(self.config.properties)}
            for k in range(len(z))
        ]
        random = None if seed is None else torch.Generator().manual_seed(seed)
        return list(zip(self._structures(z, random, limits), told, strict=True))

    def log_prior(self, latents: Float[Tensor, "crystals latent"]) -> Float[Tensor, " crystals"]:
        """Give the logarithm of the prior's density (nats)."""
        away = (latents[:, None] - self.prior_mean) / self.prior_log_std.exp()
        each = -0.5 * (away.square() + math.log(2 * math.pi)).sum(-1) - self.prior_log_std.sum(-1)
        return (each + self.prior_weight.clamp(min=1e-30).log()).logsumexp(-1)

    def interpolate(self, start: AtomsLike, end: AtomsLike, n: int) -> list[Structure]:
        """Go from one crystal to another (Å) in n steps along a line in the latent space, both ends included.

        Raises:
            ValueError: fewer than two steps, or as of `encode`.
        """
        if n < 2:
            raise ValueError(f"got n = {n}, expected at least 2: the two ends")
        first, last = self.encode([start, end])
        share = torch.linspace(0, 1, n)[:, None]
        return self.decode((1 - share) * first + share * last)


@dataclass(frozen=True)
class Limits:
    """What a sampling allows: masks over space groups and elements, elements that must occur, numbers of atoms.

    Source: ours.
    """

    groups: Bool[Tensor, " groups"]
    elements: Bool[Tensor, " elements"]
    required: Bool[Tensor, " elements"]
    fewest: int
    most: int
    ranges: dict[str, tuple[float, float]]

    @classmethod
    def of(
        cls,
        model: Crystals,
        elements: Sequence[int | str] = (),
        allowed: Sequence[int | str] = (),
        space_group: int | None = None,
        atoms: int | tuple[int, int] | None = None,
        **properties: Any,
    ) -> "Limits":
        """Read conditions (dimensionless).

        Raises:
            ValueError: an unknown element or group, or conditions that contradict each other.
        """
        required, among = _numbers(elements, model), _numbers(allowed, model) or list(model.elements)
        if outside := [z for z in required if z not in among]:
            raise ValueError(f"got the required elements {outside}, which are not among those allowed: {among}")
        groups = torch.zeros(GROUPS + 1, dtype=torch.bool)
        if space_group is None:
            groups[1:] = True
        elif isinstance(space_group, int) and 1 <= space_group <= GROUPS:
            groups[space_group] = True
        else:
            raise ValueError(f"got space_group = {space_group!r}, expected a number from 1 to {GROUPS}")
        fewest, most = (atoms, atoms) if isinstance(atoms, int) else atoms or (1, model.config.most_atoms)
        if not 1 <= fewest <= most <= model.config.most_atoms or len(required) > most:
            raise ValueError(
                f"got atoms = {atoms} with {len(required)} required elements, expected a range within 1 to "
                f"{model.config.most_atoms} that has room for them"
            )
        masks = torch.zeros(2, ELEMENTS, dtype=torch.bool)
        masks[0, among], masks[1, required] = True, True
        return cls(groups, masks[0], masks[1], fewest, most, _ranges(properties, model))

    def fulfilled(self, structure: Structure) -> bool:
        """Tell whether a crystal has the elements and the number of atoms that are wanted."""
        there = set(structure.numbers.tolist())
        return self.fewest <= len(structure.numbers) <= self.most and set(self.required.nonzero()[:, 0].tolist()) <= there


def _ranges(properties: dict[str, Any], model: Crystals) -> dict[str, tuple[float, float]]:
    """Check ranges of properties; told where they reach beyond what the model was taught."""
    known, ranges = model.config.properties, {}
    for name, pair in properties.items():
        if name not in known:
            near = difflib.get_close_matches(name, (*known, "elements", "allowed", "space_group", "atoms"), n=1)
            raise ValueError(
                f"got the condition {name!r}, expected elements, allowed, space_group, atoms"
                + "".join(f", {each}" for each in known)
                + (f"; did you mean {near[0]!r}?" if near else "")
            )
        numbers = isinstance(pair, tuple | list) and len(pair) == 2 and all(isinstance(x, int | float) for x in pair)
        if not numbers or not pair[0] < pair[1]:
            raise ValueError(f"got {name} = {pair!r}, expected (least, most) in {PROPERTIES[name]}")
        ranges[name] = (float(pair[0]), float(pair[1]))
        k = known.index(name)
        least, most = float(model.property_least[k]), float(model.property_most[k])
        if pair[0] > most or pair[1] < least:
            warnings.warn(
                f"{name} from {pair[0]:g} to {pair[1]:g} {PROPERTIES[name]} lies outside the training data ({least:.3g} "
                f"to {most:.3g}, 1 and 99 %): what is generated extrapolates",
                stacklevel=4,
            )
    return ranges


def _numbers(elements: Sequence[int | str], model: Crystals) -> list[int]:
    several = [elements] if isinstance(elements, int | str) else list(elements)
    numbers = [SYMBOLS.index(e) if isinstance(e, str) and e in SYMBOLS else e for e in several]
    if unknown := [e for e in numbers if e not in model.elements]:
        raise ValueError(f"got the elements {unknown}, expected ones that the model knows")
    return numbers
