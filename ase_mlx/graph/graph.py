"""The batched periodic graph.

Source: ours.
"""

from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Graph:
    """Crystals, slabs, wires or molecules as one graph: directed edges, sorted by their centre.

    Lengths in Å. `cell` holds row vectors as in ASE; `shift` counts lattice vectors, so the edge vector from centre to
    neighbour is x[neighbor] − x[center] + shift · cell. `first_edge[i]` … `first_edge[i + 1]` are the edges of atom i.

    Source: ours.
    """

    positions: Float[Tensor, "atoms 3"]
    numbers: Int[Tensor, " atoms"]
    cell: Float[Tensor, "graphs 3 3"]
    pbc: Bool[Tensor, "graphs 3"]
    atom_graph: Int[Tensor, " atoms"]
    center: Int[Tensor, " edges"]
    neighbor: Int[Tensor, " edges"]
    shift: Float[Tensor, "edges 3"]
    first_edge: Int[Tensor, " atoms_plus_1"]

    @property
    def n_graphs(self) -> int:
        """Count the structures."""
        return self.cell.shape[0]

    @property
    def n_atoms(self) -> Int[Tensor, " graphs"]:
        """Count the atoms of each structure."""
        return torch.bincount(self.atom_graph, minlength=self.n_graphs)

    @property
    def volume(self) -> Float[Tensor, " graphs"]:
        """Volume of each cell in Å³; zero where a lattice vector is missing."""
        return torch.linalg.det(self.cell).abs()

    def vectors(self) -> Float[Tensor, "edges 3"]:
        """Edge vectors in Å, from centre to neighbour."""
        cell = (
            self.cell[self.atom_graph[self.center]] if self.n_graphs > 1 else self.cell.expand(len(self.center), 3, 3)
        )
        shift = torch.bmm(self.shift.unsqueeze(1), cell).squeeze(1)
        return self.positions[self.neighbor] - self.positions[self.center] + shift

    def to(self, device: str | torch.device | None = None, dtype: torch.dtype | None = None) -> "Graph":
        """Move to a device; floating-point arrays (Å) are cast to `dtype`."""
        moved = {}
        for field in fields(self):
            value = getattr(self, field.name)
            moved[field.name] = value.to(device=device, dtype=dtype if value.is_floating_point() else None)
        return Graph(**moved)

    def at(self, positions: Float[Tensor, "atoms 3"], cell: Float[Tensor, "graphs 3 3"] | None = None) -> "Graph":
        """Keep the edges, move the atoms (Å): valid while no pair crosses the cutoff unseen."""
        return replace(self, positions=positions, cell=self.cell if cell is None else cell)

    def within(self, cutoff: float) -> "Graph":
        """Drop the edges of `cutoff` (Å) or longer."""
        keep = torch.linalg.vector_norm(self.vectors(), dim=-1) < cutoff
        center = self.center[keep]
        counts = torch.bincount(center, minlength=len(self.numbers))
        first_edge = torch.cat([counts.new_zeros(1), torch.cumsum(counts, 0)])
        return replace(self, center=center, neighbor=self.neighbor[keep], shift=self.shift[keep], first_edge=first_edge)


def batch(graphs: list[Graph]) -> Graph:
    """Join graphs (lengths in Å) into one; atoms, edges and structures keep their order.

    Raises:
        ValueError: the list is empty.

    Source: ours.
    """
    if not graphs:
        raise ValueError(
            "got no graphs to batch, expected at least one; check that the list of structures is not empty"
        )
    if len(graphs) == 1:
        return graphs[0]
    atoms = [len(g.numbers) for g in graphs]
    edges = [len(g.center) for g in graphs]
    sizes = torch.tensor([atoms, edges, [g.n_graphs for g in graphs]])
    atom_offset, edge_offset, graph_offset = (torch.cumsum(sizes, 1) - sizes).to(graphs[0].positions.device)
    per_edge = torch.repeat_interleave(atom_offset, sizes[1].to(atom_offset.device))
    first_edge = [g.first_edge[:-1] + edge_offset[k] for k, g in enumerate(graphs)]
    return Graph(
        positions=torch.cat([g.positions for g in graphs]),
        numbers=torch.cat([g.numbers for g in graphs]),
        cell=torch.cat([g.cell for g in graphs]),
        pbc=torch.cat([g.pbc for g in graphs]),
        atom_graph=torch.cat([g.atom_graph + graph_offset[k] for k, g in enumerate(graphs)]),
        center=torch.cat([g.center for g in graphs]) + per_edge,
        neighbor=torch.cat([g.neighbor for g in graphs]) + per_edge,
        shift=torch.cat([g.shift for g in graphs]),
        first_edge=torch.cat([*first_edge, (edge_offset[-1] + edges[-1]).reshape(1)]),
    )
