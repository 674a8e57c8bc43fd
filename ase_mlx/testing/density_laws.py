"""The laws of an electron density: what it obeys whatever it was trained on.

Values at moved points are compared in e/Å³, relative to the larger of 1 and the largest value; electrons as numbers.

Source: ours; each law says where it comes from.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ase_mlx.graph import Points, at, from_atoms, grid
from ase_mlx.learn.density.samples import free_electrons
from ase_mlx.models.point_density import PointDensity
from ase_mlx.models.potential import Potential
from ase_mlx.structure import Structure

from .geometries import BATCH, GEOMETRIES, OPEN, build
from .laws import TOLERANCES, LawBroken, _rotation_matrix, dtype_of

POINTS = 40

HasDensity = Potential | PointDensity


def _points(crystal: Structure) -> np.ndarray:
    """Random positions (Å) around the atoms."""
    rng = np.random.default_rng(11)
    atom = rng.integers(len(crystal.numbers), size=POINTS)
    return crystal.positions[atom] + rng.uniform(-1.5, 1.5, (POINTS, 3))


def _density(model: HasDensity, crystal: Structure, positions: np.ndarray) -> np.ndarray:
    return model.density_at(from_atoms(crystal, model.cutoff), at(positions))["density"].numpy()


def _compare(law: str, model: HasDensity, geometry: str, density: np.ndarray, expected: np.ndarray) -> None:
    dtype = dtype_of(model)
    deviation = float(np.abs(density - expected).max()) / max(1.0, float(np.abs(expected).max()))
    if not deviation <= TOLERANCES[dtype].equal:
        raise LawBroken(law, geometry, dtype, "the density", deviation, TOLERANCES[dtype].equal)


def _moved(law: str, turn: np.ndarray) -> Callable[[HasDensity, str], None]:
    def check(model: HasDensity, geometry: str) -> None:
        (crystal,) = build(geometry, model)
        points, shift = _points(crystal), np.array([0.3, -1.7, 0.9])
        other = replace(crystal, positions=crystal.positions @ turn.T + shift, cell=crystal.cell @ turn.T)
        density = _density(model, other, points @ turn.T + shift)
        _compare(law, model, geometry, density, _density(model, crystal, points))

    check.__doc__ = f"""A {law} of the world moves the density (e/Å³) along."""
    return check


def permutation(model: HasDensity, geometry: str) -> None:
    """Number the atoms otherwise: the density (e/Å³) stays.

    Raises:
        LawBroken: it does not.

    Source: atoms of one kind are alike.
    """
    (crystal,) = build(geometry, model)
    order, points = np.random.default_rng(5).permutation(len(crystal.numbers)), _points(crystal)
    other = replace(crystal, positions=crystal.positions[order], numbers=crystal.numbers[order])
    density = _density(model, other, points)
    _compare("permutation", model, geometry, density, _density(model, crystal, points))


def lattice_shift(model: HasDensity, geometry: str) -> None:
    """Move each point and each atom by lattice vectors of its own: the density (e/Å³) stays.

    Raises:
        LawBroken: it does not.

    Source: periodicity.
    """
    (crystal,) = build(geometry, model)
    rng, points = np.random.default_rng(6), _points(crystal)
    whole = lambda n: (rng.integers(-2, 3, (n, 3)) * crystal.pbc) @ crystal.cell  # noqa: E731
    other = replace(crystal, positions=crystal.positions + whole(len(crystal.numbers)))
    density = _density(model, other, points + whole(len(points)))
    _compare("lattice shift", model, geometry, density, _density(model, crystal, points))


def extensivity(model: HasDensity, geometry: str) -> None:
    """Double the cell along a periodic axis: the density (e/Å³) stays, also after the count of electrons.

    Raises:
        LawBroken: it does not.

    Source: a crystal has no unit cell of its own.
    """
    (crystal,) = build(geometry, model)
    axis, points = int(np.flatnonzero(crystal.pbc)[0]), _points(crystal)
    cell = crystal.cell.copy()
    cell[axis] *= 2
    other = Structure(
        np.tile(crystal.numbers, 2),
        np.concatenate([crystal.positions, crystal.positions + crystal.cell[axis]]),
        cell,
        crystal.pbc,
    )
    _compare("extensivity", model, geometry, _density(model, other, points), _density(model, crystal, points))


def electrons(model: HasDensity, geometry: str) -> None:
    """Count the electrons of the grid: those of the atoms, on a fine and on a coarse grid.

    Raises:
        LawBroken: some are lost or made.

    Source: conservation of charge.
    """
    (crystal,) = build(geometry, model)
    graph = from_atoms(crystal, model.cutoff)
    expected = free_electrons(model, crystal.numbers)
    for points in (grid(crystal, 0.25), grid(crystal, 0.6)):
        values = model.density_at(graph, points)["density"].numpy()
        count = float(values.mean()) * crystal.volume
        if not abs(count - expected) <= 1e-10 * expected:
            raise LawBroken("electrons", geometry, dtype_of(model), "their number", abs(count - expected), 1e-10)


def one_field(model: HasDensity, geometry: str) -> None:
    """Evaluate on a fine grid and at the same positions: the same density (e/Å³), but for the electrons restored.

    Raises:
        LawBroken: the two roads differ.

    Source: ours.
    """
    (crystal,) = build(geometry, model)
    shape = grid(crystal, 0.15).shape
    graph = from_atoms(crystal, model.cutoff)
    values = model.density_at(graph, Points(shape))["density"].numpy().reshape(-1)
    chosen = np.random.default_rng(2).permutation(values.size)[:POINTS]
    where = np.stack(np.unravel_index(chosen, shape), -1) / np.array(shape) @ crystal.cell
    difference = float(np.abs(values[chosen] - _density(model, crystal, where)).max())
    allowed = 1e-3 * max(1.0, float(np.abs(values).max()))
    if not difference <= allowed:
        raise LawBroken("one field", geometry, dtype_of(model), "the density", difference, allowed)


DENSITY_LAWS: dict[str, Callable[[HasDensity, str], None]] = {
    "rotation": _moved("rotation", _rotation_matrix()),
    "mirror": _moved("mirror", _rotation_matrix() @ np.diag([1.0, 1.0, -1.0])),
    "permutation": permutation,
    "lattice shift": lattice_shift,
    "extensivity": extensivity,
    "electrons": electrons,
    "one field": one_field,
}
"""The laws by name; each takes a model with a density and the name of a geometry."""


def density_geometries(law: str) -> tuple[str, ...]:
    """List the geometries on which a law has a meaning.

    Source: ours.
    """
    open_axes = {"lattice shift": OPEN, "extensivity": OPEN, "electrons": (*OPEN, "wire", "slab")}
    left_out = (BATCH, *open_axes.get(law, ()), *((*OPEN, "wire", "slab") if law == "one field" else ()))
    return tuple(g for g in GEOMETRIES if g not in left_out)
