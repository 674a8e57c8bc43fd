"""From energies and their slopes along edges to what each structure and atom has: forces and stresses.

Source: ours.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from ase_mlx.graph import Graph
from ase_mlx.units import VOIGT


def sum_by_graph(graph: Graph, per_atom: Float[Tensor, " atoms *shape"]) -> Float[Tensor, " graphs *shape"]:
    """Sum atoms' values over each structure (any unit).

    Source: ours.
    """
    return per_atom.new_zeros(graph.n_graphs, *per_atom.shape[1:]).index_add(0, graph.atom_graph, per_atom)


def mechanics(
    graph: Graph, vectors: Float[Tensor, "edges 3"], slope: Float[Tensor, "edges 3"]
) -> dict[str, Float[Tensor, "..."]]:
    """Assemble forces (eV/Å), stress and stresses (eV/Å³) from ∂E/∂(edge vectors) in eV/Å.

    The virial of each edge (edge vectors in Å) is shared by its two atoms. Without a volume there is no stress.

    Source: Thompson et al., J. Chem. Phys. 131, 154107 (2009), for pairs; ours for edges.
    """
    slope, vectors = slope.to(torch.float64), vectors.to(torch.float64)
    zeros = slope.new_zeros(len(graph.numbers), 3)
    values = {"forces": zeros.index_add(0, graph.center, slope).index_add(0, graph.neighbor, -slope)}
    volume = graph.volume
    if bool((volume > 1e-6).all()):
        first, second = VOIGT
        outer = vectors[:, first] * slope[:, second]
        virial = 0.25 * (outer + vectors[:, second] * slope[:, first])
        stresses = slope.new_zeros(len(graph.numbers), 6)
        stresses = stresses.index_add(0, graph.center, virial).index_add(0, graph.neighbor, virial)
        values["stresses"] = stresses / volume[graph.atom_graph].unsqueeze(-1)
        values["stress"] = sum_by_graph(graph, values["stresses"])
    return values
