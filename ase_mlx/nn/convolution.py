"""The equivariant convolution, differentiable to any order: two fused kernels on the CPU, plain torch elsewhere.

The convolution A(Y, R, X) is linear in each argument, so the derivative of its own backward pass is made of A and that
backward pass again: `_Forward` and `_Backward` below call each other. Where no further derivative is wanted (training
on forces), one fused kernel replaces those six passes.

Source: ours; the equation stands in `kernels.py`.
"""

import functools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ase_mlx.graph import Graph

from . import kernels
from .angular import Paths, dimension
from .angular import paths as coupled_paths

_MIN_EDGES_PER_THREAD = 2000


def _tables(paths: Paths, dtype: np.dtype) -> tuple[np.ndarray, ...]:
    return (
        paths.entry_path,
        paths.entry_out,
        paths.entry_in,
        paths.term_entry,
        paths.term_edge,
        paths.term_value.astype(dtype),
    )


def _numpy(*tensors: Tensor) -> list[np.ndarray]:
    return [t.detach().contiguous().numpy() for t in tensors]


def _ranges(first_edge: np.ndarray) -> list[tuple[int, int]]:
    """Cut the atoms into one range a thread, of about equal numbers of edges."""
    n_atoms, n_edges = len(first_edge) - 1, int(first_edge[-1])
    n = max(1, min(torch.get_num_threads(), n_edges // _MIN_EDGES_PER_THREAD))
    cuts = np.searchsorted(first_edge, np.linspace(0, n_edges, n + 1)[1:-1])
    edges = [0, *cuts.tolist(), n_atoms]
    return list(zip(edges, edges[1:], strict=False))


def run(tasks: list) -> None:
    """Call functions without arguments, each in a thread of its own if there are several.

    Source: ours.
    """
    if len(tasks) == 1:
        tasks[0]()
        return
    with ThreadPoolExecutor(len(tasks)) as pool:
        for done in [pool.submit(task) for task in tasks]:
            done.result()


def _forward(kernel, y: Tensor, radial: tuple[Tensor, ...], x: Tensor, graph: Graph, paths: Paths) -> Tensor:
    first_edge, neighbor, y_, x_, *radial_ = _numpy(graph.first_edge, graph.neighbor, y, x, *radial)
    out = np.zeros((x_.shape[0], paths.n_rows, x_.shape[2]), dtype=x_.dtype)
    tables = _tables(paths, x_.dtype)
    run(
        [
            lambda a=a, b=b: kernel(a, b, first_edge, neighbor, tables, y_, *radial_, x_, out)
            for a, b in _ranges(first_edge)
        ]
    )
    return torch.from_numpy(out)


def _backward(
    kernel, y: Tensor, radial: tuple[Tensor, ...], x: Tensor, grad: Tensor, graph: Graph, paths: Paths
) -> tuple[Tensor, Tensor, Tensor]:
    first_edge, neighbor, y_, x_, grad_, *radial_ = _numpy(graph.first_edge, graph.neighbor, y, x, grad, *radial)
    grad_y, grad_r = np.empty_like(y_), np.empty_like(radial_[0])
    tables = _tables(paths, x_.dtype)
    ranges = _ranges(first_edge)
    grad_x = np.zeros((len(ranges), *x_.shape), dtype=x_.dtype)
    run(
        [
            lambda a=a, b=b, k=k: kernel(
                a, b, first_edge, neighbor, tables, y_, *radial_, x_, grad_, grad_y, grad_r, grad_x[k]
            )
            for k, (a, b) in enumerate(ranges)
        ]
    )
    total = grad_x[0] if len(ranges) == 1 else grad_x.sum(axis=0)
    return torch.from_numpy(grad_y), torch.from_numpy(grad_r), torch.from_numpy(total)


def _second(
    y: Tensor, r: Tensor, x: Tensor, grad: Tensor, hy: Tensor, hr: Tensor, hx: Tensor, graph: Graph, paths: Paths
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    first_edge, neighbor, *inputs = _numpy(graph.first_edge, graph.neighbor, y, r, x, grad, hy, hr, hx)
    tables = _tables(paths, inputs[0].dtype)
    grad_grad, grad_y, grad_r = np.zeros_like(inputs[3]), np.empty_like(inputs[0]), np.empty_like(inputs[1])
    ranges = _ranges(first_edge)
    grad_x = np.zeros((len(ranges), *inputs[2].shape), dtype=inputs[2].dtype)
    run(
        [
            lambda a=a, b=b, k=k: kernels.edges_second(
                a, b, first_edge, neighbor, tables, *inputs, grad_grad, grad_y, grad_r, grad_x[k]
            )
            for k, (a, b) in enumerate(ranges)
        ]
    )
    return tuple(torch.from_numpy(a) for a in (grad_grad, grad_y, grad_r, grad_x.sum(axis=0)))


class _Forward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, y, r, x, graph, paths):
        ctx.save_for_backward(y, r, x)
        ctx.graph, ctx.paths = graph, paths
        return _forward(kernels.edges_forward, y, (r,), x, graph, paths)

    @staticmethod
    def backward(ctx, grad):
        return (*_Backward.apply(grad, *ctx.saved_tensors, ctx.graph, ctx.paths), None, None)


class _Backward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, grad, y, r, x, graph, paths):
        ctx.save_for_backward(grad, y, r, x)
        ctx.graph, ctx.paths = graph, paths
        return _backward(kernels.edges_backward, y, (r,), x, grad, graph, paths)

    @staticmethod
    def backward(ctx, hy, hr, hx):
        grad, y, r, x = ctx.saved_tensors
        g, p = ctx.graph, ctx.paths
        if not torch.is_grad_enabled():
            return (*_second(y, r, x, grad, hy, hr, hx, g, p), None, None)
        by_y, by_r, by_x = (_Backward.apply(grad, *a, g, p) for a in ((hy, r, x), (y, hr, x), (y, r, hx)))
        d_grad = _Forward.apply(hy, r, x, g, p) + _Forward.apply(y, hr, x, g, p) + _Forward.apply(y, r, hx, g, p)
        return d_grad, by_r[0] + by_x[0], by_y[1] + by_x[1], by_y[2] + by_r[2], None, None


class _Tabulated(torch.autograd.Function):
    @staticmethod
    def forward(ctx, y, position, x, knots, graph, paths):
        ctx.save_for_backward(y, position, x, knots)
        ctx.graph, ctx.paths = graph, paths
        return _forward(kernels.table_forward, y, (position, knots), x, graph, paths)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        y, position, x, knots = ctx.saved_tensors
        grads = _backward(kernels.table_backward, y, (position, knots), x, grad, ctx.graph, ctx.paths)
        return (*grads, None, None, None)


def convolve(
    y: Float[Tensor, "edges m2"],
    r: Float[Tensor, "edges paths channels"],
    x: Float[Tensor, "atoms m1 channels"],
    graph: Graph,
    paths: Paths,
) -> Float[Tensor, "atoms m3 channels"]:
    """Sum the coupled products of edge harmonics y, radial values r and neighbours' features x (all dimensionless).

    Differentiable to any order by y, r and x.

    Source: Batzner et al., Nat. Commun. 13, 2453 (2022), eq. 6.
    """
    if y.device.type == "cpu":
        return _Forward.apply(y, r, x, graph, paths)
    return convolve_dense(y, r, x, graph, paths)


def convolve_tabulated(
    y: Float[Tensor, "edges m2"],
    position: Float[Tensor, " edges"],
    x: Float[Tensor, "atoms m1 channels"],
    knots: Float[Tensor, "knots 2 paths channels"],
    graph: Graph,
    paths: Paths,
) -> Float[Tensor, "atoms m3 channels"]:
    """As `convolve`, radial values interpolated from a table at `position` (distance over knot spacing, dimensionless).

    CPU only, differentiable once.

    Source: ours.
    """
    return _Tabulated.apply(y, position, x, knots, graph, paths)


def convolve_dense(
    y: Float[Tensor, "edges m2"],
    r: Float[Tensor, "edges paths channels"],
    x: Float[Tensor, "atoms m1 channels"],
    graph: Graph,
    paths: Paths,
) -> Float[Tensor, "atoms m3 channels"]:
    """As `convolve`, in plain torch operations (dimensionless): the road on accelerators, the reference of the kernels.

    Source: ours.
    """
    coupling, row_path, row_out = _dense(
        (paths.l_in, paths.l_edge, paths.l_out, paths.apart, paths.natural), y.device, y.dtype
    )
    matrix = (y @ coupling).reshape(len(y), len(row_path), x.shape[1])
    product = torch.bmm(matrix, x[graph.neighbor]) * r[:, row_path]
    message = x.new_zeros(len(y), paths.n_rows, x.shape[2]).index_add(1, row_out, product)
    return x.new_zeros(x.shape[0], *message.shape[1:]).index_add(0, graph.center, message)


@functools.lru_cache(maxsize=64)
def _dense(
    coupled: tuple[int, int, int, bool, bool], device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Coupling (m2, rows · m1) of edge harmonics to one matrix a (path, m3) row, the row's path and its m3."""
    p = coupled_paths(*coupled)
    rows, row = np.unique(np.stack([p.entry_path, p.entry_out]), axis=1, return_inverse=True)
    row = row.reshape(-1)
    coupling = np.zeros((dimension(p.l_edge), rows.shape[1], dimension(p.l_in)))
    np.add.at(coupling, (p.term_edge, row[p.term_entry], p.entry_in[p.term_entry]), p.term_value)
    flat = torch.as_tensor(coupling.reshape(len(coupling), -1), dtype=dtype, device=device)
    return flat, torch.as_tensor(rows[0], device=device), torch.as_tensor(rows[1], device=device)
