"""Genes of tables of crystals, in all their settings, and batches of them.

Source: ours.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from ase_mlx.descriptors.elements import element_property
from ase_mlx.descriptors.gene_rows import GeneRows, rows_of
from ase_mlx.descriptors.genes import Gene, cell_of, settings
from ase_mlx.keep import digest
from ase_mlx.processes import pool
from ase_mlx.structure import Structure

CHUNK = 200
"""Crystals that a process reads at once."""

AVOGADRO_A3 = 0.602214076
"""amu/Å³ that are 1 g/cm³."""


@dataclass(frozen=True)
class GeneData:
    """Which table of crystals to learn from: parquet with structures as array columns, split by its column `part`.

    Crystals of more than `most_sites` sites or `most_atoms` atoms (in the conventional cell) are left out. `properties`
    maps names of `models.crystals.PROPERTIES` to columns in their units; volumes and densities need none.

    Source: ours.
    """

    file: str
    properties: dict = field(default_factory=dict)
    most_sites: int = 52
    most_atoms: int = 400
    title: str = ""
    licence: str = "not stated"
    origin: str = "not stated"


class Sample(NamedTuple):
    """Genes of a batch, or one worker's share, and their properties (standardised: dimensionless; NaN: not known).

    `size` and `width` are genes and most sites of the whole batch.

    Source: ours.
    """

    rows: GeneRows
    targets: Float[torch.Tensor, "genes properties"]
    size: int
    width: int
    rank: int = 0
    workers: int = 1

    def to(self, device: str | torch.device) -> "Sample":
        """Move everything to a device."""
        return self._replace(rows=self.rows.to(device), targets=self.targets.to(device))

    def draw(self, random: torch.Generator, *shape: int, kind: Callable = torch.rand) -> torch.Tensor:
        """Draw random numbers (dimensionless) for each gene, the same ones however workers share the batch."""
        numbers = kind((self.size, *shape), generator=random)[self.rank :: self.workers]
        return numbers.to(self.targets.device)


@dataclass(frozen=True)
class Known:
    """Crystals of one part: each in all its settings, and its properties (NaN: not known; units of `PROPERTIES`).

    Source: ours.
    """

    genes: list[list[Gene]]
    properties: dict[str, Float[np.ndarray, " crystals"]]

    def __len__(self) -> int:
        """Count the crystals."""
        return len(self.genes)

    @cached_property
    def first(self) -> GeneRows:
        """Every crystal in one setting."""
        return rows_of([each[0] for each in self.genes])

    def targets(self, names: Sequence[str]) -> Float[torch.Tensor, "crystals properties"]:
        """Give properties as columns."""
        columns = [self.properties[name] for name in names]
        return torch.from_numpy(np.stack(columns, 1) if columns else np.zeros((len(self), 0))).float()


class GeneBatches:
    """Batches of genes of about equal length, each crystal in one of its equivalent settings, drawn anew every epoch.

    Source: ours.
    """

    def __init__(
        self,
        crystals: Sequence[Sequence[Gene]],
        targets: Float[torch.Tensor, "crystals properties"],
        size: int,
        seed: int,
        shuffled: bool = True,
    ):
        """Take the settings of each crystal, and standardised properties; batches of `size` genes."""
        self.targets = targets
        self.first = np.concatenate([[0], np.cumsum([len(each) for each in crystals])])
        self.rows = rows_of([gene for each in crystals for gene in each])
        self.sites = self.rows.sites.sum(1).numpy()
        self.size, self.seed, self.shuffled = size, seed, shuffled

    @property
    def items(self) -> int:
        """Count the crystals."""
        return len(self.first) - 1

    @property
    def digest(self) -> str:
        """By which a checkpoint knows its data."""
        return digest(
            [t.numpy() for t in vars(self.rows).values()], self.targets.numpy(), self.first, self.size, self.seed
        )[:16]

    def steps(self, epoch: int) -> int:
        """Count the batches of an epoch."""
        return -(-self.items // self.size)

    def epoch(self, epoch: int, start: int = 0, rank: int = 0, workers: int = 1) -> Iterator[list[Sample]]:
        """Go through the batches of an epoch from `start` on; of each, one of several workers gets its share."""
        random = np.random.default_rng([self.seed, epoch])
        count = np.diff(self.first)
        rows = self.first[:-1] + (random.integers(0, count) if self.shuffled else 0)
        order = random.permutation(self.items) if self.shuffled else np.arange(self.items)
        noise = random.random(self.items) if self.shuffled else 0.0
        order = order[np.argsort((self.sites[rows] + 2 * noise)[order], kind="stable")]
        batches = np.array_split(order, self.steps(epoch))
        if self.shuffled:
            batches = [batches[k] for k in random.permutation(len(batches))]
        for places in batches[start:]:
            mine, width = places[rank::workers], int(self.sites[rows[places]].max())
            if len(mine):
                part = self.rows.take(torch.from_numpy(rows[mine]))
                yield [Sample(part, self.targets[torch.from_numpy(mine)], len(places), width, rank, workers)]
            else:
                yield []


def read_genes(data: GeneData, processes: int = 2) -> tuple[dict[str, Known], dict[str, int]]:
    """Read the crystals of a table in all their settings, by part; and how many were left out, by reason.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no column `part`, or no crystal of a part that is needed.

    Source: ours.
    """
    if not Path(data.file).is_file():
        raise FileNotFoundError(f"got data.file = {data.file!r}, expected an existing parquet file")
    frame = pd.read_parquet(data.file)
    if "part" not in frame:
        raise ValueError(f"got {data.file} without a column 'part', expected one with train, val and test")
    pieces = [frame.iloc[k : k + CHUNK] for k in range(0, len(frame), CHUNK)]
    if len(pieces) == 1:
        found = _settings_of(pieces[0])
    else:
        with pool(processes) as workers:
            found = [each for piece in workers.map(_settings_of, pieces) for each in piece]
    chosen: dict[str, list[int]] = {part: [] for part in ("train", "val", "test")}
    left = {"no symmetry found": 0, "too many sites or atoms": 0}
    for k, (part, genes) in enumerate(zip(frame["part"], found, strict=True)):
        if not genes:
            left["no symmetry found"] += 1
        elif len(genes[0].sites) > data.most_sites or _atoms(genes[0]) > data.most_atoms:
            left["too many sites or atoms"] += 1
        elif part in chosen:
            chosen[part].append(k)
    columns = {name: frame[column].to_numpy(dtype=float) for name, column in data.properties.items()}
    parts = {}
    for part, places in chosen.items():
        genes = [found[k] for k in places]
        known = {name: column[places] for name, column in columns.items()}
        parts[part] = Known(genes, known | _by_structure([each[0] for each in genes]))
    return parts, left


def _by_structure(genes: list[Gene]) -> dict[str, np.ndarray]:
    """Volumes an atom (Å³) and densities (g/cm³)."""
    volumes = np.array([abs(np.linalg.det(cell_of(gene))) / _atoms(gene) for gene in genes])
    weights = element_property("AtomicWeight")
    masses = [
        np.average([weights[s.number] for s in gene.sites], weights=[p.multiplicity for p in gene.positions])
        for gene in genes
    ]
    return {"volume_per_atom": volumes, "density": np.array(masses) / volumes / AVOGADRO_A3}


def _atoms(gene: Gene) -> int:
    return sum(position.multiplicity for position in gene.positions)


def _settings_of(piece: pd.DataFrame) -> list[list[Gene]]:
    return [_genes(row) for row in piece.itertuples()]


def _genes(row: Any) -> list[Gene]:
    cell = np.asarray(row.lattice, dtype=float).reshape(3, 3)
    places = np.vstack(row.frac_coords).astype(float).reshape(-1, 3)
    crystal = Structure(np.asarray(row.numbers, dtype=int), places @ cell, cell, np.ones(3, bool))
    try:
        return settings(crystal)
    except ValueError:
        return []
