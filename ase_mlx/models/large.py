"""Densities, energies and forces of structures that no single graph holds, block by block.

Source: ours.
"""

from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ase_mlx.graph import Graph, from_atoms
from ase_mlx.graph.neighbors import Structure, check

from .blocks import Block, blocks
from .density_field import Conditioned
from .model import Prediction

if TYPE_CHECKING:
    from .potential import Potential

CACHED_ATOMS = 600_000
"""Atoms whose features are kept: about 1 GB."""


def _graph(block: Block, cutoff: float) -> Graph:
    return from_atoms(block, cutoff)


class _Features:
    """Features of any atoms, block by block, the last blocks kept."""

    def __init__(self, model: "Potential", parts: list[Block], n_atoms: int):
        self.model, self.parts = model, parts
        self.kept: OrderedDict[int, Tensor] = OrderedDict()
        self.block, self.place = np.empty(n_atoms, dtype=np.int64), np.empty(n_atoms, dtype=np.int64)
        for k, part in enumerate(parts):
            self.block[part.core], self.place[part.core] = k, np.arange(len(part.core))

    def of_block(self, k: int) -> Tensor:
        if k in self.kept:
            self.kept.move_to_end(k)
            return self.kept[k]
        while self.kept and sum(len(f) for f in self.kept.values()) > CACHED_ATOMS:
            self.kept.popitem(last=False)
        part = self.parts[k]
        features = self.model.density_features(_graph(part, self.model.cutoff))
        self.kept[k] = features[: len(part.core)].clone()
        return self.kept[k]

    def __call__(self, atoms: np.ndarray) -> Tensor:
        found: Tensor | None = None
        for k in np.unique(self.block[atoms]):
            mine = np.flatnonzero(self.block[atoms] == k)
            features = self.of_block(int(k))[torch.from_numpy(self.place[atoms[mine]])]
            if found is None:
                found = features.new_empty(len(atoms), *features.shape[1:])
            found[torch.from_numpy(mine)] = features
        return found


@torch.no_grad()
def conditioned_structure(model: "Potential", structure: Structure, charge: float = 0.0, axis: int = 0) -> Conditioned:
    """The density (e/Å³) of a structure of any size given its electrons; features are computed when they are wanted.

    Args:
        model: a potential with a density, on the CPU.
        structure: Å.
        charge: net charge, dimensionless; −1 is one electron more.
        axis: the cell vector along which the planes of a grid will be asked for.

    Raises:
        ValueError: a structure without physical meaning, an unknown element.

    Source: ours.
    """
    positions, numbers, cell, pbc = check(structure)
    parts = list(blocks(positions, numbers, cell, pbc, 2 * model.cutoff, axis))
    if len(parts) == 1:
        return model.conditioned(_graph(parts[0], model.cutoff), charge)
    source = _Features(model, parts, len(positions))
    counts = torch.zeros(len(model.density.deviations) + 1, dtype=torch.float64)
    species = model.species_index[torch.from_numpy(numbers)].numpy()
    for k, part in enumerate(parts):
        counts += model.density.count(source.of_block(k), torch.from_numpy(species[part.core]))
    electrons = float(np.asarray(model.config.density.electrons)[species].sum())
    heads = model.density.conditioned(counts, electrons, charge)
    return Conditioned(model.density, positions, cell, pbc, species, heads, source)


def predict_large(model: "Potential", structure: Structure) -> Prediction:
    """Energy (eV), energies, forces (eV/Å) and stress (eV/Å³) of a structure of any size, as the model's own.

    Each block differentiates the energies of its core atoms by all positions it knows; forces of neighbouring blocks
    on an atom add up. Sums of float32 blocks differ from those of one graph by rounding.

    Args:
        model: a potential, on the CPU.
        structure: Å.

    Raises:
        ValueError: a structure without physical meaning, an unknown element.

    Source: ours.
    """
    positions, numbers, cell, pbc = check(structure)
    forces, energies = np.zeros((len(positions), 3)), np.zeros(len(positions))
    virial, volume = np.zeros((3, 3)), abs(float(np.linalg.det(cell)))
    for part in blocks(positions, numbers, cell, pbc, model.config.layers * model.cutoff):
        graph = _graph(part, model.cutoff)
        values, slope, vectors = model.core_slope(graph, len(part.core))
        energies[part.core] = values
        pull = np.zeros((len(part.atom), 3))
        np.add.at(pull, graph.center.numpy(), slope)
        np.add.at(pull, graph.neighbor.numpy(), -slope)
        np.add.at(forces, part.atom, pull)
        virial += vectors.T @ slope
    found: dict[str, Float[np.ndarray, "..."]] = {"energies": energies, "forces": forces}
    found["energy"] = np.array([energies.sum()])
    if volume > 1e-6:
        symmetric = (virial + virial.T) / 2 / volume
        found["stress"] = symmetric[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]][None]
    return Prediction(found)
