"""Structures → batched periodic graphs. Geometry only: no model, no host.

Source: ours; neighbour lists by vesin.
"""

from .graph import Graph, batch
from .neighbors import from_atoms, neighbor_pairs

__all__ = ["Graph", "batch", "from_atoms", "neighbor_pairs"]
