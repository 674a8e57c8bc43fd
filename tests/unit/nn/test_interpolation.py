import pytest
import torch

from ase_mlx.nn.interpolation import interpolate
from ase_mlx.nn.radial import KNOTS, Radial

POSITIONS = torch.tensor([0.0, 0.3, 1.7, 4.5, 7.2, 8.0], dtype=torch.float64)
"""Between nine knots, and at both ends."""


@pytest.fixture
def table():
    return torch.randn(9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)


def test_cubics_are_exact_at_every_derivative():
    knots = torch.arange(9.0, dtype=torch.float64)
    x = POSITIONS.clone().requires_grad_()
    powers = torch.stack([knots**k for k in range(4)], dim=1)
    value = interpolate(powers, x)
    assert torch.allclose(value, torch.stack([x**k for k in range(4)], dim=1))
    for k in range(4):
        derivative, exact = value[:, k], x**k
        for _ in range(3):
            (derivative,) = torch.autograd.grad(derivative.sum(), x, create_graph=True)
            (exact,) = torch.autograd.grad(exact.sum() + 0 * x.sum(), x, create_graph=True)
            assert torch.allclose(derivative, exact, atol=1e-9)


def test_derivatives_by_table_and_position(table):
    x = POSITIONS[1:-1].clone().requires_grad_()
    assert torch.autograd.gradcheck(interpolate, (table, x))
    assert torch.autograd.gradgradcheck(interpolate, (table, x))


def test_threads_share_the_work(table):
    many = POSITIONS.repeat(2000)
    grad = torch.randn(len(many), 3, dtype=torch.float64)

    def both(threads):
        torch.set_num_threads(threads)
        try:
            x = many.clone().requires_grad_()
            value = interpolate(table, x)
            return value, *torch.autograd.grad(value, (table, x), grad)
        finally:
            torch.set_num_threads(1)

    assert all(torch.allclose(one, two) for one, two in zip(both(1), both(2), strict=True))


def test_a_radial_network_that_is_taught_gives_its_own_values_and_gradients():
    torch.manual_seed(0)
    radial = Radial(5.0, 8, (64,), 3, 4)
    distance = 1.5 + 3.5 * torch.rand(4 * KNOTS)
    target = torch.randn(len(distance))

    def taught(mode):
        r = distance.clone().requires_grad_()
        value = radial.train(mode)(r)
        (slope,) = torch.autograd.grad(value.square().sum(), r, create_graph=True)
        gradients = torch.autograd.grad((slope - target).square().sum() + value.sum(), list(radial.parameters()))
        return value, slope, *gradients

    for interpolated, asked in zip(taught(True), taught(False), strict=True):
        assert torch.allclose(interpolated, asked, atol=1e-4 * float(asked.detach().abs().max()))
    assert torch.equal(radial.train()(distance[:-1]), radial.eval()(distance[:-1]))  # too few for a table
