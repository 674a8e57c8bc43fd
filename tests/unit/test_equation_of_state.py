import numpy as np
import pytest

from ase_mlx.phonons.equation_of_state import BirchMurnaghan, fit_birch_murnaghan

SILICON = BirchMurnaghan(np.array(163.9), np.array(-867.3), np.array(0.55), np.array(4.2))


def test_fit_recovers_a_known_curve():
    volumes = np.linspace(150, 180, 7)
    fit = fit_birch_murnaghan(volumes, SILICON(volumes))
    assert fit.volume == pytest.approx(163.9, rel=1e-8)
    assert fit.energy == pytest.approx(-867.3, rel=1e-12)
    assert fit.bulk_modulus == pytest.approx(0.55, rel=1e-7)
    assert fit.derivative == pytest.approx(4.2, rel=1e-6)


def test_bulk_modulus_is_the_curvature_of_the_curve():
    v, step = 163.9, 0.05
    below, centre, above = SILICON(np.array([v - step, v, v + step]))
    assert v * (below - 2 * centre + above) / step**2 == pytest.approx(0.55, rel=1e-4)


def test_members_are_fitted_one_by_one():
    volumes = np.linspace(150, 180, 9)
    rng = np.random.default_rng(0)
    energies = SILICON(volumes) + 1e-3 * rng.standard_normal((2, 3, 9))
    together = fit_birch_murnaghan(volumes, energies)
    alone = fit_birch_murnaghan(volumes, energies[1, 2])
    assert together.volume.shape == (2, 3)
    np.testing.assert_allclose(together.bulk_modulus[1, 2], alone.bulk_modulus, rtol=1e-10)
    np.testing.assert_allclose(together(volumes)[1, 2], alone(volumes), rtol=1e-12)


def test_no_minimum_inside_is_an_error():
    volumes = np.linspace(170, 190, 7)
    with pytest.raises(ValueError, match="no minimum between 170 and 190"):
        fit_birch_murnaghan(volumes, SILICON(volumes))
    with pytest.raises(ValueError, match="no minimum"):
        fit_birch_murnaghan(volumes, -SILICON(volumes))


def test_too_few_volumes_is_an_error():
    with pytest.raises(ValueError, match="at least five volumes, got 4"):
        fit_birch_murnaghan(np.linspace(150, 180, 4), np.zeros(4))
