"""A surface of one value of a structure's density, the atoms about it: what a picture of a density needs.

Source: ours.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from ase_mlx.graph import grid
from ase_mlx.graph.lattice import reduced
from ase_mlx.models.density_field import Vector
from ase_mlx.models.density_planes import on_whole_grid
from ase_mlx.models.electron_count import check_density
from ase_mlx.models.extrapolation import once, see
from ase_mlx.models.large import distances
from ase_mlx.models.point_density import PointDensity
from ase_mlx.models.potential import Potential
from ase_mlx.structure import AtomsLike, Structure, net_charge

from .isosurface import at_positions, isosurface
from .superposition import SuperposedAtoms

__all__ = ["DensitySurface", "density_surface"]

SPACING, MOST_POINTS = 0.1, 2e6
"""Å, and the number of points beyond which the grid is coarser."""
SHARE = 0.3
"""Of the electrons, enclosed unless another level is asked for."""
FACE = 1e-7
"""Of a cell vector: atoms that little below a face of the cell are on it."""


@dataclass(frozen=True)
class DensitySurface:
    """Where the density has the value `level` (e/Å³), between the whole density's `lowest` and `highest`; lengths in Å.

    `std` is the standard deviation amid each triangle (e/Å³), None where the model has none. `places` are the atoms and
    their images on the cell's faces, `numbers` their atomic numbers.

    Source: ours.
    """

    cell: Float[np.ndarray, "3 3"]
    level: float
    lowest: float
    highest: float
    vertices: Float[np.ndarray, "vertices 3"]
    triangles: Int[np.ndarray, "triangles 3"]
    std: Float[np.ndarray, " triangles"] | None
    places: Float[np.ndarray, "images 3"]
    numbers: Int[np.ndarray, " images"]


@once()
def density_surface(
    model: Potential | PointDensity | SuperposedAtoms,
    structure: AtomsLike,
    level: float | None = None,
    charge: float | None = None,
    dipole: Vector | None = None,
) -> DensitySurface:
    """Find where the density of a structure has the value `level` (e/Å³), on a grid of 0.1 Å.

    Args:
        model: with a density, or `SuperposedAtoms()`.
        structure: Å.
        level: None: the one that encloses 30 % of the electrons.
        charge: net charge, dimensionless; −1 is one electron more. None: what `info["charge"]` says, 0 without.
        dipole: as for `write_density`, e Å.

    Raises:
        ValueError: a level that the density does not reach, or scikit-image not installed.

    Source: ours.
    """
    short = _short(structure)
    volume = abs(float(np.linalg.det(short.cell)))
    points = grid(short, max(SPACING, (volume / MOST_POINTS) ** (1 / 3)))
    see(distances(model, short))
    source = model.density_planes(short, points, True, net_charge(structure, charge), dipole)
    density = on_whole_grid(source)
    if not source.counted:
        check_density(density, volume, source.expected, short.pbc)
    std = np.concatenate([values for _, values in source.std_planes(False)]) if source.known else None
    level = _enclosing(density) if level is None else level
    vertices, triangles = isosurface(density, short.cell, level, tuple(bool(wraps) for wraps in short.pbc))
    places, which = _images(short)
    return DensitySurface(
        short.cell,
        level,
        float(density.min()),
        float(density.max()),
        vertices,
        triangles,
        None if std is None else at_positions(std, short.cell, vertices[triangles].mean(1)),
        places,
        short.numbers[which],
    )


def _short(structure: AtomsLike) -> Structure:
    """The same structure in a cell whose periodic vectors are the shortest, where they are not."""
    pbc, cell = np.asarray(structure.pbc), np.array(structure.cell, dtype=np.float64)
    short, positions = cell.copy(), np.asarray(structure.positions)
    short[pbc] = reduced(cell[pbc])[0]
    if np.allclose(*(np.sort(np.linalg.norm(vectors, axis=1)) for vectors in (cell, short)), rtol=1e-6, atol=0):
        short = cell
    else:
        scaled = positions @ np.linalg.inv(short)
        positions = (scaled - np.where(pbc, np.floor(scaled + FACE), 0)) @ short
    return Structure(np.asarray(structure.numbers), positions, short, pbc)


def _enclosing(density: np.ndarray) -> float:
    """Value above which a density holds its share of the electrons."""
    values = np.sort(density, axis=None)[::-1]
    held = np.cumsum(values)
    return float(values[np.searchsorted(held, SHARE * held[-1])])


def _images(structure: AtomsLike) -> tuple[np.ndarray, np.ndarray]:
    """Places of the atoms in the cell and of their images on its faces, and the atoms' numbers."""
    pbc = structure.pbc
    shifts = np.stack(np.meshgrid(*[[0, 1] if wraps else [0] for wraps in pbc], indexing="ij"), -1).reshape(-1, 3)
    scaled = np.linalg.solve(structure.cell.T, structure.positions.T).T
    images = np.where(pbc, scaled % 1.0 % 1.0, scaled)[:, None] + shifts
    which, image = np.nonzero((images <= 1 + 1e-6).all(-1))
    return images[which, image] @ structure.cell, which
