import numpy as np
import pytest
import torch

from ase_mlx.nn.conditional import ConditionalNetwork
from ase_mlx.nn.ensemble import Ensemble
from ase_mlx.nn.hyper import AttenuatedNetwork, GroupAttention, Scored, negative_log_likelihood


@pytest.fixture
def network():
    torch.manual_seed(0)
    net = AttenuatedNetwork(7, width=12, hyper_width=9).double()
    with torch.no_grad():
        net.hyper.last.spread += 3  # a posterior wide enough to see
    return net


def test_terms_add_up_to_the_score_and_belong_to_their_features(network):
    x = torch.randn(5, 7, dtype=torch.float64)
    scored = network(x)
    torch.testing.assert_close(scored.terms.sum(1) + network.offset, scored.mean)
    x[:, 3] = 0
    assert (network(x).terms[:, 3] == 0).all()  # a feature at its mean says nothing


def test_variance_and_likelihood_are_those_of_draws_of_the_posterior(network):
    x, target = torch.randn(3, 7, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    coefficient, weight, variance, noise = network.parts(x)
    generator = torch.Generator().manual_seed(1)
    draws = weight + variance.sqrt() * torch.randn((100_000, 3, 7), generator=generator, dtype=torch.float64)
    means = (coefficient * draws).sum(2) + network.offset
    scored = network(x)
    torch.testing.assert_close(means.mean(0), scored.mean, atol=0.02, rtol=0)
    torch.testing.assert_close(means.var(0), scored.variance, rtol=0.03, atol=0)
    expected = 0.5 * ((target - means).square() / noise + noise.log()).mean(0)
    torch.testing.assert_close(negative_log_likelihood(scored, target), expected, rtol=0.02, atol=0.02)


def test_outliers_pull_no_harder_the_farther_they_are():
    mean = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    still = torch.full((3,), 0.01, dtype=torch.float64)
    scored, target = Scored(mean, still, 0 * still, mean[:, None]), torch.tensor([0.1, 1.0, 3.0], dtype=torch.float64)
    plain, robust = (
        torch.autograd.grad(negative_log_likelihood(scored, target, share).sum(), mean)[0] for share in (0.0, 0.05)
    )
    torch.testing.assert_close(robust[0], plain[0], rtol=0.02, atol=0)  # what fits counts as before
    torch.testing.assert_close(robust[1:], -target[1:] / 1.01, rtol=0.02, atol=0)  # the rest by the broad part
    nothing = negative_log_likelihood(scored, target, 1e-12)
    torch.testing.assert_close(nothing[:1], negative_log_likelihood(scored, target)[:1])


def test_variance_of_weights_is_that_of_the_last_layers_posterior(network):
    x = torch.randn(2, 7, dtype=torch.float64)
    hidden = network.hyper.hidden(x)
    last = network.hyper.last
    generator = torch.Generator().manual_seed(2)
    draws = torch.stack([last.drawn(hidden, generator) for _ in range(20_000)])
    torch.testing.assert_close(draws.var(0), network.hyper(x)[1], rtol=0.06, atol=0)


def test_attenuation_quenches_uncertain_features_and_can_be_turned_off():
    torch.manual_seed(0)
    strong, off = AttenuatedNetwork(4, attenuation=50.0), AttenuatedNetwork(4, attenuation=0.0)
    off.load_state_dict({**strong.state_dict(), "log_strength": off.log_strength})
    with torch.no_grad():
        for net in (strong, off):
            net.hyper.last.spread[:, 2] = 1.0
    x = torch.ones(1, 4)
    assert abs(strong(x).terms[0, 2]) < 1e-3 < abs(off(x).terms[0, 2])
    assert not off.log_strength.requires_grad and AttenuatedNetwork(4).log_strength.requires_grad


def test_literal_score_cannot_weigh_features():
    torch.manual_seed(0)
    net = AttenuatedNetwork(5, literal=True, attenuation=0.0)
    terms = net(torch.randn(3, 5)).terms
    torch.testing.assert_close(terms, terms[:, :1].expand(3, 5))  # B has no index: all terms are one number


def test_attention_weighs_groups_and_averages_one():
    torch.manual_seed(0)
    attention = GroupAttention((2, 3))
    weight = attention(torch.randn(6, 5))
    assert (weight[:, 0] == weight[:, 1]).all() and (weight[:, 2:] == weight[:, 2:3]).all()
    torch.testing.assert_close(weight[:, 0] + weight[:, 2], torch.full((6,), 2.0))


def test_ensemble_equals_its_members_one_by_one():
    torch.manual_seed(0)
    members = [AttenuatedNetwork(6, width=8, hyper_width=5) for _ in range(3)]
    together = Ensemble(members)
    x = torch.randn(3, 4, 6)
    torch.testing.assert_close(together(x[0]).mean, torch.stack([m(x[0]).mean for m in members]))
    torch.testing.assert_close(
        together(x, own=True).mean, torch.stack([m(a).mean for m, a in zip(members, x, strict=True)])
    )
    kl = together.call(AttenuatedNetwork.divergence)
    torch.testing.assert_close(kl, torch.stack([m.divergence() for m in members]))


def test_conditional_network_does_not_see_what_is_hidden():
    torch.manual_seed(0)
    net = ConditionalNetwork(3, 4, 16)
    known, entries, shown = torch.randn(1, 3), torch.randn(1, 4), torch.tensor([[1.0, 0, 1, 1]])
    other = entries.clone()
    other[0, 1] += 3
    hidden = net(known, entries, shown) - net(known, other, shown)
    assert (hidden[0, [0, 2, 3]] == 0).all() and hidden[0, 1] != 0


def test_conditional_network_gives_a_normalised_density():
    torch.manual_seed(0)
    net = ConditionalNetwork(1, 1, 8).double()
    grid = torch.linspace(-40, 40, 8001, dtype=torch.float64)[:, None]
    nats = net(torch.zeros_like(grid), grid, torch.zeros_like(grid))
    assert np.isclose(np.trapezoid(torch.exp(-nats[:, 0]).detach(), grid[:, 0]), 1, atol=1e-6)
