"""From latents to genes, site by site, within what symmetry and conditions allow.

Source: as of the package.
"""

from dataclasses import fields

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ase_mlx.descriptors.gene_rows import GeneRows, chosen_parameters, wyckoff_tables
from ase_mlx.nn.attention import drawn

from .conditions import Conditions
from .networks import Decoder

WIDE = ("numbers", "positions", "coordinates", "free")
"""Arrays of `GeneRows` with a row a site."""


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
    growth.rows.lattice[:] = decoder.lattice.draw(growth.last, growth.rows.chosen, random)
    return growth.rows


class _Growth:
    """Crystals while their sites are drawn: `open` positions, their `atoms`, elements that are still `missing`."""

    def __init__(
        self, decoder: Decoder, most_sites: int, latents: Tensor, random: torch.Generator | None, wanted: Conditions
    ):
        self.decoder, self.most_sites, self.random, self.wanted = decoder, most_sites, random, wanted
        self.tables, n = wyckoff_tables(), len(latents)
        base = decoder.read(latents)
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
        self.growing, self.last = torch.ones(n, dtype=torch.bool), torch.zeros_like(self.condition)
        self.missing = wanted.required.expand(n, -1).clone()

    def step(self, step: int) -> bool:
        """Draw one more site of each crystal, or its end; False where all have ended."""
        going = torch.nonzero(self.growing)[:, 0]
        if not len(going):
            return False
        part = {f.name: getattr(self.rows, f.name)[going] for f in fields(self.rows)}
        rows = GeneRows(**{name: a[:, :step] if name in WIDE else a for name, a in part.items()})
        hidden = self.decoder.hidden(self.condition[going], rows)[:, -1]
        room = self.wanted.most - self.atoms[going]
        here = self.open[going] & (self.tables.multiplicity[rows.groups] <= room[:, None])
        numbers = drawn(self.decoder.to_element(hidden), self._elements(going, here, step), self.random)
        ended = numbers == 0
        self.last[going[ended]] = hidden[ended]
        self.growing[going[ended]] = False
        self._place(step, going[~ended], numbers[~ended], hidden[~ended], here[~ended])
        return True

    def _elements(
        self, going: Int[Tensor, " going"], here: Bool[Tensor, "going positions"], step: int
    ) -> Bool[Tensor, "going elements"]:
        """Which elements may follow; 0 is the end."""
        may = self.wanted.elements.expand(len(going), -1) & here.any(1)[:, None]
        count = self.missing[going].sum(1)
        urgent = (count > 0) & (count >= self.most_sites - step)
        may = torch.where(urgent[:, None], may & self.missing[going], may)
        done = (self.atoms[going] >= self.wanted.fewest) & (count == 0) & (step > 0)
        if step == self.most_sites:
            may = torch.zeros_like(may)
        may[:, 0] = done | ~may.any(1)
        return may

    def _place(self, step: int, going: Tensor, numbers: Tensor, hidden: Tensor, here: Tensor) -> None:
        """Draw site symmetry, which position of it, and its free coordinates."""
        if not len(going):
            return
        d, tables, group = self.decoder, self.tables, self.rows.groups[going]
        context = hidden + d.element(numbers)
        symmetries = torch.zeros(len(going), len(tables.symbols), dtype=torch.long)
        symmetries.scatter_add_(1, tables.symmetry[group].clamp(min=0), here.long())
        symmetry = drawn(d.to_symmetry(context), symmetries > 0, self.random)
        context = context + d.symmetry(symmetry)
        table = tables.position[group, symmetry]
        there = (table >= 0) & here.gather(1, table.clamp(min=0))
        enumeration = drawn(d.to_enumeration(context), there, self.random)
        context = context + d.enumeration(enumeration)
        position = table.gather(1, enumeration[:, None])[:, 0]
        free = tables.free[group, position]
        self.rows.numbers[going, step], self.rows.positions[going, step] = numbers, position
        self.rows.free[going, step] = free
        self.rows.coordinates[going, step] = d.coordinates.draw(context, free, self.random)
        self.missing[going, numbers] = False
        self.atoms[going] += tables.multiplicity[group, position]
        fixed = ~free.any(1)  # such a position is taken once
        self.open[going[fixed], position[fixed]] = False
