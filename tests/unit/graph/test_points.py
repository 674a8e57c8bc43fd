import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111

from ase_mlx.graph import Points, at, grid
from ase_mlx.graph.points import near


def test_grid_is_as_fine_as_asked_and_quick_to_transform():
    points = grid(Atoms(cell=[5.43, 11.1, 3.0], pbc=True), 0.2)
    assert points.shape == (28, 56, 15)
    assert len(points) == 28 * 56 * 15
    assert grid(bulk("Si"), shape=(8, 9, 10)).shape == (8, 9, 10)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [({}, "one of the two"), ({"spacing": 0.2, "shape": (1, 1, 1)}, "one of the two"), ({"spacing": -1}, "positive"),
     ({"shape": (0, 4, 4)}, "positive integers")],
)  # fmt: skip
def test_wrong_grids_are_refused(arguments, says):
    with pytest.raises(ValueError, match=says):
        grid(bulk("Si"), **arguments)


def test_grid_needs_a_volume():
    with pytest.raises(ValueError, match="center"):
        grid(Atoms("CO", [(0, 0, 0), (0, 0, 1.1)]), 0.2)


def test_scattered_points_are_finite_triples():
    assert at([[0, 0, 1]]).shape == (1,)
    for wrong in ([0, 0, 1], [[0, 0, np.nan]], np.zeros((0, 3))):
        with pytest.raises(ValueError, match="finite"):
            at(np.array(wrong, dtype=float))
    with pytest.raises(ValueError, match="expected"):
        Points((2,), np.zeros((3, 3)))


@pytest.mark.parametrize(
    "atoms",
    [bulk("Si"), bulk("Al", cubic=True), fcc111("Al", (2, 2, 2), vacuum=3), Atoms("CO", [(0, 0, 0), (0, 0, 1.1)])],
    ids=["primitive", "cubic", "slab", "molecule"],
)
def test_pairs_of_points_and_atoms_are_all_there(atoms):
    rng, reach = np.random.default_rng(0), 3.0
    points = rng.uniform(-4, 4, (30, 3)) + atoms.positions.mean(0)
    atom, point, vector = near(points, atoms.positions, atoms.cell.array, atoms.pbc, reach)
    assert (np.diff(atom) >= 0).all()
    n = np.where(atoms.pbc, 8, 0)
    shifts = np.stack(np.meshgrid(*[np.arange(-k, k + 1) for k in n], indexing="ij"), -1).reshape(-1, 3)
    every = points[None, :, None] - atoms.positions[:, None, None] - (shifts @ atoms.cell.array)[None, None]
    i, p, s = np.nonzero(np.linalg.norm(every, axis=-1) < reach)
    assert len(i) == len(atom) > 0
    expected = sorted(zip(i, p, np.round(np.linalg.norm(every[i, p, s], axis=1), 8), strict=True))
    assert sorted(zip(atom, point, np.round(np.linalg.norm(vector, axis=1), 8), strict=True)) == expected


@pytest.mark.parametrize("pbc", [(True, True, True), (True, True, False), (False, True, True)])
def test_pairs_are_those_of_any_cell_vectors(pbc):
    atoms, rng, shear = bulk("SiGe", "zincblende", a=5.5), np.random.default_rng(0), np.eye(3, dtype=int)
    first, second = np.flatnonzero(pbc)[:2]
    shear[first, second] = 9
    points = rng.uniform(-4, 4, (30, 3))
    both = []
    for cell in (atoms.cell.array, shear @ atoms.cell.array):
        atom, point, vector = near(points, atoms.positions, cell, np.array(pbc), 3.0)
        both.append(sorted(zip(atom, point, np.round(vector, 8).tolist(), strict=True)))
    assert both[0] == both[1]
    assert len(both[0]) > 30
