"""Many functions of one variable from a table: the cubic through the four knots around each place.

Of its values G(T, x), of their pullback to the table S(g, x) and of their products with what is pulled back D(g, T, x)
each derivative is made of the other two, so that all three are differentiable to any order: a table takes gradients.

Source: ours; the weights are those of Lagrange's polynomial.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ase_mlx.compiled import compiled

from .convolution import run

AROUND = 4
"""Knots that a value is made of."""
_MIN_PLACES_PER_THREAD = 2000

_jit = compiled(nogil=True, fastmath=True, error_model="numpy")


def interpolate(
    table: Float[Tensor, "knots functions"], position: Float[Tensor, " places"]
) -> Float[Tensor, "places functions"]:
    """Values at `position` (in spacings of the knots, from the first one on; dimensionless), in the table's unit.

    Smooth between knots; at knots derivatives jump by their own error. On the CPU.

    Source: Lagrange's polynomial of degree three.
    """
    return _Gather.apply(table, position, torch.ones_like(position), 0)


@_jit
def _weights(x, knots, order, scale, w):
    """Weights of the order-th derivative at x; returns the first of the four knots."""
    first = min(max(int(x), 1), knots - 3) - 1
    f = x - (first + 1)
    w[:] = 0
    if order == 0:
        w[0], w[1] = -f * (f - 1) * (f - 2) / 6, (f + 1) * (f - 1) * (f - 2) / 2
        w[2], w[3] = -(f + 1) * f * (f - 2) / 2, (f + 1) * f * (f - 1) / 6
    elif order == 1:
        w[0], w[1] = -(3 * f * f - 6 * f + 2) / 6, (3 * f * f - 4 * f - 1) / 2
        w[2], w[3] = -(3 * f * f - 2 * f - 2) / 2, (3 * f * f - 1) / 6
    elif order == 2:
        w[0], w[1], w[2], w[3] = 1 - f, 3 * f - 2, 1 - 3 * f, f
    elif order == 3:
        w[0], w[1], w[2], w[3] = -1, 3, -3, 1
    w *= scale
    return first


@_jit
def _gather(start, stop, table, position, scale, order, out):
    w = np.empty(AROUND, table.dtype)
    for e in range(start, stop):
        i = _weights(position[e], table.shape[0], order, scale[e], w)
        a, b, c, d, o = table[i], table[i + 1], table[i + 2], table[i + 3], out[e]
        wa, wb, wc, wd = w[0], w[1], w[2], w[3]
        for k in range(table.shape[1]):
            o[k] = wa * a[k] + wb * b[k] + wc * c[k] + wd * d[k]


@_jit
def _dot(start, stop, grad, table, position, order, out):
    w = np.empty(AROUND, table.dtype)
    one = table.dtype.type(1)
    for e in range(start, stop):
        i = _weights(position[e], table.shape[0], order, one, w)
        a, b, c, d, g = table[i], table[i + 1], table[i + 2], table[i + 3], grad[e]
        wa, wb, wc, wd = w[0], w[1], w[2], w[3]
        s = table.dtype.type(0)
        for k in range(table.shape[1]):
            s += g[k] * (wa * a[k] + wb * b[k] + wc * c[k] + wd * d[k])
        out[e] = s


@_jit
def _scatter(start, stop, grad, position, scale, order, out):
    w = np.empty(AROUND, grad.dtype)
    for e in range(position.shape[0]):
        i = _weights(position[e], out.shape[0], order, scale[e], w)
        a, b, c = out[i][start:stop], out[i + 1][start:stop], out[i + 2][start:stop]
        d, g = out[i + 3][start:stop], grad[e][start:stop]  # from 0 on: only so the loop is one of vectors
        wa, wb, wc, wd = w[0], w[1], w[2], w[3]
        for k in range(g.size):
            a[k] += wa * g[k]
            b[k] += wb * g[k]
            c[k] += wc * g[k]
            d[k] += wd * g[k]


def _shared(kernel: Callable, count: int, places: int, *arguments) -> None:
    """Run a kernel over 0…count, in as many threads as the places are worth."""
    threads = max(1, min(torch.get_num_threads(), places // _MIN_PLACES_PER_THREAD))
    cuts = np.linspace(0, count, threads + 1).astype(int)
    run([lambda a=a, b=b: kernel(a, b, *arguments) for a, b in zip(cuts, cuts[1:], strict=False)])


def _arrays(*tensors: Tensor) -> list[np.ndarray]:
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


class _Gather(torch.autograd.Function):
    """G: values, times a scale of each place."""

    @staticmethod
    def forward(ctx, table, position, scale, order):
        ctx.save_for_backward(table, position, scale)
        ctx.order = order
        arrays = _arrays(table, position, scale)
        out = np.empty((len(position), table.shape[1]), arrays[0].dtype)
        _shared(_gather, len(position), len(position), *arrays, order, out)
        return torch.from_numpy(out)

    @staticmethod
    def backward(ctx, grad):
        table, position, scale = ctx.saved_tensors
        n, needs = ctx.order, ctx.needs_input_grad
        return (
            _Scatter.apply(grad, position, scale, n, len(table)) if needs[0] else None,
            scale * _Dot.apply(grad, table, position, n + 1) if needs[1] else None,
            _Dot.apply(grad, table, position, n) if needs[2] else None,
            None,
        )


class _Scatter(torch.autograd.Function):
    """S: the table's gradient by that of values."""

    @staticmethod
    def forward(ctx, grad, position, scale, order, knots):
        ctx.save_for_backward(grad, position, scale)
        ctx.order = order
        arrays = _arrays(grad, position, scale)
        out = np.zeros((knots, grad.shape[1]), arrays[0].dtype)
        _shared(_scatter, grad.shape[1], len(position), *arrays, order, out)
        return torch.from_numpy(out)

    @staticmethod
    def backward(ctx, grad_table):
        grad, position, scale = ctx.saved_tensors
        n, needs = ctx.order, ctx.needs_input_grad
        return (
            _Gather.apply(grad_table, position, scale, n) if needs[0] else None,
            scale * _Dot.apply(grad, grad_table, position, n + 1) if needs[1] else None,
            _Dot.apply(grad, grad_table, position, n) if needs[2] else None,
            None,
            None,
        )


class _Dot(torch.autograd.Function):
    """D: values times what is pulled back, summed over functions."""

    @staticmethod
    def forward(ctx, grad, table, position, order):
        ctx.save_for_backward(grad, table, position)
        ctx.order = order
        arrays = _arrays(grad, table, position)
        out = np.empty(len(position), arrays[0].dtype)
        _shared(_dot, len(position), len(position), *arrays, order, out)
        return torch.from_numpy(out)

    @staticmethod
    def backward(ctx, grad_out):
        grad, table, position = ctx.saved_tensors
        n, needs = ctx.order, ctx.needs_input_grad
        return (
            _Gather.apply(table, position, grad_out, n) if needs[0] else None,
            _Scatter.apply(grad, position, grad_out, n, len(table)) if needs[1] else None,
            grad_out * _Dot.apply(grad, table, position, n + 1) if needs[2] else None,
            None,
        )
