import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from ase_mlx.nn.bayesian import START, BayesianLinear, BayesianNetwork


def layer(n_in=5, n_out=3):
    torch.manual_seed(0)
    made = BayesianLinear(n_in, n_out).to(torch.float64)
    with torch.no_grad():
        made.spread.copy_(torch.randn(made.spread.shape).sub(1))
    return made


def test_mean_is_an_affine_map():
    made, x = layer(), torch.randn(7, 5, dtype=torch.float64)
    expected = x.numpy() @ made.mean[:-1].detach().numpy() / math.sqrt(5) + made.mean[-1].detach().numpy()
    assert made(x).detach().numpy() == pytest.approx(expected)


def test_both_kinds_of_draws_have_the_moments_of_gaussian_weights():
    made, x = layer(), torch.randn(1, 5, dtype=torch.float64)
    square = (2 * made.spread).exp().detach().numpy()
    variance = np.square(x.numpy()) @ square[:-1] / 5 + square[-1]
    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():
        local = made(x.expand(20000, 5), noise).numpy()
        whole = np.concatenate([made.drawn(x, noise).numpy() for _ in range(4000)])
    for draws, rel in ((local, 0.05), (whole, 0.1)):
        assert draws.mean(0) == pytest.approx(made(x).detach().numpy()[0], abs=4 * math.sqrt(variance.max() / 4000))
        assert draws.var(0) == pytest.approx(variance[0], rel=rel)


def test_one_draw_is_the_same_network_for_all_points():
    torch.manual_seed(0)
    network = BayesianNetwork((4, 8, 2))
    x = torch.randn(6, 4)
    together, apart = network.drawn(x, 3), torch.cat([network.drawn(row, 3) for row in x.split(1)])
    assert torch.allclose(together, apart, atol=1e-6)
    assert not torch.allclose(together, network.drawn(x, 4), atol=1e-4)


def test_divergence_is_that_of_gaussians():
    made, expected = layer(2, 1), 0.0
    z = np.linspace(-12, 12, 200001)
    for mean, spread in zip(made.mean.detach().reshape(-1), made.spread.detach().exp().reshape(-1), strict=True):
        q = norm.pdf(z, mean, spread)
        expected += np.trapezoid(np.where(q > 0, q * (norm.logpdf(z, mean, spread) - norm.logpdf(z)), 0), z)
    assert float(made.divergence().detach()) == pytest.approx(expected, rel=1e-6)


def test_posterior_of_a_linear_model_is_the_known_one():
    # one weight, one bias, known noise: mean field is exact where inputs are centred
    torch.manual_seed(0)
    x = torch.linspace(-1, 1, 40, dtype=torch.float64)[:, None]
    y, sigma = 0.7 * x + 0.2 + 0.3 * torch.randn(40, 1, dtype=torch.float64), 0.3
    made = BayesianLinear(1, 1).to(torch.float64)
    assert made.spread.detach().exp().numpy() == pytest.approx(START)
    optimizer, noise = torch.optim.Adam(made.parameters(), 0.02), torch.Generator().manual_seed(0)
    for step in range(2000):
        for group in optimizer.param_groups:
            group["lr"] = 0.02 * (1 - step / 2000)
        draws = made(x.repeat(8, 1), noise)
        loss = 0.5 * ((draws - y.repeat(8, 1)) / sigma).square().sum() / 8 + made.divergence()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    precision = np.array([1 + float((x**2).sum()) / sigma**2, 1 + 40 / sigma**2])
    mean = np.array([float((x * y).sum()), float(y.sum())]) / sigma**2 / precision
    assert made.mean.detach().numpy()[:, 0] == pytest.approx(mean, abs=0.02)
    assert made.spread.detach().exp().numpy()[:, 0] == pytest.approx(precision**-0.5, rel=0.1)
