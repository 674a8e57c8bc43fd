"""Supercells, thermal displacements, and tensors fitted to forces."""

from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import bulk
from phonopy.phonon.random_displacements import RandomDisplacements
from phonopy.structure.cells import get_supercell

from ase_mlx.adapters.ase.supercells import symmetry_of
from ase_mlx.adapters.phono3py import load_third_order
from ase_mlx.adapters.phono3py.crystal import crystal_of, harmonic_of
from ase_mlx.adapters.phono3py.learned import supercell_of
from ase_mlx.adapters.phonopy.cells import to_phonopy
from ase_mlx.phonons.compressed import CompressedTensor, Orbit
from ase_mlx.phonons.force_fit import ForceFit, ForceSample, fit_forces, force_error
from ase_mlx.phonons.orbits import SpaceGroup
from ase_mlx.phonons.supercell import Supercell, thermal_displacements
from ase_mlx.phonons.tensor_fit import kinds

DATA = Path(__file__).parents[1] / "reference" / "data"


@pytest.fixture(scope="module")
def silicon():
    return load_third_order(DATA / "phono3py-si" / "phono3py_params.yaml.xz")


@pytest.fixture(scope="module")
def rock_salt():
    atoms = bulk("NaCl", "rocksalt", a=5.6)
    found = symmetry_of(atoms, 1e-5)
    return SpaceGroup(atoms.cell.array, atoms.get_scaled_positions(), found.rotations, found.translations)


@pytest.mark.parametrize(
    "shape", [np.diag([2, 2, 3]), [[-1, 1, 1], [1, -1, 1], [1, 1, -1]], [[2, 1, 0], [0, 2, 1], [1, 0, 3]]]
)
def test_every_site_of_a_crystal_has_its_atom(rock_salt, shape):
    atoms = bulk("NaCl", "rocksalt", a=5.6)
    cell = get_supercell(to_phonopy(atoms), shape)
    found = Supercell.of(rock_salt.lattice, rock_salt.positions, cell.cell, cell.positions)
    np.testing.assert_array_equal(found.index(found.sites), np.arange(len(cell)))
    moved = found.sites.copy()
    moved[:, :3] += 3 * found.matrix[1] - found.matrix[2]
    np.testing.assert_array_equal(found.index(moved), np.arange(len(cell)))
    assert len(found.translations) * 2 == len(cell)
    waves = found.wave_vectors
    assert len(waves) == len(found.translations)
    turns = waves @ found.matrix.T
    assert np.abs(turns - np.rint(turns)).max() < 1e-12


def test_thermal_displacements_spread_as_those_of_phonopy(silicon):
    crystal, cell = crystal_of(silicon), supercell_of(silicon)
    ours = thermal_displacements(crystal, cell, 300.0, 20_000, 0).reshape(20_000, -1)
    harmonic = harmonic_of(silicon)
    theirs = RandomDisplacements(harmonic.supercell, harmonic.primitive, harmonic.force_constants)
    theirs.run_correlation_matrix(300.0)
    exact = theirs.uu.transpose(0, 2, 1, 3).reshape(ours.shape[1], -1)
    assert np.linalg.norm(np.cov(ours.T) - exact) / np.linalg.norm(exact) < 0.1
    assert np.var(ours) == pytest.approx(np.trace(exact) / len(exact), rel=0.01)


def random_tensor(group, order, radius):
    random = np.random.default_rng(order)
    orbits = []
    for kind in kinds(group, radius, order):
        made = kind.orbit(random.normal(size=(2, kind.patterns.shape[-1])))
        signs = np.array([1.0, -1.0 if order % 2 == 0 else 1.0])
        orbits.append(Orbit(made.sites, made.functions, made.operations, signs))
    return CompressedTensor(order, group, tuple(orbits))


def by_hand(tensor, cell, moves):
    """Forces as minus the derivative of E = Σ s (A·u)ⁿ/n! over all images, one by one."""
    forces = np.zeros_like(moves)
    n = tensor.order
    for orbit in tensor.orbits:
        for operation in orbit.operations:
            sites = tensor.group.move(int(operation), np.zeros(3, dtype=int), orbit.sites)
            for shift in cell.translations:
                place = sites.copy()
                place[:, :3] += shift
                atoms = cell.index(place)
                for function, sign in zip(orbit.functions, orbit.signs, strict=True):
                    turned = function @ tensor.group.cartesian[operation].T
                    along = np.einsum("ksa,sa->k", moves[:, atoms], turned)
                    slope = -sign * along ** (n - 1) / np.prod(range(1, n))
                    np.add.at(forces, (slice(None), atoms), slope[:, None, None] * turned)
    return forces


@pytest.fixture(scope="module")
def cell(rock_salt):
    atoms = bulk("NaCl", "rocksalt", a=5.6)
    made = get_supercell(to_phonopy(atoms), np.diag([3, 3, 3]))
    return Supercell.of(rock_salt.lattice, rock_salt.positions, made.cell, made.positions)


@pytest.mark.parametrize("order", [3, 4])
def test_forces_are_those_of_the_energy_and_are_learned_back(rock_salt, cell, order):
    tensor = random_tensor(rock_salt, order, 3.0)
    random = np.random.default_rng(0)
    moves, probes = random.normal(size=(30, 54, 3)), random.normal(size=(100, 54, 3))
    sample = ForceSample(moves, by_hand(tensor, cell, moves), probes)
    assert force_error(tensor, cell, sample) < 1e-12
    assert np.abs(sample.forces.sum(axis=1)).max() < 1e-10 * np.abs(sample.forces).max()
    made = fit_forces(rock_salt, cell, sample, 4.1, order, tolerance=0.1)
    assert made.reached and made.held_out < 0.1
    assert made.full_size == (3 * 54) ** order


def test_the_derivative_of_a_fit_is_its_derivative(rock_salt, cell):
    random = np.random.default_rng(1)
    moves, probes = random.normal(size=(4, 54, 3)), random.normal(size=(5, 54, 3))
    fit = ForceFit(4, rock_salt, cell, kinds(rock_salt, 3.0, 4), ForceSample(moves, moves, probes), 0)
    fit.grow(2)
    slopes, off = fit._linearised()
    flat = np.concatenate([c.flatten().numpy() for c in fit.coefficients])
    for k in (0, len(flat) // 2, len(flat) - 1):
        step = torch.zeros(len(flat))
        step[k] = 1e-2 * float(np.abs(flat).max())
        up, down = (fit._works(fit._unpacked(torch.from_numpy(flat) + s * step)).flatten() for s in (1, -1))
        slope = (up - down) / (2 * step[k])
        assert float((slope - slopes[:, k]).norm() / slopes[:, k].norm()) < 1e-2
    assert float((fit._works(fit.coefficients) - fit.works).flatten().sub(off).norm()) < 1e-5
