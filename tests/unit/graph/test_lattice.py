import numpy as np
import pytest
from ase.build import bulk
from ase.geometry import minkowski_reduce

from ase_mlx.graph.lattice import minimum_image, reduced, steps

LATTICES = {
    "triclinic": [[4.0, 0, 0], [0.3, 4.6, 0], [0.2, 0.5, 5.0]],
    "fcc": bulk("Al").cell.array,
    "bcc": bulk("Fe").cell.array,
    "hexagonal": bulk("Mg").cell.array,
    "cubic": np.eye(3) * 3.0,
    "plane": [[4.0, 0, 0], [1.9, 3.0, 1.0]],
    "line": [[0.0, 0, 3.0]],
}


def sheared(rng, count, n=12):
    """A product of elementary shears and exchanges: another basis of the same lattice."""
    out = np.eye(count, dtype=int)
    for _ in range(n if count > 1 else 0):
        i, j = rng.choice(count, 2, replace=False)
        out[i] += rng.integers(-3, 4) * out[j]
        out = out[rng.permutation(count)]
    return out


@pytest.mark.parametrize("name", LATTICES)
def test_one_lattice_has_one_short_basis(name):
    lattice, rng = np.array(LATTICES[name], dtype=float), np.random.default_rng(0)
    short, numbers = reduced(lattice)
    assert numbers @ lattice == pytest.approx(short)
    assert abs(round(np.linalg.det(numbers))) == 1
    for _ in range(20):
        again, numbers = reduced(sheared(rng, len(lattice)) @ lattice)
        assert again == pytest.approx(short, abs=1e-7)
        assert abs(round(np.linalg.det(numbers))) == 1
    if len(lattice) == 3:
        lengths = np.sort(np.linalg.norm(minkowski_reduce(lattice)[0], axis=1))
        assert np.sort(np.linalg.norm(short, axis=1)) == pytest.approx(lengths)


def test_nearest_image_is_found_in_any_basis():
    rng = np.random.default_rng(1)
    for name, lattice in LATTICES.items():
        lattice = np.array(lattice, dtype=float)
        apart = rng.uniform(-9, 9, (40, 3))
        every = apart[:, None] - steps(len(lattice), 8) @ reduced(lattice)[0]
        right = np.linalg.norm(every, axis=-1).min(1)
        for _ in range(5):
            found = minimum_image(apart, sheared(rng, len(lattice), 5) @ lattice)
            assert np.linalg.norm(found, axis=1) == pytest.approx(right), name
    assert minimum_image(apart, np.zeros((0, 3))) is apart


def test_vectors_in_one_plane_are_refused():
    with pytest.raises(ValueError, match="independent"):
        reduced(np.array([[1.0, 0, 0], [0, 1, 0], [1, 1, 0]]))
