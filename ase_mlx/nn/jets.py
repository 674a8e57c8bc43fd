"""Small smooth networks of coordinates with their first derivatives, and the gradients of both by every weight.

Source: as each class says.
"""

import math
from collections.abc import Collection

import torch
from jaxtyping import Float
from torch import Tensor, nn


class WaveNetwork(nn.Module):
    """Network of sines from coordinates within [-1, 1] to a few values, float64; everything is dimensionless.

    The first layer's weights are of size `steepness`.

    Source: V. Sitzmann et al., arXiv 2006.09661; derivatives by hand are ours.
    """

    def __init__(self, inputs: int, outputs: int, width: int, depth: int, steepness: float):
        super().__init__()
        sizes = [inputs, *[width] * depth, outputs]
        self.weights, self.offsets = nn.ParameterList(), nn.ParameterList()
        for k, (a, b) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
            weight = torch.randn(b, a, dtype=torch.float64) * (steepness if k == 0 else 1 / math.sqrt(a))
            offset = (torch.rand(b, dtype=torch.float64) * 2 - 1) * steepness if k == 0 else torch.zeros(b).double()
            self.weights.append(nn.Parameter(weight))
            self.offsets.append(nn.Parameter(offset))

    def forward(self, s: Float[Tensor, "points inputs"]) -> Float[Tensor, "points outputs"]:
        """Evaluate."""
        for k, (weight, offset) in enumerate(zip(self.weights, self.offsets, strict=True)):
            s = nn.functional.linear(s if k == 0 else torch.sin(s), weight, offset)
        return s

    def jet(
        self, s: Float[Tensor, "points inputs"]
    ) -> tuple[Float[Tensor, "points outputs"], Float[Tensor, "points inputs outputs"]]:
        """Evaluate with the derivatives by the coordinates."""
        slope = torch.eye(s.shape[1], dtype=s.dtype).expand(len(s), -1, -1)
        for k, (weight, offset) in enumerate(zip(self.weights, self.offsets, strict=True)):
            if k:
                s, slope = torch.sin(s), torch.cos(s)[:, None] * slope
            s, slope = nn.functional.linear(s, weight, offset), slope @ weight.T
        return s, slope

    def curvatures(
        self, s: Float[Tensor, "points inputs"]
    ) -> tuple[
        Float[Tensor, "points outputs"],
        Float[Tensor, "points inputs outputs"],
        Float[Tensor, "points inputs inputs outputs"],
    ]:
        """Evaluate with the first and second derivatives by the coordinates."""
        slope = torch.eye(s.shape[1], dtype=s.dtype).expand(len(s), -1, -1)
        curvature = s.new_zeros(len(s), s.shape[1], s.shape[1], s.shape[1])
        for k, (weight, offset) in enumerate(zip(self.weights, self.offsets, strict=True)):
            if k:
                sine, cosine = torch.sin(s), torch.cos(s)
                outer = slope[:, :, None] * slope[:, None]
                curvature = cosine[:, None, None] * curvature - sine[:, None, None] * outer
                s, slope = sine, cosine[:, None] * slope
            s, slope = nn.functional.linear(s, weight, offset), slope @ weight.T
            curvature = curvature @ weight.T
        return s, slope, curvature

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
                kept.append((torch.sin(value), torch.cos(value), slope))
                value, slope = kept[-1][0], kept[-1][1][:, None] * slope
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
                sine, cosine, before = kept.pop()  # value = sin v, slope = cos v · v'
                through = torch.einsum("nkdi,ndi->nki", by_slope, before)
                by_value = by_value * cosine[:, None] - through * sine[:, None]
                by_slope = by_slope * cosine[:, None, None]
        return torch.cat([*reversed(weights), *reversed(offsets)], -1)


class SeparableNetwork(nn.Module):
    """Sum of products of functions of one coordinate each, float64; everything is dimensionless.

    `rank` products an output; with one coordinate there is nothing to multiply, and one function is left. Of a smooth
    field in a box it needs fewer weights than a network of all coordinates at once, and Gauss-Newton far fewer steps.

    Source: J. Cho et al., Separable physics-informed neural networks, arXiv 2306.15969.
    """

    def __init__(self, inputs: int, outputs: int, rank: int, width: int, depth: int, steepness: float):
        super().__init__()
        self.shape = (outputs, rank if inputs > 1 else 1)
        self.factor = self.shape[1] ** -0.5
        self.lines = nn.ModuleList(
            WaveNetwork(1, math.prod(self.shape), width, depth, steepness) for _ in range(inputs)
        )

    def forward(self, s: Float[Tensor, "points inputs"]) -> Float[Tensor, "points outputs"]:
        """Evaluate."""
        values = [line(s[:, k : k + 1]).view(-1, *self.shape) for k, line in enumerate(self.lines)]
        return self.factor * _product(values).sum(-1)

    def jet(
        self, s: Float[Tensor, "points inputs"]
    ) -> tuple[Float[Tensor, "points outputs"], Float[Tensor, "points inputs outputs"]]:
        """Evaluate with the derivatives by the coordinates."""
        values, slopes = self._lines(s)
        slope = [slopes[k] * _product(values, {k}) for k in range(len(values))]
        return self.factor * _product(values).sum(-1), self.factor * torch.stack(slope, 1).sum(-1)

    def _lines(self, s: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Values and slopes of the functions of each coordinate: (points, outputs, rank)."""
        jets = [line.jet(s[:, k : k + 1]) for k, line in enumerate(self.lines)]
        return [v.view(-1, *self.shape) for v, _ in jets], [d.view(-1, *self.shape) for _, d in jets]

    def rows(
        self,
        s: Float[Tensor, "points inputs"],
        by_value: Float[Tensor, "points rows outputs"],
        by_slope: Float[Tensor, "points rows inputs outputs"],
    ) -> Float[Tensor, "points rows weights"]:
        """Give derivatives by all weights of rows that depend on value and slopes: as of `WaveNetwork.rows`.

        Args:
            s: coordinates, dimensionless.
            by_value: derivatives of each row by the values, dimensionless.
            by_slope: the same by the slopes, dimensionless.
        """
        values, slopes = self._lines(s)
        by_value, by_slope, columns = self.factor * by_value[..., None], self.factor * by_slope[..., None], []
        for k, line in enumerate(self.lines):
            rest = _product(values, {k})[:, None]
            of_value = by_value * rest
            for j in range(len(values)):
                if j != k:
                    of_value = of_value + by_slope[:, :, j] * (slopes[j] * _product(values, {j, k}))[:, None]
            of_slope = by_slope[:, :, k] * rest
            columns.append(line.rows(s[:, k : k + 1], of_value.flatten(2), of_slope.flatten(2)[:, :, None]))
        return torch.cat(columns, -1)


def _product(factors: list[Tensor], left_out: Collection[int] = ()) -> Tensor:
    taken = [factor for k, factor in enumerate(factors) if k not in left_out]
    return math.prod(taken[1:], start=taken[0]) if taken else torch.ones_like(factors[0])
