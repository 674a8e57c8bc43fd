"""From latents to genes, site by site, within what symmetry and conditions allow.

Source: as of the package.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ase_mlx.descriptors.gene_rows import GeneRows, chosen_parameters, wyckoff_tables
from ase_mlx.nn.attention import drawn

from .conditions import Conditions
from .networks import Arrangement, Decoder
from .room import Room

TRIES = 32
"""Places that are drawn for a site, of which one is taken."""


def grow(
    decoder: Decoder,
    most_sites: int,
    latents: Float[Tensor, "crystals latent"],
    random: torch.Generator | None,
    wanted: Conditions,
) -> GeneRows:
    """Decode latents to genes (Å, degrees in their rows).

    Args:
        decoder: of the model.
        most_sites: after so many a crystal ends.
        latents: dimensionless.
        random: draws each choice; None takes the likeliest.
        wanted: elements, groups and numbers of atoms that are allowed.

    Source: ours.
    """
    growth = _Growth(decoder, most_sites, latents, random, wanted)
    for step in range(most_sites + 1):
        if not growth.step(step):
            break
    rows = growth.rows
    rows = rows.take(torch.arange(len(rows)))  # as wide as the largest
    arrange(decoder.arrangement, growth.condition, rows, random)
    return rows


def arrange(
    arrangement: Arrangement,
    condition: Float[Tensor, "crystals width"],
    rows: GeneRows,
    random: torch.Generator | None,
) -> None:
    """Draw lattices and free coordinates of genes whose occupied positions are known, in place.

    Of a site's coordinates `TRIES` are drawn, and one of them is taken by the room that it leaves to other atoms.

    Args:
        arrangement: of the decoder.
        condition: what the decoder knows of each gene (dimensionless).
        rows: genes (Å, degrees in them).
        random: draws each number; None takes the likeliest, of coordinates the likeliest that leaves room.

    Source: ours.
    """
    whole, sites = arrangement(condition, rows)
    rows.lattice[:] = arrangement.lattice.draw(whole, rows.chosen, random)
    rooms = {k: Room(rows.take(torch.tensor([k]))) for k in torch.nonzero(rows.free.any(-1).any(-1))[:, 0].tolist()}
    for step in range(rows.numbers.shape[1]):
        moving = torch.nonzero(rows.free[:, step].any(-1))[:, 0]
        if not len(moving):
            continue
        part = rows.first_sites(moving, step + 1)
        context, free = arrangement.placed(condition[moving], sites[moving, : step + 1], part)[:, -1], part.free[:, -1]
        tries = _tries(arrangement, context, free, random)
        for k, these in zip(moving.tolist(), tries.double().numpy(), strict=True):
            rows.coordinates[k, step] = torch.from_numpy(rooms[k].choose(step, these, random)).float()


def _tries(arrangement: Arrangement, context: Tensor, free: Tensor, random: torch.Generator | None) -> Tensor:
    """Draw coordinates of sites, `TRIES` each; without a generator the likeliest first, then others.

    These do not depend on what stands beside a crystal in its batch.
    """
    if random is not None:
        many = (each.repeat_interleave(TRIES, 0) for each in (context, free))
        return arrangement.coordinates.draw(*many, random).unflatten(0, (len(context), TRIES))
    first = arrangement.coordinates.draw(context, free, None)
    rest = [
        arrangement.coordinates.draw(c.expand(TRIES, -1), f.expand(TRIES, -1), torch.Generator().manual_seed(0))
        for c, f in zip(context, free, strict=True)
    ]
    return torch.cat([first[:, None], torch.stack(rest)], 1)


class _Growth:
    """Crystals while their sites are drawn: `open` positions, their `atoms`, elements that are still `missing`."""

    def __init__(
        self, decoder: Decoder, most_sites: int, latents: Tensor, random: torch.Generator | None, wanted: Conditions
    ):
        self.decoder, self.most_sites, self.random, self.wanted = decoder, most_sites, random, wanted
        self.tables, n = wyckoff_tables(), len(latents)
        base, self.composition = decoder.read(latents), decoder.composition(latents)
        groups = drawn(decoder.to_group(base), wanted.groups.expand(n, -1), random)
        self.condition = base + decoder.group(groups)
        self.rows = GeneRows(
            groups,
            torch.zeros(n, most_sites, dtype=torch.long),
            torch.zeros(n, most_sites, dtype=torch.long),
            torch.zeros(n, most_sites, 3),
            torch.zeros(n, most_sites, 3, dtype=torch.bool),
            torch.zeros(n, 6),
            chosen_parameters()[groups],
        )
        self.open, self.atoms = self.tables.symmetry[groups] >= 0, torch.zeros(n, dtype=torch.long)
        self.growing = torch.ones(n, dtype=torch.bool)
        self.missing = wanted.required.expand(n, -1).clone()

    def step(self, step: int) -> bool:
        """Draw one more site of each crystal, or its end; False where all have ended."""
        going = torch.nonzero(self.growing)[:, 0]
        if not len(going):
            return False
        rows = self.rows.first_sites(going, step)
        hidden = self.decoder.skeletons(self.condition[going], rows)
        logits = self.decoder.skeletons.elements(hidden, self.composition[going], rows)[:, -1]
        hidden = hidden[:, -1]
        room = self.wanted.most - self.atoms[going]
        here = self.open[going] & (self.tables.multiplicity[rows.groups] <= room[:, None])
        numbers = drawn(logits, self._elements(going, here, step), self.random)
        ended = numbers == 0
        self.growing[going[ended]] = False
        self._place(step, going[~ended], numbers[~ended], hidden[~ended], here[~ended])
        return True

    def _elements(
        self, going: Int[Tensor, " going"], here: Bool[Tensor, "going positions"], step: int
    ) -> Bool[Tensor, "going elements"]:
        """Which elements may follow; 0 is the end.

        Sites are named by atomic number: while an element is missing, no heavier one may follow.
        """
        may = self.wanted.elements.expand(len(going), -1) & here.any(1)[:, None]
        missing, count = self.missing[going], self.missing[going].sum(1)
        heavier = (missing.cumsum(1) - missing.long()) > 0
        may = may & ~heavier
        urgent = (count > 0) & (count >= self.most_sites - step)
        may = torch.where(urgent[:, None], may & missing, may)
        done = (self.atoms[going] >= self.wanted.fewest) & (count == 0) & (step > 0)
        if step == self.most_sites:
            may = torch.zeros_like(may)
        may[:, 0] = done | ~may.any(1)
        return may

    def _place(self, step: int, going: Tensor, numbers: Tensor, hidden: Tensor, here: Tensor) -> None:
        """Draw site symmetry, and which position of it."""
        if not len(going):
            return
        d, tables, group = self.decoder.skeletons, self.tables, self.rows.groups[going]
        context = hidden + d.element(numbers)
        symmetries = torch.zeros(len(going), len(tables.symbols), dtype=torch.long)
        symmetries.scatter_add_(1, tables.symmetry[group].clamp(min=0), here.long())
        symmetry = drawn(d.to_symmetry(context), symmetries > 0, self.random)
        context = context + d.symmetry(symmetry)
        table = tables.position[group, symmetry]
        there = (table >= 0) & here.gather(1, table.clamp(min=0))
        enumeration = drawn(d.to_enumeration(context), there, self.random)
        position = table.gather(1, enumeration[:, None])[:, 0]
        free = tables.free[group, position]
        self.rows.numbers[going, step], self.rows.positions[going, step] = numbers, position
        self.rows.free[going, step] = free
        self.missing[going, numbers] = False
        self.atoms[going] += tables.multiplicity[group, position]
        fixed = ~free.any(1)  # such a position is taken once
        self.open[going[fixed], position[fixed]] = False
