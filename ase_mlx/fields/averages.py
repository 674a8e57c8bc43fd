"""Averages of fields over planes and lengths, integrals in spheres.

Source: Baldereschi, Baroni and Resta, Phys. Rev. Lett. 61, 734 (1988), for the macroscopic average.
"""

import warnings

import numpy as np
from jaxtyping import Bool, Float

from ase_mlx.graph.points import near

LEAST_HELD = 0.95
"""Share of a sphere's volume that points of a grid stand for, coarse ones too."""

AT_WALL = 1e-3
"""e/Å³; atoms' densities are below this some 3 Å away."""


def planar_average(field: Float[np.ndarray, "n1 n2 n3"], axis: int = 2) -> Float[np.ndarray, " planes"]:
    """Average a field over the planes that the other two cell vectors span (field's unit).

    Raises:
        ValueError: no axis 0, 1 or 2.

    Source: ours.
    """
    if axis not in (0, 1, 2):
        raise ValueError(f"got axis={axis}, expected 0, 1 or 2 for the first, second or third cell vector")
    return field.mean(axis=tuple(k for k in range(3) if k != axis), dtype=np.float64)


def macroscopic_average(
    profile: Float[np.ndarray, " planes"], length: float, *periods: float
) -> Float[np.ndarray, " planes"]:
    """Average a periodic planar average over one or several periods in turn, so that atomic layers vanish.

    Args:
        profile: of `planar_average`, any unit.
        length: of the cell along the normal of the planes, Å.
        *periods: lengths to average over, Å: the repeat of the layers, at an interface one for each side.

    Raises:
        ValueError: no period, or one that is not positive.

    Source: Baldereschi, Baroni and Resta, Phys. Rev. Lett. 61, 734 (1988).
    """
    if not periods or min(periods) <= 0:
        raise ValueError(f"got periods={periods} Å, expected one or several positive lengths")
    wave = np.arange(len(profile) // 2 + 1) / length
    waves = np.fft.rfft(profile)
    for period in periods:
        waves = waves * np.sinc(wave * period)
    return np.fft.irfft(waves, len(profile))


def sphere_integrals(
    field: Float[np.ndarray, "n1 n2 n3"],
    cell: Float[np.ndarray, "3 3"],
    positions: Float[np.ndarray, "atoms 3"],
    radius: float,
    pbc: Bool[np.ndarray, " 3"] | None = None,
) -> Float[np.ndarray, " atoms"]:
    """Integrate a field over spheres around atoms (field's unit times Å³); points at the surface count in part.

    Args:
        field: in any unit, on the grid of the cell.
        cell: rows, Å.
        positions: centres, Å.
        radius: Å.
        pbc: periodic axes; all where None.

    Raises:
        ValueError: a radius that is not positive.

    Warns where spheres leave the grid along an open axis.

    Source: ours.
    """
    if not radius > 0:
        raise ValueError(f"got radius={radius} Å, expected a positive number")
    volume = abs(float(np.linalg.det(cell))) / field.size
    edge = 0.5 * volume ** (1 / 3)
    points = grid_points(field.shape, cell)
    periodic = np.ones(3, dtype=bool) if pbc is None else np.asarray(pbc, dtype=bool)
    atom, point, vector = near(points, positions, cell, periodic, radius + edge)
    part = np.clip((radius + edge - np.linalg.norm(vector, axis=1)) / (2 * edge), 0, 1)
    held = np.bincount(atom, part, len(positions)) * volume / (4 / 3 * np.pi * radius**3)
    if not periodic.all() and held.min() < LEAST_HELD:
        warnings.warn(
            f"got spheres of {int((held < LEAST_HELD).sum())} atoms that leave the grid along open axes: of that of "
            f"atom {int(held.argmin())} {held.min():.0%} lies inside, and what is outside is not counted; give the "
            "field on a cell with vacuum about the atoms",
            stacklevel=2,
        )
    return np.bincount(atom, part * field.reshape(-1)[point], len(positions)) * volume


def warn_of_cut(density: Float[np.ndarray, "n1 n2 n3"], pbc: Bool[np.ndarray, " 3"]) -> None:
    """Warn where a density (e/Å³) does not end before its grid does along an open axis.

    Source: ours.
    """
    walls = [np.abs(density.take([0, -1], axis=axis)).max() for axis in np.flatnonzero(~pbc)]
    if walls and max(walls) > AT_WALL:
        warnings.warn(
            f"got a density of {max(walls):.3g} e/Å³ at the end of its grid along an open axis, expected none there: "
            "what lies outside is not counted, and charges are wrong by it; give the density on a cell with vacuum "
            "about the atoms (a calculator's own charges do)",
            stacklevel=4,
        )


def grid_points(shape: tuple[int, int, int], cell: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "points 3"]:
    """Positions (Å) of all points of a cell's grid, in the order of the flattened field.

    Source: ours.
    """
    index = np.stack(np.meshgrid(*[np.arange(n) / n for n in shape], indexing="ij"), -1)
    return index.reshape(-1, 3) @ cell
