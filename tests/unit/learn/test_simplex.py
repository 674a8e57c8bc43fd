import numpy as np
import pytest

from ase_mlx.learn.active.simplex import DIVISIONS, lattice, levels, tessellation


@pytest.mark.parametrize(("corners", "divisions", "count"), [(3, 8, 45), (3, 1, 3), (2, 4, 5), (4, 4, 35), (4, 8, 165)])
def test_lattices_have_their_count_each_point_once_on_the_simplex(corners, divisions, count):
    points = lattice(corners, divisions)
    assert len(points) == len({tuple(p) for p in points.tolist()}) == count
    assert (points.sum(axis=1) == divisions).all() and points.min() == 0


def test_levels_are_nested():
    level = levels(lattice(3, 8))
    assert [int((level <= k).sum()) for k in range(4)] == [3, 6, 15, 45]
    assert levels(2 * lattice(3, 8)).tolist() == level.tolist()  # a composition, not a number of atoms
    assert levels(np.array([[1, 2, 0]])).tolist() == [-1]


def test_tessellation_goes_level_by_level_with_one_a_vertex_and_condition():
    counts = np.repeat(lattice(3, 8), 6, axis=0)
    temperatures = [300, 300, 600, 600, 900, 900] * 45
    order = tessellation(counts, temperatures, seed=3)
    level = levels(counts)[order]
    assert len(order) == 45 * 3 and (np.diff(level) >= 0).all()
    assert [int((level == k).sum()) for k in range(4)] == [9, 9, 27, 90]
    assert len({(*counts[k], temperatures[k]) for k in order}) == len(order)
    assert len(tessellation(counts)) == 45
    assert tessellation(counts, temperatures, seed=4).tolist() != order.tolist()
    assert tessellation(counts, temperatures, seed=3).tolist() == order.tolist()


def test_compositions_beside_the_lattice_are_left_out():
    counts = np.array([[8, 0, 0], [21, 22, 21], [0, 4, 4]])
    assert tessellation(counts).tolist() == [0, 2]
    with pytest.raises(ValueError, match="none with a composition on a lattice of 8 parts"):
        tessellation(counts[1:2])


def test_what_is_no_tessellation_is_refused():
    with pytest.raises(ValueError, match="multiple of the one before"):
        levels(np.array([[1, 1]]), (2, 3))
    with pytest.raises(ValueError, match="without atoms"):
        levels(np.array([[0, 0]]), DIVISIONS)
    with pytest.raises(ValueError, match="at least one of each"):
        lattice(0, 2)
