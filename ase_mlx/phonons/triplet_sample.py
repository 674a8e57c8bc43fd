"""Random triplets of wave vectors, more of them where the conductivity is made, with the weight of each element in it.

Source: ours.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex, Float, Int

from ase_mlx.phonons.modes import Modes, occupation
from ase_mlx.phonons.thermal import mode_heat_capacity
from ase_mlx.phonons.third_order import ThirdOrder

CANDIDATES = 400
"""Wave vectors among which those that carry heat are looked for."""

SMEARING = 0.05
"""Width of energy conservation, over the highest frequency: wide, so that no mesh is preferred."""

UNIFORM = 0.5
"""Share of wave vectors drawn without regard to heat."""

FLOOR = 0.05
"""Share of the weights that all elements have, energy conserved or not."""

POWER = 0.7
"""Of each element's weight: resonances would leave few elements that count, and everything else to chance."""

LARGEST = 3.0
"""A triplet weighs at most so many times the mean: a few of them would be fitted alone otherwise."""

SLOWEST = 0.02
"""Modes below this share of the highest frequency are left out: they are as good as Γ."""


@dataclass(frozen=True)
class TripletSample:
    """Exact elements of sampled triplets in eV/Å³ (amu THz)^(-3/2), and weights that make Σ w |element|² = 1.

    `points` in fractional coordinates (dimensionless), `amplitudes` as of `Modes.amplitudes` in 1/√(amu THz).

    Source: ours.
    """

    points: Float[np.ndarray, "q 3"]
    amplitudes: Complex[np.ndarray, "q bands bands"]
    triplets: Int[np.ndarray, "t 3"]
    elements: Complex[np.ndarray, "t bands bands bands"]
    weights: Float[np.ndarray, "t bands bands bands"]


def sample_triplets(
    exact: ThirdOrder,
    modes: Callable[[np.ndarray, bool], Modes],
    first: int,
    partners: int,
    temperature: float,
    seed: int,
) -> TripletSample:
    """Draw first wave vectors by their share of the conductivity, and partners at random; none lies on a mesh.

    An element's weight is its share in the relative change of linewidths, half weighted by their part in the
    conductivity, with widened energy conservation and linewidths that go as f² in each band; and a floor for all.

    Args:
        exact: the force constants.
        modes: gives phonons at fractional wave vectors (dimensionless), with velocities on request.
        first: how many first wave vectors.
        partners: how many second ones for each.
        temperature: in K.
        seed: of the draw.

    Returns:
        The sample.

    Source: ours.
    """
    rng = np.random.default_rng(seed)
    pool = rng.random((CANDIDATES, 3)) - 0.5
    pooled = modes(pool, True)
    highest = pooled.frequencies.max()
    lowest = SLOWEST * highest
    share = _heat(pooled, temperature, lowest)
    chance = share.sum(axis=1)
    chance = UNIFORM / CANDIDATES + (1 - UNIFORM) * chance / chance.sum()
    chosen = rng.choice(CANDIDATES, size=first, p=chance)
    second = rng.random((first * partners, 3)) - 0.5
    third = -(np.repeat(pool[chosen], partners, axis=0) + second)
    third -= np.rint(third)
    others = modes(np.concatenate([second, third]), False)
    points = np.concatenate([pool[chosen], others.points])
    frequencies = np.concatenate([pooled.frequencies[chosen], others.frequencies])
    vectors = np.concatenate([pooled.eigenvectors[chosen], others.eigenvectors])
    amplitudes = Modes(points, frequencies, vectors).amplitudes(exact.masses, lowest)
    count = np.arange(first * partners)
    triplets = np.column_stack([count // partners, first + count, first + first * partners + count])
    elements = exact.elements(points, amplitudes, triplets)
    rarity = 1 / chance[chosen][triplets[:, 0], None]
    weights = _weights(frequencies, triplets, elements, share[chosen][triplets[:, 0]], rarity, temperature)
    return TripletSample(points, amplitudes, triplets, elements, weights)


def _weights(frequencies, triplets, elements, share, rarity, temperature: float) -> np.ndarray:
    """What an element counts: linewidths by their part in the conductivity, all alike, and a floor."""
    highest = frequencies.max()
    lowest = SLOWEST * highest
    rates = _rates(frequencies, triplets, temperature, SMEARING * highest, lowest)
    squares = np.abs(elements) ** 2
    own = frequencies[triplets[:, 0]]
    width = (rates * squares).sum(axis=(2, 3))
    counted = (own > lowest) & (width > 0)
    logs = np.log(np.where(counted, width, 1.0) / np.where(counted, own, 1.0) ** 2)
    scale = np.exp((logs * counted).sum(axis=0) / np.maximum(counted.sum(axis=0), 1))
    model = np.where(own > lowest, scale * own**2, np.inf)
    heat = share * own**2 / model**2 * rarity
    each = rarity / model
    weights = sum(_even((rates * x[:, :, None, None]) ** POWER, squares) for x in (heat, each)) / 2
    floor = rarity[:, :, None, None] * np.ones_like(squares)
    return (1 - FLOOR) * weights + FLOOR * _even(floor, squares)


def _even(weights: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """Scale weights to Σ w |element|² = 1, no triplet having more than `LARGEST` times its share."""
    for _ in range(20):
        sizes = (weights * squares).sum(axis=(1, 2, 3))
        weights = weights * (np.minimum(1, LARGEST * sizes.mean() / np.maximum(sizes, 1e-300)))[:, None, None, None]
    return weights / (weights * squares).sum()


def _heat(modes: Modes, temperature: float, lowest: float) -> np.ndarray:
    """C v²/f², the conductivity of modes whose linewidths go as f², in arbitrary units."""
    counted = modes.frequencies > lowest
    f = np.where(counted, modes.frequencies, 1.0)
    return np.where(counted, mode_heat_capacity(f, temperature) * np.sum(modes.velocities**2, axis=-1) / f**2, 0.0)


def _rates(frequencies, triplets, temperature: float, width: float, lowest: float) -> np.ndarray:
    """What |element|² counts in the first mode's linewidth, energy conserved within `width`, in arbitrary units."""
    f = [frequencies[triplets[:, k]] for k in range(3)]
    n = [occupation(x, np.array([temperature]), lowest)[..., 0] for x in f]
    axes = [(slice(None), slice(None), None, None), (slice(None), None, slice(None), None), (slice(None), None, None)]
    a, b, c = (x[axes[k]] for k, x in enumerate(f))
    m, o = n[1][axes[1]], n[2][axes[2]]

    def delta(x: np.ndarray) -> np.ndarray:
        return np.exp(-0.5 * (x / width) ** 2)

    rates = (m + o + 1) * delta(a - b - c) + np.abs(m - o) * (delta(a + b - c) + delta(a - b + c))
    return rates * ((a > lowest) & (b > lowest) & (c > lowest))
