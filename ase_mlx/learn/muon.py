"""Muon: momentum whose matrices are orthogonalised, so that every direction of a weight matrix moves at the same pace.

Source: Jordan et al. (2024), kellerjordan.github.io/posts/muon, and Liu et al., arXiv 2502.16982; for potentials
after Koker et al., arXiv 2508.16067. The batched form over degrees and species is ours.
"""

import torch
from jaxtyping import Float
from torch import Tensor

_A, _B, _C = 3.4445, -4.7750, 2.0315


def orthogonalise(matrices: Float[Tensor, "n a b"], steps: int = 5) -> Float[Tensor, "n a b"]:
    """Bring all singular values near 1 by Newton–Schulz steps (dimensionless).

    Source: Jordan et al. (2024), kellerjordan.github.io/posts/muon.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = _A * x + (_B * gram + _C * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Muon for parameters whose last two axes are a matrix; leading axes (degree, species) are a batch of them.

    Weights are expected to be of unit size, their fan-in divided out in the layer.

    Source: see the module.
    """

    def __init__(self, parameters: list[torch.nn.Parameter], lr: float, momentum: float = 0.95):
        """Set up with a learning rate and a momentum (dimensionless)."""
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Move all parameters once."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(p)
                buffer = state["momentum_buffer"].lerp_(p.grad, 1 - group["momentum"])
                update = p.grad.lerp(buffer, group["momentum"])
                rows, columns = update.shape[-2:]
                update = orthogonalise(update.reshape(-1, rows, columns)).reshape(p.shape)
                p.add_(update, alpha=-group["lr"] * (columns * max(1.0, rows / columns)) ** 0.5)
