"""Surfaces on which a field has one value.

Source: Lewiner et al., J. Graphics Tools 8, 1 (2003), by scikit-image.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy.ndimage import map_coordinates

from ase_mlx.graph.lattice import minimum_image, reduced


def isosurface(
    field: Float[np.ndarray, "n1 n2 n3"],
    cell: Float[np.ndarray, "3 3"],
    level: float,
    pbc: tuple[bool, bool, bool] = (True, True, True),
) -> tuple[Float[np.ndarray, "vertices 3"], Int[np.ndarray, "triangles 3"]]:
    """Triangulate where a field has the value `level`, within one cell and up to its far faces.

    A field in a cell whose periodic vectors are not the shortest ones is taken to a cell of those first, wave by wave:
    triangles between points that are far apart along a sheared vector would follow no surface.

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
    field, cell = short_cell(field, cell, pbc)
    closed = np.pad(field, [(0, int(wraps)) for wraps in pbc], mode="wrap")
    vertices, triangles, _, _ = marching_cubes(closed, level)
    return (vertices / np.array(field.shape)) @ cell, triangles.astype(np.int64)


def at_positions(
    field: Float[np.ndarray, "n1 n2 n3"], cell: Float[np.ndarray, "3 3"], positions: Float[np.ndarray, "some 3"]
) -> Float[np.ndarray, " some"]:
    """Interpolate a periodic field on a grid linearly at positions (Å), in its unit.

    Source: ours.
    """
    field, cell = short_cell(field, cell)
    where = positions @ np.linalg.inv(cell) * np.array(field.shape)
    return map_coordinates(field, where.T, order=1, mode="grid-wrap")


def short_cell(
    field: Float[np.ndarray, "n1 n2 n3"],
    cell: Float[np.ndarray, "3 3"],
    pbc: tuple[bool, bool, bool] = (True, True, True),
) -> tuple[Float[np.ndarray, "m1 m2 m3"], Float[np.ndarray, "3 3"]]:
    """Give a field (any unit) and its cell (rows, Å) with the shortest periodic vectors; as they are where they are it.

    The grid of the new cell holds the same waves: of those that agree on the old grid the one of the smallest G.

    Source: ours.
    """
    periodic = np.flatnonzero(pbc)
    old = np.asarray(cell, dtype=np.float64)[periodic]
    short = reduced(old)[0]
    lengths = [np.sort(np.linalg.norm(vectors, axis=1)) for vectors in (old, short)]
    if np.allclose(*lengths, rtol=1e-6, atol=0):
        return field, cell
    shape = np.array(field.shape)[periodic]
    reciprocal = np.linalg.pinv(old).T
    index = np.stack(np.meshgrid(*[np.fft.fftfreq(n, 1 / n) for n in shape], indexing="ij"), -1)
    waves = minimum_image(index.reshape(-1, len(periodic)) @ reciprocal, reciprocal * shape[:, None])
    index = np.round(waves @ short.T).astype(np.int64)
    new = 2 * np.abs(index).max(0) + 1
    coefficients = np.moveaxis(np.fft.fftn(field, axes=tuple(periodic), norm="forward"), periodic, range(len(periodic)))
    coefficients = coefficients.reshape(len(index), -1)
    out = np.zeros((*new, coefficients.shape[1]), dtype=np.complex128)
    out[tuple((index % new).T)] = coefficients
    out = np.fft.ifftn(out, axes=tuple(range(len(periodic))), norm="forward").real
    rest = [n for axis, n in enumerate(field.shape) if axis not in periodic]
    vectors = np.array(cell, dtype=np.float64)
    vectors[periodic] = short
    return np.moveaxis(out.reshape(*new, *rest), range(len(periodic)), periodic), vectors
