"""Statistics of the valence electron density as columns of a dataframe.

Source: ours, on matminer (L. Ward et al., Comput. Mater. Sci. 152, 60 (2018)); superposed atoms as features after
arXiv 2603.06953.
"""

import functools

import numpy as np
from ase import Atoms
from jaxtyping import Float
from scipy.integrate import lebedev_rule

from ase_mlx.adapters.matminer.one_process import RowByRow, ours
from ase_mlx.data.free_atoms import neutral_atom, superpose
from ase_mlx.fields.averages import grid_points
from ase_mlx.fields.density_charges import charges_and_dipoles
from ase_mlx.graph import at, from_atoms, grid
from ase_mlx.models import Model
from ase_mlx.models.electron_count import check_electrons
from ase_mlx.models.extrapolation import see
from ase_mlx.models.predict import predict
from ase_mlx.pretrained import load
from ase_mlx.structure import net_charge

BONDED = 1.15
"""A pair is a bond where it is at most this many times as long as the shortest one of either atom."""

REACH = 6.0
"""Å; longest bond."""

RADIUS = 1.0
"""Å; of the spheres around atoms."""


def _sphere() -> tuple[np.ndarray, np.ndarray]:
    """Points (Å) and weights (Å³) of a quadrature over a sphere."""
    x, w = np.polynomial.legendre.leggauss(16)
    radius, share = RADIUS * (x + 1) / 2, RADIUS * w / 2
    directions, weights = lebedev_rule(11)
    points = (radius[:, None, None] * directions.T).reshape(-1, 3)
    return points, ((share * radius**2)[:, None] * weights).reshape(-1)


SPHERE, SHARE = _sphere()

STATISTICS = ("mean", "std", "min", "max")

HIRSHFELD = """@article{hirshfeld1977,
  author = {Hirshfeld, F. L.}, title = {Bonded-Atom Fragments for Describing Molecular Charge Densities},
  journal = {Theor. Chim. Acta}, volume = {44}, pages = {129--138}, year = {1977}, doi = {10.1007/BF00549096}
}"""


class DensityFeaturizer(RowByRow):
    """Statistics of the valence electron density of crystals: learned, or superposed atoms of any elements.

    Features:
        density_p05, density_median, density_p95: percentiles over the cell, e/Å³.
        bond_density_mean, _std, _min, _max: at the midpoints of bonds, e/Å³.
        site_electrons_mean, _std, _min, _max: within 1 Å of each atom, in electrons.
    With a model also:
        charge_std, charge_min, charge_max: Hirshfeld charges, e.
        dipole_mean, dipole_max: sizes of the atoms' Hirshfeld dipoles, e Å.
        sigma_mean, sigma_max: the model's own standard deviation over the cell, e/Å³; NaN where it has none.
    Bonds are pairs at most 1.15 times as long as the shortest one of either atom; NaN where atoms have none within 6 Å.

    Args:
        model: "atoms" superposes neutral atoms, hydrogen to plutonium, with nothing learned; otherwise a shipped name,
            a model's folder, or a model with a density.
        spacing: of the grid, Å.

    Source: ours; superposed atoms as features after arXiv 2603.06953.
    """

    def __init__(self, model: str | Model = "atoms", spacing: float = 0.25):
        """Keep the arguments.

        Raises:
            ValueError: a spacing that is not above zero, or a model without a density.
            FileNotFoundError: no such model.
        """
        self.model = model
        self.spacing = spacing
        self.check()

    def check(self) -> None:
        """Refuse a spacing (Å) that is not above zero, and a model without a density.

        Raises:
            ValueError: naming them.

        Source: ours.
        """
        if not self.spacing > 0:
            raise ValueError(f"spacing: got {self.spacing!r} Å, expected a number above zero.")
        model = self._loaded()
        if model is not None and "density" not in {q.name for q in model.outputs}:
            raise ValueError(f"got {self.model!r}, a model without a density; expected one with, or 'atoms'")

    def feature_labels(self) -> list[str]:
        """Name the columns; the class says what they are and their units.

        Source: ours.
        """
        labels = [f"density_{name}" for name in ("p05", "median", "p95")]
        labels += [f"{what}_{name}" for what in ("bond_density", "site_electrons") for name in STATISTICS]
        if isinstance(self.model, str) and self.model == "atoms":
            return labels
        labels += ["charge_std", "charge_min", "charge_max", "dipole_mean", "dipole_max"]
        return [*labels, "sigma_mean", "sigma_max"]

    def citations(self) -> list[str]:
        """Cite Hirshfeld's charges where they are used, and this package, in BibTeX.

        Source: ours.
        """
        return [*([HIRSHFELD] if self._loaded() is not None else []), ours()]

    def _loaded(self) -> Model | None:
        if not isinstance(self.model, str):
            return self.model
        return None if self.model == "atoms" else _load(self.model)

    def _row(self, atoms: Atoms) -> list[float]:
        model, points, sigma = self._loaded(), grid(atoms, self.spacing), None
        middles, spheres = _middles(atoms), atoms.positions[:, None] + SPHERE
        if model is None:
            cell, pbc = atoms.cell.array, np.asarray(atoms.pbc)
            evaluate = lambda x: superpose(x, atoms.numbers, atoms.positions, cell, pbc, neutral_atom)  # noqa: E731
            density = evaluate(grid_points(points.shape, cell)).reshape(points.shape)
            check_electrons(*_electrons(atoms), pbc)
        else:
            prediction = predict(model, atoms, at=points)
            see(prediction.get("distance"))
            density, sigma = prediction["density"], prediction.std.get("density")
            evaluate = lambda x: predict(model, atoms, std=False, at=at(x))["density"]  # noqa: E731
        around = evaluate(np.concatenate([spheres.reshape(-1, 3), middles]))
        sites = around[: spheres.shape[0] * spheres.shape[1]].reshape(spheres.shape[:2]) @ SHARE
        bonds = around[len(around) - len(middles) :]
        row = [*np.percentile(density, (5, 50, 95)), *_statistics(bonds), *_statistics(sites)]
        if model is not None:
            row += _charges(model, atoms, self.spacing)
            row += [np.nan, np.nan] if sigma is None else [sigma.mean(), sigma.max()]
        return [float(x) for x in row]


_load = functools.lru_cache(maxsize=4)(load)


def _middles(atoms: Atoms) -> Float[np.ndarray, "bonds 3"]:
    """Midpoints of bonds (Å), each once."""
    graph = from_atoms(atoms, REACH)
    center, neighbor = graph.center.numpy(), graph.neighbor.numpy()
    vectors = graph.vectors().numpy()
    length = np.linalg.norm(vectors, axis=1)
    shortest = np.full(len(atoms), np.inf)
    np.minimum.at(shortest, center, length)
    bonded = length <= BONDED * np.minimum(shortest[center], shortest[neighbor])
    way = vectors[bonded] * [1.0, 1e-3, 1e-6]
    forward = way.sum(1) > 0  # of the two directions of a bond one
    return graph.positions.numpy()[center[bonded][forward]] + 0.5 * vectors[bonded][forward]


def _electrons(atoms: Atoms) -> tuple[float, float, float]:
    """Electrons of superposed atoms within the cell, of values below zero (none), and in all."""
    directions, weights = lebedev_rule(11)
    within, total, inverse = 0.0, 0.0, np.linalg.inv(atoms.cell.array)
    for number in np.unique(atoms.numbers):
        radius, density, electrons = neutral_atom(int(number))
        share = np.outer(radius**2 * density, weights)
        for position in atoms.positions[atoms.numbers == number]:
            scaled = (position + radius[:, None, None] * directions.T) @ inverse
            inside = (((scaled >= 0) & (scaled < 1)) | atoms.pbc).all(-1)
            within += electrons * float((share * inside).sum() / share.sum())
            total += electrons
    return within, 0.0, total


def _statistics(values: np.ndarray) -> list[float]:
    if not len(values):
        return [np.nan] * 4
    return [values.mean(), values.std(), values.min(), values.max()]


def _charges(model: Model, atoms: Atoms, spacing: float) -> list[float]:
    charges, dipoles = charges_and_dipoles(model, from_atoms(atoms, model.cutoff), spacing, net_charge(atoms))
    sizes = np.linalg.norm(dipoles, axis=1)
    return [charges.std(), charges.min(), charges.max(), sizes.mean(), sizes.max()]
