"""Densities, energies and forces of structures that no single graph holds, block by block.

Source: ours.
"""

from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ase_mlx.graph import Graph, Points, from_atoms
from ase_mlx.structure import AtomsLike, check
from ase_mlx.units import VOIGT

from .blocks import Block, blocks
from .density_field import Conditioned, Vector, at_points, known_of
from .prediction import Prediction, as_tensors

if TYPE_CHECKING:
    from .potential import Potential

CACHED_ATOMS = 600_000
"""Atoms whose features are kept: about 1 GB."""

FIELD_BLOCK, FORCE_BLOCK = 3_000, 20_000
"""Atoms of a block: those of a field need their neighbours alone, forces three times as far."""


class _Features:
    """Features of any atoms, block by block, the last blocks kept.

    The first layer's scalars of all atoms are computed first, so that a block needs no more than its atoms' neighbours.
    """

    def __init__(self, model: "Potential", structure: AtomsLike, axis: int):
        positions, numbers, cell, pbc = check(structure)
        self.model = model
        self.parts = list(blocks(positions, numbers, cell, pbc, model.cutoff, FIELD_BLOCK, axis))
        self.kept: OrderedDict[int, Tensor] = OrderedDict()
        self.block, self.place = np.empty((2, len(positions)), dtype=np.int64)
        first: Tensor | None = None
        for k, part in enumerate(self.parts):
            self.block[part.core], self.place[part.core] = k, np.arange(len(part.core))
            features = model.first_layer(self._graph(part))[: len(part.core), :1]
            first = features.new_empty(len(positions), *features.shape[1:]) if first is None else first
            first[torch.from_numpy(part.core)] = features
        self.first = first

    def _graph(self, part: Block) -> Graph:
        """The edges of the block's own atoms."""
        graph, n = from_atoms(part.structure, self.model.cutoff), len(part.core)
        last = int(graph.first_edge[n])
        edges = replace(
            graph,
            center=graph.center[:last],
            neighbor=graph.neighbor[:last],
            shift=graph.shift[:last],
            first_edge=graph.first_edge[: n + 1],
        )
        return edges.to(self.model.density.head.device)

    def of_block(self, k: int) -> Tensor:
        if k in self.kept:
            self.kept.move_to_end(k)
            return self.kept[k]
        while self.kept and sum(len(f) for f in self.kept.values()) > CACHED_ATOMS:
            self.kept.popitem(last=False)
        part = self.parts[k]
        features = self.model.density_features(self._graph(part), self.first[torch.from_numpy(part.atom)])
        self.kept[k] = features[: len(part.core)].clone()
        return self.kept[k]

    def __call__(self, atoms: np.ndarray) -> Tensor:
        gathered: Tensor | None = None
        for k in np.unique(self.block[atoms]):
            own = np.flatnonzero(self.block[atoms] == k)
            features = self.of_block(int(k))[torch.from_numpy(self.place[atoms[own]])]
            if gathered is None:
                gathered = features.new_empty(len(atoms), *features.shape[1:])
            gathered[torch.from_numpy(own)] = features
        return gathered


@torch.no_grad()
def conditioned_structure(
    model: "Potential", structure: AtomsLike, charge: float = 0.0, axis: int = 0, dipole: Vector | None = None
) -> Conditioned:
    """The density (e/Å³) of a structure of any size given its electrons; features are computed when they are wanted.

    Args:
        model: a potential with a density.
        structure: Å.
        charge: net charge, dimensionless; −1 is one electron more.
        axis: the cell vector along which the planes of a grid will be asked for.
        dipole: e Å, from − to +, along what is not periodic; None leaves it as predicted.

    Raises:
        ValueError: a structure without physical meaning, an unknown element, a dipole without meaning.

    Source: ours.
    """
    positions, numbers, cell, pbc = check(structure)
    if len(positions) <= FIELD_BLOCK:
        return model.conditioned(from_atoms(structure, model.cutoff), charge, dipole)
    source = _Features(model, structure, axis)
    axes, known_moments = known_of(cell, pbc, charge, dipole)
    arrays = (axes, positions - positions.mean(0), numbers)
    along, places, kinds = (torch.from_numpy(a).to(model.density.head.device) for a in arrays)
    kinds, moments = model.species_index[kinds], 0.0
    for k in reversed(range(len(source.parts))):  # backwards: the grid's first planes find their blocks kept
        core = torch.from_numpy(source.parts[k].core)
        moments = moments + model.density.moments(source.of_block(k), kinds[core], places[core], along)
    species = kinds.cpu().numpy()
    electrons = float(np.asarray(model.config.density.electrons)[species].sum())
    heads = model.density.conditioned(moments, electrons, known_moments.to(moments.device)).cpu()
    return Conditioned(model.density, positions, cell, pbc, species, heads, source)


@torch.no_grad()
def distances(model: Any, structure: AtomsLike) -> Float[np.ndarray, " atoms"] | None:
    """Distance score of each atom of a structure of any size (dimensionless, 1 = edge); None where it is not known.

    Args:
        model: a potential, on the CPU; all else has no such score.
        structure: Å.

    Raises:
        ValueError: a structure without physical meaning, an unknown element.

    Source: ours.
    """
    if not getattr(getattr(model, "distance", None), "known", False):
        return None
    positions, numbers, cell, pbc = check(structure)
    scores = np.zeros(len(positions))
    for part in blocks(positions, numbers, cell, pbc, model.config.layers * model.cutoff, FORCE_BLOCK):
        graph = from_atoms(part.structure, model.cutoff)
        scores[part.core] = model.distances(graph)[: len(part.core)].cpu().numpy()
    return scores


def predict_large(model: "Potential", structure: AtomsLike) -> Prediction:
    """Energy (eV), energies, forces (eV/Å), stress (eV/Å³) and distance scores of a structure of any size.

    Each block differentiates the energies of its core atoms by all positions it knows; forces of neighbouring blocks
    on an atom add up. There are no error bars. Sums of float32 blocks differ from those of one graph by rounding.

    Args:
        model: a potential, on the CPU.
        structure: Å.

    Raises:
        ValueError: a structure without physical meaning, an unknown element.

    Source: ours.
    """
    positions, numbers, cell, pbc = check(structure)
    forces, energies, scores = np.zeros((len(positions), 3)), np.zeros(len(positions)), np.zeros(len(positions))
    virial, volume, score = np.zeros((3, 3)), abs(float(np.linalg.det(cell))), None
    for part in blocks(positions, numbers, cell, pbc, model.config.layers * model.cutoff, FORCE_BLOCK):
        graph = from_atoms(part.structure, model.cutoff)
        energies[part.core], slope, vectors, score = model.core_slope(graph, len(part.core))
        scores[part.core] = 0.0 if score is None else score
        pull = torch.zeros(len(part.atom), 3, dtype=torch.float64)
        pull = pull.index_add(0, graph.center, torch.from_numpy(slope))
        pull = pull.index_add(0, graph.neighbor, torch.from_numpy(-slope))
        np.add.at(forces, part.atom, pull.numpy())
        virial += vectors.T @ slope
    values: dict[str, Float[np.ndarray, "..."]] = {"energies": energies, "forces": forces}
    values["energy"] = np.array(energies.sum())
    if volume > 1e-6:
        symmetric = (virial + virial.T) / 2 / volume
        values["stress"] = symmetric[VOIGT]
    return Prediction(values if score is None else values | {"distance": scores})


def large_density(
    model: "Potential", structure: AtomsLike, points: Points, std: bool = False, charge: float = 0.0
) -> Prediction:
    """The density (e/Å³) of a structure of any size with a charge (e), on request with its standard deviation.

    Raises:
        ValueError: a model without a density, a structure without physical meaning, an unknown element.

    Source: ours.
    """
    return as_tensors(at_points(conditioned_structure(model, structure, charge), points, std, charge))
