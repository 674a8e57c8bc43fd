"""From a structure's features to its density, with error bars, on a grid or at any points.

Source: ours.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.ndimage import map_coordinates
from torch import Tensor

from ase_mlx.graph import Graph, Points
from ase_mlx.graph.points import near
from ase_mlx.nn.angular import spherical_harmonics
from ase_mlx.nn.primitives import INTERVALS

from .density import HATS, Density, Pairs
from .field import POINTS_AT_A_TIME, AtomField, whole

COARSE_STEP = 0.25
"""Å; on grids finer than this the standard deviation is computed on every second point and interpolated."""


@dataclass(frozen=True)
class Conditioned:
    """The density of one structure, conditioned on its electrons: coefficients (e/Å³) as numpy arrays, float64.

    Source: ours.
    """

    density: Density
    positions: Float[np.ndarray, "atoms 3"]
    cell: Float[np.ndarray, "3 3"]
    pbc: np.ndarray
    species: np.ndarray
    mean: Float[np.ndarray, "atoms components n"]
    members: Float[np.ndarray, "members atoms components n"]

    @property
    def electrons(self) -> Float[np.ndarray, " atoms"]:
        """Electrons of each atom's own field; they add up to those of the structure."""
        free = np.asarray(self.density.config.electrons)[self.species]
        return free + self.mean[:, 0] @ self.density.primitives.charges

    def field(self, member: int | None = None, dtype: type = np.float64) -> AtomField:
        """The density as a field (e/Å³), or one member's deviation from it."""
        density, species = self.density, self.species
        coefficients = (self.mean if member is None else self.members[member]).astype(dtype)

        def tables(atoms: np.ndarray) -> np.ndarray:
            return density.tables(coefficients[atoms], species[atoms] if member is None else None)

        electrons = self.electrons if member is None else None
        return AtomField(self.positions, self.cell, self.pbc, density.config.range, tables, electrons)

    def noise(self, dtype: type = np.float64) -> AtomField:
        """The variance that no member explains, (e/Å³)², as a field."""
        profile, species = _hats(self.density.noise.detach().cpu().numpy()).astype(dtype), self.species
        return AtomField(
            self.positions, self.cell, self.pbc, self.density.config.range, lambda atoms: profile[species[atoms], None]
        )


def conditioned(density: Density, graph: Graph, features: Tensor, species: Tensor, charge: float = 0.0) -> Conditioned:
    """Condition one structure's density (e/Å³) on its electrons, with `charge` in e.

    Source: ours.
    """
    mean, members = density.conditioned(features.detach(), species, charge)
    positions, cell, pbc = graph.positions, graph.cell[0], graph.pbc[0]
    arrays = [a.detach().cpu().numpy() for a in (positions, cell, pbc, species, mean, members)]
    return Conditioned(density, *arrays)


def at_points(found: Conditioned, points: Points, std: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """Evaluate the density and, on request, its standard deviation (both e/Å³).

    Raises:
        ValueError: a grid for a cell without volume.

    Source: ours.
    """
    if points.positions is not None:
        return _scattered(found, points.positions, std)
    if not abs(np.linalg.det(found.cell)) > 1e-6:
        raise ValueError(
            "got a structure whose cell has no volume, expected one that the grid can fill; set atoms.cell, or give "
            "scattered points"
        )
    mean = whole(found.field(), points.shape)
    return mean, standard_deviation(found, points.shape) if std and known(found.density) else None


def known(density: Density) -> bool:
    """Whether the density has calibrated error bars (dimensionless).

    Source: ours.
    """
    return float(density.std_scale) > 0


def standard_deviation(found: Conditioned, shape: tuple[int, int, int]) -> Float[np.ndarray, "n1 n2 n3"]:
    """Standard deviation on a grid, e/Å³.

    Source: ours.
    """
    return np.concatenate([values for _, values in std_planes(found, shape)])


def std_planes(
    found: Conditioned, shape: tuple[int, int, int], turned: bool = False
) -> Iterator[tuple[int, Float[np.ndarray, "planes n2 n3"]]]:
    """Standard deviation (e/Å³) plane by plane: members and noise, on every second point where the grid is fine.

    `turned`: along the third axis, with the axes in reverse order. The coarse grid is in memory.

    Source: ours.
    """
    way = slice(None, None, -1 if turned else 1)
    shape = tuple(shape)[way]
    steps = np.linalg.norm(found.cell, axis=1)[way] / np.array(shape)
    coarse = tuple(-(-n // 2) if step < COARSE_STEP and n > 1 else n for n, step in zip(shape, steps, strict=True))

    def on_coarse(field: AtomField) -> np.ndarray:
        return whole(field.turned if turned else field, coarse, np.float32)

    variance = sum(on_coarse(found.field(k, np.float32)) ** 2 for k in range(len(found.members)))
    variance = _total(found.density, variance, on_coarse(found.noise(np.float32)))
    step = max(1, POINTS_AT_A_TIME // (shape[1] * shape[2]))
    for start in range(0, shape[0], step):
        axes = [np.arange(start, min(start + step, shape[0])), np.arange(shape[1]), np.arange(shape[2])]
        where = [a * (c / n) for a, c, n in zip(axes, coarse, shape, strict=True)]
        if coarse == shape:
            yield start, np.sqrt(variance[start : start + step])
        else:
            mesh = np.meshgrid(*where, indexing="ij")
            yield start, np.sqrt(map_coordinates(variance, mesh, order=1, mode="grid-wrap"))


def _total(density: Density, variance: np.ndarray, noise: np.ndarray) -> np.ndarray:
    scale = float(density.std_scale)
    return scale**2 * (variance / len(density.deviations) + np.maximum(noise, 0))


def _scattered(found: Conditioned, positions: np.ndarray, std: bool) -> tuple[np.ndarray, np.ndarray | None]:
    density = found.density
    atom, point, vector = near(positions, found.positions, found.cell, found.pbc, density.config.range)
    pairs = pairs_of(density, atom, point, vector, len(found.positions), len(positions), torch.float64)
    distance = np.linalg.norm(vector, axis=1)
    mean = pairs.evaluate(torch.from_numpy(found.mean)).numpy()
    mean = mean + free_atoms_at(density, found.species, atom, point, distance, len(positions))
    if not std or not known(density):
        return mean, None
    variance = sum(pairs.evaluate(torch.from_numpy(m)).numpy() ** 2 for m in found.members)
    noise = noise_at(density, found.species, atom, point, distance, len(positions))
    return mean, np.sqrt(_total(density, variance, noise))


def noise_at(
    density: Density, species: np.ndarray, atom: np.ndarray, point: np.ndarray, distance: np.ndarray, n_points: int
) -> Float[np.ndarray, " points"]:
    """Variance that no member explains at points whose pairs with atoms are given (distances in Å), (e/Å³)².

    Source: ours.
    """
    profile = _hats(density.noise.detach().cpu().numpy())[species]
    return np.bincount(point, _isotropic(profile, atom, distance, density.config.range), n_points)


def pairs_of(
    density: Density,
    atom: np.ndarray,
    point: np.ndarray,
    vector: np.ndarray,
    n_atoms: int,
    n_points: int,
    dtype: torch.dtype = torch.float32,
) -> Pairs:
    """Evaluate radial functions and harmonics for pairs (vectors in Å, from atom to point), sorted by atom.

    Source: ours.
    """
    counts = np.bincount(atom, minlength=n_atoms)
    width = max(1, int(counts.max(initial=0)))
    first = np.concatenate([[0], np.cumsum(counts)])
    column = np.arange(len(atom)) - first[atom]
    distance = np.linalg.norm(vector, axis=1)
    radial = density.primitives(torch.from_numpy(distance)).to(dtype)
    direction = torch.from_numpy(vector / np.maximum(distance, 1e-12)[:, None])
    angular = spherical_harmonics(density.config.l_max, direction).to(dtype)
    index = torch.full((n_atoms, width), n_points, dtype=torch.int64)
    index[atom, column] = torch.from_numpy(point)
    out = [torch.zeros(n_atoms, width, *x.shape[1:], dtype=dtype) for x in (radial, angular)]
    for whole_array, x in zip(out, (radial, angular), strict=True):
        whole_array[atom, column] = x
    return Pairs(n_points, index, *out)


def _isotropic(pieces: np.ndarray, atom: np.ndarray, distance: np.ndarray, length: float) -> np.ndarray:
    """Evaluate each pair's own spline at its distance (Å)."""
    n = pieces.shape[1]
    position = np.minimum(distance * (n / length), n - 1e-9)
    k = position.astype(np.int64)
    t = position - k
    a, b, c, d = pieces[atom, k].T
    return np.where(distance < length, ((d * t + c) * t + b) * t + a, 0.0)


def free_atoms_at(
    density: Density, species: np.ndarray, atom: np.ndarray, point: np.ndarray, distance: np.ndarray, n_points: int
) -> Float[np.ndarray, " points"]:
    """Superposed atoms at points whose pairs with atoms are given (distances in Å), e/Å³.

    Source: ours.
    """
    free = density.atoms.cpu().numpy()[species]
    return np.bincount(point, _isotropic(free, atom, distance, density.config.range), n_points)


def _hats(profile: Float[np.ndarray, "species hats"]) -> Float[np.ndarray, "species intervals 4"]:
    """Turn values at even radii into linear splines on the common intervals; the last value is taken as zero."""
    knots = np.linspace(0, 1, INTERVALS + 1)
    radii = np.linspace(0, 1, HATS + 1)
    values = np.stack([np.interp(knots, radii, [*row, 0.0]) for row in profile])
    out = np.zeros((len(profile), INTERVALS, 4))
    out[..., 0], out[..., 1] = values[:, :-1], np.diff(values, axis=1)
    return out
