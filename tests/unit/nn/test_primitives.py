import numpy as np
import pytest
import torch
from scipy.integrate import quad

from ase_mlx.nn.primitives import integrate, primitives, spline


def test_functions_have_their_norm_and_end_smoothly():
    basis, r = primitives(6, 4, 3.0), torch.linspace(0, 3.2, 6401, dtype=torch.float64)
    values = basis(r)
    assert values.shape == (6401, 5, 6)
    assert values[r >= 3.0].abs().max() == 0
    assert values[(r > 2.99) & (r < 3.0)].abs().max() < 1e-4
    norm = torch.trapezoid(values.square() * r.square()[:, None, None], r, dim=0)
    assert norm.numpy() == pytest.approx(np.ones((5, 6)), abs=3e-3)


def test_degrees_above_zero_vanish_at_the_nucleus():
    values = primitives(4, 3, 2.5)(torch.tensor([0.0, 1e-4], dtype=torch.float64))
    assert values[0, 1:].abs().max() < 1e-12
    assert values[1, 2:].abs().max() < 1e-6


def test_integral_of_a_spline_is_exact():
    pieces = spline(np.array([1.0, 0.5, 0.3, 0.0]), -0.2, 1.5)

    def f(x):
        k = min(int(x / 0.5), 2)
        return np.polyval(pieces[k][::-1], x / 0.5 - k)

    expected = sum(quad(lambda x: 4 * np.pi * x * x * f(x), a, a + 0.5)[0] for a in (0.0, 0.5, 1.0))
    assert integrate(pieces[None], 1.5)[0] == pytest.approx(expected, rel=1e-12)


def test_charges_are_those_of_the_isotropic_functions():
    basis, r = primitives(5, 2, 3.0), torch.linspace(0, 3, 60001, dtype=torch.float64)
    values = torch.trapezoid(4 * np.pi * basis(r)[:, 0] * r.square()[:, None], r, dim=0)
    assert basis.charges == pytest.approx(values.numpy(), abs=1e-7)
