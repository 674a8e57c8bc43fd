import math

import numpy as np
import pytest
import torch

from ase_mlx.nn.radial import Radial, envelope
from ase_mlx.nn.repulsion import RADII, zbl


@pytest.fixture
def radial():
    torch.manual_seed(0)
    return Radial(5.0, 8, (16,), 3, 4).to(torch.float64)


def test_envelope_is_smooth_at_both_ends():
    x = torch.tensor([0.0, 1.0], dtype=torch.float64, requires_grad=True)
    value = envelope(x)
    (first,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    assert value.tolist() == pytest.approx([1, 0], abs=1e-14)
    assert first.tolist() == pytest.approx([0, 0], abs=1e-12)
    assert second.tolist() == pytest.approx([0, 0], abs=1e-10)
    below = torch.tensor([0.999999], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(envelope(below), below)
    assert abs(float(slope)) < 1e-9
    inside = envelope(torch.linspace(0, 1, 101, dtype=torch.float64))
    assert torch.all(inside[1:] <= inside[:-1])
    assert not envelope(torch.tensor([1.0, 1.5, 9.0])).any()


def test_radial_functions_vanish_at_the_cutoff(radial):
    r = torch.tensor([4.999999, 5.0, 5.1], dtype=torch.float64)
    assert radial(r).abs().max() < 1e-12
    assert radial(torch.tensor([2.5], dtype=torch.float64)).abs().max() > 1e-2
    assert radial(r).shape == (3, 3, 4)


def test_basis_is_that_of_bessel_functions():
    radial = Radial(4.0, 3, (), 1, 3).to(torch.float64)
    radial.layers[0].data = torch.eye(3, dtype=torch.float64) * math.sqrt(3.0)
    r = torch.tensor([0.7, 1.9, 3.3], dtype=torch.float64)
    n = np.arange(1, 4)
    bessel = np.sqrt(2.0) * np.sin(n * np.pi * r.numpy()[:, None] / 4.0) / (np.pi * r.numpy()[:, None] / 4.0)
    expected = bessel * envelope(r / 4.0).numpy()[:, None] / np.sqrt(3.0)
    assert radial(r)[:, 0].detach().numpy() == pytest.approx(expected, abs=1e-12)


def test_table_holds_value_and_slope_at_its_knots(radial):
    table = radial.table(50)
    r = torch.linspace(0, 5, 51, dtype=torch.float64)
    assert table.shape == (51, 2, 3, 4)
    assert table[:, 0].numpy() == pytest.approx(radial(r).detach().numpy(), abs=1e-12)
    step = 1e-5
    slope = (radial(r + step) - radial(r - step)).detach() / (2 * step) * 0.1
    assert table[1:, 1].numpy() == pytest.approx(slope[1:].numpy(), abs=1e-7)
    assert not table.requires_grad


def hermite(table, spacing, r):
    """Interpolate by the textbook's cubic Hermite polynomials, independent of the kernels."""
    k = np.minimum((r / spacing).astype(int), len(table) - 2)
    t = (r / spacing - k)[:, None, None]
    (a, da), (b, db) = (table[k].transpose(1, 0, 2, 3), table[k + 1].transpose(1, 0, 2, 3))
    return (1 + 2 * t) * (1 - t) ** 2 * a + t * (1 - t) ** 2 * da + t**2 * (3 - 2 * t) * b + t**2 * (t - 1) * db


def test_interpolation_errs_as_the_fourth_power_of_the_spacing(radial):
    r = np.linspace(0.5, 4.9, 397)
    exact = radial(torch.tensor(r)).detach().numpy()
    errors = [np.abs(hermite(radial.table(n).numpy(), 5.0 / n, r) - exact).max() for n in (64, 128, 256)]
    assert errors[0] / errors[1] == pytest.approx(16, rel=0.5)
    assert errors[1] / errors[2] == pytest.approx(16, rel=0.5)


# The screening length stands in the literature with four digits, 0.4685 Å or 0.8854 Bohr radii.
SCREENING_LENGTH = 5e-4


def pair(z1, z2, r):
    """Energy of a pair by the published formula, in SI units."""
    charge, permittivity, angstrom, bohr = 1.602176634e-19, 8.8541878128e-12, 1e-10, 0.529177210903e-10
    a = 0.8854 * bohr / (z1**0.23 + z2**0.23)
    x = r * angstrom / a
    shape = ((0.18175, 3.19980), (0.50986, 0.94229), (0.28022, 0.40290), (0.02817, 0.20162))
    screening = sum(c * math.exp(-d * x) for c, d in shape)
    coulomb = z1 * z2 * charge**2 / (4 * math.pi * permittivity * r * angstrom) / charge
    x = r / (RADII[z1 - 1] + RADII[z2 - 1])
    return coulomb * screening * (1 - 28 * x**6 + 48 * x**7 - 21 * x**8 if x < 1 else 0.0)


@pytest.mark.parametrize(("z1", "z2"), [(14, 14), (14, 50), (13, 13), (1, 8), (79, 13)])
@pytest.mark.parametrize("r", [0.05, 0.3, 0.9, 1.3])
def test_repulsion_by_the_published_formula(z1, z2, r):
    distance = torch.tensor([r, r], dtype=torch.float64)
    both = zbl(distance, torch.tensor([z1, z2]), torch.tensor([z2, z1]))
    assert float(both.sum()) == pytest.approx(pair(z1, z2, r), rel=SCREENING_LENGTH, abs=1e-12)
    assert float(both[0]) == pytest.approx(float(both[1]))


@pytest.mark.parametrize(("z1", "z2"), [(14, 14), (32, 50), (13, 79)])
def test_repulsion_repels_and_ends_where_spheres_touch(z1, z2):
    touch = RADII[z1 - 1] + RADII[z2 - 1]
    r = torch.linspace(0.02, touch - 1e-3, 400, dtype=torch.float64, requires_grad=True)
    energy = zbl(r, torch.full((400,), z1), torch.full((400,), z2))
    (slope,) = torch.autograd.grad(energy.sum(), r)
    assert torch.all(energy > 0)
    assert torch.all(slope < 0)
    beyond = torch.tensor([touch, touch + 0.1, 5.0], dtype=torch.float64)
    assert not zbl(beyond, torch.full((3,), z1), torch.full((3,), z2)).any()


def test_radii_of_known_elements():
    assert [RADII[z - 1] for z in (1, 6, 13, 14, 32, 50)] == [0.31, 0.76, 1.21, 1.11, 1.20, 1.39]
    assert len(RADII) == 96
