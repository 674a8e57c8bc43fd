"""Layers whose weights are Gaussians: mean-field variational inference.

Every weight has its own mean and standard deviation; both are trained, on draws that are functions of them, by the
likelihood of the data and the Kullback–Leibler divergence from a standard normal prior.

Source: Blundell et al., ICML 37, 1613 (2015); draws of a layer's outputs in training, Kingma et al., NeurIPS 28 (2015).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

START = 0.02
"""Standard deviation of the weights before training; their own size is 1."""


class BayesianLinear(nn.Module):
    """Affine map with Gaussian weights of unit prior; the square root of the number of inputs is divided out.

    Source: see the module.
    """

    rows = ("spread",)
    undecayed = ("mean", "spread")

    def __init__(self, n_in: int, n_out: int):
        """Set up with random means from torch's generator."""
        super().__init__()
        self.mean = nn.Parameter(torch.randn(n_in + 1, n_out))
        self.spread = nn.Parameter(torch.full((n_in + 1, n_out), START).log())
        with torch.no_grad():
            self.mean[-1] = 0

    def forward(
        self, x: Float[Tensor, "points n_in"], noise: torch.Generator | None = None
    ) -> Float[Tensor, "points n_out"]:
        """Apply the mean weights or, with `noise`, draw each output from its distribution (dimensionless)."""
        mean, variance = self.moments(x, noise is not None)
        if noise is None:
            return mean
        draw = torch.randn(mean.shape, generator=noise, dtype=torch.float32, device=noise.device)
        return mean + variance.clamp_min(1e-20).sqrt() * draw.to(mean)

    def moments(
        self, x: Float[Tensor, "points n_in"], spread: bool = True
    ) -> tuple[Float[Tensor, "points n_out"], Float[Tensor, "points n_out"] | None]:
        """Give mean and, with `spread`, variance of the outputs over the weights' distribution (dimensionless)."""
        scale = x.shape[1] ** -0.5
        mean = scale * torch.addmm(self.mean[-1] / scale, x, self.mean[:-1])
        if not spread:
            return mean, None
        square = (2 * self.spread).exp()
        return mean, scale**2 * torch.addmm(square[-1] / scale**2, x.square(), square[:-1])

    def drawn(self, x: Float[Tensor, "points n_in"], noise: torch.Generator) -> Float[Tensor, "points n_out"]:
        """Apply one draw of the weights, the same for all points (dimensionless)."""
        draw = torch.randn(self.mean.shape, generator=noise, dtype=torch.float32, device=noise.device)
        weight = self.mean + self.spread.exp() * draw.to(self.mean)
        return x.shape[1] ** -0.5 * (x @ weight[:-1]) + weight[-1]

    def divergence(self) -> Float[Tensor, ""]:
        """Kullback–Leibler divergence of the weights from the prior (dimensionless: nats)."""
        return 0.5 * (self.mean.square() + (2 * self.spread).exp() - 1 - 2 * self.spread).sum()


class BayesianNetwork(nn.Module):
    """Bayesian affine maps with SiLU between them.

    Source: see the module.
    """

    def __init__(self, sizes: Sequence[int]):
        """Set up with the numbers of inputs, hidden units and outputs."""
        super().__init__()
        self.layers = nn.ModuleList(BayesianLinear(a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True))

    def forward(
        self, x: Float[Tensor, "points n_in"], noise: torch.Generator | None = None
    ) -> Float[Tensor, "points n_out"]:
        """Evaluate with mean weights or, with `noise`, with draws of each layer's outputs (dimensionless)."""
        for k, layer in enumerate(self.layers):
            x = layer(torch.nn.functional.silu(x) if k else x, noise)
        return x

    def drawn(self, x: Float[Tensor, "points n_in"], seed: int) -> Float[Tensor, "points n_out"]:
        """Evaluate with the weights of one draw, the same for all points (dimensionless)."""
        noise = torch.Generator().manual_seed(seed)
        for k, layer in enumerate(self.layers):
            x = layer.drawn(torch.nn.functional.silu(x) if k else x, noise)
        return x

    def divergence(self) -> Float[Tensor, ""]:
        """Kullback–Leibler divergence of all weights from the prior (dimensionless: nats)."""
        return torch.stack([layer.divergence() for layer in self.layers]).sum()
