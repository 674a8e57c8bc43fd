"""Which candidates to calculate next: arrays in, indices out, in the order in which they are chosen.

Where an acquisition has a gain, `seconds` (the cost of each candidate) turns it into gain per second; without it, or
with equal costs, the choice is by the gain alone. Ties go to the first of the candidates.

A candidate of a linear Gaussian model is its *design*: rows ψ, already multiplied by the square root of the noise's
precision, so that its label adds Σ ψψᵀ to the precision of the weights. Posterior covariances depend on no label, so
the *hypothetical* update, by a calculation not yet made, is exact.

Source: D- and A-optimality, Pukelsheim, Optimal Design of Experiments (1993); lazy evaluation, Minoux (1978); farthest
point, Gonzalez, Theor. Comput. Sci. 38, 293 (1985); the rest is ours.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import cholesky, solve_triangular

Designs = Sequence[Float[np.ndarray, "_ weights"]]
"""Rows of each candidate, in units of the noise; the numbers of rows may differ."""


def random(candidates: int, batch: int, seed: int = 0) -> Int[np.ndarray, " batch"]:
    """Choose at random, each candidate at most once; there is no gain, so that costs play no part.

    Raises:
        ValueError: a batch larger than the pool.

    Source: ours.
    """
    _check(candidates, batch, None)
    return np.random.default_rng(seed).permutation(candidates)[:batch]


def largest(
    scores: Float[np.ndarray, " candidates"], batch: int, seconds: Float[np.ndarray, " candidates"] | None = None
) -> Int[np.ndarray, " batch"]:
    """Choose the largest scores: calibrated variances, or distances to the data.

    Args:
        scores: any unit; not negative where there are costs.
        batch: how many.
        seconds: cost of each, seconds.

    Raises:
        ValueError: a batch larger than the pool, scores that are not finite, negative ones with costs, costs that are
            not positive.

    Source: ours.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if seconds is not None and scores.min(initial=0) < 0:
        raise ValueError("got negative scores with costs, expected gains that may be divided by seconds")
    seconds = _check(len(scores), batch, seconds, scores)
    return np.argsort(-scores / seconds, kind="stable")[:batch]


def farthest(
    latent: Float[np.ndarray, "candidates features"],
    batch: int,
    labelled: Float[np.ndarray, "labelled features"] | None = None,
    seconds: Float[np.ndarray, " candidates"] | None = None,
) -> Int[np.ndarray, " batch"]:
    """Choose the candidate farthest from all that are labelled or chosen, one after the other.

    Args:
        latent: a vector of each candidate (any unit).
        batch: how many.
        labelled: vectors of what is labelled, the same unit; without any, the first choice is nearest to the mean.
        seconds: cost of each, seconds.

    Raises:
        ValueError: a batch larger than the pool, vectors that are not finite, costs that are not positive.

    Source: see the module.
    """
    latent = np.asarray(latent, dtype=np.float64)
    seconds = _check(len(latent), batch, seconds, latent)
    distance, picks = np.full(len(latent), np.inf), []
    if labelled is None or len(labelled) == 0:
        picks = [int(np.argmin(np.linalg.norm(latent - latent.mean(axis=0), axis=1)))] if batch else []
        labelled = latent[picks]
    for point in np.asarray(labelled, dtype=np.float64):
        distance = np.minimum(distance, np.linalg.norm(latent - point, axis=1))
    while len(picks) < batch:
        picks.append(_best(distance / seconds, picks))
        distance = np.minimum(distance, np.linalg.norm(latent - latent[picks[-1]], axis=1))
    return np.array(picks, dtype=int)


def updated(
    covariance: Float[np.ndarray, "weights weights"], design: Float[np.ndarray, "rows weights"]
) -> Float[np.ndarray, "weights weights"]:
    """Update a posterior covariance by a design, labelled or not: S − Sψᵀ(1 + ψSψᵀ)⁻¹ψS.

    Args:
        covariance: of the weights, any unit squared.
        design: rows over the noise's standard deviation, in units of one over that of the weights.

    Returns:
        The covariance after the update, the unit of the first squared.

    Source: ours; Woodbury's identity.
    """
    across = design @ covariance
    factor = cholesky(np.eye(len(design)) + across @ design.T, lower=True)
    fall = solve_triangular(factor, across, lower=True)
    return covariance - fall.T @ fall


def d_optimal(
    designs: Designs,
    batch: int,
    covariance: Float[np.ndarray, "weights weights"],
    seconds: Float[np.ndarray, " candidates"] | None = None,
) -> Int[np.ndarray, " batch"]:
    """Choose one after the other the candidate by which log det of the posterior covariance falls most (D-optimal).

    Gains only shrink as others are chosen, so that most need not be computed again.

    Args:
        designs: of the candidates, in units of the noise.
        batch: how many.
        covariance: of the weights before the first choice, any unit squared.
        seconds: cost of each, seconds.

    Raises:
        ValueError: a batch larger than the pool, costs that are not positive.

    Source: see the module.
    """
    seconds = _check(len(designs), batch, seconds)
    gains, fresh = np.full(len(designs), np.inf), np.full(len(designs), -1)
    picks: list[int] = []
    for step in range(batch):
        while fresh[best := _best(gains, picks)] < step:
            gains[best] = _information(designs[best], covariance) / seconds[best]
            fresh[best] = step
        picks.append(best)
        covariance = updated(covariance, designs[best])
    return np.array(picks, dtype=int)


def integrated_variance(
    designs: Designs,
    batch: int,
    covariance: Float[np.ndarray, "weights weights"],
    target: Float[np.ndarray, "weights weights"] | None = None,
    seconds: Float[np.ndarray, " candidates"] | None = None,
) -> Int[np.ndarray, " batch"]:
    """Choose one after the other the candidate after whose hypothetical update the variance over a target falls most.

    The variance of the field, summed over the target's points, is tr(T S) with T = Σ ψψᵀ over these.

    Args:
        designs: of the candidates, in units of the noise.
        batch: how many.
        covariance: S of the weights before the first choice, any unit squared.
        target: T, dimensionless; the weights themselves where None.
        seconds: cost of each, seconds.

    Raises:
        ValueError: a batch larger than the pool, costs that are not positive.

    Source: see the module; Cohn, Ghahramani and Jordan, J. Artif. Intell. Res. 4, 129 (1996), for the criterion.
    """
    seconds = _check(len(designs), batch, seconds)
    picks: list[int] = []
    for _ in range(batch):
        falls = [-np.inf if k in picks else _fall(design, covariance, target) for k, design in enumerate(designs)]
        picks.append(_best(np.array(falls) / seconds, picks))
        covariance = updated(covariance, designs[picks[-1]])
    return np.array(picks, dtype=int)


def _check(candidates: int, batch: int, seconds: np.ndarray | None, numbers: np.ndarray | None = None) -> np.ndarray:
    """Refuse batches, costs and numbers without meaning; ones where no costs are known."""
    if numbers is not None and not np.isfinite(numbers).all():
        bad = (~np.isfinite(numbers)).reshape(candidates, -1).any(axis=1).sum()
        raise ValueError(f"got {bad} candidates with numbers that are not finite; leave these out")
    if not 0 <= batch <= candidates:
        raise ValueError(
            f"got a batch of {batch} for a pool of {candidates}, expected at most {candidates}; "
            "ask for fewer, or give more candidates"
        )
    if seconds is None:
        return np.ones(candidates)
    seconds = np.asarray(seconds, dtype=np.float64)
    if seconds.shape != (candidates,) or not (np.isfinite(seconds).all() and (seconds > 0).all()):
        raise ValueError(f"got costs of shape {seconds.shape}, expected {candidates} positive numbers of seconds")
    return seconds


def _best(gains: np.ndarray, picks: list[int]) -> int:
    left = np.array(gains, dtype=np.float64)
    left[picks] = -np.inf
    return int(np.argmax(left))


def _information(design: np.ndarray, covariance: np.ndarray) -> float:
    """Compute log det(1 + ψSψᵀ), twice the fall of the weights' entropy."""
    gram = np.eye(len(design)) + design @ covariance @ design.T
    return 2 * float(np.log(np.diagonal(cholesky(gram, lower=True))).sum())


def _fall(design: np.ndarray, covariance: np.ndarray, target: np.ndarray | None) -> float:
    """Compute tr(T S) before less after the update."""
    across = design @ covariance
    factor = cholesky(np.eye(len(design)) + across @ design.T, lower=True)
    fall = solve_triangular(factor, across, lower=True)
    return float(np.square(fall).sum() if target is None else np.einsum("rw,rw->", fall @ target, fall))
