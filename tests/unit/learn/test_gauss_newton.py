"""Products of columns by halves, and the step that they serve."""

import pytest
import torch
from torch import nn

from ase_mlx.learn.gauss_newton import BLOCK, GaussNewton, lower_products


@pytest.mark.parametrize("weights", [1, BLOCK, 2 * BLOCK + 37])
def test_the_lower_triangle_is_that_of_the_whole_product(weights):
    by = torch.randn(50, weights, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(lower_products(by).tril(), (by.T @ by).tril(), rtol=1e-12, atol=1e-12)


def test_a_linear_problem_is_solved_in_a_few_steps():
    random = torch.Generator().manual_seed(1)
    by, exact = (torch.randn(*shape, dtype=torch.float64, generator=random) for shape in ((900, 300), (300,)))
    weights = nn.Parameter(torch.zeros(300, dtype=torch.float64))
    steps = GaussNewton([weights])
    for _ in range(6):
        steps.step(lambda: by @ (weights - exact), lambda: (by @ (weights - exact), by))
    torch.testing.assert_close(weights.detach(), exact, rtol=1e-9, atol=1e-9)
