"""The next structures of a pool, by the acquisition that the settings name.

`variance` and `distance` take the most uncertain and the strangest; `integrated` and `d_optimal` what a readout of the
latent features, linear and Bayesian, would learn most from, each atom an observation (the variance of the whole pool
falls most, the volume of the posterior shrinks most); `farthest` what is farthest in latent space from all that is
labelled; `random` and `tessellation` look at no model.

Source: ours; see `acquisitions`.
"""

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Float, Int

from . import acquisitions
from .pool import View, covariance
from .simplex import tessellation

BLIND = ("random", "tessellation")
"""Acquisitions that look at no model."""


def choose(
    acquisition: str,
    batch: int,
    pool: View | None,
    learned: View | None,
    seconds: Float[np.ndarray, " frames"] | None,
    sizes: Int[np.ndarray, " frames"],
    seed: int,
) -> Int[np.ndarray, " batch"]:
    """Choose frames of a pool, in their order; fewer where the pool has fewer.

    Gains of single structures (variance, distance) count once an atom, as many environments are learned from.

    Args:
        acquisition: its name.
        batch: how many.
        pool: what the model says of them.
        learned: what it says of the frames that it was trained on.
        seconds: what each costs, seconds; None: all the same, a structure a structure.
        sizes: numbers of atoms.
        seed: of what is random.

    Raises:
        ValueError: no such acquisition.

    Source: ours.
    """
    batch = min(batch, len(sizes))
    if acquisition == "random" or pool is None:
        return acquisitions.random(len(sizes), batch, seed)
    if acquisition in ("variance", "distance"):
        score = pool.variance if acquisition == "variance" else pool.distance
        return acquisitions.largest(score * sizes if seconds is not None else score, batch, seconds)
    if acquisition == "farthest":
        return acquisitions.farthest(pool.latent, batch, None if learned is None else learned.latent, seconds)
    start = covariance([] if learned is None else learned.designs, pool.latent.shape[1] // 2)
    if acquisition == "d_optimal":
        return acquisitions.d_optimal(pool.designs, batch, start, seconds)
    if acquisition == "integrated":
        target = sum(d.T @ d for d in pool.designs)
        return acquisitions.integrated_variance(pool.designs, batch, start, target, seconds)
    raise ValueError(f"got acquisition {acquisition!r}, which chooses from no model")


def covering(needed: set[int], numbers: Sequence[Int[np.ndarray, "..."]]) -> list[int]:
    """Choose few frames that together have all of some elements, smaller ones first; as far as the pool has them.

    Args:
        needed: atomic numbers.
        numbers: of the frames' atoms.

    Source: ours; greedy set cover.
    """
    picks: list[int] = []
    lacking = set(needed)
    while lacking:
        gains = [(len(lacking & set(own)), -len(own), -k) for k, own in enumerate(numbers)]
        gain, _, place = max(gains, default=(0, 0, 0))
        if not gain:
            break
        picks.append(-place)
        lacking -= set(numbers[-place])
    return picks


def in_order(
    numbers: Sequence[Int[np.ndarray, "..."]], conditions: Sequence[Hashable], asked: set[int], batch: int, seed: int
) -> list[int]:
    """Give the next frames of the tessellation of compositions, those asked before left out.

    Args:
        numbers: atomic numbers of the frames' atoms.
        conditions: what a vertex has one frame each of.
        asked: places of the frames that were.
        batch: how many.
        seed: of the order within a level.

    Raises:
        ValueError: no frame is on the lattices.

    Source: ours.
    """
    elements = sorted({int(z) for own in numbers for z in own})
    counts = np.array([[Counter(map(int, own))[z] for z in elements] for own in numbers])
    return [int(k) for k in tessellation(counts, conditions, seed=seed) if k not in asked][:batch]
