"""Surfaces on which a field has one value.

Source: Lewiner et al., J. Graphics Tools 8, 1 (2003), by scikit-image.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy.ndimage import map_coordinates


def isosurface(
    field: Float[np.ndarray, "n1 n2 n3"],
    cell: Float[np.ndarray, "3 3"],
    level: float,
    pbc: tuple[bool, bool, bool] = (True, True, True),
) -> tuple[Float[np.ndarray, "vertices 3"], Int[np.ndarray, "triangles 3"]]:
    """Triangulate where a field has the value `level`, within one cell and up to its far faces.

    Args:
        field: values on a grid of the cell, any unit.
        cell: rows, Å.
        level: in the field's unit.
        pbc: directions in which the surface goes on through the cell's faces.

    Returns:
        Vertices in Å, and triangles as three of their numbers each.

    Raises:
        ValueError: a level that the field does not reach, or scikit-image not installed.

    Source: Lewiner et al., J. Graphics Tools 8, 1 (2003), by scikit-image.
    """
    try:
        from skimage.measure import marching_cubes
    except ImportError as error:
        raise ValueError(
            "got a request for an isosurface, but scikit-image is not installed; pip install ase-mlx[pictures]"
        ) from error
    low, high = float(field.min()), float(field.max())
    if not low < level < high:
        raise ValueError(f"got level={level:g}, expected one between the field's {low:.4g} and {high:.4g}")
    closed = np.pad(field, [(0, int(wraps)) for wraps in pbc], mode="wrap")
    vertices, triangles, _, _ = marching_cubes(closed, level)
    return (vertices / np.array(field.shape)) @ cell, triangles.astype(np.int64)


def at_positions(
    field: Float[np.ndarray, "n1 n2 n3"], cell: Float[np.ndarray, "3 3"], positions: Float[np.ndarray, "some 3"]
) -> Float[np.ndarray, " some"]:
    """Interpolate a periodic field on a grid linearly at positions (Å), in its unit.

    Source: ours.
    """
    where = positions @ np.linalg.inv(cell) * np.array(field.shape)
    return map_coordinates(field, where.T, order=1, mode="grid-wrap")
