"""A network that knows how any part of a row should look, given any other part.

Source: ours; random masks as in M. Germain et al., ICML 37, 881 (2015) and masked autoencoders.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


class ConditionalNetwork(nn.Module):
    """Mean and variance of hidden entries, from what is always known and the entries that are shown.

    Source: see the module.
    """

    def __init__(self, conditions: int, entries: int, width: int = 256):
        """Set up with random weights from torch's generator."""
        super().__init__()
        self.first = nn.Linear(conditions + 2 * entries, width)
        self.second, self.third = nn.Linear(width, width), nn.Linear(width, width)
        self.last = nn.Linear(width, 2 * entries)

    def forward(
        self,
        conditions: Float[Tensor, "points conditions"],
        entries: Float[Tensor, "points entries"],
        shown: Float[Tensor, "points entries"],
    ) -> Float[Tensor, "points entries"]:
        """Give −log p of every entry (nats), from `conditions` and the entries where `shown` is one (dimensionless)."""
        hidden = torch.relu(self.first(torch.cat([conditions, entries * shown, shown], -1)))
        hidden = hidden + torch.relu(self.second(hidden))
        hidden = hidden + torch.relu(self.third(hidden))
        mean, log = self.last(hidden).chunk(2, -1)
        log = log.clamp(-9.0, 4.0)
        return 0.5 * ((entries - mean).square() / log.exp() + log + math.log(2 * math.pi))
