import numpy as np
import pytest
from pymatgen.analysis.elasticity import ElasticTensor
from pymatgen.core import Lattice, Structure
from scipy.spatial.transform import Rotation

from ase_mlx.phonons.elasticity import (
    elastic_debye_temperature,
    full_tensor,
    moduli,
    relaxed_ions,
    sound_velocities,
    stiffness_eigenvalues,
    strain_matrix,
    symmetrised,
    young_modulus,
)
from ase_mlx.phonons.thermal import BOLTZMANN, PLANCK

DENSITY = 2.33 / 1.66053904  # amu/Å³: silicon


def cubic(c11, c12, c44):
    tensor = np.diag([c11] * 3 + [c44] * 3).astype(float)
    tensor[:3, :3] += c12 * (1 - np.eye(3))
    return tensor


def triclinic(seed=0):
    """A positive definite tensor without symmetry, GPa."""
    root = np.random.default_rng(seed).normal(size=(6, 6))
    return 20 * root @ root.T + 60 * np.eye(6)


def test_moduli_of_a_tensor_without_symmetry_are_pymatgens():
    ours, theirs = moduli(triclinic()), ElasticTensor.from_voigt(triclinic())
    assert ours.bulk_voigt == pytest.approx(theirs.k_voigt)
    assert ours.bulk_reuss == pytest.approx(theirs.k_reuss)
    assert ours.bulk == pytest.approx(theirs.k_vrh)
    assert ours.shear_voigt == pytest.approx(theirs.g_voigt)
    assert ours.shear_reuss == pytest.approx(theirs.g_reuss)
    assert ours.shear == pytest.approx(theirs.g_vrh)
    assert ours.young * 1e9 == pytest.approx(theirs.y_mod)
    assert ours.poisson == pytest.approx(theirs.homogeneous_poisson)
    assert ours.anisotropy == pytest.approx(theirs.universal_anisotropy)
    several = moduli(np.stack([triclinic(0), triclinic(1)]))
    assert several.young[0] == pytest.approx(ours.young)


def test_bounds_of_a_cubic_crystal_have_closed_forms():
    c11, c12, c44 = 165.7, 63.9, 79.6  # silicon
    found = moduli(cubic(c11, c12, c44))
    assert found.bulk_voigt == pytest.approx((c11 + 2 * c12) / 3)
    assert found.bulk_reuss == pytest.approx((c11 + 2 * c12) / 3)
    assert found.shear_voigt == pytest.approx((c11 - c12 + 3 * c44) / 5)
    assert found.shear_reuss == pytest.approx(5 * (c11 - c12) * c44 / (4 * c44 + 3 * (c11 - c12)))


def test_young_modulus_along_the_axes_of_a_cubic_crystal():
    c11, c12, c44 = 165.7, 63.9, 79.6
    found = young_modulus(cubic(c11, c12, c44), np.array([[1.0, 0, 0], [0, 0, -1], [1, 1, 1]]))
    along = (c11 - c12) * (c11 + 2 * c12) / (c11 + c12)
    diagonal = 3 * c44 * (c11 + 2 * c12) / (c11 + 2 * c12 + c44)
    np.testing.assert_allclose(found, [along, along, diagonal], rtol=1e-12)  # 130 and 188 GPa


def test_strains_of_a_cubic_crystal_without_other_stress():
    np.testing.assert_allclose(
        stiffness_eigenvalues(cubic(165.7, 63.9, 79.6)), [101.8, 101.8, 159.2, 159.2, 159.2, 293.5], rtol=1e-12
    )
    assert stiffness_eigenvalues(cubic(60, 70, 30))[0] == pytest.approx(-10)  # C11 < C12: Born's criterion


def test_stiffness_does_not_depend_on_the_axes():
    turn = Rotation.random(rng=3).as_matrix()
    whole = np.einsum("ai,bj,ck,dl,ijkl->abcd", turn, turn, turn, turn, full_tensor(triclinic()))
    turned = ElasticTensor(whole).voigt
    np.testing.assert_allclose(stiffness_eigenvalues(turned), stiffness_eigenvalues(triclinic()), rtol=1e-10)
    assert elastic_debye_temperature(turned, DENSITY, 0.05) == pytest.approx(
        elastic_debye_temperature(triclinic(), DENSITY, 0.05), rel=2e-4
    )


def test_sound_along_the_axes_of_a_cubic_crystal():
    c11, c12, c44 = 165.7, 63.9, 79.6
    found = sound_velocities(cubic(c11, c12, c44), DENSITY, np.array([[1.0, 0, 0], [1, 1, 0], [1, 1, 1]]))
    known = [
        [c44, c44, c11],
        [(c11 - c12) / 2, c44, (c11 + c12 + 2 * c44) / 2],
        [(c11 - c12 + c44) / 3, (c11 - c12 + c44) / 3, (c11 + 2 * c12 + 4 * c44) / 3],
    ]
    np.testing.assert_allclose(found, np.sqrt(np.array(known) / 2.33), rtol=1e-6)  # GPa over g/cm³: km²/s²


def test_sound_of_a_tensor_without_symmetry_solves_christoffels_equation_as_pymatgen_writes_it():
    tensor, direction = triclinic(), np.array([0.3, -0.5, 0.8])
    whole, n = ElasticTensor.from_voigt(tensor), direction / np.linalg.norm(direction)
    known = np.sqrt(np.linalg.eigvalsh(whole.einsum_sequence([n, n], "ijkl,j,l->ik")) / 2.33)
    np.testing.assert_allclose(sound_velocities(tensor, DENSITY, direction[None])[0], known, rtol=1e-6)


def test_debye_temperature_of_an_isotropic_solid_and_of_silicon():
    bulk, shear, atoms = 76.0, 26.0, 0.0602
    tensor = cubic(bulk + 4 * shear / 3, bulk - 2 * shear / 3, shear)
    long, transverse = 10 * np.sqrt((bulk + 4 * shear / 3) / 2.7), 10 * np.sqrt(shear / 2.7)  # THz Å
    mean = ((long**-3 + 2 * transverse**-3) / 3) ** (-1 / 3)
    known = PLANCK / BOLTZMANN * (3 * atoms / (4 * np.pi)) ** (1 / 3) * mean
    assert elastic_debye_temperature(tensor, 2.7 / 1.66053904, atoms) == pytest.approx(known, rel=1e-6)
    # constants at 4.2 K of J. J. Hall, Phys. Rev. 161, 756 (1967); heat capacities give 645 K (Kittel)
    silicon = Structure.from_spacegroup("Fd-3m", Lattice.cubic(5.4298), ["Si"], [[0, 0, 0]])
    density, number = silicon.density / 1.66053904, 8 / silicon.volume
    assert elastic_debye_temperature(cubic(167.54, 64.92, 80.24), density, number) == pytest.approx(648, abs=3)
    assert np.isnan(elastic_debye_temperature(cubic(60, 70, 30), DENSITY, 0.05))


def test_a_point_group_leaves_as_many_constants_as_the_textbook_says():
    """Born and Huang's counts, by the rank of the projector."""
    turns = {
        "1": ([], 21),
        "2": ([[0, np.pi, 0]], 13),
        "222": ([[np.pi, 0, 0], [0, np.pi, 0]], 9),
        "3": ([[0, 0, 2 * np.pi / 3]], 7),
        "32": ([[0, 0, 2 * np.pi / 3], [np.pi, 0, 0]], 6),
        "4": ([[0, 0, np.pi / 2]], 7),
        "422": ([[0, 0, np.pi / 2], [np.pi, 0, 0]], 6),
        "6": ([[0, 0, np.pi / 3]], 5),
        "23": ([[np.pi, 0, 0], [0, np.pi, 0], 2 * np.pi / 3 / np.sqrt(3) * np.ones(3)], 3),
    }
    basis = np.eye(36).reshape(36, 6, 6)
    for name, (generators, count) in turns.items():
        group = closed([Rotation.from_rotvec(turn).as_matrix() for turn in generators])
        projected = symmetrised(basis, group).reshape(36, 36)
        assert np.linalg.matrix_rank(projected, tol=1e-8) == count, name
        np.testing.assert_allclose(symmetrised(symmetrised(basis, group), group).reshape(36, 36), projected, atol=1e-12)


def closed(generators):
    group = [np.eye(3)]
    while True:
        more = [a @ b for a in [*group, *generators] for b in [np.eye(3), *generators]]
        new = [m for m in more if not any(np.allclose(m, known) for known in group)]
        if not new:
            return np.array(group)
        group.append(new[0])


def test_ions_that_follow_solve_the_two_springs():
    """Springs a and b along x, atoms in turn: they stretch like one behind the other."""
    volume, length, a, b = 20.0, 5.0, 7.0, 3.0
    clamped, coupling, hessian = np.zeros((6, 6)), np.zeros((2, 3, 6)), np.zeros((2, 3, 2, 3))
    clamped[0, 0] = (a + b) * (length / 2) ** 2 / volume
    coupling[:, 0, 0] = np.array([1, -1]) * (a - b) * length / 2
    hessian[:, 0, :, 0] = (a + b) * np.array([[1, -1], [-1, 1]])
    hessian[:, 1, :, 1] = hessian[:, 2, :, 2] = np.array([[1, -1], [-1, 1]])
    tensor, wells = relaxed_ions(clamped, coupling, hessian, volume)
    assert tensor[0, 0] == pytest.approx(a * b / (a + b) * length**2 / volume)
    np.testing.assert_allclose(wells, [2, 2, 2 * (a + b)])


def test_strains_are_symmetric_and_engineering():
    np.testing.assert_allclose(strain_matrix(0, 0.01), np.diag([0.01, 0, 0]))
    np.testing.assert_allclose(strain_matrix(3, 0.01), [[0, 0, 0], [0, 0, 0.005], [0, 0.005, 0]])
