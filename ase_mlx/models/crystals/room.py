"""Room for atoms: which free coordinates keep them apart.

Source: ours; covalent radii of B. Cordero et al., Dalton Trans. 2832 (2008).
"""

import numpy as np
import torch
from jaxtyping import Float

from ase_mlx.descriptors.elements import element_property
from ase_mlx.descriptors.gene_rows import GeneRows, genes_of
from ase_mlx.descriptors.genes import cell_of
from ase_mlx.descriptors.wyckoff import operations, wyckoff_positions
from ase_mlx.graph.lattice import reduced, steps

ROOM, SOFT = 0.8, 0.05
"""Distances in sums of covalent radii from which atoms do not mind each other, and how fast they do below."""

STEPS = steps(3)
"""Lattice vectors by which the nearest image may be off the rounded one, in a shortest basis."""

NEAR = 1e-4
"""Fractional; images of an atom that are one."""


class Room:
    """The atoms of one crystal that are placed: those of sites without freedom, then site by site.

    Source: ours.
    """

    def __init__(self, row: GeneRows):
        """Begin with the lattice (Å, degrees in the row) of a single gene; one that cannot be has room everywhere."""
        self.group, self.radii = int(row.groups[0]), element_property("CovalentRadius") / 100  # pm → Å
        self.rotations, self.translations = operations(self.group)
        self.numbers, self.positions = row.numbers[0].tolist(), row.positions[0].tolist()
        try:
            self.basis, whole = reduced(cell_of(*genes_of(row)))
            self.turn = np.linalg.inv(whole)
        except ValueError:
            self.basis = None
            return
        self.places, self.sizes = np.zeros((0, 3)), np.zeros(0)
        for site, free in enumerate(row.free[0].any(-1).tolist()):
            if self.numbers[site] and not free:
                self.place(site, np.zeros(3))

    def place(self, site: int, free: Float[np.ndarray, " 3"]) -> None:
        """Put the atoms of a site where its free coordinates (in units of the cell) say."""
        if self.basis is None:
            return
        images = self._images(site, free[None])[0] % 1.0
        images = images[np.unique(np.round(images / NEAR).astype(int) % round(1 / NEAR), axis=0, return_index=True)[1]]
        self.places = np.concatenate([self.places, images])
        self.sizes = np.concatenate([self.sizes, np.full(len(images), self._radius(site))])

    def closest(self, site: int, free: Float[np.ndarray, "tries 3"]) -> Float[np.ndarray, " tries"]:
        """Give the shortest distance of a site's atom for several free coordinates (in units of the cell).

        Distances are in units of the sum of two covalent radii.
        """
        if self.basis is None:
            return np.full(len(free), np.inf)
        images, radius = self._images(site, free), self._radius(site)
        same = len(self.rotations) // wyckoff_positions(self.group)[self.positions[site]].multiplicity
        own = np.sort(self._distances(images[:, :1], images), axis=1)[:, same:]
        least = own.min(axis=1, initial=np.inf) / (2 * radius)
        if len(self.places):
            others = self._distances(images[:, :1], self.places[None]) / (radius + self.sizes)
            least = np.minimum(least, others.min(axis=1))
        return least

    def choose(
        self, site: int, free: Float[np.ndarray, "tries 3"], random: torch.Generator | None
    ) -> Float[np.ndarray, " 3"]:
        """Choose one of several free coordinates (in units of the cell) by the room it leaves, and place the site.

        Without a random generator it is the first that has room, or the one that has most.
        """
        least = self.closest(site, free)
        log_weight = -0.5 * np.square(np.clip(ROOM - least, 0, None) / SOFT)
        if random is None:
            which = int(log_weight.argmax())
        else:
            which = int(torch.multinomial(torch.from_numpy(log_weight).softmax(0), 1, generator=random))
        self.place(site, free[which])
        return free[which]

    def _images(self, site: int, free: np.ndarray) -> np.ndarray:
        """All images of a site's atom, itself first: (tries, operations, 3), fractional."""
        position = wyckoff_positions(self.group)[self.positions[site]]
        places = free @ position.matrix.T + position.shift
        images = np.einsum("oij,tj->toi", self.rotations, places) + self.translations
        first = int((np.abs(self.rotations - np.eye(3)).sum((1, 2)) + np.abs(self.translations).sum(1)).argmin())
        images[:, [0, first]] = images[:, [first, 0]]
        return images

    def _distances(self, one: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Distances (Å) of nearest images, in the shortest basis."""
        apart = (others - one) @ self.turn
        nearest = (apart - np.rint(apart)) @ self.basis
        shifts = STEPS @ self.basis
        more = (2 * nearest @ shifts.T + np.square(shifts).sum(-1)).min(-1)
        return np.sqrt(np.maximum(np.square(nearest).sum(-1) + more, 0.0))

    def _radius(self, site: int) -> float:
        number = self.numbers[site]
        return float(self.radii[number]) if number < len(self.radii) else 1.5
