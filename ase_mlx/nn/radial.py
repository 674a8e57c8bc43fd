"""Radial functions: a Bessel basis with a smooth cutoff, mixed by a network into one function per path and channel.

Source: Gasteiger et al., arXiv 2003.03123, eqs. 7 and 8 (basis and envelope); the network is that of NequIP.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .interpolation import interpolate

KNOTS = 512
"""Distances at which a trained network is asked in place of more edges than four times as many."""
SILU_GAIN = 1.6765
"""Brings SiLU of normal numbers to a mean square of one (dimensionless), as in e3nn."""


def envelope(x: Float[Tensor, "*n"], p: int = 6) -> Float[Tensor, "*n"]:
    """Fall from 1 at x = 0 to 0 at x = 1 with two continuous derivatives (dimensionless).

    Source: Gasteiger et al., arXiv 2003.03123, eq. 8.
    """
    c0, c1, c2 = (p + 1) * (p + 2) / 2, p * (p + 2), p * (p + 1) / 2
    return torch.where(x < 1, 1 - c0 * x**p + c1 * x ** (p + 1) - c2 * x ** (p + 2), torch.zeros_like(x))


def xplor(x: Float[Tensor, "*n"], onset: float) -> Float[Tensor, "*n"]:
    """Fall from 1 at x = onset to 0 at x = 1 with a continuous derivative (dimensionless).

    Source: XPLOR's smoothing, as HOOMD-blue's documentation has it.
    """
    u, a = x * x, onset * onset
    fall = (1 - u) ** 2 * (1 + 2 * u - 3 * a) / (1 - a) ** 3
    return torch.where(x < onset, torch.ones_like(x), torch.where(x < 1, fall, torch.zeros_like(x)))


def tables_serve(module: nn.Module, weight: Tensor) -> bool:
    """Whether tables stand for a module's radial networks: on CPUs, whose fused kernels read them, once it is trained.

    Its device and type are those of `weight` (dimensionless).

    Source: ours.
    """
    return not module.training and weight.device.type == "cpu" and weight.dtype in (torch.float32, torch.float64)


class Radial(nn.Module):
    """Bessel functions times an envelope, through a network without biases, so that R[p, c] vanishes at the cutoff.

    Source: Batzner et al., Nat. Commun. 13, 2453 (2022), eq. 8.
    """

    def __init__(self, cutoff: float, n_basis: int, hidden: tuple[int, ...], n_paths: int, channels: int):
        """Set up for distances below `cutoff` (Å); the sizes are dimensionless."""
        super().__init__()
        self.cutoff, self.shape = cutoff, (n_paths, channels)
        self.envelope: Callable[[Tensor], Tensor] = envelope
        self.register_buffer("order", torch.arange(1, n_basis + 1), persistent=False)
        widths = (n_basis, *hidden, n_paths * channels)
        self.layers = nn.ParameterList(
            nn.Parameter(torch.randn(a, b)) for a, b in zip(widths, widths[1:], strict=False)
        )

    def forward(self, distance: Float[Tensor, " edges"]) -> Float[Tensor, "edges paths channels"]:
        """Evaluate at distances in Å; dimensionless values of unit size.

        While it is trained in single precision on a CPU, those of many edges are interpolated between even distances:
        off by up to 4e-6 of the largest, their derivatives by 1e-4 (differences of rounded values; more knots do not
        help), for a tenth of the multiplications. A trained model evaluates its functions anew.
        """
        many = self.training and len(distance) >= 4 * KNOTS
        if not (many and distance.dtype == torch.float32 and distance.device.type == "cpu"):
            return self._network(distance)
        spacing = self.cutoff / KNOTS
        knots = torch.arange(KNOTS + 3, dtype=distance.dtype) * spacing
        return interpolate(self._network(knots).flatten(1), distance / spacing).reshape(-1, *self.shape)

    def _network(self, distance: Float[Tensor, " edges"]) -> Float[Tensor, "edges paths channels"]:
        x = distance / self.cutoff
        order = self.order.to(x.dtype)
        basis = math.sqrt(2.0) * order * torch.sinc(order * x.unsqueeze(-1)) * self.envelope(x).unsqueeze(-1)
        h = basis / math.sqrt(3.0)
        for k, weight in enumerate(self.layers):
            h = h @ (weight / math.sqrt(weight.shape[0]))
            if k < len(self.layers) - 1:
                h = nn.functional.silu(h) * SILU_GAIN
        return h.reshape(-1, *self.shape)

    def table(self, n_intervals: int) -> Float[Tensor, "knots 2 paths channels"]:
        """Tabulate R and its derivative per knot spacing at even distances from 0 to the cutoff (dimensionless)."""
        spacing = self.cutoff / n_intervals
        weight = self.layers[0]
        with torch.enable_grad():
            r = torch.arange(n_intervals + 1, dtype=weight.dtype, device=weight.device) * spacing
            r.requires_grad_()
            value = self._network(r)
            # Differentiating v·∂R/∂r by v gives the derivative along r. Sums, since torch imports sympy for a second
            # where it is given tensors to begin with, and as long for torch.func.jvp.
            v = torch.zeros_like(value, requires_grad=True)
            (pulled,) = torch.autograd.grad((value * v).sum(), r, create_graph=True)
            (slope,) = torch.autograd.grad((pulled * spacing).sum(), v)
        slope[0] = 0  # R is even in r
        return torch.stack([value.detach(), slope], dim=1).contiguous()
