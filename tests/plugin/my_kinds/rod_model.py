"""The temperature of a rod by a network of place and time."""

from dataclasses import dataclass

import torch

from ase_mlx.quantities import Quantity


@dataclass(frozen=True)
class RodConfig:
    """Width of the network."""

    width: int = 16


class Rod(torch.nn.Module):
    """Temperature (K above the ends) at places (of the rod's length) and times."""

    outputs = (Quantity("temperature", "point", (), 1, "K"),)
    elements = ()

    def __init__(self, config: RodConfig):
        super().__init__()
        self.config = config
        sizes = (2, config.width, config.width, 1)
        self.layers = torch.nn.ModuleList(torch.nn.Linear(a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True))

    def forward(self, place, time):
        x = torch.stack([place, time], -1)
        for layer in self.layers[:-1]:
            x = torch.tanh(layer(x))
        return torch.sin(torch.pi * place) + time * place * (1 - place) * self.layers[-1](x)[:, 0]
