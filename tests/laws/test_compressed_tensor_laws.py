"""Whatever its mode functions are, a compressed tensor has the symmetries of force constants, to rounding."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from ase_mlx.adapters.ase.supercells import symmetry_of
from ase_mlx.phonons.compressed import CompressedTensor
from ase_mlx.phonons.orbits import SpaceGroup
from ase_mlx.phonons.tensor_fit import kinds

TRICLINIC = Atoms(
    "SiGe", cell=[[3.9, 0, 0], [0.7, 4.2, 0], [0.4, 0.9, 4.6]], scaled_positions=[[0, 0, 0], [0.4, 0.5, 0.6]]
)
CRYSTALS = {
    "diamond": bulk("Si"),
    "rock salt": bulk("NaCl", "rocksalt", a=5.6),
    "wurtzite": bulk("ZnO", "wurtzite", a=3.25, c=5.2),
    "hcp": bulk("Mg"),
    "triclinic": TRICLINIC,
}


@pytest.fixture(params=CRYSTALS, scope="module")
def tensor(request):
    atoms = CRYSTALS[request.param]
    found = symmetry_of(atoms, 1e-5)
    group = SpaceGroup(atoms.cell.array, atoms.get_scaled_positions(), found.rotations, found.translations)
    random = np.random.default_rng(0)
    orbits = tuple(kind.orbit(random.normal(size=(2, kind.patterns.shape[-1]))) for kind in kinds(group, 4.5))
    return CompressedTensor(3, group, orbits)


@pytest.fixture(scope="module")
def points():
    q = np.random.default_rng(1).random((2, 3))
    return np.concatenate([q, -q.sum(axis=0, keepdims=True)])


def element(tensor, points):
    a, b, c = tensor.transform(points)
    return np.einsum("r,ir,jr,kr->ijk", tensor.signs, a, b, c)


def close(a, b, scale):
    assert np.abs(a - b).max() <= 1e-11 * np.abs(scale).max()


def test_legs_may_be_exchanged(tensor, points):
    here = element(tensor, points)
    close(element(tensor, points[[1, 0, 2]]).transpose(1, 0, 2), here, here)
    close(element(tensor, points[[0, 2, 1]]).transpose(0, 2, 1), here, here)


def test_reciprocal_vectors_change_phases_alone(tensor, points):
    shifts = np.array([[1, 0, 0], [0, -2, 0], [-1, 2, 0]])
    here = element(tensor, points)
    a, b, c = np.repeat(np.exp(2j * np.pi * shifts @ tensor.group.positions.T), 3, axis=1)
    close(element(tensor, points + shifts), np.einsum("i,j,k,ijk->ijk", a, b, c, here), here)


def test_moving_the_whole_crystal_costs_nothing(tensor, points):
    still = element(tensor, np.array([np.zeros(3), points[0], -points[0]]))
    moved = still.reshape(-1, 3, *still.shape[1:]).sum(axis=0)
    close(moved, 0, still)


def test_space_group_holds(tensor, points):
    group, here = tensor.group, element(tensor, points)
    atoms = len(group.positions)
    places = np.column_stack([np.zeros((atoms, 3), int), np.arange(atoms)])
    for operation, rotation in enumerate(group.rotations):
        target = group.move(operation, np.zeros(3, int), places)[:, 3]
        matrix = np.zeros((atoms, 3, atoms, 3))
        matrix[target, :, np.arange(atoms), :] = group.cartesian[operation]
        matrix = matrix.reshape(3 * atoms, -1)
        mapped = np.einsum("ia,jb,kc,abc->ijk", matrix, matrix, matrix, here)
        close(element(tensor, points @ np.linalg.inv(rotation)), mapped, here)


def test_opposite_waves_are_conjugate(tensor, points):
    here = element(tensor, points)
    close(element(tensor, -points), here.conj(), here)
