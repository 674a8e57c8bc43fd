"""Laws of four-phonon scattering: counting, symmetry, limits, and a golden rule summed by hand."""

import itertools
import math

import numpy as np
import pytest
from ase.build import bulk

from ase_mlx.adapters.ase.supercells import symmetry_of
from ase_mlx.phonons import four_phonon
from ase_mlx.phonons.brillouin import Mesh
from ase_mlx.phonons.compressed import CompressedTensor, Orbit
from ase_mlx.phonons.four_phonon import CompressedQuartic, four_phonon_linewidths, quartets
from ase_mlx.phonons.linewidths import shared
from ase_mlx.phonons.modes import Modes, occupation
from ase_mlx.phonons.orbits import SpaceGroup
from ase_mlx.phonons.tensor_fit import kinds

LOWEST = 1e-4
TEMPERATURES = np.array([300.0, 4000.0, 8000.0])


def springs(group: SpaceGroup, points: np.ndarray, mass: float = 28.0) -> Modes:
    """Phonons of diamond with springs along and across nearest bonds, velocities by differences."""

    def matrices(q: np.ndarray) -> np.ndarray:
        found = np.zeros((len(q), 6, 6), dtype=complex)
        for atom, other in enumerate((1, 0)):
            for cell in itertools.product((-1, 0, 1), repeat=3):
                bond = (np.array(cell) + group.positions[other] - group.positions[atom]) @ group.lattice
                length = np.linalg.norm(bond)
                if length > 2.5:
                    continue
                spring = 6.0 * np.outer(bond, bond) / length**2 + 0.8 * np.eye(3)
                a, b = slice(3 * atom, 3 * atom + 3), slice(3 * other, 3 * other + 3)
                found[:, a, a] += spring
                phase = np.exp(2j * np.pi * q @ (np.array(cell) + group.positions[other] - group.positions[atom]))
                found[:, a, b] -= phase[:, None, None] * spring
        return found / mass

    def frequencies(q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values, vectors = np.linalg.eigh(matrices(q))
        return 15.633 * np.sqrt(np.maximum(values, 0)), vectors

    values, vectors = frequencies(points)
    step = 1e-5
    slopes = [(frequencies(points + step * e)[0] - frequencies(points - step * e)[0]) / (2 * step) for e in np.eye(3)]
    velocities = np.stack(slopes, axis=-1) @ group.lattice
    even = [shared(v.T, f).T for v, f in zip(velocities, values, strict=True)]  # those of degenerate modes are any
    return Modes(points, values, vectors, np.stack(even))


@pytest.fixture(scope="module")
def group():
    atoms = bulk("Si")
    found = symmetry_of(atoms, 1e-5)
    return SpaceGroup(atoms.cell.array, atoms.get_scaled_positions(), found.rotations, found.translations)


@pytest.fixture(scope="module")
def tensor(group):
    random = np.random.default_rng(0)
    orbits = []
    for kind in kinds(group, 2.5, 4):
        made = kind.orbit(random.normal(size=(2, kind.patterns.shape[-1])))
        orbits.append(Orbit(made.sites, made.functions, made.operations, np.array([1.0, -1.0])))
    return CompressedTensor(4, group, tuple(orbits))


@pytest.fixture(scope="module")
def mesh(group):
    return Mesh((3, 3, 3), group.rotations)


@pytest.fixture(scope="module")
def modes(group, mesh):
    return springs(group, mesh.points)


@pytest.fixture(scope="module")
def widths(group, tensor, mesh, modes):
    squares = CompressedQuartic(tensor, mesh, modes.amplitudes(np.array([28.0, 28.0]), LOWEST))
    occupations = occupation(modes.frequencies, TEMPERATURES, LOWEST)
    return lambda seed=0: four_phonon_linewidths(
        mesh, modes, group, occupations, squares, LOWEST, seed
    )  # fmt: skip


def degenerate(gamma, mesh, modes):
    return np.stack([shared(gamma[:, k], modes.frequencies[q]) for k, q in enumerate(mesh.irreducible[0])], axis=1)


def test_quartets_stand_for_all_pairs_and_conserve_momentum(mesh):
    for point in mesh.irreducible[0]:
        found, counts, drawn = quartets(mesh, int(point), np.random.default_rng(0))
        assert counts.sum() == len(mesh.addresses) ** 2 and not drawn
        total = mesh.points[point] + mesh.points[found].sum(axis=1)
        assert np.abs(total - np.rint(total)).max() < 1e-12


def test_a_sum_by_hand_over_all_ordered_quartets(group, tensor, mesh, modes, widths):
    """Every process of Fermi's golden rule by itself, without exchange or point group."""
    point = int(mesh.irreducible[0][-1])
    squares = CompressedQuartic(tensor, mesh, modes.amplitudes(np.array([28.0, 28.0]), LOWEST))
    size = len(mesh.addresses)
    second, third = (x.ravel() for x in np.meshgrid(np.arange(size), np.arange(size)))
    fourth = mesh.index(-(mesh.addresses[point] + mesh.addresses[second] + mesh.addresses[third]))
    strength = squares(point, np.column_stack([second, third, fourth]))
    n = occupation(modes.frequencies, TEMPERATURES[:1], LOWEST)[..., 0]
    edge = np.linalg.norm(np.linalg.inv(group.lattice)[:, 0]) / 3  # of a cubic crystal: three equal sums of squares
    steps = modes.velocities * edge
    others = [(second, (slice(None), slice(None), None, None)), (third, (slice(None), None, slice(None), None))]
    others.append((fourth, (slice(None), None, None, slice(None))))
    f, g, occupied = ([x[q][axes] for q, axes in others] for x in (modes.frequencies, steps, n))
    total = np.zeros(6)
    for signs in four_phonon.SIGNS:
        ahead = math.prod(occupied[k] + (signs[k] > 0) for k in range(3))
        change = [signs[k] * g[k] for k in range(3)]
        pairs = ((change[a] - change[b]) ** 2 for a, b in ((0, 1), (0, 2), (1, 2)))
        width = np.sqrt(sum(p.sum(axis=-1) for p in pairs) / 18)
        width = np.maximum(width, four_phonon.NARROWEST * modes.frequencies.max())
        back = math.prod(occupied[k] + (signs[k] < 0) for k in range(3))
        for band in range(6):
            off = (modes.frequencies[point, band] - sum(signs[k] * f[k] for k in range(3))) / width
            delta = np.where(np.abs(off) <= four_phonon.TAIL, np.exp(-(off**2) / 2), 0) / (width * np.sqrt(2 * np.pi))
            live = (f[0] > LOWEST) & (f[1] > LOWEST) & (f[2] > LOWEST)
            total[band] += np.sum(strength[:, band] * (ahead - back) * delta / 0.9973002 * live)
    total *= four_phonon.RATE * four_phonon.STRENGTH / size**2
    found = degenerate(widths().gamma, mesh, modes)[0, -1]
    np.testing.assert_allclose(found, shared(total, modes.frequencies[point]), rtol=1e-4)


def test_widths_do_not_depend_on_the_choice_of_degenerate_modes(group, tensor, mesh, modes):
    vectors, velocities, random = modes.eigenvectors.copy(), modes.velocities.copy(), np.random.default_rng(0)
    for q, f in enumerate(modes.frequencies):
        for start in range(len(f)):
            same = np.flatnonzero(np.abs(f - f[start]) < 1e-4)
            if same[0] == start and len(same) > 1:
                vectors[q][:, same] @= np.linalg.qr(random.normal(size=(len(same), len(same))))[0]
                velocities[q, same] *= np.linspace(0.5, 2.0, len(same))[:, None]  # around the point they part
    gammas = []
    for choice in (modes.eigenvectors, vectors):
        those = Modes(modes.points, modes.frequencies, choice, velocities)
        squares = CompressedQuartic(tensor, mesh, those.amplitudes(np.array([28.0, 28.0]), LOWEST))
        occupations = occupation(modes.frequencies, TEMPERATURES, LOWEST)
        gamma = four_phonon_linewidths(mesh, those, group, occupations, squares, LOWEST).gamma
        gammas.append(degenerate(gamma, mesh, modes))
    np.testing.assert_allclose(*gammas, rtol=1e-4)


def test_a_draw_of_quartets_is_right_on_average(widths, mesh, modes, monkeypatch):
    exact = degenerate(widths().gamma, mesh, modes)[0]
    monkeypatch.setattr(four_phonon, "QUARTETS", 10)
    draws = [widths(seed) for seed in range(60)]
    mean = np.mean([degenerate(d.gamma, mesh, modes)[0] for d in draws], axis=0)
    counted = exact > 0
    assert np.abs(mean[counted] / exact[counted] - 1).mean() < 0.15
    spread = np.std([d.gamma[0] for d in draws], axis=0)[counted]
    told = np.mean([d.std[0] for d in draws], axis=0)[counted]
    assert 0.6 < np.median(told[spread > 0] / spread[spread > 0]) < 1.6


def test_hot_linewidths_grow_as_the_temperature_squared(widths):
    gamma = widths().gamma
    assert np.all(gamma >= 0)
    counted = gamma[1] > 0
    np.testing.assert_allclose(gamma[2][counted] / gamma[1][counted], 4, rtol=0.01)
