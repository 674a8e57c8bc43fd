import numpy as np
import pytest

from ase_mlx.phonons.equation_of_state import BirchMurnaghan, fit_birch_murnaghan, fit_vinet

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


def vinet(volumes, v0, e0, b0, b1):
    a, x = 1.5 * (b1 - 1), np.cbrt(volumes / v0) - 1
    return e0 + 9 * b0 * v0 / a**2 * (1 - (1 + a * x) * np.exp(-a * x))


def test_vinet_curves_come_back_row_by_row():
    volumes = np.linspace(36, 46, 9)
    rows = np.array([vinet(volumes, v0, -8.0 * v0, 0.5 + 0.01 * v0, 4.0 + 0.02 * v0) for v0 in (38.0, 40.0, 44.0)])
    fit = fit_vinet(volumes, rows.reshape(3, 1, 9))
    np.testing.assert_allclose(fit.volume.ravel(), [38, 40, 44], rtol=1e-9)
    np.testing.assert_allclose(fit.energy.ravel(), [-304, -320, -352], rtol=1e-12)
    np.testing.assert_allclose(fit.bulk_modulus.ravel(), [0.88, 0.9, 0.94], rtol=1e-7)
    np.testing.assert_allclose(fit.derivative.ravel(), [4.76, 4.8, 4.88], rtol=1e-6)


def test_vinet_is_unknown_where_there_is_no_minimum():
    volumes = np.linspace(36, 46, 9)
    inside, outside = vinet(volumes, 40.0, 0.0, 0.6, 4.5), vinet(volumes, 30.0, 0.0, 0.6, 4.5)
    fit = fit_vinet(volumes, np.stack([inside, outside, -inside]))
    assert np.isfinite(fit.volume[0])
    assert np.isnan(fit.volume[1:]).all()
    assert np.isnan(fit.bulk_modulus[1:]).all()
    with pytest.raises(ValueError, match="at least five volumes, got 4"):
        fit_vinet(volumes[:4], inside[:4])
