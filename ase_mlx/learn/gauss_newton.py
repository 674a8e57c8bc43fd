"""Gauss-Newton for small networks: all weights at once, from rows that should be zero and their derivatives.

Damped as by Levenberg and Marquardt: the damping falls fast where a step lowers the squares, and rises where not.

Source: K. Levenberg, Q. Appl. Math. 2, 164 (1944); D. W. Marquardt, J. SIAM 11, 431 (1963); for networks of physics J.
Müller and M. Zeinhofer, arXiv 2302.13163.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

FALL, RISE, TRIES = 20.0, 4.0, 12
FIRST = 1e-2
"""Damping at first, of the mean diagonal."""

BLOCK = 256
"""Columns whose products with those behind them are one multiplication of matrices."""

Rows = Callable[[], Tensor]
"""Rows, dimensionless, whose squares are to be small, at the weights as they are."""
Linearised = Callable[[], tuple[Tensor, Tensor]]
"""Rows, and their derivatives by the weights: (rows,), (rows, weights)."""


class GaussNewton(torch.optim.Optimizer):
    """Moves all its weights (float64) by one damped step of Gauss and Newton; its damping is kept in checkpoints.

    Source: see the module.
    """

    def __init__(self, weights: list[nn.Parameter]):
        super().__init__(weights, {})
        self.weights = weights

    def step(self, rows: Rows, linearised: Linearised) -> float:
        """Move; returns the sum of squares before the step (dimensionless)."""
        state = self.state[self.weights[0]]
        damping = float(state.setdefault("damping", torch.tensor(FIRST, dtype=torch.float64)))
        with torch.no_grad():
            r, by = linearised()
            squares, normal, slope = float(r @ r), lower_products(by), by.T @ r
            size, start = float(normal.diagonal().mean()), self._flat()
            if not size > 0:  # nothing depends on any weight
                return squares
            diagonal = torch.arange(len(normal))
            for _ in range(TRIES):
                damped = normal.clone()
                damped[diagonal, diagonal] += damping * size
                factor, failed = torch.linalg.cholesky_ex(damped)
                if not failed:
                    self._set(start - torch.cholesky_solve(slope[:, None], factor)[:, 0])
                    new = rows()
                    if float(new @ new) < squares:
                        state["damping"] = torch.tensor(max(damping / FALL, 1e-20), dtype=torch.float64)
                        return squares
                damping *= RISE if not failed else 10.0
            self._set(start)
            state["damping"] = torch.tensor(min(damping, 1.0), dtype=torch.float64)
        return squares

    def _flat(self) -> Tensor:
        return torch.cat([p.reshape(-1) for p in self.weights])

    def _set(self, flat: Tensor) -> None:
        for part, p in zip(flat.split([p.numel() for p in self.weights]), self.weights, strict=True):
            p.copy_(part.view_as(p))


def lower_products(by: Float[Tensor, "rows weights"]) -> Float[Tensor, "weights weights"]:
    """Multiply its transpose with it (dimensionless), the lower triangle alone: Cholesky reads no more.

    Source: ours.
    """
    products = by.new_zeros(by.shape[1], by.shape[1])
    for k in range(0, by.shape[1], BLOCK):
        products[k:, k : k + BLOCK] = by[:, k:].T @ by[:, k : k + BLOCK]
    return products
