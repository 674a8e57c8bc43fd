"""Genes of tables of crystals, in all their settings, and batches of them.

Source: ours.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int

from ase_mlx.descriptors.elements import element_property
from ase_mlx.descriptors.gene_rows import WIDE, GeneRows, of_arrays, rows_of
from ase_mlx.descriptors.genes import Gene, settings
from ase_mlx.descriptors.wyckoff import TABLE
from ase_mlx.keep import Entries, cache_folder, digest
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
    """Crystals of one part: each in all its `settings`, and its properties (NaN: not known; units of `PROPERTIES`).

    Source: ours.
    """

    rows: GeneRows
    settings: Int[np.ndarray, " crystals"]
    properties: dict[str, Float[np.ndarray, " crystals"]]

    def __len__(self) -> int:
        """Count the crystals."""
        return len(self.settings)

    @cached_property
    def starts(self) -> Int[np.ndarray, " crystals"]:
        """Where the settings of each crystal begin."""
        return np.cumsum(self.settings) - self.settings

    @cached_property
    def first(self) -> GeneRows:
        """Every crystal in one setting."""
        return self.rows.take(torch.from_numpy(self.starts))

    def take(self, crystals: Int[np.ndarray, " taken"]) -> "Known":
        """Give some crystals."""
        counts = self.settings[crystals]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        rows = np.repeat(self.starts[crystals], counts) + within
        return Known(
            self.rows.take(torch.from_numpy(rows)), counts, {n: v[crystals] for n, v in self.properties.items()}
        )

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
        crystals: Known,
        targets: Float[torch.Tensor, "crystals properties"],
        size: int,
        seed: int,
        shuffled: bool = True,
    ):
        """Take crystals, and standardised properties; batches of `size` genes."""
        self.targets, self.rows = targets, crystals.rows
        self.starts, self.settings = crystals.starts, crystals.settings
        self.sites = self.rows.sites.sum(1).numpy()
        self.size, self.seed, self.shuffled = size, seed, shuffled

    @property
    def items(self) -> int:
        """Count the crystals."""
        return len(self.starts)

    @property
    def digest(self) -> str:
        """By which a checkpoint knows its data."""
        return digest(
            [t.numpy() for t in vars(self.rows).values()], self.targets.numpy(), self.starts, self.size, self.seed
        )[:16]

    def steps(self, epoch: int) -> int:
        """Count the batches of an epoch."""
        return -(-self.items // self.size)

    def epoch(self, epoch: int, start: int = 0, rank: int = 0, workers: int = 1) -> Iterator[list[Sample]]:
        """Go through the batches of an epoch from `start` on; of each, one of several workers gets its share."""
        random = np.random.default_rng([self.seed, epoch])
        rows = self.starts + (random.integers(0, self.settings) if self.shuffled else 0)
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


def read_genes(
    data: GeneData, parts: Sequence[str] = ("train", "val", "test"), processes: int = 2
) -> tuple[dict[str, Known], dict[str, int]]:
    """Read the crystals of a table in all their settings, by part ("all": of any); how many were left out, by reason.

    Genes of tables of more than `CHUNK` crystals are kept in `cache_folder`: they take minutes.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no column `part`, or no crystal whose symmetry is found.

    Source: ours.
    """
    if not Path(data.file).is_file():
        raise FileNotFoundError(f"got data.file = {data.file!r}, expected an existing parquet file")
    frame = pd.read_parquet(data.file)
    if "part" not in frame:
        raise ValueError(f"got {data.file} without a column 'part', expected one with train, val and test")
    counts, rows = _genes_of_table(frame, processes)
    starts = np.cumsum(counts) - counts
    sites, atoms = rows.sites.sum(1).numpy(), rows.multiplicities.sum(1).numpy()
    lone = counts == 0
    safe = np.minimum(starts, len(sites) - 1)
    large = ~lone & ((sites[safe] > data.most_sites) | (atoms[safe] > data.most_atoms))
    left = {"no symmetry found": int(lone.sum()), "too many sites or atoms": int(large.sum())}
    columns = {name: frame[column].to_numpy(dtype=float) for name, column in data.properties.items()}
    whole = Known(rows, counts, columns | _by_structure(rows, safe))
    fine = ~lone & ~large
    of = {part: fine & ((frame["part"] == part).to_numpy() | (part == "all")) for part in parts}
    return {part: whole.take(np.flatnonzero(there)) for part, there in of.items()}, left


def _genes_of_table(frame: pd.DataFrame, processes: int) -> tuple[np.ndarray, GeneRows]:
    """Read or fetch genes: how many settings each crystal has (0: no symmetry found), and all of them."""
    pieces = [frame.iloc[k : k + CHUNK] for k in range(0, len(frame), CHUNK)]
    if len(pieces) == 1:
        return _packed(_settings_of(pieces[0]))
    structures = [np.concatenate([np.ravel(x) for x in frame[name]]) for name in ("lattice", "numbers", "frac_coords")]
    lengths = np.array([len(numbers) for numbers in frame["numbers"]])
    key = digest(*structures, lengths, settings, rows_of, TABLE.read_bytes(), version("moyopy"))
    try:
        kept = Entries(cache_folder() / "genes")
    except OSError:
        kept = Entries(None)
    if (arrays := kept.fetch("genes", key)) is not None:
        return _unpacked(arrays)
    with pool(processes) as workers:
        counts, rows = _packed([each for piece in workers.map(_settings_of, pieces) for each in piece])
    there = rows.sites.numpy()
    arrays = {
        "settings": counts,
        "groups": rows.groups.numpy().astype(np.uint8),
        "sites": there.sum(1),
        "numbers": rows.numbers.numpy()[there].astype(np.uint8),
        "positions": rows.positions.numpy()[there].astype(np.uint8),
        "coordinates": rows.coordinates.numpy()[there],
        "lattice": rows.lattice.numpy(),
    }
    with contextlib.suppress(OSError):  # a full disk costs minutes, not the training
        kept.keep("genes", key, arrays)
    return counts, rows


def _packed(found: list[list[Gene]]) -> tuple[np.ndarray, GeneRows]:
    genes = [gene for each in found for gene in each]
    if not genes:
        raise ValueError(f"got {len(found)} crystals, and symmetry was found in none of them, expected some")
    return np.array([len(each) for each in found]), rows_of(genes)


def _unpacked(arrays: dict[str, np.ndarray]) -> tuple[np.ndarray, GeneRows]:
    there = np.arange(arrays["sites"].max()) < arrays["sites"][:, None]
    wide = {name: np.zeros((*there.shape, *arrays[name].shape[1:]), arrays[name].dtype) for name in WIDE[:3]}
    for name, array in wide.items():
        array[there] = arrays[name]
    return arrays["settings"], of_arrays(arrays["groups"], *wide.values(), arrays["lattice"])


def _by_structure(rows: GeneRows, places: Int[np.ndarray, " crystals"]) -> dict[str, np.ndarray]:
    """Volumes an atom (Å³) and densities (g/cm³; NaN where the mass of an element is not in the table)."""
    volumes, weights = rows.lattice.double().exp().numpy()[places, 0], element_property("AtomicWeight")
    shares = rows.composition.double().numpy()[places]
    masses = shares[:, : len(weights)] @ np.nan_to_num(weights)
    masses[shares[:, len(weights) :].any(1)] = np.nan
    return {"volume_per_atom": volumes, "density": masses / volumes / AVOGADRO_A3}


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
