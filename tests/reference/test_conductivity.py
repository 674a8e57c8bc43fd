"""Linewidths and conductivities of published force sets: against phono3py 4.8 on the same force constants."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ase_mlx.adapters.phono3py import conductivity, load_third_order
from ase_mlx.adapters.phono3py.crystal import crystal_of
from ase_mlx.phonons import linewidths
from ase_mlx.phonons.accumulation import accumulated, mean_free_paths, normal_and_umklapp
from ase_mlx.phonons.brillouin import Mesh
from ase_mlx.phonons.compression import compress
from ase_mlx.phonons.iterative import iterative_kappa
from ase_mlx.phonons.tetrahedra import delta_weight, tetrahedra
from ase_mlx.phonons.transport import isotope_linewidths, relaxation_times
from ase_mlx.phonons.wigner import coherence_kappa, velocity_operator

DATA = Path(__file__).parent / "data"
TEMPERATURES = np.array([100.0, 300.0, 1000.0])
NUMBERS = (5, 5, 5)


@pytest.fixture(scope="module")
def silicon():
    return load_third_order(DATA / "phono3py-si" / "phono3py_params.yaml.xz")


@pytest.fixture(scope="module")
def crystal(silicon):
    return crystal_of(silicon)


@pytest.fixture(scope="module")
def exact(crystal):
    return relaxation_times(crystal, NUMBERS, TEMPERATURES)


@pytest.fixture
def eigenvectors_as_they_come(monkeypatch):
    """phono3py averages linewidths over degenerate modes, not the elements that they are made of."""
    monkeypatch.setattr(linewidths, "averaged", lambda strengths, *_: strengths)


def of_other_eigenvectors(crystal, seed=0):
    """The crystal with another choice of degenerate modes."""

    def mixed(points, velocities):
        found = crystal.modes(points, velocities)
        vectors, random = found.eigenvectors.copy(), np.random.default_rng(seed)
        for q, f in enumerate(found.frequencies):
            for start in range(len(f)):
                same = np.flatnonzero(np.abs(f - f[start]) < 1e-4)
                if same[0] == start and len(same) > 1:
                    turn = np.linalg.qr(random.normal(size=(len(same), len(same))))[0]
                    vectors[q][:, same] = vectors[q][:, same] @ turn
        return replace(found, eigenvectors=vectors)

    return replace(crystal, modes=mixed)


@pytest.fixture(scope="module")
def compressed(crystal):
    made = compress(crystal, 48)
    return made, relaxation_times(crystal, NUMBERS, TEMPERATURES, made.tensor)


def theirs(ph, **options):
    ph.mesh_numbers = list(NUMBERS)
    ph.init_phph_interaction()
    ph.run_thermal_conductivity(temperatures=TEMPERATURES, **options)
    return ph.thermal_conductivity


def test_exact_route_gives_linewidths_and_conductivity_of_phono3py(silicon, crystal, eigenvectors_as_they_come):
    exact, found = relaxation_times(crystal, NUMBERS, TEMPERATURES), theirs(silicon)
    np.testing.assert_array_equal(found.grid_weights, exact.weights)
    np.testing.assert_allclose(exact.gamma, found.gamma[0], rtol=1e-5, atol=1e-12)
    np.testing.assert_allclose(exact.kappa[:, :3], found.kappa[0, :, :3], rtol=1e-5)


def test_linewidths_do_not_depend_on_the_choice_of_degenerate_modes(silicon, crystal, exact):
    turned = relaxation_times(of_other_eigenvectors(crystal), NUMBERS, TEMPERATURES, couplings=True)
    np.testing.assert_allclose(turned.gamma, exact.gamma, rtol=1e-6, atol=1e-12)
    straight = relaxation_times(crystal, NUMBERS, TEMPERATURES, couplings=True)
    kappas = [iterative_kappa(crystal, one)[0] for one in (turned, straight)]
    np.testing.assert_allclose(*kappas, rtol=1e-6, atol=1e-9)


def test_averaged_elements_are_the_mean_over_choices_of_degenerate_modes(
    silicon, crystal, exact, eigenvectors_as_they_come
):
    choices = [relaxation_times(of_other_eigenvectors(crystal, seed), NUMBERS, TEMPERATURES) for seed in range(16)]
    gamma = np.array([choice.gamma.sum(axis=(1, 2)) for choice in choices])
    error = gamma.std(axis=0, ddof=1) / np.sqrt(len(gamma))
    assert np.all(np.abs(gamma.mean(axis=0) - exact.gamma.sum(axis=(1, 2))) < 4 * error)
    assert np.all(error < 2e-3 * gamma.mean(axis=0))
    kappa = np.array([choice.kappa[:, 0] for choice in choices])  # phono3py's is that of one choice
    away = np.abs(theirs(silicon).kappa[0, :, 0] - kappa.mean(axis=0))
    assert np.all(away < 4 * kappa.std(axis=0, ddof=1))
    assert np.all(np.abs(exact.kappa[:, 0] / kappa.mean(axis=0) - 1) < 5e-3)


def test_boundaries_scatter_as_in_phono3py(silicon, crystal, eigenvectors_as_they_come):
    found = relaxation_times(crystal, NUMBERS, TEMPERATURES, boundary=1e4)
    np.testing.assert_allclose(found.kappa[:, 0], theirs(silicon, boundary_mfp=1.0).kappa[0, :, 0], rtol=1e-5)


def test_isotopes_scatter_as_in_phono3py_but_for_levels_on_corners_of_tetrahedra(silicon, crystal):
    variances, numbers = np.array([2e-4, 2e-4]), (9, 9, 9)
    silicon.mesh_numbers = list(numbers)
    silicon.init_phph_interaction()
    silicon.run_thermal_conductivity(temperatures=[300.0], is_isotope=True, mass_variances=variances)
    peer = silicon.thermal_conductivity.gamma_isotope[0]
    mesh = Mesh(numbers, crystal.group.rotations)
    modes = crystal.modes(mesh.points, False)
    cells = tetrahedra(mesh, np.linalg.inv(crystal.group.lattice).T)
    points, weights = mesh.irreducible
    found = np.stack([isotope_linewidths(int(p), modes, variances, cells) for p in points])
    assert np.sum(weights[:, None] * found) == pytest.approx(np.sum(weights[:, None] * peer), rel=0.03)
    same = np.abs(found - peer) < 1e-3 * peer.max()
    assert np.mean(same) > 0.65  # 0.81 with phonopy's choice of degenerate eigenvectors, which moves theirs by 3 %


def test_iterative_solution_is_near_the_direct_one_of_phono3py(silicon, crystal):
    fine = relaxation_times(crystal, (9, 9, 9), TEMPERATURES[1:2], couplings=True)
    kappa, parts = iterative_kappa(crystal, fine)
    silicon.mesh_numbers = [9, 9, 9]
    silicon.init_phph_interaction()
    silicon.run_thermal_conductivity(is_LBTE=True, temperatures=TEMPERATURES[1:2])
    assert kappa[0, 0] == pytest.approx(silicon.thermal_conductivity.kappa[0, 0, 0], rel=2e-3)
    assert kappa[0, 0] > fine.kappa[0, 0]
    np.testing.assert_allclose(parts.sum(axis=(1, 2)), kappa)
    np.testing.assert_allclose(kappa[0, :3], kappa[0, 0])
    with pytest.raises(ValueError, match="couplings=True"):
        iterative_kappa(crystal, replace(fine, couplings=None))


def test_compressed_conductivity_is_near(exact, compressed):
    made, found = compressed
    assert abs(found.kappa[1, 0] / exact.kappa[1, 0] - 1) < 0.1
    assert made.ratios[0] > 1500


def test_conductivity_is_a_positive_multiple_of_unity_in_a_cubic_crystal(compressed):
    kappa = compressed[1].kappa
    assert np.all(kappa[:, :3] > 0)
    np.testing.assert_allclose(kappa[:, :3], kappa[:, :1].repeat(3, axis=1), rtol=1e-10)
    assert np.abs(kappa[:, 3:]).max() < 1e-10 * kappa.max()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_conductivity_that_a_tensor_misses_by_a_tenth_is_corrected():
    source = DATA / "phono3py-znte" / "phono3py_params.yaml.xz"
    found = conductivity(source, mesh=(15, 15, 15), temperatures=[300], rank="auto")
    assert found.compressed_kappa[0, 0] > 1.04 * 55.175  # phono3py 4.8.2 on this file
    assert found.kappa[0, 0] == pytest.approx(55.175, rel=0.01)
    assert found.kappa[0, 0] == pytest.approx(55.182, abs=1.5 * 1.96 * found.kappa_std[0, 0])
    assert not found.certificate.exact and "not the tensor's" in found.notes[0]


def test_accumulation_ends_at_the_conductivity(exact):
    for by in ("frequency", "mean free path"):
        axis, kappa = accumulated(exact, 300.0, by)
        assert np.all(np.diff(axis) >= 0) and np.all(np.diff(kappa) >= 0)
        assert kappa[-1] == pytest.approx(exact.kappa[1, :3].mean())
    assert mean_free_paths(exact).max() < 1e6
    with pytest.raises(ValueError, match="expected one of"):
        accumulated(exact, 301.0, "frequency")
    with pytest.raises(ValueError, match="mean free path"):
        accumulated(exact, 300.0, "speed")


def test_delta_weights_integrate_to_one(crystal):
    mesh = Mesh(NUMBERS, crystal.group.rotations)
    cells = tetrahedra(mesh, np.linalg.inv(crystal.group.lattice).T)
    values = np.random.default_rng(0).random(15)
    levels = (np.arange(20000) + 0.5) / 20000
    assert np.mean([delta_weight(values, cells.corners, x) for x in levels]) == pytest.approx(1.0, rel=1e-4)
    np.testing.assert_array_equal(cells.neighbours[:, 0], np.arange(125))
    np.testing.assert_array_equal(cells.opposite[cells.opposite], np.arange(15))


def test_level_inside_a_flat_band_has_no_weight(crystal):
    cells = tetrahedra(Mesh(NUMBERS, crystal.group.rotations), np.linalg.inv(crystal.group.lattice).T)
    values = 5.0 + 1e-14 * np.random.default_rng(0).random(15)
    assert delta_weight(values, cells.corners, float(np.median(values))) == 0.0


def test_triplets_conserve_momentum_and_stand_for_all_pairs(crystal):
    mesh = Mesh((4, 4, 4), crystal.group.rotations)
    points, weights = mesh.irreducible
    assert weights.sum() == 64
    for point in points:
        pairs, counts = mesh.triplets(int(point))
        total = mesh.points[point] + mesh.points[pairs[:, 0]] + mesh.points[pairs[:, 1]]
        np.testing.assert_allclose(total, np.rint(total), atol=1e-12)
        assert counts.sum() == 64


def test_mesh_that_breaks_the_point_group_is_refused(crystal):
    with pytest.raises(ValueError, match="breaks the point group"):
        relaxation_times(crystal, (5, 5, 4), TEMPERATURES)
    with pytest.raises(ValueError, match="three positive integers"):
        Mesh((5, 5, 0), crystal.group.rotations)


def test_rank_that_is_none_is_refused(crystal):
    with pytest.raises(ValueError, match="rank"):
        compress(crystal, 0)


def test_normal_and_umklapp_parts_are_those_of_phono3py(silicon, crystal, eigenvectors_as_they_come):
    exact = relaxation_times(crystal, NUMBERS, TEMPERATURES)
    normal, umklapp = normal_and_umklapp(exact, crystal.group.lattice)
    theirs_normal, theirs_umklapp = theirs(silicon, is_N_U=True).get_gamma_N_U()
    np.testing.assert_allclose(normal, theirs_normal[0, 1], rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(umklapp, theirs_umklapp[0, 1], rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(normal + umklapp, exact.gamma[1], rtol=1e-10, atol=1e-15)


def test_velocity_operator_has_group_velocities_on_its_diagonal(crystal, exact):
    f = exact.modes.frequencies
    alone = np.sum(np.abs(f[:, :, None] - f[:, None]) < 1e-3, axis=-1) == 1
    found = np.einsum("qajj->qja", velocity_operator(crystal, exact.modes.points))
    np.testing.assert_allclose(found[alone].real, exact.modes.velocities[alone], atol=1e-3)
    np.testing.assert_allclose(found.imag, 0, atol=1e-6)


def test_coherences_are_near_those_of_phono3py_and_do_not_depend_on_the_choice_of_degenerate_modes(
    silicon, crystal, exact
):
    more = coherence_kappa(crystal, exact)
    total = theirs(silicon, transport_type="SMM19").kappa[0]
    np.testing.assert_allclose((exact.kappa + more)[:, 0], total[:, 0], rtol=1e-2)  # at degenerate modes theirs does
    assert np.all(more[:, 0] > 0) and np.abs(more[:, 3:]).max() < 1e-9

    np.testing.assert_allclose(coherence_kappa(of_other_eigenvectors(crystal), exact), more, atol=1e-6)
