"""Small smooth networks of coordinates with their first derivatives, and the gradients of both by every weight.

Source: as each function says.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


class FieldNetwork(nn.Module):
    """Tanh network from coordinates within [-1, 1] to a few values, float64; everything is dimensionless.

    The first layer's weights are of size `steepness`, its offsets lay the kinks over the whole box.

    Source: ours; such networks: I. E. Lagaris et al., IEEE Trans. Neural Netw. 9, 987 (1998).
    """

    def __init__(self, inputs: int, outputs: int, width: int, depth: int, steepness: float = 1.0):
        super().__init__()
        sizes = [inputs, *[width] * depth, outputs]
        self.weights, self.offsets = nn.ParameterList(), nn.ParameterList()
        for k, (a, b) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
            weight = torch.randn(b, a, dtype=torch.float64) * (steepness if k == 0 else 1 / math.sqrt(a))
            offset = torch.rand(b, dtype=torch.float64) * 2 - 1 if k == 0 else torch.zeros(b, dtype=torch.float64)
            self.weights.append(nn.Parameter(weight))
            self.offsets.append(nn.Parameter(offset * steepness))

    def forward(self, s: Float[Tensor, "points inputs"]) -> Float[Tensor, "points outputs"]:
        """Evaluate."""
        for k, (weight, offset) in enumerate(zip(self.weights, self.offsets, strict=True)):
            s = nn.functional.linear(s if k == 0 else torch.tanh(s), weight, offset)
        return s

    def jet(
        self, s: Float[Tensor, "points inputs"]
    ) -> tuple[Float[Tensor, "points outputs"], Float[Tensor, "points inputs outputs"]]:
        """Evaluate with the derivatives by the coordinates."""
        return _jet(list(self.weights), list(self.offsets), s)

    def rows(
        self,
        s: Float[Tensor, "points inputs"],
        by_value: Float[Tensor, "points rows outputs"],
        by_slope: Float[Tensor, "points rows inputs outputs"],
    ) -> Float[Tensor, "points rows weights"]:
        """Give derivatives by all weights, in the order of `parameters()`, of rows that depend on value and slopes.

        Backward through the layers by hand, so that no graph is kept: of each point and row, an outer product a layer.

        Args:
            s: coordinates, dimensionless.
            by_value: derivatives of each row by the values, dimensionless.
            by_slope: the same by the slopes, dimensionless.
        """
        value, slope, kept = s, torch.eye(s.shape[1], dtype=s.dtype).expand(len(s), -1, -1), []
        for k, (weight, offset) in enumerate(zip(self.weights, self.offsets, strict=True)):
            if k:
                t = torch.tanh(value)
                first = 1 - t * t
                kept.append((t, first, slope))
                value, slope = t, first[:, None] * slope
            kept.append((value, slope))
            value, slope = nn.functional.linear(value, weight, offset), slope @ weight.T
        weights, offsets = [], []
        for k in reversed(range(len(self.weights))):
            inputs, slopes = kept.pop()
            outer = torch.einsum("nko,ni->nkoi", by_value, inputs)
            outer = outer + torch.einsum("nkdo,ndi->nkoi", by_slope, slopes)
            weights.append(outer.flatten(2))
            offsets.append(by_value)
            if k:
                by_value, by_slope = by_value @ self.weights[k], by_slope @ self.weights[k]
                t, first, before = kept.pop()  # value = tanh(v), slope = (1 - tanh²) v'
                second = -2 * t * first
                through = torch.einsum("nkdi,ndi->nki", by_slope, before)
                by_value = by_value * first[:, None] + through * second[:, None]
                by_slope = by_slope * first[:, None, None]
        return torch.cat([*reversed(weights), *reversed(offsets)], -1)


def _jet(weights: list[Tensor], offsets: list[Tensor], s: Tensor) -> tuple[Tensor, Tensor]:
    slope = torch.eye(s.shape[1], dtype=s.dtype).expand(len(s), -1, -1)
    for k, (weight, offset) in enumerate(zip(weights, offsets, strict=True)):
        if k:
            s = torch.tanh(s)
            slope = (1 - s * s)[:, None] * slope
        s, slope = nn.functional.linear(s, weight, offset), slope @ weight.T
    return s, slope
