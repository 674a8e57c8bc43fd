import numpy as np
import pytest

from ase_mlx.phonons.thermal import BOLTZMANN, PLANCK, debye_temperature, mode_heat_capacity, thermal_functions

FREQUENCIES = np.array([[1.0, 5.0, 9.0], [2.0, 6.0, 12.0]])
WEIGHTS = np.array([1.0, 3.0])


def test_zero_temperature_is_the_zero_point_energy():
    thermal = thermal_functions(FREQUENCIES, WEIGHTS, np.array([0.0]))
    assert thermal.free_energy[0] == pytest.approx(PLANCK / 2 * (15 / 4 + 20 * 3 / 4))
    assert thermal.entropy[0] == 0
    assert thermal.heat_capacity[0] == 0


def test_hot_limit_is_dulong_petit():
    thermal = thermal_functions(FREQUENCIES, WEIGHTS, np.array([50_000.0]))
    assert thermal.heat_capacity[0] == pytest.approx(3 * BOLTZMANN, rel=1e-4)


def test_entropy_and_heat_capacity_are_derivatives_of_the_free_energy():
    t = np.array([299.0, 300.0, 301.0])
    thermal = thermal_functions(FREQUENCIES, WEIGHTS, t)
    assert thermal.entropy[1] == pytest.approx((thermal.free_energy[0] - thermal.free_energy[2]) / 2, rel=1e-5)
    assert thermal.heat_capacity[1] == pytest.approx(300 * (thermal.entropy[2] - thermal.entropy[0]) / 2, rel=1e-5)


def test_cold_does_not_overflow():
    thermal = thermal_functions(FREQUENCIES, WEIGHTS, np.array([1e-3]))
    assert np.isfinite([thermal.free_energy, thermal.entropy, thermal.heat_capacity]).all()


def test_members_are_a_leading_axis():
    both = thermal_functions(np.stack([FREQUENCIES, 1.1 * FREQUENCIES]), WEIGHTS, np.array([100.0, 300.0]))
    one = thermal_functions(1.1 * FREQUENCIES, WEIGHTS, np.array([100.0, 300.0]))
    np.testing.assert_allclose(both.heat_capacity[1], one.heat_capacity)


def test_imaginary_modes_are_refused_unless_left_out():
    soft = FREQUENCIES.copy()
    soft[0, 0] = -0.3
    with pytest.raises(ValueError, match="got -0.3 THz among the counted"):
        thermal_functions(soft, WEIGHTS, np.array([300.0]))
    thermal = thermal_functions(soft, WEIGHTS, np.array([50_000.0]), counted=soft > 0)
    assert thermal.heat_capacity[0] == pytest.approx((3 - 1 / 4) * BOLTZMANN, rel=1e-4)


def test_negative_temperature_is_an_error():
    with pytest.raises(ValueError, match="got -1 K"):
        thermal_functions(FREQUENCIES, WEIGHTS, np.array([-1.0]))


def test_debye_temperature_of_an_isotropic_solid():
    velocities = np.tile([30.4, 30.4, 64.2], (50, 1))  # aluminium's, in 100 m/s
    mean = (np.mean(np.array([30.4, 30.4, 64.2]) ** -3.0)) ** (-1 / 3)
    wanted = 6.62607e-34 / 1.380649e-23 * (3 * 6.02e28 / (4 * np.pi)) ** (1 / 3) * 100 * mean
    assert debye_temperature(velocities, 0.0602) == pytest.approx(wanted, rel=1e-4)
    assert 390 < wanted < 410
    assert np.isnan(debye_temperature(velocities - 31, 0.0602))


def test_heat_capacity_of_single_modes_sums_to_that_of_the_crystal():
    frequencies = np.array([[1.0, 5.0, 12.0]])
    whole = thermal_functions(frequencies, np.ones(1), np.array([300.0]))
    assert mode_heat_capacity(frequencies, 300.0).sum() == pytest.approx(whole.heat_capacity[0])
