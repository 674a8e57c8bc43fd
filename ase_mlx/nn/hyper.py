"""The hyper-network with attenuation: a network whose features another network weighs, with a posterior.

H(x) gives each feature i a weight with mean Wᵢ and variance σᵢ², in closed form from a Gaussian posterior over H's last
layer; Aᵢ = exp(−λσᵢ²) attenuates features whose weight is uncertain. The base network B sees the features AᵢWᵢxᵢ and
returns a coefficient for each; the score is Σᵢ AᵢWᵢ bᵢ(x) with bᵢ = xᵢ B(x)ᵢ, so that every term belongs to a feature.

Source: ours, after "Hyper-Precise Anomaly Detection ... via Bayesian Hyper-Network Attenuation"; coefficients of
features as in D. Alvarez-Melis and T. Jaakkola, NeurIPS 31 (2018); weights from a network, D. Ha et al., arXiv
1609.09106.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ase_mlx.nn.bayesian import BayesianLinear

WIDEST = 4.0
"""Largest logarithm of the noise variance, in units of the target's own."""


class Scored(NamedTuple):
    """Scores of one network, in units of the target's spread: mean, variance of the noise, of H, and the terms.

    Source: see the module.
    """

    mean: Float[Tensor, "*members points"]
    noise: Float[Tensor, "*members points"]
    variance: Float[Tensor, "*members points"]
    terms: Float[Tensor, "*members points features"]


class HyperNetwork(nn.Module):
    """Weights of features with their variance: two hidden layers, then a layer with a Gaussian posterior.

    Source: see the module.
    """

    def __init__(self, features: int, hidden: int):
        """Set up for a number of features with random weights from torch's generator."""
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())
        self.last = BayesianLinear(hidden, features)
        with torch.no_grad():
            self.last.mean *= 0.3

    def forward(
        self, x: Float[Tensor, "points features"]
    ) -> tuple[Float[Tensor, "points features"], Float[Tensor, "points features"]]:
        """Give mean and variance of each feature's weight (dimensionless); without evidence the mean is 1."""
        mean, variance = self.last.moments(self.hidden(x))
        return 1 + mean, variance


class GroupAttention(nn.Module):
    """Weigh groups of features against each other, by what all of them say.

    Source: ours; additive attention, D. Bahdanau et al., arXiv 1409.0473.
    """

    def __init__(self, groups: tuple[int, ...], size: int = 16):
        """Set up for groups of so many features each."""
        super().__init__()
        self.groups = groups
        self.read = nn.ModuleList(nn.Linear(n, size) for n in groups)
        self.query = nn.Linear(size * len(groups), len(groups))
        with torch.no_grad():
            self.query.weight *= 0.1

    def forward(self, x: Float[Tensor, "points features"]) -> Float[Tensor, "points features"]:
        """Give each feature the weight of its group (dimensionless); they average 1 over the groups."""
        parts = torch.split(x, self.groups, dim=-1)
        summaries = torch.cat([torch.tanh(read(part)) for read, part in zip(self.read, parts, strict=True)], -1)
        weight = len(self.groups) * torch.softmax(self.query(summaries), -1)
        return torch.cat([weight[..., k : k + 1].expand(p.shape) for k, p in enumerate(parts)], -1)


class AttenuatedNetwork(nn.Module):
    """Base network, hyper-network and attenuation; see the module.

    Source: see the module.
    """

    def __init__(
        self,
        features: int,
        width: int = 128,
        depth: int = 3,
        hyper_width: int = 64,
        attenuation: float | None = None,
        literal: bool = False,
        groups: tuple[int, ...] = (),
    ):
        """Set up with random weights from torch's generator; all arguments are dimensionless.

        Args:
            features: inputs, standardised.
            width: of the base network's hidden layers.
            depth: their number.
            hyper_width: of the hyper-network's two hidden layers.
            attenuation: λ; None learns it, 0 turns it off.
            literal: the score as published, Σᵢ Aᵢ·B(x): B has no index, so attenuation only scales it.
            groups: sizes of groups of features that attention weighs; none: no attention.
        """
        super().__init__()
        self.literal = literal
        self.hyper = HyperNetwork(features, hyper_width)
        self.attention = GroupAttention(groups) if groups else None
        strength = 1.0 if attenuation is None else max(attenuation, 1e-30)
        self.log_strength = nn.Parameter(torch.tensor(strength).log(), requires_grad=attenuation is None)
        sizes = [features, *[width] * depth]
        self.base = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True))
        self.out = nn.Linear(width, 1 if literal else features)
        self.noise = nn.Linear(width, 1)
        self.offset = nn.Parameter(torch.zeros(()))
        with torch.no_grad():
            self.out.weight *= 0.3
            self.noise.weight *= 0.3

    def forward(self, x: Float[Tensor, "points features"]) -> Scored:
        """Score standardised features (dimensionless)."""
        coefficient, weight, variance, noise = self.parts(x)
        terms = coefficient * weight
        return Scored(terms.sum(1) + self.offset, noise, (coefficient.square() * variance).sum(1), terms)

    def parts(self, x: Float[Tensor, "points features"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Give Aᵢbᵢ, Wᵢ, σᵢ² of each feature and the variance of the noise (dimensionless): what `forward` adds up."""
        weight, variance = self.hyper(x)
        if self.attention is not None:
            focus = self.attention(x)
            weight, variance = weight * focus, variance * focus.square()
        attenuated = torch.exp(-self.log_strength.exp() * variance)
        hidden = x if self.literal else attenuated * weight * x
        for layer in self.base:
            hidden = torch.relu(layer(hidden))
        noise = self.noise(hidden)[:, 0].clamp(-9.0, WIDEST).exp()
        base = self.out(hidden)
        if self.literal:
            return attenuated * base / x.shape[1], torch.ones_like(weight), torch.zeros_like(variance), noise
        return attenuated * x * base, weight, variance, noise

    def divergence(self) -> Float[Tensor, ""]:
        """Kullback–Leibler divergence of the hyper-network's posterior from its prior (dimensionless: nats)."""
        return self.hyper.last.divergence()


def negative_log_likelihood(
    scored: Scored, target: Float[Tensor, "*members points"], outliers: float = 0.0
) -> Float[Tensor, "*members points"]:
    """Expect −log p(target) over the hyper-network's posterior, exactly: its scores are Gaussian (nats).

    Args:
        scored: in the target's unit.
        target: standardised (dimensionless).
        outliers: share (dimensionless) of targets that are wrong by about one standard deviation: they hardly count.

    Source: ours; the expectation of a Gaussian log-likelihood under a Gaussian mean is closed; contaminated normal
    distribution of J. Tukey (1960), each of its parts by that expectation.
    """
    square = (target - scored.mean).square() + scored.variance
    nats = 0.5 * (square / scored.noise + scored.noise.log())
    if not outliers:
        return nats
    broad = scored.noise + 1.0
    wrong = 0.5 * (square / broad + broad.log())
    return -torch.logaddexp(math.log1p(-outliers) - nats, math.log(outliers) - wrong)
