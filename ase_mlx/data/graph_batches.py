"""Batches of graphs for the training loop: in an order that seed and epoch fix, by number of frames or of edges.

Source: ours.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from jaxtyping import Int
from torch import Tensor

from ase_mlx.data.samples import Sample, Trainable, batches, name_of, sample
from ase_mlx.data.shards import Shards
from ase_mlx.keep import digest

CACHE = 2**28
"""Bytes of samples that are kept from one epoch to the next."""


class ShardSamples(Sequence[Sample]):
    """Frames of shards as samples (eV, Å), each made when it is asked for.

    Samples stay in memory as long as there is room, those that came first: where all are asked for once an epoch in
    another order, throwing the oldest away would keep fewer (0.15 instead of 0.5 of them with room for half).

    Attributes:
        places: of the frames in the shards.
        digest: of all that decides what the samples hold.

    Source: ours.
    """

    def __init__(self, shards: Shards, places: Int[np.ndarray, " frames"], cutoff: float, cache: int = CACHE):
        """Take frames with edges up to `cutoff` (Å); keep at most `cache` bytes."""
        self.shards, self.places, self.cutoff, self.cache = shards, np.asarray(places), cutoff, cache
        self.digest = digest(shards.digest, self.places, cutoff)[:16]
        self._kept: dict[int, Sample] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, k: int) -> Sample:
        place = int(self.places[k])
        kept = self._kept.get(place)
        if kept is not None:
            return kept
        atoms = self.shards[place]
        new = sample(atoms, self.cutoff, name_of(atoms, place))
        size = size_of(new)
        if self._bytes + size <= self.cache:
            self._kept[place] = new
            self._bytes += size
        return new

    def edges(self, progress: Callable[[int, int], None] | None = None) -> Int[np.ndarray, " frames"]:
        """Count the edges of each sample, those of the frame that a column of the Hessian begins at with them.

        `progress` is called with the frames that are counted, and all, where they were not counted before.
        """
        counts = self.shards.edges(self.cutoff, progress)[self.places]
        return counts * (1 + self.shards.columns["column"][self.places])


class GraphBatches:
    """Batches of samples (eV, Å) of either so many frames, or as many as have so many edges together.

    A batch is a list of joined samples: crystals, and structures without a volume. The order of an epoch depends on
    the seed and its number alone, so that an epoch can go on in its middle; what is passed over is not read.

    Source: ours.
    """

    def __init__(
        self,
        samples: Sequence[Trainable],
        size: int = 0,
        edges: int = 0,
        seed: int = 0,
        shuffled: bool = True,
    ):
        """Make batches of a list of samples or of `ShardSamples`.

        Args:
            samples: to draw from.
            size: frames of a batch.
            edges: in place of `size`: edges of a batch, an atom counting at least one; a larger frame is one alone.
            seed: of the order.
            shuffled: whether the order is another one in every epoch; else it is that of the samples.

        Raises:
            ValueError: no samples, or not exactly one of `size` and `edges`.
        """
        if not len(samples) or (size > 0) == (edges > 0) or min(size, edges) < 0:
            raise ValueError(
                f"got {len(samples)} samples, size={size} and edges={edges}, expected at least one sample and either a "
                "number of frames or of edges for a batch"
            )
        self.samples, self.size, self.most_edges = samples, size, edges
        self.seed, self.shuffled = seed, shuffled
        self._weights = _sizes(samples) if edges else np.ones(len(samples), dtype=np.int64)
        self._limit = edges or size
        self._packed: tuple[int, list[np.ndarray]] = (-1, [])

    @functools.cached_property
    def digest(self) -> str:
        """By which a checkpoint knows its data."""
        held = getattr(self.samples, "digest", None) or [_content(sample) for sample in self.samples]
        return digest(held, self.size, self.most_edges, self.seed, self.shuffled)[:16]

    @property
    def items(self) -> int:
        """Count the frames of an epoch."""
        return len(self.samples)

    def steps(self, epoch: int) -> int:
        """Count the batches of an epoch."""
        return len(self._pack(epoch))

    def epoch(self, epoch: int, start: int = 0, rank: int = 0, workers: int = 1) -> Iterator[list[Trainable]]:
        """Go through the batches of an epoch from `start` on; of each, one of several workers gets its share."""
        for places in self._pack(epoch)[start:]:
            share = places[rank::workers]
            yield batches([self.samples[int(k)] for k in share], max(len(share), 1))

    def _pack(self, epoch: int) -> list[np.ndarray]:
        """The samples of each batch of an epoch: as many, in their order, as fit in."""
        if self._packed[0] != epoch:
            count = len(self.samples)
            order = np.random.default_rng([self.seed, epoch]).permutation(count) if self.shuffled else np.arange(count)
            total = np.cumsum(self._weights[order])
            ends = [0]
            while ends[-1] < count:
                before = total[ends[-1] - 1] if ends[-1] else 0
                ends.append(max(int(np.searchsorted(total, before + self._limit, side="right")), ends[-1] + 1))
            self._packed = (epoch, np.split(order, ends[1:-1]))
        return self._packed[1]


def _sizes(samples: Sequence[Trainable]) -> np.ndarray:
    if isinstance(samples, ShardSamples):
        return np.maximum(samples.edges(), samples.shards.columns["atoms"][samples.places])
    bases = [getattr(sample, "base", None) for sample in samples]
    edges = [len(s.graph.center) + (0 if b is None else len(b.center)) for s, b in zip(samples, bases, strict=True)]
    return np.maximum(edges, [len(sample.graph.numbers) for sample in samples]).astype(np.int64)


def size_of(value: Any) -> int:
    """Count the bytes of the tensors that a sample holds.

    Source: ours.
    """
    if isinstance(value, Tensor):
        return value.nbytes
    if is_dataclass(value):
        return sum(size_of(getattr(value, each.name)) for each in fields(value))
    return sum(map(size_of, value.values())) if isinstance(value, dict) else 0


def _content(value: Any) -> Any:
    """What a sample holds, without its class and its names."""
    if is_dataclass(value):
        return {each.name: _content(getattr(value, each.name)) for each in fields(value) if each.name != "names"}
    if isinstance(value, list | tuple):
        return [_content(item) for item in value]
    return value
