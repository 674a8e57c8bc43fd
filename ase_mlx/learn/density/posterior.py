"""The posterior of a density's head in closed form: the density is linear in the head.

With normal equations A = Σ ψψᵀ and b = Σ ψ y over points, noise precision β and a prior N(0, 1/α), the posterior has
the precision α + β A and the mean β (α + β A)⁻¹ b. New structures are added to A and b: no training is repeated.

Source: MacKay, Neural Comput. 4, 415 (1992), for the evidence; ours for the rest.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ase_mlx.keep import check_tensors, seal_tensors
from ase_mlx.models.density import Density
from ase_mlx.whole import write_bytes

from .samples import DensitySample

ROUND_OFF = 1e-8
"""Share of Σ y² below which a residual is round-off: products of designs are in float32."""


@dataclass
class NormalEquations:
    """Sums over points: `matrix` = Σ ψψᵀ, `vector` = Σ ψ y (e/Å³), `square` = Σ y² and the number of points.

    Source: ours.
    """

    matrix: Float[np.ndarray, "weights weights"]
    vector: Float[np.ndarray, " weights"]
    square: float = 0.0
    points: int = 0

    def save(self, path: Path) -> None:
        """Write to a safetensors file, whole or not at all (e/Å³)."""
        n = len(self.vector)
        lower = torch.from_numpy(self.matrix[np.tril_indices(n)])
        sums = torch.tensor([self.square, float(self.points)], dtype=torch.float64)
        tensors = {"lower": lower, "vector": torch.from_numpy(self.vector.copy()), "sums": sums}
        write_bytes(path, seal_tensors(save(tensors)))

    @classmethod
    def load(cls, path: Path) -> "NormalEquations":
        """Read what `save` wrote (e/Å³).

        Raises:
            FileNotFoundError: no such file.
            ValueError: a damaged one.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"got {str(path)!r}, expected the normal equations of a trained density; train it")
        content = Path(path).read_bytes()
        try:
            check_tensors(content)
            tensors = load(content)
            n = len(tensors["vector"])
            matrix = np.zeros((n, n))
            matrix[np.tril_indices(n)] = tensors["lower"].numpy()
            matrix += np.tril(matrix, -1).T
            return cls(matrix, tensors["vector"].numpy(), float(tensors["sums"][0]), int(tensors["sums"][1]))
        except (SafetensorError, ValueError, KeyError, IndexError, TypeError) as error:
            raise ValueError(f"got {str(path)!r}, which is damaged ({error}); train the density anew") from error

    def __add__(self, other: "NormalEquations") -> "NormalEquations":
        """Add the points of both."""
        return NormalEquations(
            self.matrix + other.matrix,
            self.vector + other.vector,
            self.square + other.square,
            self.points + other.points,
        )


@torch.no_grad()
def design(density: Density, sample: DensitySample) -> Float[Tensor, "points weights"]:
    """Derivatives ψ of the density at points by the flattened head's weights (dimensionless).

    Source: ours.
    """
    graph, pairs = sample.graph, sample.pairs
    h = density.features(graph, graph.vectors().to(density.head.dtype), sample.first, sample.species)
    n_species, degrees, n_features, n_radial = density.head.shape
    out = h.new_zeros(n_species, pairs.n_points + 1, degrees, n_features * n_radial)
    for l in range(degrees):
        block = slice(l * l, (l + 1) ** 2)
        by_feature = torch.bmm(pairs.angular[:, :, block], h[:, block])
        outer = (by_feature.unsqueeze(-1) * pairs.radial[:, :, l].unsqueeze(-2)).flatten(-2)
        for atom, s in enumerate(sample.species.tolist()):
            out[s, :, l].index_add_(0, pairs.index[atom], outer[atom])
    return out[:, : pairs.n_points].transpose(0, 1).reshape(pairs.n_points, -1)


def normal_equations(
    density: Density, samples: list[DensitySample], basis: Float[np.ndarray, "weights some"] | None = None
) -> NormalEquations:
    """Sum the normal equations over all points of some structures (e/Å³), in float64.

    Args:
        density: whose head is solved for.
        samples: densities at points, e/Å³.
        basis: columns that span the weights to solve for (dimensionless), all weights where None.

    Source: ours.
    """
    size = density.head.numel() if basis is None else basis.shape[1]
    total = NormalEquations(np.zeros((size, size)), np.zeros(size))
    for sample in samples:
        psi = design(density, sample)
        psi = psi if basis is None else psi.to(torch.float64) @ torch.from_numpy(basis)
        y = sample.difference
        gram = (psi.T @ psi).to(torch.float64).numpy()
        total.matrix += gram
        total.vector += (psi.to(torch.float64).T @ y.to(torch.float64)).numpy()
        total.square += float(y.to(torch.float64).square().sum())
        total.points += len(y)
    return total


@dataclass(frozen=True)
class Posterior:
    """Gaussian of a head's weights in the eigenvectors of its normal equations, at the greatest evidence.

    `alpha` is the prior's precision, (e/Å³)⁻², `beta` the noise's, `values` the eigenvalues (dimensionless), `along`
    the mean's components (e/Å³), `determined` the number of weights that the data determine.

    Source: MacKay, Neural Comput. 4, 415 (1992), eqs. 4.14 to 4.20.
    """

    alpha: float
    beta: float
    determined: float
    values: Float[np.ndarray, " weights"]
    vectors: Float[np.ndarray, "weights weights"]
    along: Float[np.ndarray, " weights"]

    @property
    def precision(self) -> Float[np.ndarray, " weights"]:
        """Precision along the eigenvectors, (e/Å³)⁻²."""
        return self.alpha + self.beta * self.values

    @property
    def mean(self) -> Float[np.ndarray, " weights"]:
        """Mean of the weights, e/Å³."""
        return self.vectors @ self.along

    @property
    def covariance(self) -> Float[np.ndarray, "weights weights"]:
        """Covariance of the weights, (e/Å³)²."""
        return (self.vectors / self.precision) @ self.vectors.T


def posterior(equations: NormalEquations) -> Posterior:
    """Find the posterior of a head's weights (e/Å³), noise and prior by maximal evidence.

    Source: MacKay, Neural Comput. 4, 415 (1992), eqs. 4.14 to 4.20.
    """
    values, vectors = np.linalg.eigh(equations.matrix)
    values = np.maximum(values, 0.0)
    bound = np.sqrt(values * equations.square)  # Cauchy-Schwarz: what is beyond is round-off of the matrix
    along = np.clip(vectors.T @ equations.vector, -bound, bound)
    alpha, beta = 1.0, equations.points / max(equations.square, 1e-12)
    floor = max(ROUND_OFF * equations.square, 1e-300)
    for _ in range(200):
        precision = alpha + beta * values
        mean = beta * along / precision
        determined = float((beta * values / precision).sum())
        residual = float(equations.square - 2 * along @ mean + (values * mean**2).sum())
        new = determined / float(mean @ mean), (equations.points - determined) / max(residual, floor)
        change = max(abs(new[0] / alpha - 1), abs(new[1] / beta - 1))
        alpha, beta = new
        if change < 1e-6:
            break
    return Posterior(alpha, beta, determined, values, vectors, beta * along / (alpha + beta * values))


def solve(density: Density, equations: NormalEquations, seed: int = 0) -> dict[str, float]:
    """Set the head to the posterior's mean, and the members to draws from it; noise and prior by maximal evidence.

    Returns:
        Noise (e/Å³), prior width, and the number of weights that the data determine.

    Source: `posterior`.
    """
    p = posterior(equations)
    draws = np.random.default_rng(seed).standard_normal((len(density.deviations), len(p.values)))
    _set(density, p.mean, (draws / np.sqrt(p.precision)) @ p.vectors.T)
    return {"noise": p.beta**-0.5, "prior": p.alpha**-0.5, "determined": p.determined, "weights": len(p.values)}


def _set(density: Density, mean: np.ndarray, deviations: np.ndarray) -> None:
    with torch.no_grad():
        density.head.copy_(torch.from_numpy(mean).reshape(density.head.shape))
        density.deviations.copy_(torch.from_numpy(deviations).reshape(density.deviations.shape))
