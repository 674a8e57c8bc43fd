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
        by_curvature: Float[Tensor, "points rows inputs inputs outputs"] | None = None,
    ) -> Float[Tensor, "points rows weights"]:
        """Give derivatives by all weights, in the order of `parameters()`, of rows that depend on value and slopes.

        Backward through the layers by hand, so that no graph is kept: of each point and row, an outer product a layer.

        Args:
            s: coordinates, dimensionless.
            by_value: derivatives of each row by the values, dimensionless.
            by_slope: the same by the slopes, dimensionless.
            by_curvature: the same by the second derivatives, symmetric, dimensionless; None: rows have none.
        """
        value, slope, kept = s, torch.eye(s.shape[1], dtype=s.dtype).expand(len(s), -1, -1), []
        bent = None if by_curvature is None else s.new_zeros(len(s), *[s.shape[1]] * 3)
        for k, (weight, offset) in enumerate(zip(self.weights, self.offsets, strict=True)):
            if k:
                sine, cosine = torch.sin(value), torch.cos(value)
                kept.append((sine, cosine, slope, bent))
                if bent is not None:
                    bent = cosine[:, None, None] * bent - sine[:, None, None] * slope[:, :, None] * slope[:, None]
                value, slope = sine, cosine[:, None] * slope
            kept.append((value, slope, bent))
            value, slope = nn.functional.linear(value, weight, offset), slope @ weight.T
            bent = None if bent is None else bent @ weight.T
        by, weights, offsets = (by_value, by_slope, by_curvature), [], []
        for k in reversed(range(len(self.weights))):
            weights.append(_outer(by, kept.pop()).flatten(2))
            offsets.append(by[0])
            if k:
                by = _through_sine(tuple(part if part is None else part @ self.weights[k] for part in by), *kept.pop())
        return torch.cat([*reversed(weights), *reversed(offsets)], -1)


Parts = tuple[Tensor, Tensor, Tensor | None]
"""Of value, slopes and second derivatives."""


def _outer(by: Parts, inputs: Parts) -> Tensor:
    """Derivatives of rows by the weights of a linear layer: (points, rows, outputs, inputs)."""
    outer = torch.einsum("nko,ni->nkoi", by[0], inputs[0]) + torch.einsum("nkdo,ndi->nkoi", by[1], inputs[1])
    return outer if by[2] is None else outer + torch.einsum("nkdeo,ndei->nkoi", by[2], inputs[2])


def _through_sine(by: Parts, sine: Tensor, cosine: Tensor, slope: Tensor, bent: Tensor | None) -> Parts:
    """Derivatives by what a sine gets from those by what it gives: sin v, cos v · v′, cos v · v″ - sin v · v′ v′."""
    value, by_slope, by_bent = by
    through = torch.einsum("nkdi,ndi->nki", by_slope, slope)
    value, by_slope = value * cosine[:, None] - through * sine[:, None], by_slope * cosine[:, None, None]
    if by_bent is None:
        return value, by_slope, None
    crossed = torch.einsum("nkdei,nei->nkdi", by_bent, slope)
    twice = torch.einsum("nkdi,ndi->nki", crossed, slope)
    value = value - torch.einsum("nkdei,ndei->nki", by_bent, bent) * sine[:, None] - twice * cosine[:, None]
    return value, by_slope - 2 * crossed * sine[:, None, None], by_bent * cosine[:, None, None, None]


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

    def curvatures(
        self, s: Float[Tensor, "points inputs"]
    ) -> tuple[
        Float[Tensor, "points outputs"],
        Float[Tensor, "points inputs outputs"],
        Float[Tensor, "points inputs inputs outputs"],
    ]:
        """Evaluate with the first and second derivatives by the coordinates."""
        values, slopes, bent = self._bent(s)
        columns = range(len(values))
        slope = [slopes[k] * _product(values, {k}) for k in columns]
        rows = [[slopes[j] * slopes[k] * _product(values, {j, k}) for j in columns] for k in columns]
        for k in columns:
            rows[k][k] = bent[k] * _product(values, {k})
        curvature = torch.stack([torch.stack(row, 1) for row in rows], 1).sum(-1)
        value, slope = _product(values).sum(-1), torch.stack(slope, 1).sum(-1)
        return self.factor * value, self.factor * slope, self.factor * curvature

    def _bent(self, s: Tensor) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Values, slopes and second derivatives of the functions of each coordinate: (points, outputs, rank)."""
        jets = [line.curvatures(s[:, k : k + 1]) for k, line in enumerate(self.lines)]
        return tuple([jet[j].reshape(-1, *self.shape) for jet in jets] for j in range(3))

    def rows(
        self,
        s: Float[Tensor, "points inputs"],
        by_value: Float[Tensor, "points rows outputs"],
        by_slope: Float[Tensor, "points rows inputs outputs"],
        by_curvature: Float[Tensor, "points rows inputs inputs outputs"] | None = None,
    ) -> Float[Tensor, "points rows weights"]:
        """Give derivatives by all weights of rows that depend on value and slopes: as of `WaveNetwork.rows`.

        Args:
            s: coordinates, dimensionless.
            by_value: derivatives of each row by the values, dimensionless.
            by_slope: the same by the slopes, dimensionless.
            by_curvature: the same by the second derivatives, symmetric, dimensionless; None: rows have none.
        """
        values, slopes, bent = (*self._lines(s), None) if by_curvature is None else self._bent(s)
        by_value, by_slope, columns = self.factor * by_value[..., None], self.factor * by_slope[..., None], []
        by_bent = None if by_curvature is None else self.factor * by_curvature[..., None]
        for k, line in enumerate(self.lines):
            rest, others = _product(values, {k})[:, None], [j for j in range(len(values)) if j != k]
            of_value, of_slope, of_bent = by_value * rest, by_slope[:, :, k] * rest, None
            for j in others:
                without = _product(values, {j, k})[:, None]
                of_value = of_value + by_slope[:, :, j] * slopes[j][:, None] * without
                if by_bent is not None:
                    of_value = of_value + by_bent[:, :, j, j] * bent[j][:, None] * without
                    of_slope = of_slope + 2 * by_bent[:, :, j, k] * slopes[j][:, None] * without
                    for i in (i for i in others if i < j):
                        both = (slopes[i] * slopes[j] * _product(values, {i, j, k}))[:, None]
                        of_value = of_value + 2 * by_bent[:, :, i, j] * both
            if by_bent is not None:
                of_bent = (by_bent[:, :, k, k] * rest).flatten(2)[:, :, None, None]
            columns.append(line.rows(s[:, k : k + 1], of_value.flatten(2), of_slope.flatten(2)[:, :, None], of_bent))
        return torch.cat(columns, -1)


def _product(factors: list[Tensor], left_out: Collection[int] = ()) -> Tensor:
    taken = [factor for k, factor in enumerate(factors) if k not in left_out]
    return math.prod(taken[1:], start=taken[0]) if taken else torch.ones_like(factors[0])
