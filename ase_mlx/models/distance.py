"""How unlike the training data an atom's surroundings are: the distance score, 1 at the edge of the data.

A Gaussian for each element in what the trunk says of the atom in every layer, in the sizes of its vectors and tensors,
and in moments of its neighbours. What counts is the second and the third: a missing neighbour changes vectors, which
average out in the data and which an energy has learnt to ignore.

Source: Mahalanobis, Proc. Natl. Inst. Sci. India 2, 49 (1936); the coordinates, shrinkage and level are ours.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ase_mlx.graph import Graph
from ase_mlx.nn.angular import spherical_harmonics
from ase_mlx.nn.repulsion import covalent_radii

START, WIDTH, WINDOWS = 0.6, 0.135, 12
"""Windows of the moments in sums of two covalent radii: where the first begins, how far apart, how many."""

WEIGHT = math.sqrt(4 * math.pi)
"""What one neighbour counts beside the trunk's features, whose variance sets the ridge."""

BONDED = 1.4
"""Two atoms closer than this many sums of their covalent radii are a pair that training has or has not seen."""

RIDGE, PRIOR_ATOMS = 1e-3, 100
"""Added variance (share of the mean one); atoms that the covariance of all elements counts beside an element's own."""

UNSEEN_PAIR = 2.0
"""Score of an atom with a neighbour of an element beside which training had none of its own."""


def coordinates(l_max: int, layers: int, channels: int) -> int:
    """Count what `environment` reads of an atom, from the sizes of a trunk.

    Source: ours.
    """
    return channels * (layers + (layers - 1) * (l_max > 0)) + 3 * WINDOWS


def environment(
    graph: Graph, vectors: Float[Tensor, "edges 3"], layers: Sequence[Float[Tensor, "atoms _ c"]]
) -> Float[Tensor, "atoms coordinates"]:
    """Describe each atom's surroundings by what no rotation changes (dimensionless).

    Args:
        graph: its structures.
        vectors: to the neighbours, Å.
        layers: a trunk's features after each layer (dimensionless).

    Source: ours.
    """
    scalars = [h[:, 0] for h in layers]
    sizes = [torch.sqrt(h[:, 1:].square().sum(1) + 1e-4) for h in layers if h.shape[1] > 1]
    return torch.cat([*scalars, *sizes, *moments(graph, vectors)], dim=1)


def moments(graph: Graph, vectors: Float[Tensor, "edges 3"]) -> list[Float[Tensor, "atoms windows"]]:
    """Count the neighbours within each of twelve radii, and the sizes of their summed vectors and tensors, by `WEIGHT`.

    Args:
        graph: its structures.
        vectors: to the neighbours, Å.

    Returns:
        Numbers, vectors and tensors, each an array (dimensionless).

    Source: ours.
    """
    length = torch.linalg.vector_norm(vectors, dim=-1)
    radius = covalent_radii(vectors)[graph.numbers]
    y = spherical_harmonics(2, vectors / length.unsqueeze(-1)) * WEIGHT
    place = ((length / (radius[graph.center] + radius[graph.neighbor]) - START) / WIDTH).clamp(0, WINDOWS)
    first = place.floor()
    inside = 0.5 * (1 + torch.cos(torch.pi * (place - first)))  # a neighbour enters a window smoothly
    row, width = graph.center * (WINDOWS + 2) + first.long(), WINDOWS + 2
    shells = y.new_zeros(len(graph.numbers) * width, y.shape[1])
    shells.index_add_(0, row, y * inside.unsqueeze(1)).index_add_(0, row + 1, y * (1 - inside).unsqueeze(1))
    within = shells.reshape(len(graph.numbers), width, -1)[:, :WINDOWS].cumsum(1)
    return [within[..., 0], within[..., 1:4].norm(dim=-1), within[..., 4:9].norm(dim=-1)]


def bonded(graph: Graph, vectors: Float[Tensor, "edges 3"]) -> Bool[Tensor, " edges"]:
    """Mark edges as short as a bond (vectors in Å).

    Source: ours.
    """
    radius = covalent_radii(vectors)[graph.numbers]
    reach = BONDED * (radius[graph.center] + radius[graph.neighbor])
    return torch.linalg.vector_norm(vectors, dim=-1) < reach


class Distance(nn.Module):
    """Mahalanobis distance of an atom's `environment` from its element's in training, in units of the edge's.

    With `pooled`, elements have means of their own and share the covariance: of many, most have few atoms, and a matrix
    each would outweigh the model.

    Source: see the module.
    """

    def __init__(self, elements: int, n_coordinates: int, pooled: bool = False):
        """Begin unknown; `fit` sets it."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(elements, n_coordinates))
        self.register_buffer("factor", torch.zeros(1 if pooled else elements, n_coordinates, n_coordinates))
        self.pooled = pooled
        self.register_buffer("edge", torch.zeros(()))
        self.register_buffer("pairs", torch.zeros(elements, elements, dtype=torch.bool))

    @property
    def known(self) -> bool:
        """Whether `fit` has set it."""
        return bool(self.edge > 0)

    def forward(
        self,
        graph: Graph,
        species: Int[Tensor, " atoms"],
        vectors: Float[Tensor, "edges 3"],
        layers: Sequence[Float[Tensor, "atoms _ c"]],
    ) -> Float[Tensor, " atoms"]:
        """Score each atom (dimensionless, 1 = edge of the training data; vectors in Å)."""
        score = self.raw(environment(graph, vectors, layers), species) / self.edge
        near = bonded(graph, vectors)
        near &= ~self.pairs[species[graph.center], species[graph.neighbor]]
        unseen = torch.zeros_like(score, dtype=torch.bool).index_fill(0, graph.center[near], True)
        return torch.where(unseen, score.clamp_min(UNSEEN_PAIR), score)

    def raw(
        self, environments: Float[Tensor, "atoms coordinates"], species: Int[Tensor, " atoms"]
    ) -> Float[Tensor, " atoms"]:
        """Mahalanobis distance (dimensionless) before it is divided by that of the edge."""
        if self.pooled:
            return torch.linalg.vector_norm((environments - self.mean[species]) @ self.factor[0].T, dim=1)
        out = environments.new_zeros(len(environments))
        for s in torch.unique(species).tolist():  # a gathered matrix for each atom would cost more than the network
            of = species == s
            out[of] = torch.linalg.vector_norm((environments[of] - self.mean[s]) @ self.factor[s].T, dim=1)
        return out

    def see(self, graph: Graph, species: Int[Tensor, " atoms"]) -> None:
        """Count the pairs of elements that are bonded in a structure (Å) of the training data as known."""
        near = bonded(graph, graph.vectors())
        self.pairs[species[graph.center[near]], species[graph.neighbor[near]]] = True

    @torch.no_grad()
    def fit(self, environments: Float[Tensor, "atoms coordinates"], species: Int[Tensor, " atoms"]) -> None:
        """Set the Gaussians (dimensionless); few atoms of an element lean on those of all, and none has all of these.

        Source: ours.
        """
        x, n = environments.to(torch.float64), len(self.mean)
        count = torch.bincount(species, minlength=n).to(x)
        mean = x.new_zeros(n, x.shape[1]).index_add_(0, species, x) / count.clamp_min(1).unsqueeze(1)
        centred = x - mean[species]
        pooled = centred.T @ centred / len(x)
        added = RIDGE * pooled.diagonal().mean().clamp_min(1e-12) * torch.eye(len(pooled), dtype=x.dtype)
        if self.pooled:
            self.factor[0] = torch.linalg.inv(torch.linalg.cholesky(pooled + added))
        for s in () if self.pooled else range(n):
            own = centred[species == s]
            covariance = (own.T @ own + PRIOR_ATOMS * pooled) / (len(own) + PRIOR_ATOMS)
            self.factor[s] = torch.linalg.inv(torch.linalg.cholesky(covariance + added))
        mean[count == 0] = x.mean(0)
        self.mean.copy_(mean)
        self.pairs.fill_(False)
