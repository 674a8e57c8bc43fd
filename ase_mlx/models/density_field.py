"""From a structure's features to its density, with error bars, on a grid or at any points.

Source: ours.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ase_mlx.graph import Graph, Points
from ase_mlx.graph.points import near
from ase_mlx.nn.angular import spherical_harmonics
from ase_mlx.nn.primitives import INTERVALS, at_distances

from .density import HATS, Density, Pairs
from .electron_count import check_density
from .field import AtomField, planes, planes_of_all, put_together, torch_dtype, whole
from .prediction import Prediction

COARSE_STEP = 0.25
"""Å; on grids finer than this the standard deviation is computed on every second point and interpolated."""


Source = Callable[[np.ndarray], Tensor]
"""Features (dimensionless) of some atoms, given by their numbers."""

Vector = Sequence[float] | np.ndarray
"""Three numbers (e Å)."""


@dataclass(frozen=True)
class Conditioned:
    """The density of one structure (Å), conditioned on its electrons.

    `heads` (e/Å³, float64) are the conditioned head and the members' deviations; `source` gives features.

    Source: ours.
    """

    density: Density
    positions: Float[np.ndarray, "atoms 3"]
    cell: Float[np.ndarray, "3 3"]
    pbc: np.ndarray
    species: np.ndarray
    heads: Tensor
    source: Source

    @property
    def n_members(self) -> int:
        """Count the members."""
        return len(self.heads) - 1

    @property
    def expected(self) -> float:
        """Electrons of the free atoms (a dimensionless number)."""
        return float(np.asarray(self.density.config.electrons)[self.species].sum())

    def coefficients(self, head: int = 0) -> Float[Tensor, "atoms components n"]:
        """Coefficients (e/Å³, float64) of all atoms by the head (0) or a member's deviation (1, 2, …)."""
        features = self.source(np.arange(len(self.species))).cpu().to(torch.float64)
        return self.density.coefficients(features, torch.from_numpy(self.species), self.heads[head])

    def electrons(self, atoms: np.ndarray | None = None) -> Float[np.ndarray, " some"]:
        """Electrons (dimensionless numbers) of some atoms' own fields, of all where None."""
        atoms = np.arange(len(self.species)) if atoms is None else atoms
        return self._electrons(self.source(atoms), atoms).cpu().numpy()

    def _electrons(self, features: Tensor, atoms: np.ndarray) -> Tensor:
        species = torch.from_numpy(self.species[atoms])
        weights = (self.heads[0, :, 0] @ torch.as_tensor(self.density.primitives.charges))[species]
        free = torch.tensor(self.density.config.electrons, dtype=torch.float64)[species]
        isotropic = features[:, 0].to(torch.float64)
        return free.to(isotropic) + torch.einsum("af,af->a", isotropic, weights.to(isotropic))

    def field(self, head: int = 0, dtype: type = np.float64) -> AtomField:
        """The density (head 0) as a field in e/Å³, or one member's deviation from it (1, 2, …)."""
        return self._fields(slice(head, head + 1), dtype)

    def deviations(self, dtype: type = np.float64) -> AtomField:
        """All members' deviations from the density in e/Å³, as so many fields."""
        return self._fields(slice(1, None), dtype)

    def _fields(self, chosen: slice, dtype: type) -> AtomField:
        device, first = self.density.head.device, chosen.start == 0
        weights = self.heads[chosen].to(device)

        def tables(atoms: np.ndarray) -> tuple[Tensor, Tensor | None]:
            features, species = self.source(atoms), torch.from_numpy(self.species[atoms]).to(device)
            values = self.density.tables(features.to(torch_dtype(dtype)), species, weights, free=first)
            return values, self._electrons(features, atoms) if first else None

        place = (self.positions, self.cell, self.pbc, self.density.config.range)
        return AtomField(*place, tables, device, count=len(weights))

    def noise(self, dtype: type = np.float64) -> AtomField:
        """The variance that no member explains, (e/Å³)², as a field."""
        device = self.density.head.device
        profile = torch.from_numpy(_hats(self.density.noise.detach().cpu().numpy()).astype(dtype)).to(device)
        tables = lambda atoms: (profile[torch.from_numpy(self.species[atoms]), None], None)  # noqa: E731
        return AtomField(self.positions, self.cell, self.pbc, self.density.config.range, tables, device)


def conditioned(model: Any, graph: Graph, charge: float = 0.0, dipole: Vector | None = None) -> Conditioned:
    """The density (e/Å³) of one structure given its electrons, with `charge` in units of e.

    Args:
        model: a potential.
        graph: of one structure (Å).
        charge: net charge, dimensionless; −1 is one electron more.
        dipole: of the whole structure, e Å, from − to +, along what is not periodic; None leaves it as predicted.

    Raises:
        ValueError: a model without a density, several structures, an unknown element, a dipole of a charged structure
            or along a periodic direction.

    Source: ours.
    """
    if model.density is None:
        raise ValueError(
            "got a request for the density from a model that has none; it gives "
            f"{', '.join(q.name for q in model.outputs)}; train a density on it (docs/density.md)"
        )
    if graph.n_graphs != 1:
        raise ValueError(f"got {graph.n_graphs} structures, expected one: each has its own grid")
    features, species = model.density_features(graph), model.species_index[graph.numbers]
    arrays = [a.cpu().numpy() for a in (graph.positions, graph.cell[0], graph.pbc[0], species)]
    axes, known_moments = known_of(arrays[1], arrays[2], charge, dipole)
    along = torch.from_numpy(axes).to(features.device)
    places = graph.positions.to(along) - graph.positions.to(along).mean(0)
    moments = model.density.moments(features, species, places, along)
    electrons = float(np.asarray(model.config.density.electrons)[arrays[3]].sum())
    heads = model.density.conditioned(moments, electrons, known_moments.to(moments.device)).cpu()
    return Conditioned(model.density, *arrays, heads, lambda atoms: features[torch.from_numpy(atoms)])


def known_of(
    cell: Float[np.ndarray, "3 3"], pbc: np.ndarray, charge: float, dipole: Vector | None
) -> tuple[Float[np.ndarray, "axes 3"], Tensor]:
    """Say along which axes the first moment is known, and what electrons and it (e Å) exceed those of free atoms by.

    Raises:
        ValueError: a dipole of a charged structure, along a periodic direction, or of a shape other than (3,).

    Source: ours.
    """
    if dipole is None:
        return np.zeros((0, 3)), torch.tensor([-charge], dtype=torch.float64)
    vector = np.asarray(dipole, dtype=np.float64)
    if vector.shape != (3,) or not np.isfinite(vector).all():
        raise ValueError(f"got dipole={dipole!r}, expected three numbers in e Å")
    if charge:
        raise ValueError(f"got a dipole and charge={charge}; a charged structure's dipole depends on the origin")
    left, size, right = np.linalg.svd(np.where(pbc[:, None], cell, 0.0))
    axes = right[int((size > 1e-6 * max(size[0], 1e-300)).sum()) if pbc.any() else 0 :]
    remainder = vector - axes.T @ (axes @ vector)
    if np.linalg.norm(remainder) > 1e-6:
        raise ValueError(
            f"got dipole={vector.tolist()}, {np.linalg.norm(remainder):.3g} e Å of it along a periodic direction, "
            "expected none there, where a dipole is no number; set atoms.pbc, or give the normal part alone"
        )
    return axes, torch.from_numpy(np.concatenate([[0.0], -axes @ vector]))


def at_points(conditioned_density: Conditioned, points: Points, std: bool, charge: float = 0.0) -> Prediction:
    """Evaluate the density and, on request, its standard deviation (both e/Å³), of a structure with a charge (e).

    Warns where the grid does not hold the whole density, or values are below zero.

    Raises:
        ValueError: a grid for a cell without volume.

    Source: ours.
    """
    if points.positions is not None:
        return _scattered(conditioned_density, points.positions, std)
    if not abs(np.linalg.det(conditioned_density.cell)) > 1e-6:
        raise ValueError(
            "got a structure whose cell has no volume, expected one that the grid can fill; set atoms.cell, or give "
            "scattered points"
        )
    mean = whole(conditioned_density.field(), points.shape)
    check_density(
        mean,
        abs(float(np.linalg.det(conditioned_density.cell))),
        conditioned_density.expected - charge,
        conditioned_density.pbc,
    )
    if not std or not known(conditioned_density.density):
        return Prediction({"density": mean})
    noise = _noise_alone(conditioned_density.density, whole(conditioned_density.noise(np.float32), points.shape))
    deviation = standard_deviation(conditioned_density, points.shape)
    return Prediction({"density": mean}, {"density": deviation}, noise={"density": noise})


def known(density: Density) -> bool:
    """Whether the density has calibrated error bars.

    Source: ours.
    """
    return float(density.std_scale) > 0


def standard_deviation(conditioned_density: Conditioned, shape: tuple[int, int, int]) -> Float[np.ndarray, "n1 n2 n3"]:
    """Standard deviation on a grid, e/Å³.

    Source: ours.
    """
    return put_together(std_planes(conditioned_density, shape), shape)


def std_planes(
    conditioned_density: Conditioned, shape: tuple[int, int, int], turned: bool = False
) -> Iterator[tuple[int, Float[np.ndarray, "planes n2 n3"]]]:
    """Standard deviation (e/Å³) plane by plane: noise, and members, on every second point where the grid is fine.

    `turned`: along the third axis, with the axes in reverse order. The members' coarse grid is in memory.

    Source: ours.
    """
    way = slice(None, None, -1 if turned else 1)
    shape = tuple(shape)[way]
    steps = np.linalg.norm(conditioned_density.cell, axis=1)[way] / np.array(shape)
    coarse = tuple(-(-n // 2) if step < COARSE_STEP and n > 1 else n for n, step in zip(shape, steps, strict=True))

    def turn(field: AtomField) -> AtomField:
        return field.turned if turned else field

    deviations = planes_of_all(turn(conditioned_density.deviations(np.float32)), coarse, np.float32)
    variance = put_together(((first, np.square(each).sum(0)) for first, each, _ in deviations), coarse)
    for start, noise, _ in planes(turn(conditioned_density.noise(np.float32)), shape, np.float32):
        axes = (np.arange(start, start + len(noise)), np.arange(shape[1]), np.arange(shape[2]))
        if coarse == shape:
            here = variance[axes[0]]
        else:
            where = np.meshgrid(*[a * (c / n) for a, c, n in zip(axes, coarse, shape, strict=True)], indexing="ij")
            from scipy.ndimage import map_coordinates

            here = map_coordinates(variance, where, order=1, mode="grid-wrap")
        yield start, np.sqrt(_total(conditioned_density.density, here, noise))


def _total(density: Density, variance: np.ndarray, noise: np.ndarray) -> np.ndarray:
    scale = float(density.std_scale)
    return scale**2 * (variance / len(density.deviations) + np.maximum(noise, 0))


def _noise_alone(density: Density, noise: np.ndarray) -> np.ndarray:
    """The aleatoric part of the standard deviation, e/Å³."""
    return float(density.std_scale) * np.sqrt(np.maximum(noise, 0))


def _scattered(conditioned_density: Conditioned, positions: np.ndarray, std: bool) -> Prediction:
    density = conditioned_density.density
    atom, point, vector = near(
        positions,
        conditioned_density.positions,
        conditioned_density.cell,
        conditioned_density.pbc,
        density.config.range,
    )
    pairs = pairs_of(density, atom, point, vector, len(conditioned_density.positions), len(positions), torch.float64)
    distance = np.linalg.norm(vector, axis=1)
    mean = pairs.evaluate(conditioned_density.coefficients()).numpy()
    mean = mean + free_atoms_at(density, conditioned_density.species, atom, point, distance, len(positions))
    if not std or not known(density):
        return Prediction({"density": mean})
    variance = sum(
        pairs.evaluate(conditioned_density.coefficients(k)).numpy() ** 2
        for k in range(1, conditioned_density.n_members + 1)
    )
    noise = noise_at(density, conditioned_density.species, atom, point, distance, len(positions))
    deviation, alone = np.sqrt(_total(density, variance, noise)), _noise_alone(density, noise)
    return Prediction({"density": mean}, {"density": deviation}, noise={"density": alone})


def noise_at(
    density: Density, species: np.ndarray, atom: np.ndarray, point: np.ndarray, distance: np.ndarray, n_points: int
) -> Float[np.ndarray, " points"]:
    """Variance that no member explains at points whose pairs with atoms are given (distances in Å), (e/Å³)².

    Source: ours.
    """
    profile = _hats(density.noise.detach().cpu().numpy())[species]
    return np.bincount(point, at_distances(profile, atom, distance, density.config.range), n_points)


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


def free_atoms_at(
    density: Density, species: np.ndarray, atom: np.ndarray, point: np.ndarray, distance: np.ndarray, n_points: int
) -> Float[np.ndarray, " points"]:
    """Superposed atoms at points whose pairs with atoms are given (distances in Å), e/Å³.

    Source: ours.
    """
    free = density.atoms.cpu().numpy()[species]
    return np.bincount(point, at_distances(free, atom, distance, density.config.range), n_points)


def _hats(profile: Float[np.ndarray, "species hats"]) -> Float[np.ndarray, "species intervals 4"]:
    """Turn values at even radii into linear splines on the common intervals; the last value is taken as zero."""
    knots = np.linspace(0, 1, INTERVALS + 1)
    radii = np.linspace(0, 1, HATS + 1)
    values = np.stack([np.interp(knots, radii, [*row, 0.0]) for row in profile])
    out = np.zeros((len(profile), INTERVALS, 4))
    out[..., 0], out[..., 1] = values[:, :-1], np.diff(values, axis=1)
    return out
