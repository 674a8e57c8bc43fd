"""What a training sample says beside its graph: targets, weights and small displacements from other structures.

Source: ours.
"""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ase_mlx.graph import Graph

from .mechanics import sum_by_graph


@runtime_checkable
class Labelled(Protocol):
    """What the loss reads of a training sample (eV, eV/Å, eV/Å³; weights dimensionless).

    `base` holds, in order, the undisplaced structures of those whose weight "hessian" is not 0.

    Source: ours.
    """

    graph: Graph
    targets: Mapping[str, Tensor]
    weight: Mapping[str, Tensor]
    base: Graph | None


def moved_atoms(sample: Labelled) -> Bool[Tensor, " atoms"]:
    """Mark the atoms of structures that are a small displacement away from one of `sample.base`.

    Source: ours.
    """
    return (sample.weight["hessian"] > 0)[sample.graph.atom_graph]


def hessian_column(sample: Labelled, change: Float[Tensor, "*members moved 3"]) -> Float[Tensor, "*members moved 3"]:
    """Apply the Hessian to each structure's displacement as a finite difference: minus the change of forces over it.

    Divided is by the rms component of the displacement: if it is random, an error is the rms error of a row.

    Args:
        sample: with `base` and the target `displacement` (Å).
        change: of the forces from the undisplaced structures, eV/Å, of the atoms of `moved_atoms`.

    Returns:
        Columns in eV/Å².

    Source: ours; Hessian-vector products as labels as in arXiv 2601.07742.
    """
    graph, displacement = sample.graph, sample.targets["displacement"]
    size = torch.sqrt(sum_by_graph(graph, displacement.square().mean(-1)) / graph.n_atoms)
    return -change / size[graph.atom_graph][moved_atoms(sample)].unsqueeze(-1)
