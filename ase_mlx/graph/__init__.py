"""Structures → batched periodic graphs. Geometry only: no model, no host.

Source: ours; neighbour lists by vesin.
"""

from .graph import Graph, batch
from .neighbors import from_atoms, neighbor_pairs
from .points import Points, at, grid

__all__ = ["Graph", "Points", "at", "batch", "from_atoms", "grid", "neighbor_pairs"]
