import numpy as np
import pytest
import torch
from ase.build import bulk

from ase_mlx.graph import batch, from_atoms
from ase_mlx.nn import convolution
from ase_mlx.nn.angular import dimension, paths, spherical_harmonics
from ase_mlx.nn.convolution import convolve, convolve_dense, convolve_tabulated
from ase_mlx.nn.radial import Radial


def setup(l_in, l_edge, l_out, apart=False, natural=True, channels=3, repeat=1, dtype=torch.float64, cutoff=3.2):
    torch.manual_seed(0)
    atoms = bulk("Si") * repeat
    atoms.rattle(0.1, seed=1)
    graph = from_atoms(atoms, cutoff)
    table = paths(l_in, l_edge, l_out, apart, natural)
    edges = len(graph.center)
    y = torch.randn(edges, dimension(l_edge), dtype=dtype, requires_grad=True)
    r = torch.randn(edges, len(table), channels, dtype=dtype, requires_grad=True)
    x = torch.randn(len(atoms), dimension(l_in), channels, dtype=dtype, requires_grad=True)
    return graph, table, (y, r, x)


SIZES = [
    (0, 0, 0),
    (0, 2, 2),
    (1, 1, 1),
    (2, 2, 2),
    (2, 2, 0),
    (2, 2, 2, True),
    (1, 3, 0, True),
    (2, 2, 2, True, False),
]


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fused_equals_dense(sizes, dtype):
    graph, table, inputs = setup(*sizes, dtype=dtype)
    fused, dense = (f(*inputs, graph, table) for f in (convolve, convolve_dense))
    assert fused.dtype == dtype
    assert fused.shape == (2, table.n_rows, 3) and (table.apart or table.n_rows == dimension(sizes[2]))
    tolerance = 1e-12 if dtype == torch.float64 else 2e-5
    assert fused.detach().numpy() == pytest.approx(dense.detach().numpy(), abs=tolerance)


def derivatives(f, graph, table, inputs, order):
    """Take directional derivatives one after the other; a different random direction each time."""
    generator = torch.Generator().manual_seed(3)
    value = f(*inputs, graph, table)
    value = (value * torch.randn(value.shape, generator=generator, dtype=value.dtype)).sum()
    for _ in range(order):
        grads = torch.autograd.grad(value, inputs, create_graph=True)
        value = sum((g * torch.randn(g.shape, generator=generator, dtype=g.dtype)).sum() for g in grads)
    return torch.autograd.grad(value, inputs)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("order", [0, 1])
def test_first_and_second_derivatives_equal_dense(sizes, order):
    graph, table, inputs = setup(*sizes)
    found = (derivatives(f, graph, table, inputs, order) for f in (convolve, convolve_dense))
    for fused, dense in zip(*found, strict=True):
        assert fused.numpy() == pytest.approx(dense.numpy(), abs=1e-10)


@pytest.mark.parametrize("sizes", SIZES)
def test_third_derivatives_equal_dense(sizes):
    graph, table, inputs = setup(*sizes)
    found = [derivatives(f, graph, table, inputs, 2) for f in (convolve, convolve_dense)]
    for fused, dense in zip(*found, strict=True):
        assert fused.numpy() == pytest.approx(dense.numpy(), abs=1e-10)
    assert max(float(g.abs().max()) for g in found[0]) > 1e-3


def test_gradcheck_of_both_orders():
    graph, table, inputs = setup(1, 1, 1, channels=2, cutoff=2.6)
    assert torch.autograd.gradcheck(lambda *a: convolve(*a, graph, table), inputs)
    assert torch.autograd.gradgradcheck(lambda *a: convolve(*a, graph, table), inputs)


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_threads_change_nothing_but_rounding(threads):
    graph, table, inputs = setup(2, 2, 2, channels=2, repeat=(5, 5, 5), cutoff=4.6)
    assert len(graph.center) >= 4000
    results = []
    for n in (1, 2):
        threads(n)
        assert len(convolution._ranges(graph.first_edge.numpy())) == n
        results.append([convolve(*inputs, graph, table).detach(), *derivatives(convolve, graph, table, inputs, 1)])
    for one, two in zip(*results, strict=True):
        assert two.numpy() == pytest.approx(one.numpy(), abs=1e-10)


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_ranges_cover_every_atom_once(threads, monkeypatch, n):
    monkeypatch.setattr(convolution, "_MIN_EDGES_PER_THREAD", 1)
    threads(n)
    graph = batch([from_atoms(bulk("Si") * (2, 1, 1), 4.0), from_atoms(bulk("Al"), 0.5), from_atoms(bulk("Al"), 4.0)])
    ranges = convolution._ranges(graph.first_edge.numpy())
    assert [a for a, b in ranges for a in range(a, b)] == list(range(6))


def test_no_edges_give_no_message():
    graph = from_atoms(bulk("Al"), 0.5)
    table = paths(1, 1, 1)
    x = torch.randn(1, 4, 2, requires_grad=True)
    out = convolve(torch.zeros(0, 4), torch.zeros(0, len(table), 2), x, graph, table)
    assert not out.any()
    assert not torch.autograd.grad(out.sum(), x)[0].any()


@pytest.mark.parametrize("intervals", [64, 512])
def test_tables_approach_the_network(intervals):
    torch.manual_seed(0)
    atoms = bulk("Si") * (2, 1, 1)
    atoms.rattle(0.1, seed=1)
    graph = from_atoms(atoms, 5.0)
    table = paths(2, 2, 2)
    radial = Radial(5.0, 8, (16,), len(table), 4).to(torch.float64)
    x = torch.randn(4, 9, 4, dtype=torch.float64)
    vectors = graph.vectors().requires_grad_()
    results = []
    for tabulated in (False, True):
        distance = vectors.norm(dim=1)
        y = spherical_harmonics(2, vectors / distance[:, None])
        if tabulated:
            knots = radial.table(intervals)
            out = convolve_tabulated(y, distance * intervals / 5.0, x, knots, graph, table)
        else:
            out = convolve(y, radial(distance), x, graph, table)
        results.append((out.detach(), torch.autograd.grad(out.square().sum(), vectors)[0]))
    tolerance = {64: 3e-2, 512: 1e-5}[intervals]
    for network, knotted in zip(*results, strict=True):
        size = float(network.abs().max())
        assert np.abs((knotted - network).numpy()).max() < tolerance * size


def test_tables_refuse_a_second_derivative():
    graph, table, (y, _, x) = setup(1, 1, 1)
    position = (graph.vectors().norm(dim=1) * 10).detach().requires_grad_()
    knots = torch.randn(60, 2, len(table), 3, dtype=torch.float64)
    out = convolve_tabulated(y, position, x, knots, graph, table)
    (first,) = torch.autograd.grad(out.square().sum(), position, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        first.sum().backward()


def test_paths_that_are_kept_apart_sum_to_those_that_are_not():
    (graph, together, inputs), (_, apart, _) = (setup(2, 2, 2, which) for which in (False, True))
    rows, summed = convolve(*inputs, graph, apart), convolve(*inputs, graph, together)
    assert apart.n_rows == sum((2 * l + 1) * apart.into(l) for l in range(3))
    for l in range(3):
        of_paths = rows[:, apart.rows(l)].reshape(2, 2 * l + 1, apart.into(l), 3)
        expected = of_paths.sum(2) / apart.into(l) ** 0.5
        assert summed[:, together.rows(l)].detach().numpy() == pytest.approx(expected.detach().numpy(), abs=1e-12)
