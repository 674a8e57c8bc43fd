"""Where latents are drawn from: a mixture of normal distributions, or a diffusion that refines it.

Source: as of each class.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

LOUDEST, QUIETEST, BEND = 20.0, 0.01, 7.0
"""Largest and smallest noise of a draw, in standard deviations of the latent, and how its steps crowd at the end."""

STEPS = 30
"""Steps of a draw: 59 calls of the network."""


class Mixture(nn.Module):
    """Normal distributions with weights, whose density is known.

    Source: J. Tomczak and M. Welling, arXiv 1705.07120, of a prior near the aggregated posterior.
    """

    def __init__(self, latent: int, count: int):
        """Set up so many distributions of the latent, all standard ones."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(count, latent))
        self.register_buffer("log_std", torch.zeros(count, latent))
        self.register_buffer("weight", torch.ones(count))

    def log_density(self, latents: Float[Tensor, "crystals latent"]) -> Float[Tensor, " crystals"]:
        """Give the logarithm of the density at latents (dimensionless: nats)."""
        away = (latents[:, None] - self.mean) / self.log_std.exp()
        each = -0.5 * (away.square() + math.log(2 * math.pi)).sum(-1) - self.log_std.sum(-1)
        return (each + (self.weight / self.weight.sum()).clamp(min=1e-30).log()).logsumexp(-1)

    def draw(self, n: int, random: torch.Generator) -> Float[Tensor, "n latent"]:
        """Draw latents (dimensionless)."""
        which = torch.multinomial(self.weight, n, replacement=True, generator=random)
        noise = torch.randn(n, self.mean.shape[1], generator=random)
        return self.mean[which] + self.log_std[which].exp() * noise


class Diffusion(nn.Module):
    """Takes noise away from latents step by step; latents are in units of their standard deviations inside.

    Source: T. Karras et al., arXiv 2206.00364, of loss, scaling and steps.
    """

    def __init__(self, latent: int, width: int, layers: int):
        """Set up with random weights from torch's generator; the first guess is the scaled input."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(latent))
        self.register_buffer("std", torch.ones(latent))
        self.register_buffer("frequencies", torch.linspace(0.25, 4.0, 16))
        self.noise, self.first = nn.Linear(32, width), nn.Linear(latent, width)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))
            for _ in range(layers)
        )
        self.last = nn.Linear(width, latent)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(
        self, noisy: Float[Tensor, "crystals latent"], log_noise: Float[Tensor, " crystals"]
    ) -> Float[Tensor, "crystals latent"]:
        """Guess latents from noisy ones (both in standard deviations) and the logarithm of the noise's size."""
        power = (2 * log_noise).exp()[:, None]
        angles = math.pi * 0.5 * log_noise[:, None] * self.frequencies
        x = self.first(noisy * (1 + power).rsqrt()) + self.noise(torch.cat([angles.sin(), angles.cos()], -1))
        for layer in self.layers:
            x = x + layer(x)
        return noisy / (1 + power) + self.last(nn.functional.silu(x)) * (power / (1 + power)).sqrt()

    def loss(
        self, latents: Float[Tensor, "crystals latent"], random: Float[Tensor, "crystals random"]
    ) -> Float[Tensor, " crystals"]:
        """Give the weighted square error of a guess (dimensionless), under noise made of random normal numbers."""
        log_noise = 1.2 * random[:, 0] - 0.5
        noise = log_noise.exp()[:, None]
        clean = (latents - self.mean) / self.std
        off = self(clean + noise * random[:, 1:], log_noise) - clean
        return (off.square() * (1 + noise.square()) / noise.square()).mean(-1)

    @torch.no_grad()
    def draw(self, n: int, random: torch.Generator) -> Float[Tensor, "n latent"]:
        """Draw latents (dimensionless) along the path without further noise, by Heun's steps."""
        ends = torch.tensor([LOUDEST, QUIETEST]) ** (1 / BEND)
        sizes = (ends[0] + torch.linspace(0, 1, STEPS) * (ends[1] - ends[0])) ** BEND
        x = sizes[0] * torch.randn(n, len(self.mean), generator=random)
        for now, after in zip(sizes, [*sizes[1:], None], strict=True):
            slope = (x - self(x, now.log().expand(n))) / now
            if after is None:
                x = x - now * slope
                break
            there = x + (after - now) * slope
            slope2 = (there - self(there, after.log().expand(n))) / after
            x = x + (after - now) * (slope + slope2) / 2
        return self.mean + self.std * x
