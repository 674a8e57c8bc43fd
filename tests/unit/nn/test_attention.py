"""Densities of numbers integrate to 1, draws follow them, and attention sees what it may see."""

import math

import pytest
import torch

from ase_mlx.nn.attention import Block, Numbers, drawn


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(3)


def numbers(periodic, count=2):
    made = Numbers(8, count, 4, periodic)
    with torch.no_grad():
        made.out[-1].bias += torch.randn(12) * 1.5
        made.out[-1].bias[8:] += 1.5 if periodic else 0.5
    return made


@pytest.mark.parametrize("periodic", [True, False])
@torch.no_grad()
def test_each_density_integrates_to_one(periodic):
    head, n = numbers(periodic), 40001
    x = torch.linspace(0, 1, n) if periodic else torch.linspace(-40, 40, n)
    context = torch.randn(1, 8).expand(n, -1)
    values = torch.stack([x, torch.full((n,), 0.3)], 1)
    log = head(context, values, torch.ones(n, 2, dtype=torch.bool))
    assert float(torch.trapezoid(log[:, 0].exp(), x)) == pytest.approx(1, abs=2e-3)
    values = torch.stack([torch.full((n,), 0.3), x], 1)
    log = head(context, values, torch.ones(n, 2, dtype=torch.bool))
    assert float(torch.trapezoid(log[:, 1].exp(), x)) == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("periodic", [True, False])
@torch.no_grad()
def test_draws_follow_the_density(periodic):
    head, n = numbers(periodic, 1), 20000
    context = torch.randn(1, 8).expand(n, -1)
    chosen = torch.ones(n, 1, dtype=torch.bool)
    values = head.draw(context, chosen, torch.Generator().manual_seed(1))[:, 0].sort().values
    x = torch.linspace(0, 1, n) if periodic else torch.linspace(-40, 40, n)
    density = head(context, x[:, None], chosen)[:, 0].exp()
    below = torch.cumulative_trapezoid(density, x)
    expected = below[torch.searchsorted(x, values).clamp(1, n - 1) - 1]
    gap = (expected - (torch.arange(n) + 0.5) / n).abs().max()
    assert float(gap) < 1.9 / math.sqrt(n)  # Kolmogorov's test at about 0.2 %


@torch.no_grad()
def test_numbers_that_are_not_chosen_say_nothing():
    head = numbers(True, 3)
    context, chosen = torch.randn(5, 8), torch.tensor([True, False, True]).expand(5, -1)
    values = torch.rand(5, 3)
    other = values.clone()
    other[:, 1] = 0.77
    one, two = head(context, values, chosen), head(context, other, chosen)
    assert torch.equal(one, two) and (one[:, 1] == 0).all()
    assert (head.draw(context, chosen, torch.Generator().manual_seed(0))[:, 1] == 0).all()


def test_attention_begins_as_the_identity_and_sees_only_what_it_may():
    block, x, condition = Block(12, 3), torch.randn(2, 5, 12), torch.randn(2, 12)
    causal = torch.ones(5, 5, dtype=torch.bool).tril()[None].expand(2, -1, -1)
    assert torch.equal(block(x, condition, causal), x)
    torch.nn.init.normal_(block.condition.weight, std=0.3)
    before = block(x, condition, causal)
    x[:, 3] += torch.randn(12)
    after = block(x, condition, causal)
    assert torch.allclose(after[:, :3], before[:, :3], atol=1e-6) and not torch.allclose(after[:, 4], before[:, 4])


def test_only_allowed_choices_are_drawn():
    logits, allowed = torch.randn(2000, 6), torch.tensor([False, True, False, True, False, False]).expand(2000, -1)
    assert set(drawn(logits, allowed, torch.Generator().manual_seed(0)).tolist()) == {1, 3}
    best = drawn(logits, allowed, None)
    assert torch.equal(best, torch.where(logits[:, 1] > logits[:, 3], 1, 3))
