"""The generator: encode, decode, sample, interpolate, optimise.

Source: as of the package.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ase_mlx.descriptors.gene_rows import GeneRows, genes_of, rows_of
from ase_mlx.descriptors.genes import Gene, gene_of, structure_of
from ase_mlx.graph import from_atoms
from ase_mlx.nn.ensemble import Ensemble
from ase_mlx.structure import AtomsLike, Structure

from ..contract import Generates
from .conditions import Conditions
from .config import CrystalsConfig
from .growth import grow
from .networks import Decoder, Encoder, Head
from .priors import Diffusion, Mixture

POOL, SPARE = 50, 5
"""Latents that are drawn, and crystals that are built, for each one whose properties are wanted."""

MANY, SITES = 20_000, 6
"""Latents of the mixture among which those of rare elements are found, and sites of a typical crystal."""

TRIES = 20
"""Times that a crystal is decoded anew where its sites coincide, or its cell is none or holds no matter."""

REACH = 6.0
"""Å within which the neighbours of what is built can be listed: cells flatter or denser than any matter have none."""


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
        self.mixture = Mixture(config.latent, config.mixture)
        self.diffusion = Diffusion(config.latent, 2 * config.width, 3) if config.prior == "diffusion" else None

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
        wanted = Conditions.of(self, **conditions)
        random = None if seed is None else torch.Generator().manual_seed(seed)
        return self._structures(torch.as_tensor(latents).float(), random, wanted)

    def sample(self, n: int, seed: int = 0, **conditions: Any) -> list[Structure]:
        """Draw crystals (Å).

        `info` of each says its `space_group`, whether the same elements on the same positions of it were taught
        (`known`), and the properties that its own latent tells, with their standard deviations (`…_std`).

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
        wanted = Conditions.of(self, **conditions)
        random, kept = torch.Generator().manual_seed(seed), []
        for _ in range(TRIES):
            if len(kept) < n:
                kept += self._drawn(n - len(kept), random, wanted)
        if len(kept) < n:
            raise ValueError(
                f"got {len(kept)} crystals in {TRIES} rounds, expected {n} with {conditions}: these conditions are "
                "hardly ever met; ask for less"
            )
        return kept

    def _drawn(self, n: int, random: torch.Generator, wanted: Conditions) -> list[Structure]:
        """Draw at most n crystals; where something is wanted, from latents of more that tell of it."""
        chosen = bool(wanted.required.any()) or int(wanted.elements.sum()) < len(self.elements)
        if not wanted.ranges and not chosen:
            return [one for one in self._built(self.draw_latents(n, random), random, wanted) if one is not None]
        with torch.no_grad():
            z = self.mixture.draw(MANY, random) if chosen else self.draw_latents(POOL * n, random)
            weight = self.telling(z, wanted)
            if wanted.ranges:
                weight = weight * self.inside(*self.properties(z), wanted.ranges)
            z = z[torch.multinomial(weight.clamp(min=1e-30), SPARE * n, generator=random)]
        made = [one for one in self._built(z, random, wanted) if one is not None]
        if len(made) <= n or not wanted.ranges:
            return made[:n]
        told = [
            torch.tensor([[one.info[f"{name}{what}"] for name in self.config.properties] for one in made])
            for what in ("", "_std")
        ]
        chosen = torch.multinomial(self.inside(*told, wanted.ranges), n, generator=random)
        return [made[k] for k in chosen.tolist()]

    def telling(self, latents: Float[Tensor, "crystals latent"], wanted: Conditions) -> Float[Tensor, " crystals"]:
        """Give weights (dimensionless) of latents by the elements that they tell of their sites.

        A latent counts by the shares of the elements that must occur, and by how improbable others are than allowed
        ones on `SITES` sites.
        """
        share = self.decoder.composition(latents)[:, list(self.elements)].softmax(-1)
        required, allowed = wanted.required[list(self.elements)], wanted.elements[list(self.elements)]
        return share[:, required].prod(1) * share[:, allowed].sum(1) ** SITES

    def inside(
        self,
        mean: Float[Tensor, "crystals properties"],
        std: Float[Tensor, "crystals properties"],
        ranges: dict[str, tuple[float, float]],
    ) -> Float[Tensor, " crystals"]:
        """Give the probability (dimensionless) that all properties lie within their ranges (units of `PROPERTIES`)."""
        inside = torch.ones(len(mean))
        for name, (least, most) in ranges.items():
            k = self.config.properties.index(name)
            ends = [torch.special.ndtr((end - mean[:, k]) / std[:, k]) for end in (least, most)]
            inside = inside * (ends[1] - ends[0])
        return inside.clamp(min=1e-30)

    def draw_latents(self, n: int, random: torch.Generator) -> Float[Tensor, "n latent"]:
        """Draw from the prior (dimensionless) that the training leaves."""
        return (self.diffusion or self.mixture).draw(n, random)

    def _structures(self, latents: Tensor, random: torch.Generator | None, wanted: Conditions) -> list[Structure]:
        """Decode, and again where the sites coincide, the cell does not exist or a condition is not met."""
        made: list[Structure | None] = [None] * len(latents)
        for attempt in range(TRIES):
            left = [k for k, one in enumerate(made) if one is None]
            if not left:
                break
            again = random if attempt == 0 or random is not None else torch.Generator().manual_seed(attempt)
            for k, one in zip(left, self._built(latents[left], again, wanted), strict=True):
                made[k] = one
        if None in made:
            raise ValueError(
                f"got {made.count(None)} of {len(made)} latents without a crystal after {TRIES} attempts, expected "
                "latents near those of crystals"
            )
        return made

    @torch.no_grad()
    def _built(self, latents: Tensor, random: torch.Generator | None, wanted: Conditions) -> list[Structure | None]:
        """Decode once: crystals with what is known of them, None where there is none."""
        rows = self.decoded(latents, random, wanted)
        properties = self.properties(self.encoder(rows).mean) if self.config.properties else ()
        built: list[Structure | None] = []
        for k in range(len(rows)):
            try:
                (gene,) = genes_of(rows.take(torch.tensor([k])))
                structure = structure_of(gene)
                from_atoms(structure, REACH)
            except ValueError:
                built.append(None)
                continue
            about = {"space_group": gene.space_group, "known": self.knows(gene)}
            for values, what in zip(properties, ("", "_std"), strict=False):
                about |= {f"{name}{what}": float(values[k, j]) for j, name in enumerate(self.config.properties)}
            built.append(replace(structure, info=about) if wanted.fulfilled(structure) else None)
        return built

    def knows(self, gene: Gene) -> bool:
        """Tell whether a crystal with the same elements on the same positions of the same group was taught."""
        return bool((self.known == gene.key).any())

    @torch.no_grad()
    def decoded(
        self,
        latents: Float[Tensor, "crystals latent"],
        random: torch.Generator | None,
        conditions: Conditions | None = None,
    ) -> GeneRows:
        """Decode latents to genes (Å, degrees in their rows); without a random generator the likeliest choices."""
        return grow(self.decoder, self.config.most_sites, latents, random, conditions or Conditions.of(self))

    def optimize(
        self,
        structures: Sequence[AtomsLike],
        steps: int = 200,
        prior: float = 0.05,
        seed: int | None = None,
        **wanted: Any,
    ) -> list[tuple[Structure, dict[str, tuple[float, float]]]]:
        """Move crystals through the latent space until their properties are the wanted ones.

        The steps raise the probability that all properties lie within their ranges, by the ensemble's own bars, and
        that of the prior.

        Args:
            structures: to begin from (Å).
            steps: of Adam, at a rate of 0.05.
            prior: weight of the mixture's log-density against that of the ranges (dimensionless).
            seed: draws the crystals of the last latents; None takes the likeliest.
            **wanted: ranges by the names and units of `PROPERTIES`, and conditions as of `sample`.

        Returns:
            Each crystal (Å) with its properties and their standard deviations, in the units of `PROPERTIES`.

        Raises:
            ValueError: no range, or as of `encode` and `sample`.
        """
        wanted = Conditions.of(self, **wanted)
        if not wanted.ranges:
            raise ValueError("got no range of a property, expected one, as in band_gap=(1.2, 1.6)")
        z = self.encode(structures).clone().requires_grad_(True)
        mover = torch.optim.Adam([z], lr=0.05)
        for _ in range(steps):
            mover.zero_grad()
            likely = self.inside(*self.properties(z), wanted.ranges).log() + prior * self.mixture.log_density(z)
            loss = -likely.sum()
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
        return list(zip(self._structures(z, random, wanted), told, strict=True))

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
