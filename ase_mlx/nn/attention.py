"""Sets and sequences of tokens by attention, under a condition that every layer sees; densities of single numbers.

Source: A. Vaswani et al., arXiv 1706.03762; layers whose norms a condition shifts and scales: W. Peebles and S. Xie,
arXiv 2212.09748 (adaLN-Zero).
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

NARROW = 32
"""Features of a condition that shift and scale a layer."""

STRONGEST = 3.0
"""Largest shift, scale and gate."""

NARROWEST, WIDEST = -6.0, 2.0
"""Smallest and largest logarithm of a component's standard deviation."""

BLUNTEST, SHARPEST = -4.0, 10.0
"""Least and largest logarithm of the concentration of a periodic component: nearly uniform, and a deviation of about
a thousandth of the period."""


class Block(nn.Module):
    """Attention and two dense layers, shifted, scaled and gated by a condition; begins as the identity.

    Queries, keys and the condition are normed, and what the condition does is bounded: without, features grew to 10⁸ in
    sixteen epochs, and gradients to 10²⁶.

    Source: see the module; normed queries and keys: A. Henry et al., arXiv 2010.04245.
    """

    def __init__(self, width: int, heads: int):
        """Set up with random weights from torch's generator."""
        super().__init__()
        self.heads = heads
        self.attend, self.join = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.dense = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.narrow, self.condition = nn.Linear(width, NARROW), nn.Linear(NARROW, 6 * width)
        nn.init.zeros_(self.condition.weight)
        nn.init.zeros_(self.condition.bias)

    def forward(
        self,
        x: Float[Tensor, "many tokens width"],
        condition: Float[Tensor, "many width"],
        sees: Bool[Tensor, "many queries tokens"],
    ) -> Float[Tensor, "many tokens width"]:
        """Pass tokens (dimensionless) through; `sees` tells which tokens each one may look at."""
        shift, scale, gate, shift2, scale2, gate2 = self._modulation(condition)
        normed = functional.layer_norm(x, x.shape[-1:]) * (1 + scale) + shift
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.attend(normed).chunk(3, -1))
        q, k = (functional.rms_norm(part, part.shape[-1:]) for part in (q, k))
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=sees[:, None])
        x = x + gate * self.join(mixed.transpose(1, 2).flatten(2))
        normed = functional.layer_norm(x, x.shape[-1:]) * (1 + scale2) + shift2
        return x + gate2 * self.dense(normed)

    def _modulation(self, condition: Tensor) -> tuple[Tensor, ...]:
        narrow = functional.gelu(self.narrow(functional.layer_norm(condition, condition.shape[-1:])))
        bounded = STRONGEST * torch.tanh(self.condition(narrow) / STRONGEST)
        return bounded[:, None].chunk(6, -1)


def waves(x: Float[Tensor, "*shape"], orders: int = 4) -> Float[Tensor, "*shape features"]:
    """Give sines and cosines of a fractional coordinate (dimensionless), of the periods 1, 1/2, 1/4, ...

    Source: ours.
    """
    angles = 2 * math.pi * x[..., None] * 2.0 ** torch.arange(orders, device=x.device)
    return torch.cat([angles.sin(), angles.cos()], -1)


class Numbers(nn.Module):
    """Densities of a few numbers, one after the other, each by a mixture that knows those before it.

    Periodic ones (fractional coordinates) are mixtures of von Mises distributions, others of normal ones.

    Source: C. Bishop, Mixture density networks (1994).
    """

    def __init__(self, width: int, count: int, components: int, periodic: bool):
        """Set up for `count` numbers under a context of so many features."""
        super().__init__()
        self.count, self.components, self.periodic = count, components, periodic
        known = 8 if periodic else 1
        self.first = nn.Linear(width, width)
        self.before = nn.Linear(count * (known + 1), width)
        self.which = nn.Embedding(count, width)
        self.out = nn.Sequential(nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, 3 * components))

    def _parts(self, context: Tensor, values: Tensor, chosen: Tensor, which: int) -> tuple[Tensor, Tensor, Tensor]:
        """Logarithmic weights, centres and logarithms of the sharpness of one number's mixture."""
        features = waves(values) if self.periodic else values[..., None]
        features = torch.cat([features, torch.ones_like(features[..., :1])], -1) * chosen[..., None]
        features = torch.where(torch.arange(self.count, device=values.device)[:, None] < which, features, 0.0)
        hidden = self.first(context) + self.before(features.flatten(-2)) + self.which.weight[which]
        weight, centre, sharp = self.out(hidden).chunk(3, -1)
        spread = torch.linspace(-1, 1, self.components, device=values.device)
        sharp = sharp.clamp(BLUNTEST, SHARPEST) if self.periodic else sharp.clamp(-WIDEST, -NARROWEST)
        return weight.log_softmax(-1), centre + spread / (2 if self.periodic else 1), sharp

    def forward(
        self,
        context: Float[Tensor, "*shape width"],
        values: Float[Tensor, "*shape count"],
        chosen: Bool[Tensor, "*shape count"],
    ) -> Float[Tensor, "*shape count"]:
        """Give the logarithm of the density of each chosen number (dimensionless: nats), 0 for the others."""
        total = []
        for k in range(self.count):
            weight, centre, sharp = self._parts(context, values, chosen, k)
            x = values[..., k, None]
            if self.periodic:
                kappa = sharp.exp()
                log = kappa * ((2 * math.pi * (x - centre)).cos() - 1) - torch.special.i0e(kappa).log()
            else:
                log = -0.5 * ((x - centre) * sharp.exp()).square() + sharp - 0.5 * math.log(2 * math.pi)
            total.append((weight + log).logsumexp(-1) * chosen[..., k])
        return torch.stack(total, -1)

    def draw(
        self, context: Float[Tensor, "rows width"], chosen: Bool[Tensor, "rows count"], random: torch.Generator | None
    ) -> Float[Tensor, "rows count"]:
        """Draw the chosen numbers (dimensionless); without a generator the centre of the highest component."""
        values = torch.zeros(len(context), self.count, device=context.device)
        for k in range(self.count):
            weight, centre, sharp = self._parts(context, values, chosen, k)
            if random is None:
                which = (weight + (0.5 if self.periodic else 1.0) * sharp).argmax(-1, keepdim=True)
            else:
                which = torch.multinomial(weight.exp(), 1, generator=random)
            x, kind = centre.gather(-1, which)[:, 0], sharp.gather(-1, which)[:, 0]
            if self.periodic:
                if random is not None:
                    x = x + _von_mises(kind.exp(), random)
                x = x % 1.0
            elif random is not None:
                x = x + (-kind).exp() * torch.randn(x.shape, generator=random)
            values[:, k] = x * chosen[:, k]
        return values


ROUNDS = 64
"""Proposals for each draw of a von Mises distribution; each is taken with a probability of 0.66 or more."""


def _von_mises(kappa: Tensor, random: torch.Generator) -> Tensor:
    """Draw from von Mises distributions around 0, in periods.

    Source: D. Best and N. Fisher, J. R. Stat. Soc. C 28, 152 (1979).
    """
    kappa = kappa.double()
    tau = 1 + (1 + 4 * kappa.square()).sqrt()
    rho = (tau - (2 * tau).sqrt()) / (2 * kappa)
    r = (1 + rho.square()) / (2 * rho)
    angle, left = torch.zeros_like(kappa), torch.ones_like(kappa, dtype=torch.bool)
    for _ in range(ROUNDS):
        if not left.any():
            break
        u, k, ratio = torch.rand(3, int(left.sum()), generator=random, dtype=torch.float64), kappa[left], r[left]
        z = (math.pi * u[0]).cos()
        f = (1 + ratio * z) / (ratio + z)
        c = k * (ratio - f)
        taken = (c / u[1]).log() + 1 - c >= 0
        sign = torch.where(u[2] < 0.5, -1.0, 1.0)
        places = torch.nonzero(left)[:, 0][taken]
        angle[places] = (sign * f.clamp(-1, 1).acos())[taken]
        left[places] = False
    return (angle / (2 * math.pi)).float()


def drawn(
    logits: Float[Tensor, "rows choices"], allowed: Bool[Tensor, "rows choices"], random: torch.Generator | None
) -> Int[Tensor, " rows"]:
    """Draw one allowed choice a row by its logits (dimensionless: nats); without a random generator the likeliest.

    Source: ours.
    """
    logits = logits.masked_fill(~allowed, -math.inf)
    if random is None:
        return logits.argmax(-1)
    return torch.multinomial(logits.softmax(-1), 1, generator=random)[:, 0]
