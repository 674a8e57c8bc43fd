"""Exact second derivatives of a potential's energy by Hessian-vector products, several at a time in small cells.

The graph of E and ∂E/∂(edge vectors) is built once, of as many copies of the structure as there are products to a
pass; each pass is one more backward through it. The radial
networks enter as their second-order Taylor polynomials about the edges' lengths: second derivatives stay exact, and no
pass goes through a network again, which takes 40 % off the time of a product.

Source: B. A. Pearlmutter, Neural Computation 6, 147 (1994), for the products; the rest is ours.
"""

import copy

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ase_mlx.graph import Graph, batch
from ase_mlx.nn.radial import Radial
from ase_mlx.progress import Steps, logged

from .potential import Potential

EDGES_AT_ONCE = 1024
"""Edges whose radial networks are differentiated together: this needs more memory per edge than all that is kept."""

ATOMS_AT_ONCE = 128
"""Atoms of all copies of a structure together; a larger one stands alone. In a small one a pass is mostly calls."""

Columns = Float[np.ndarray, "k 3 atoms 3"]
Products = Float[np.ndarray, "k atoms 3"]


def hessian_columns(
    model: Potential, graph: Graph, atoms: Int[np.ndarray, " k"], members: bool = False
) -> Columns | tuple[Columns, Float[np.ndarray, "members k 3 atoms 3"]]:
    """Differentiate the energy twice, ∂²E/∂x_{ia}∂x_{jb}, for chosen atoms i and all j, repulsion included.

    Args:
        model: in float64, in either mode; neither it nor its gradients are touched. The radial networks themselves are
            differentiated, not the tables that forces are interpolated from in `eval()` mode.
        graph: of one structure, Å.
        atoms: the indices i, dimensionless.
        members: also the columns of every member of the ensemble, none where the model has no deviations; costs as
            much again for each.

    Returns:
        Columns in eV/Å², indexed [i, a, j, b]; with members also theirs, member axis first.

    Raises:
        ValueError: as `hessian_products`.

    Source: ours.
    """
    n = len(graph.numbers)
    directions = np.zeros((len(atoms), 3, n, 3))
    directions[np.arange(len(atoms))[:, None], np.arange(3), np.asarray(atoms)[:, None], np.arange(3)] = 1.0
    products = hessian_products(model, graph, directions.reshape(-1, n, 3), members)
    if not members:
        return products.reshape(directions.shape)
    return products[0].reshape(directions.shape), products[1].reshape(-1, *directions.shape)


def hessian_products(
    model: Potential, graph: Graph, directions: Products, members: bool = False, progress: Steps | None = None
) -> Products | tuple[Products, Float[np.ndarray, "members k atoms 3"]]:
    """Apply the Hessian of the energy to displacements: minus the exact rate of change of the forces along each.

    Memory beside the result is bounded whatever the number of directions or members: one graph of the energy and its
    gradient is kept, of 128 atoms or of one larger structure, 30 to 40 kB an edge for the shipped models (0.4 GB for
    512 atoms of silicon).

    Args:
        model: in float64, as for `hessian_columns`.
        graph: of one structure, Å.
        directions: displacements of all atoms, in units of their own (dimensionless for unit vectors).
        members: also the products of every member of the ensemble.
        progress: called with the products done and in all, anew for each member.

    Returns:
        Products in eV/Å² times the directions' unit; with members also theirs, member axis first.

    Raises:
        ValueError: a model in another precision, several structures, or an element that the model was not made for.

    Source: B. A. Pearlmutter, Neural Computation 6, 147 (1994).
    """
    if model.head.dtype != torch.float64:
        raise ValueError(
            f"got a model in {model.head.dtype}, expected torch.float64: rounding grows with every derivative; "
            'convert it with model.double(), or make the calculator with dtype="float64"'
        )
    if graph.n_graphs != 1:
        raise ValueError(f"got a batch of {graph.n_graphs} structures, expected one; call once for each")
    moves = torch.as_tensor(directions, dtype=torch.float64, device=graph.positions.device)
    graph = batch([graph] * max(1, min(len(moves), ATOMS_AT_ONCE // len(graph.numbers))))
    expanded = _expanded(model, graph)
    vectors = expanded._leaf(graph)
    with torch.enable_grad():
        energies, features, _ = expanded._energies(graph, vectors, with_distance=False)
        report = progress or logged("products with the Hessian")
        mean = _products(energies.sum(), vectors, graph, moves, report)
        if not members:
            return mean
        shifts = (features.sum(0) @ expanded.deviations.T) * expanded.config.energy_scale
        spread = shifts if bool(expanded.deviations.any()) else shifts[:0]
        parts = [mean + _products(shift, vectors, graph, moves, report) for shift in spread]
    return mean, np.stack(parts) if parts else np.zeros((0, *mean.shape))


def _products(energy: Tensor, vectors: Tensor, graph: Graph, moves: Tensor, report: Steps) -> np.ndarray:
    (slope,) = torch.autograd.grad(energy, vectors, create_graph=True)
    rows = []
    for chunk in moves.split(graph.n_graphs):
        move = moves.new_zeros(graph.n_graphs, *moves.shape[1:])
        move[: len(chunk)] = chunk
        move = move.reshape(-1, 3)
        stretch = move[graph.neighbor] - move[graph.center]
        (change,) = torch.autograd.grad(slope, vectors, stretch, retain_graph=True)
        row = torch.zeros_like(move).index_add_(0, graph.neighbor, change).index_add_(0, graph.center, -change)
        rows.append(row.reshape(graph.n_graphs, *moves.shape[1:])[: len(chunk)])
        report(sum(map(len, rows)), len(moves))
    return torch.cat(rows).cpu().numpy() if rows else np.zeros(moves.shape)


def _expanded(model: Potential, graph: Graph) -> Potential:
    """Copy a model, its radial networks replaced by their Taylor polynomials about the graph's distances."""
    frozen = copy.deepcopy(model).train().requires_grad_(False)
    distance = torch.linalg.vector_norm(graph.vectors().to(torch.float64), dim=-1)
    for layer in frozen.trunk.layers:
        layer.radial = _Taylor(layer.radial, distance)
    return frozen


class _Taylor(nn.Module):
    """Radial functions at fixed distances, with exact first and second derivatives there."""

    def __init__(self, radial: Radial, distance: Tensor):
        super().__init__()
        # A crystal has few different distances; this rounding is what positions in a supercell have lost anyway.
        distinct, edge = torch.unique(distance.round(decimals=12), return_inverse=True)
        parts = [_derivatives(radial, r) for r in distinct.split(EDGES_AT_ONCE)]
        self.terms = [torch.cat(term)[edge] for term in zip(*parts, strict=True)]

    def forward(self, distance: Tensor) -> Tensor:
        return _Value.apply(distance, *self.terms)


def _derivatives(radial: Radial, distance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    with torch.enable_grad():
        r = distance.detach().requires_grad_()
        value = radial(r)
        slope = _by_distance(value, r)
        return value.detach(), slope.detach(), _by_distance(slope, r).detach()


def _by_distance(value: Tensor, r: Tensor) -> Tensor:
    # As in `Radial.table`: differentiating v·∂R/∂r by v gives the derivative along r.
    v = torch.zeros_like(value, requires_grad=True)
    (pulled,) = torch.autograd.grad(value, r, v, create_graph=True)
    return torch.autograd.grad(pulled, v, torch.ones_like(r), create_graph=True)[0]


class _Value(torch.autograd.Function):
    @staticmethod
    def forward(ctx, distance, value, slope, curvature):
        ctx.save_for_backward(distance, slope, curvature)
        return value.clone()

    @staticmethod
    def backward(ctx, grad):
        return _Slope.apply(grad, *ctx.saved_tensors), None, None, None


class _Slope(torch.autograd.Function):
    @staticmethod
    def forward(ctx, grad, distance, slope, curvature):
        ctx.save_for_backward(grad, slope, curvature)
        return torch.linalg.vecdot(grad.flatten(1), slope.flatten(1))

    @staticmethod
    def backward(ctx, h):
        grad, slope, curvature = ctx.saved_tensors
        by_distance = h * torch.linalg.vecdot(grad.flatten(1), curvature.flatten(1))
        return h[:, None, None] * slope, by_distance, None, None
