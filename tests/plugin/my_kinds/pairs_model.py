"""A potential of pairs: a learned function of the distance, the same for all elements."""

from dataclasses import dataclass

import torch

from ase_mlx import quantities
from ase_mlx.models import Model, Prediction
from ase_mlx.models.mechanics import mechanics, sum_by_graph


@dataclass(frozen=True)
class PairsConfig:
    """Elements, cutoff (Å), number of Gaussians, energy of an atom (eV)."""

    elements: tuple[int, ...]
    cutoff: float = 5.0
    gaussians: int = 8
    atom: float = 0.0


class Pairs(Model):
    """Energy (eV), forces (eV/Å), stress (eV/Å³) of Gaussians of the distance that vanish at the cutoff."""

    outputs = (quantities.energy, quantities.energies, quantities.forces, quantities.stress, quantities.stresses)

    def __init__(self, config: PairsConfig):
        super().__init__()
        self.config, self.cutoff, self.elements = config, config.cutoff, tuple(config.elements)
        self.weights = torch.nn.Parameter(torch.zeros(config.gaussians))
        self.register_buffer("rms", torch.zeros(3))  # of energy an atom, forces, stress on held-out frames

    def forward(self, graph, points=None):
        self.check_elements(graph)
        vectors = graph.vectors().to(self.weights.dtype).detach().requires_grad_()
        with torch.enable_grad():
            distance = torch.linalg.vector_norm(vectors, dim=-1)
            centres = torch.linspace(1.5, self.cutoff, self.config.gaussians).to(distance)
            shapes = torch.exp(-2 * (distance[:, None] - centres).square())
            pair = (shapes @ self.weights) * (1 - (distance / self.cutoff).square()).clamp_min(0).square()
            energies = pair.new_full((len(graph.numbers),), self.config.atom).index_add(0, graph.center, pair)
            (slope,) = torch.autograd.grad(pair.sum(), vectors, create_graph=self.training)
        energies = energies.to(torch.float64)
        values = {"energy": sum_by_graph(graph, energies), "energies": energies} | mechanics(graph, vectors, slope)
        return Prediction(values if self.training else {name: value.detach() for name, value in values.items()})

    def with_std(self, graph, points=None):
        prediction, n = self.forward(graph), graph.n_atoms
        names = ("energy", "forces", "stress")
        std = {k: torch.full_like(prediction[k], float(r)) for k, r in zip(names, self.rms, strict=True)
               if k in prediction}  # fmt: skip
        return Prediction(prediction, std | {"energy": std["energy"] * n}) if bool(self.rms.any()) else prediction
