import warnings

import numpy as np
import pytest
from ase.build import bulk

from ase_mlx.fields import (
    at_positions,
    bader,
    hartree_energy,
    hartree_potential,
    hirshfeld,
    hirshfeld_moments,
    isosurface,
    macroscopic_average,
    planar_average,
    sphere_integrals,
)
from ase_mlx.fields.averages import grid_points
from ase_mlx.fields.bader import METHODS, _facets
from ase_mlx.graph.lattice import minimum_image

CELL = np.array([[5.0, 0.3, 0.0], [0.2, 5.4, 0.1], [0.0, -0.4, 6.0]])
SHAPE = (40, 42, 45)


def gaussians(positions, widths, electrons, cell=CELL, shape=SHAPE):
    """Normalised periodic Gaussians (e/Å³), as far as they are above 1e-17 of their height."""
    total, inverse = np.zeros(shape), np.linalg.inv(cell)
    for x, s, n in zip(positions, widths, electrons, strict=True):
        centre, reach = x @ inverse, 9 * s * np.linalg.norm(inverse, axis=0)
        ends = zip(np.ceil((centre - reach) * shape), np.floor((centre + reach) * shape) + 1, strict=True)
        ranges = [np.arange(*pair).astype(int) for pair in ends]
        points = np.stack(np.meshgrid(*ranges, indexing="ij"), -1) / np.array(shape) @ cell
        height = n / (2 * np.pi * s * s) ** 1.5
        wrapped = np.ix_(*(k % m for k, m in zip(ranges, shape, strict=True)))
        np.add.at(total, wrapped, height * np.exp(-np.square(points - x).sum(-1) / (2 * s * s)))
    return total


def test_hartree_potential_and_energy_of_a_plane_wave():
    cell = np.diag([4.0, 5.0, 6.0])
    wave = 0.1 * np.cos(2 * np.pi * np.arange(16) / 16)[:, None, None] * np.ones((16, 12, 10))
    k = 2 * np.pi / 4
    assert hartree_potential(wave + 3, cell) == pytest.approx(4 * np.pi * 14.399645 / k**2 * wave, abs=1e-12)
    assert hartree_energy(wave + 3, cell) == pytest.approx(np.pi * 14.399645 * 0.1**2 / k**2 * 120, rel=1e-12)


def test_hartree_energy_of_two_gaussians_is_that_of_point_charges():
    cell, s, shape = np.eye(3) * 20.0, 0.5, (80, 80, 80)
    positions = np.array([[8.0, 10, 10], [12.0, 10, 10]])
    both = hartree_energy(gaussians(positions, (s, s), (1, -1), cell, shape), cell)
    alone = 14.399645 / (np.sqrt(np.pi) * 2 * s)
    # opposite charges 4 Å apart and their images, which leave the dipole's field alone
    assert both == pytest.approx(2 * alone - 14.399645 / 4 - 2 * np.pi / 3 * 14.399645 * 16 / 20**3, abs=0.02)


def test_averages_take_planes_and_layers_out():
    density = gaussians([[1.0, 2.0, 0.0]], (0.8,), (3.0,))
    for axis, n in enumerate(SHAPE):
        profile = planar_average(density, axis)
        assert profile.shape == (n,)
        assert profile.mean() == pytest.approx(density.mean(), rel=1e-12)
    z = np.arange(60) / 60 * 12.0
    layered = 2 + np.cos(2 * np.pi * z / 3) + 0.5 * np.cos(2 * np.pi * z / 12)
    flat = macroscopic_average(layered, 12.0, 3.0)
    assert flat == pytest.approx(2 + 0.5 * np.sinc(3 / 12) * np.cos(2 * np.pi * z / 12), abs=1e-12)
    assert macroscopic_average(layered, 12.0, 3.0, 4.0).std() < flat.std()
    with pytest.raises(ValueError, match="0, 1 or 2"):
        planar_average(density, 3)
    with pytest.raises(ValueError, match="positive"):
        macroscopic_average(layered, 12.0, 0.0)


def test_spheres_hold_what_lies_in_them():
    positions = np.array([[0.1, 0.2, 0.1], [2.5, 2.7, 3.0]])
    assert sphere_integrals(np.ones(SHAPE), CELL, positions, 1.7) == pytest.approx(4 / 3 * np.pi * 1.7**3, rel=2e-3)
    density = gaussians(positions, (0.4, 0.3), (2.0, 5.0))
    assert sphere_integrals(density, CELL, positions, 1.8) == pytest.approx([2.0, 5.0], abs=1e-3)
    with pytest.raises(ValueError, match="positive"):
        sphere_integrals(density, CELL, positions, 0)


def test_hirshfeld_charges_of_superposed_atoms_are_those_put_in():
    radius = np.arange(0, 4.001, 0.01)
    free = {
        z: (radius, n * np.exp(-(radius**2) / (2 * s * s)) / (2 * np.pi * s * s) ** 1.5, n)
        for z, n, s in ((11, 1.0, 0.7), (17, 7.0, 0.8))
    }
    positions, numbers = np.array([[0.1, 0.2, 0.1], [2.5, 2.7, 3.0]]), np.array([11, 17])
    neutral = gaussians(positions, (0.7, 0.8), (1.0, 7.0))
    assert hirshfeld(neutral, CELL, positions, numbers, free) == pytest.approx([0, 0], abs=2e-3)
    shares = gaussians(positions, (0.7, 0.8), (0.0, 7.0)) / neutral
    moved = neutral * (1 + 0.1 * shares)
    found = hirshfeld(moved, CELL, positions, numbers, free)
    volume = abs(np.linalg.det(CELL))
    assert found.sum() == pytest.approx(8 - moved.mean() * volume, abs=1e-6)
    assert found[1] == pytest.approx(-0.1 * (neutral * shares**2).mean() * volume, abs=3e-3)
    with pytest.raises(ValueError, match="19"):
        hirshfeld(neutral, CELL, positions, np.array([11, 19]), free)


@pytest.mark.parametrize("method", METHODS)
def test_bader_divides_everything_and_knows_its_atoms(method):
    positions = np.array([[0.1, 0.2, 0.1], [2.5, 2.7, 3.0]])
    density = gaussians(positions, (0.45, 0.45), (2.0, 5.0))
    found = bader(density, CELL, positions, method=method)
    assert found.electrons == pytest.approx([2, 5], abs=0.02)
    inside, point = found.basins >= 0, abs(np.linalg.det(CELL)) / density.size
    assert found.electrons.sum() == pytest.approx(density[inside].sum() * point, rel=1e-12)
    assert found.volumes.sum() == pytest.approx(inside.sum() * point, rel=1e-12)
    assert density[~inside].sum() * point < 2e-5
    assert (found.distance < 0.15).all()
    assert sorted(found.atom) == [0, 1]


SKEWED = np.array([[4.0, 0, 0], [0.3, 4.6, 0], [0.2, 0.5, 5.0]])
SHEARS = ([[1, 0, 0], [5, 1, 0], [0, 0, 1]], [[1, 0, 0], [3, 1, 0], [-2, 4, 1]], [[0, 1, 0], [1, 7, -2], [0, -3, 1]])
FCC = 3.0 * (1 - np.eye(3))
"""Has several bases of one length."""


def resampled(density, shear):
    """The same points' values in the order of sheared cell vectors (all axes have one number of points)."""
    n = len(density)
    index = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), -1) @ np.array(shear) % n
    return density[tuple(np.moveaxis(index, -1, 0))]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("cell", [SKEWED, FCC], ids=["skewed", "fcc"])
def test_bader_of_the_same_points_is_the_same_in_any_cell(method, cell):
    positions = np.array([[0.1, 0.15, 0.2], [0.6, 0.5, 0.55]]) @ cell
    density = gaussians(positions, (0.55, 0.75), (3.0, 5.0), cell, (32, 32, 32))
    plain = bader(density, cell, positions, method=method)
    assert len(plain.maxima) == 2
    if cell is SKEWED:
        assert plain.electrons == pytest.approx([3.06, 4.94], abs=0.015)
    for shear in SHEARS:
        found = bader(resampled(density, shear), np.array(shear) @ cell, positions, method=method)
        assert len(found.maxima) == 2
        assert found.electrons == pytest.approx(plain.electrons, abs=1e-9 if method != "near-grid" else 2e-3)
        assert found.volumes == pytest.approx(plain.volumes, rel=1e-9 if method != "near-grid" else 2e-3)
        assert np.sort(found.distance) == pytest.approx(np.sort(plain.distance), abs=1e-9)


def test_integrals_and_electrostatics_are_the_same_in_any_cell():
    """Also near what is not periodic: along one axis or none."""
    positions, electrons = np.array([[0.4, 0.8, 1.1], [2.7, 2.5, 2.9]]), (3.0, 5.0)
    density = gaussians(positions, (0.35, 0.45), electrons, SKEWED, (32, 32, 32))
    radius = np.arange(0, 4.001, 0.01)
    free = {z: (radius, np.exp(-radius / w), 1.0) for z, w in ((11, 0.5), (17, 0.7))}
    numbers = np.array([11, 17])
    potential, energy = hartree_potential(density, SKEWED), hartree_energy(density, SKEWED)
    spheres = sphere_integrals(density, SKEWED, positions, 1.6)
    charges, dipoles = hirshfeld_moments(density, SKEWED, positions, numbers, free)
    for shear in SHEARS:
        cell, same = np.array(shear) @ SKEWED, resampled(density, shear)
        assert hartree_potential(same, cell) == pytest.approx(resampled(potential, shear), abs=1e-6)
        assert hartree_energy(same, cell) == pytest.approx(energy, rel=1e-9)
        moved = positions + np.array([[2, -1, 3], [0, 4, -2]]) @ SKEWED
        assert sphere_integrals(same, cell, moved, 1.6) == pytest.approx(spheres, rel=1e-9)
        again = hirshfeld_moments(same, cell, moved, numbers, free)
        assert again[0] == pytest.approx(charges, abs=1e-9)
        assert again[1] == pytest.approx(dipoles, abs=1e-9)


def test_hartree_energy_of_a_short_wave_in_a_sheared_cell():
    """A wave that leaves the box of Miller indices of the sheared cell, by its closed form."""
    cell, n = np.diag([4.0, 5.0, 6.0]), 16
    fraction = np.arange(n) / n
    wave = 0.1 * np.cos(2 * np.pi * (6 * fraction[:, None, None] + 5 * fraction[:, None] + 0 * fraction))
    square = (2 * np.pi) ** 2 * ((6 / 4) ** 2 + (5 / 5) ** 2)
    right = 0.5 * 4 * np.pi * 14.399645 / square * 0.1**2 / 2 * 120
    assert hartree_energy(wave, cell) == pytest.approx(right, rel=1e-9)
    for shear in SHEARS:
        assert hartree_energy(resampled(wave, shear), np.array(shear) @ cell) == pytest.approx(right, rel=1e-9)


def test_what_leaves_the_grid_along_an_open_axis_is_told():
    """A Gaussian at the wall and amid its cell; the wall of a periodic axis is none."""
    cell, shape, radius = np.eye(3) * 8.0, (32, 32, 32), np.arange(0, 4.001, 0.01)
    free = {14: (radius, 4 * np.exp(-(radius**2) / (2 * 0.49)) / (2 * np.pi * 0.49) ** 1.5, 4.0)}
    for place, pbc, told in (
        ([4.0, 4, 4], (False, False, False), 0),
        ([4.0, 4, 0.5], (True, True, True), 0),
        ([4.0, 4, 0.5], (False, False, True), 0),
        ([4.0, 4, 0.5], (True, True, False), 1),
        ([0.5, 0.5, 4], (False, False, False), 1),
    ):
        positions = np.array([place])
        away = grid_points(shape, cell) - positions[0]
        away -= np.where(pbc, np.round(away / 8.0) * 8.0, 0)
        density = (4 * np.exp(-np.square(away).sum(1) / (2 * 0.49)) / (2 * np.pi * 0.49) ** 1.5).reshape(shape)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            (charge,) = hirshfeld(density, cell, positions, np.array([14]), free, np.array(pbc))
            assert [("end of its grid" in str(w.message)) for w in caught] == [True] * told
            assert told == (abs(charge) > 0.01)
            (inside,) = sphere_integrals(density, cell, positions, 2.0, np.array(pbc))
            assert len(caught) == 2 * told
            assert told == (abs(inside - 4 * 0.95724) > 0.05)  # chi-squared of three degrees within (2.0 / 0.7)²


def test_maxima_far_from_atoms_are_told_once():
    cell = np.eye(3) * 6.0
    positions = np.array([[2.0, 3, 3], [4.0, 3, 3]])
    bond = gaussians([[3.0, 3, 3]], (0.5,), (2.0,), cell, (40, 40, 40))
    for method in METHODS:
        with pytest.warns(UserWarning, match=r"1 of 1 maxima .* 0.5 Å from any atom .*1.00 Å") as caught:
            bader(bond, cell, positions, method=method)
        assert len(caught) == 1


def test_near_grid_has_no_bias_along_the_axes():
    """Two equal atoms part the cell in halves, however their bond lies to the grid."""
    cell, shape = np.eye(3) * 6.0, (48, 48, 48)
    error = {"near-grid": [], "on-grid": []}
    for direction in ((1, 0.35, 0.2), (0.8, 0.6, 0.1), (0.3, 0.2, 0.9)):
        unit = np.array(direction) / np.linalg.norm(direction)
        positions = np.array([3 - 0.9 * unit, 3 + 0.9 * unit])
        density = gaussians(positions, (0.6, 0.6), (3.0, 3.0), cell, shape)
        points = grid_points(shape, cell)
        inside = (np.abs(points - 3) < 2.4).all(1)
        right = ((points - 3) @ unit > 0).astype(int)
        for method, errors in error.items():
            found = bader(density, cell, positions, method=method)
            basin = found.basins.reshape(-1)
            seen = inside & (basin >= 0)
            errors.append(float((found.atom[basin] != right)[seen].mean()))
    assert max(error["near-grid"]) < 0.015
    assert np.mean(error["near-grid"]) < 0.5 * np.mean(error["on-grid"])


def test_bader_climbs_the_reference_it_is_given():
    atoms = bulk("Si", cubic=True)
    atoms.positions += [0.21, 0.13, 0.07]  # no point of the grid lies on the plane between two atoms
    shape = (24, 24, 24)
    valence = gaussians(atoms.positions, np.full(8, 1.0), np.full(8, 4.0), atoms.cell.array, shape)
    core = gaussians(atoms.positions, np.full(8, 0.35), np.full(8, 10.0), atoms.cell.array, shape)
    found = bader(valence, atoms.cell.array, atoms.positions, reference=valence + core)
    assert found.electrons == pytest.approx(np.full(8, 4.0), abs=0.06)
    with pytest.raises(ValueError, match="equal shapes"):
        bader(valence, atoms.cell.array, atoms.positions, reference=core[:-1])
    with pytest.raises(ValueError, match="equal values"):
        bader(np.ones((6, 6, 6)), np.eye(3), np.zeros((1, 3)))


def test_vacuum_belongs_to_no_atom():
    cell, shape = np.eye(3) * 10.0, (40, 40, 40)
    density = gaussians([[5.0, 5.0, 5.0]], (0.5,), (2.0,), cell, shape)
    found = bader(density, cell, np.array([[5.0, 5.0, 5.0]]))
    assert found.electrons == pytest.approx([2.0], abs=1e-4)
    assert 50 < found.volumes[0] < 200
    assert (found.basins == -2).mean() == pytest.approx(1 - found.volumes[0] / 1000)
    assert len(found.maxima) == 1


@pytest.mark.parametrize("seed", range(4))
def test_facets_fill_the_voronoi_cell(seed):
    steps = 0.1 * (np.eye(3) + 0.3 * np.random.default_rng(seed).standard_normal((3, 3)))
    offsets, share = _facets(steps)
    apart = offsets @ steps
    volume = abs(np.linalg.det(steps))
    assert np.einsum("f,fa,fb->ab", share, apart, apart) == pytest.approx(2 * volume * np.eye(3), abs=1e-6 * volume)
    assert len(share) % 2 == 0


def test_weights_converge_steadily():
    cell = np.array([[6.0, 0, 0], [1.5, 5.5, 0], [0.7, 0.9, 5.0]])
    places, electrons = np.array([[1.503, 1.51, 1.49], [3.803, 1.61, 1.79]]), {}
    for n in (20, 28, 36, 64):
        density = gaussians(places, (0.45, 0.7), (2.0, 4.0), cell, (n, n, n))
        electrons[n] = {m: bader(density, cell, places, method=m).electrons[0] for m in METHODS}
    exact = 2.0843  # of weights at 110 points an axis, and their trend
    off = [electrons[n]["weight"] - exact for n in electrons]
    assert off == sorted(off, reverse=True)
    assert 0 < off[-1] < 0.15 * off[0]
    assert off[-1] < 0.5 * abs(electrons[64]["on-grid"] - exact)


@pytest.mark.parametrize("center", [(0.5, 0.4, 0.5), (0.05, 0.9, 0.0)], ids=["inside", "across faces"])
def test_isosurface_of_a_bump_is_a_sphere(center):
    cell, shape = np.array([[5.0, 0.4, 0], [0, 5.5, -0.3], [0.2, 0, 6.0]]), (50, 55, 60)
    fraction = np.stack(np.meshgrid(*[np.arange(n) / n for n in shape], indexing="ij"), -1) - center
    away = (fraction - np.round(fraction)) @ cell
    field = np.exp(-0.5 * np.square(away).sum(-1))
    vertices, triangles = isosurface(field, cell, float(np.exp(-0.5 * 1.5**2)))
    off = vertices @ np.linalg.inv(cell) - center
    assert np.linalg.norm((off - np.round(off)) @ cell, axis=1) == pytest.approx(1.5, abs=0.01)
    a, b, c = vertices[triangles].transpose(1, 0, 2)
    area = 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1).sum()
    assert area == pytest.approx(4 * np.pi * 1.5**2, rel=0.01)
    assert at_positions(field, cell, vertices) == pytest.approx(np.exp(-0.5 * 1.5**2), rel=1e-3)


@pytest.mark.parametrize("pbc", [(True, True, True), (True, True, False)])
@pytest.mark.parametrize("shear", [[[1, 0, 0], [5, 1, 0], [0, 0, 1]], [[1, 3, 0], [2, 7, 0], [0, 0, 1]]])
def test_isosurface_in_a_sheared_cell_is_a_sphere(pbc, shear):
    cell = np.array(shear) @ SKEWED
    shape, center = (40, 40, 36), np.array([0.3, 0.2, 0.5]) @ SKEWED
    away = minimum_image(grid_points(shape, cell) - center, cell)
    field = np.exp(-np.square(away).sum(1)).reshape(shape)
    vertices, triangles = isosurface(field, cell, float(np.exp(-(1.4**2))), pbc)
    assert np.linalg.norm(minimum_image(vertices - center, cell), axis=1) == pytest.approx(1.4, abs=0.01)
    a, b, c = vertices[triangles].transpose(1, 0, 2)
    area = 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1).sum()
    assert area == pytest.approx(4 * np.pi * 1.4**2, rel=0.01)
    assert at_positions(field, cell, vertices) == pytest.approx(np.exp(-(1.4**2)), rel=0.02)


def test_isosurface_of_a_level_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="between"):
        isosurface(np.zeros((4, 4, 4)), np.eye(3), 0.1)
