"""A surface of one value of a structure's density, the atoms about it: what a picture of a density needs.

Source: ours.
"""

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from ase.data.colors import jmol_colors
from jaxtyping import Float, Int

from ase_mlx.fields import at_positions, isosurface
from ase_mlx.graph import grid
from ase_mlx.graph.lattice import reduced
from ase_mlx.models.density_field import Vector, at_points
from ase_mlx.models.extrapolation import once, see
from ase_mlx.models.large import conditioned_structure, distances
from ase_mlx.models.potential import Potential

__all__ = ["DensitySurface", "density_surface"]

SPACING, MOST_POINTS = 0.1, 2e6
"""Å, and the number of points beyond which the grid is coarser."""
SHARE = 0.3
"""Of the electrons, enclosed unless another level is asked for."""


@dataclass(frozen=True)
class DensitySurface:
    """Where the density has the value `level` (e/Å³), between the whole density's `lowest` and `highest`; lengths in Å.

    `std` is the standard deviation amid each triangle (e/Å³), None where the model has none. `places` are the atoms and
    their images on the cell's faces with their `colours`; `symbols` the elements with theirs.

    Source: ours.
    """

    formula: str
    cell: Float[np.ndarray, "3 3"]
    level: float
    lowest: float
    highest: float
    vertices: Float[np.ndarray, "vertices 3"]
    triangles: Int[np.ndarray, "triangles 3"]
    std: Float[np.ndarray, " triangles"] | None
    places: Float[np.ndarray, "images 3"]
    colours: Float[np.ndarray, "images 3"]
    symbols: dict[str, np.ndarray]


@once()
def density_surface(
    model: Potential, atoms: Atoms, level: float | None = None, charge: float = 0.0, dipole: Vector | None = None
) -> DensitySurface:
    """Find where the density of a structure has the value `level` (e/Å³), on a grid of 0.1 Å.

    Args:
        model: a potential with a density.
        atoms: the structure, Å.
        level: None: the one that encloses 30 % of the electrons.
        charge: net charge, dimensionless; −1 is one electron more.
        dipole: as for `write_density`, e Å.

    Raises:
        ValueError: a model point by point, a level that the density does not reach, or scikit-image not installed.

    Source: ours.
    """
    if not isinstance(model, Potential):
        raise ValueError("got a density point by point, expected one on a potential for a picture; write a cube file")
    atoms = _short(atoms)
    points = grid(atoms, max(SPACING, (atoms.cell.volume / MOST_POINTS) ** (1 / 3)))
    see(distances(model, atoms))
    density, std = at_points(conditioned_structure(model, atoms, charge, 0, dipole), points, True, charge)
    level, cell = _enclosing(density) if level is None else level, atoms.cell.array
    vertices, triangles = isosurface(density, cell, level, tuple(bool(wraps) for wraps in atoms.pbc))
    places, which = _images(atoms)
    symbols = sorted(set(atoms.symbols), key=lambda symbol: atomic_numbers[symbol])
    return DensitySurface(
        atoms.get_chemical_formula(),
        cell,
        level,
        float(density.min()),
        float(density.max()),
        vertices,
        triangles,
        None if std is None else at_positions(std, cell, vertices[triangles].mean(1)),
        places,
        jmol_colors[atoms.numbers[which]],
        {symbol: jmol_colors[atomic_numbers[symbol]] for symbol in symbols},
    )


def _short(atoms: Atoms) -> Atoms:
    """The same structure in a cell whose periodic vectors are the shortest, where they are not."""
    pbc, cell = np.asarray(atoms.pbc), atoms.cell.array
    short = np.array(cell)
    short[pbc] = reduced(cell[pbc])[0]
    if np.allclose(*(np.sort(np.linalg.norm(vectors, axis=1)) for vectors in (cell, short)), rtol=1e-6, atol=0):
        return atoms
    atoms = atoms.copy()
    atoms.set_cell(short)
    atoms.wrap()
    return atoms


def _enclosing(density: np.ndarray) -> float:
    """Value above which a density holds its share of the electrons."""
    values = np.sort(density, axis=None)[::-1]
    held = np.cumsum(values)
    return float(values[np.searchsorted(held, SHARE * held[-1])])


def _images(atoms: Atoms) -> tuple[np.ndarray, np.ndarray]:
    """Places of the atoms in the cell and of their images on its faces, and the atoms' numbers."""
    shifts = np.stack(np.meshgrid(*[[0, 1] if wraps else [0] for wraps in atoms.pbc], indexing="ij"), -1).reshape(-1, 3)
    images = atoms.get_scaled_positions()[:, None] + shifts
    which, image = np.nonzero((images <= 1 + 1e-6).all(-1))
    return images[which, image] @ atoms.cell.array, which
