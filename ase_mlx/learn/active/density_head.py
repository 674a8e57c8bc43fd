"""What each frame says about the head of a density on a trunk that stays: its normal equations, and errors of any head.

The density is linear in the head, so that a head of any choice of frames is a sum of matrices and one solution, and the
posterior's covariance after a frame is exact before the frame is calculated. Weights on which no structure of the pool
depends are left out: the head lives in the leading eigenvectors of Σ ψψᵀ over the pool, which needs no label.

Source: ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from ase_mlx.data.densities import DensityFrame
from ase_mlx.learn.density.posterior import Posterior, design
from ase_mlx.learn.density.samples import POINTS, DensitySample, density_sample
from ase_mlx.models.density import Density
from ase_mlx.models.potential import Potential

NEGLIGIBLE = 1e-3
"""Share of the noise's precision times the weights' variance below which a direction of a design says nothing."""


@dataclass(frozen=True)
class JudgedFrame:
    """Points of a frame that heads are judged on: `rows` (dimensionless), `difference` to free atoms (e/Å³).

    `mean` is the density's over the cell (e/Å³), `electrons` what each weight adds to the free atoms' (Å³).

    Source: ours.
    """

    rows: Float[np.ndarray, "points weights"]
    difference: Float[np.ndarray, " points"]
    mean: float
    electrons: Float[np.ndarray, " weights"]


def leading_weights(matrix: Float[np.ndarray, "weights weights"], size: int) -> Float[np.ndarray, "weights some"]:
    """Choose combinations of weights on which a pool's densities depend most, as orthonormal columns (dimensionless).

    Args:
        matrix: Σ ψψᵀ over points of the pool, dimensionless.
        size: how many.

    Raises:
        ValueError: more than there are weights.

    Source: ours.
    """
    if not 0 < size <= len(matrix):
        raise ValueError(f"got {size} combinations of {len(matrix)} weights, expected at most as many")
    return np.ascontiguousarray(np.linalg.eigh(matrix)[1][:, ::-1][:, :size])


@torch.no_grad()
def electron_row(
    density: Density, sample: DensitySample, basis: Float[np.ndarray, "weights some"]
) -> Float[np.ndarray, " some"]:
    """Count the electrons that each combination of weights adds to those of the free atoms (Å³).

    Args:
        density: whose head it is.
        sample: of one structure, e/Å³.
        basis: of `leading_weights`, dimensionless.

    Source: ours.
    """
    graph = sample.graph
    features = density.features(graph, graph.vectors().to(density.head.dtype), sample.first, sample.species)
    row = torch.zeros(density.head.shape, dtype=torch.float64)
    charges = torch.as_tensor(density.primitives.charges)
    row[:, 0].index_add_(0, sample.species, features[:, 0].to(torch.float64).unsqueeze(-1) * charges)
    return row.reshape(-1).numpy() @ basis


@torch.no_grad()
def judged_frame(
    model: Potential,
    frame: DensityFrame,
    basis: Float[np.ndarray, "weights some"],
    n_points: int = POINTS,
    seed: int = 0,
) -> JudgedFrame:
    """Prepare a frame (e/Å³) to judge heads on, at random points of its grid.

    Args:
        model: with a density, whose head is judged.
        frame: with its density, e/Å³.
        basis: of `leading_weights`, dimensionless.
        n_points: how many.
        seed: of the points.

    Raises:
        ValueError: a density whose electrons are not those of its atoms, or that is not finite.

    Source: ours.
    """
    sample = density_sample(model, frame, n_points, seed)
    rows = (design(model.density, sample) @ torch.as_tensor(basis, dtype=torch.float32)).numpy()
    electrons = electron_row(model.density, sample, basis)
    return JudgedFrame(rows, sample.difference.numpy(), float(frame.density.mean()), electrons)


def equal_shares(matrices: Float[np.ndarray, "frames weights weights"]) -> Float[np.ndarray, "frames weights weights"]:
    """Scale frames so that each says equally much, tr(C Σ ψψᵀ) with C the inverse of the sum over frames.

    What a fixed trunk cannot follow grows with what it sees: errors of a hot frame are larger in proportion. So a
    frame's noise is taken in proportion to its signal. With one noise for all, acquisitions choose the hottest frames,
    whose errors are the largest.

    Args:
        matrices: Σ ψψᵀ of each frame, dimensionless.

    Returns:
        The same over each frame's share of the whole, which is one on average (dimensionless).

    Source: ours.
    """
    inverse = np.linalg.inv(matrices.sum(axis=0))
    shares = np.einsum("nij,ji->n", matrices, inverse)
    return matrices / (shares / shares.mean())[:, None, None]


def standardised(
    matrices: Float[np.ndarray, "frames weights weights"],
) -> tuple[Float[np.ndarray, "frames weights weights"], Float[np.ndarray, "weights weights"]]:
    """Turn to coordinates of the weights in which the sum over frames is one: the target of `integrated_variance`.

    Args:
        matrices: Σ ψψᵀ of each frame, dimensionless, of full rank together.

    Returns:
        The matrices in these coordinates, and what a prior of precision one is there (dimensionless).

    Source: ours.
    """
    values, vectors = np.linalg.eigh(matrices.sum(axis=0))
    scaled = vectors / np.sqrt(values)
    return np.einsum("ai,nab,bj->nij", scaled, matrices, scaled, optimize=True), scaled.T @ scaled


def candidate(
    matrix: Float[np.ndarray, "weights weights"], alpha: float, beta: float
) -> Float[np.ndarray, "rows weights"]:
    """Turn a frame's normal equations into the rows that acquisitions read: directions about which it says something.

    Args:
        matrix: Σ ψψᵀ over its points, dimensionless.
        alpha: precision of the prior, (e/Å³)⁻².
        beta: precision of the noise, (e/Å³)⁻².

    Returns:
        Rows in units of the noise, (e/Å³)⁻¹.

    Source: ours.
    """
    values, vectors = np.linalg.eigh(matrix)
    some = beta * values > NEGLIGIBLE * alpha
    return (vectors[:, some] * np.sqrt(beta * values[some])).T


def errors(head: Posterior, frames: Sequence[JudgedFrame]) -> Float[np.ndarray, " frames"]:
    """Judge a head on frames: ∫|Δρ|/N in %, the density conditioned on its electrons.

    Source: ours; the conditioning is that of `ase_mlx.models.density`, with the whole posterior in place of members.
    """
    rows = np.stack([frame.electrons for frame in frames])
    along = (rows @ head.vectors) / head.precision
    spread = (along * (rows @ head.vectors)).sum(axis=1)
    means = head.mean + ((rows @ head.mean) / -spread)[:, None] * (along @ head.vectors.T)
    return np.array(
        [
            100 * float(np.abs(frame.rows @ mean.astype(frame.rows.dtype) - frame.difference).mean()) / frame.mean
            for frame, mean in zip(frames, means, strict=True)
        ]
    )
