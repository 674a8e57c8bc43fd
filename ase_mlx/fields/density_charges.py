"""Charges of atoms from a model's density, on a grid that holds all of it.

Source: ours.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from ase_mlx.data.free_atoms import FreeAtom, free_atom
from ase_mlx.graph import Graph, grid
from ase_mlx.graph.points import enclosed
from ase_mlx.models.point_density import PointDensity
from ase_mlx.models.potential import Potential

from .hirshfeld import hirshfeld_moments

__all__ = ["charges_and_dipoles"]


def charges_and_dipoles(
    model: Potential | PointDensity, graph: Graph, spacing: float = 0.2, charge: float = 0.0
) -> tuple[Float[np.ndarray, " atoms"], Float[np.ndarray, "atoms 3"]]:
    """Hirshfeld charges (units of e) and the atoms' dipoles (e Å) of one structure.

    Along open axes the grid is laid about the atoms, wherever the cell ends: a molecule has the same charges in any
    cell, and without one.

    Args:
        model: with a density.
        graph: of one structure, Å.
        spacing: of the grid, Å.
        charge: of the structure, in units of e.

    Raises:
        ValueError: a model without a density, an unknown element.

    Source: Hirshfeld, Theor. Chim. Acta 44, 129 (1977).
    """
    whole = enclosed(graph, model.density_range + spacing)
    density = model.density_at(whole, grid(whole, spacing), charge=charge)["density"].cpu().numpy()
    numbers = whole.numbers.cpu().numpy()
    free: Mapping[int, FreeAtom] = {int(z): free_atom(int(z)) for z in np.unique(numbers)}
    cell, pbc, positions = (x.cpu().numpy() for x in (whole.cell[0], whole.pbc[0], whole.positions))
    return hirshfeld_moments(density.astype(np.float64), cell, positions, numbers, free, pbc)
