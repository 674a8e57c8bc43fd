"""Levels by finite differences and their thermal functions against closed forms and phonopy's."""

import numpy as np
import pytest
from scipy.linalg import eigh_tridiagonal

from ase_mlx.phonons.levels import finite_differences, missing_capacity, thermal_levels, warmest
from ase_mlx.phonons.thermal import thermal_functions
from ase_mlx.units import AMU, BOLTZMANN, HBAR, KINETIC, PLANCK

OMEGA = 20.0  # rad THz


def oscillator(q):
    return 0.5 * AMU * OMEGA**2 * q**2


def double_well(q):
    return 0.005 * (q**2 - 4) ** 2


def test_the_oscillator_has_its_levels():
    solved = finite_differences(oscillator, -3.0, 3.0, 12)
    np.testing.assert_allclose(solved.energies, HBAR * OMEGA * (np.arange(12) + 0.5), rtol=1e-8)
    overlap = solved.functions @ solved.functions.T * (solved.grid[1] - solved.grid[0])
    np.testing.assert_allclose(overlap, np.eye(12), atol=1e-12)


def test_levels_are_those_of_differences_of_second_order_in_the_limit_of_their_step():
    solved = finite_differences(double_well, -4.0, 4.0, 6).energies
    plain = []
    for count in (2001, 4001):
        q = np.linspace(-5, 5, count)
        kinetic = KINETIC / (q[1] - q[0]) ** 2
        values, sides = double_well(q) + 2 * kinetic, np.full(count - 1, -kinetic)
        plain.append(eigh_tridiagonal(values, sides, select="i", select_range=(0, 5), eigvals_only=True))
    np.testing.assert_allclose(solved, plain[1] + (plain[1] - plain[0]) / 3, atol=1e-8)


def test_thermal_functions_of_an_oscillators_levels_are_phonopys():
    frequency, t = OMEGA / (2 * np.pi), np.array([0.0, 20.0, 100.0, 300.0])
    levels = PLANCK * frequency * (np.arange(80) + 0.5)
    ours, closed = thermal_levels(levels, t), thermal_functions(np.array([[frequency]]), np.ones(1), t)
    for name in ("free_energy", "entropy", "heat_capacity"):
        np.testing.assert_allclose(getattr(ours, name), getattr(closed, name), rtol=1e-6, atol=1e-12)


def test_the_heat_capacity_becomes_classical():
    levels = PLANCK * 0.5 * (np.arange(600) + 0.5)
    assert thermal_levels(levels, np.array([300.0])).heat_capacity[0] == pytest.approx(BOLTZMANN, rel=1e-3)


def test_two_levels_have_schottkys_anomaly_and_their_entropy():
    gap, t = 1e-3, 4.0
    x = gap / (BOLTZMANN * t)
    out = thermal_levels(np.array([0.0, gap, 1.0]), np.array([0.0, t]))
    assert out.heat_capacity[1] == pytest.approx(BOLTZMANN * x**2 * np.exp(x) / (1 + np.exp(x)) ** 2)
    assert thermal_levels(np.array([0.0, 0.0, 1.0]), np.zeros(1)).entropy[0] == pytest.approx(BOLTZMANN * np.log(2))


def test_too_few_levels_are_refused_where_they_matter():
    levels = PLANCK * 3.0 * (np.arange(8) + 0.5)
    limit = warmest(levels)
    exact = thermal_functions(np.array([[3.0]]), np.ones(1), np.array([limit])).heat_capacity[0]
    assert abs(thermal_levels(levels, np.array([0.999 * limit])).heat_capacity[0] - exact) < 3e-3 * BOLTZMANN
    assert missing_capacity(levels, np.array([limit * 1.01]))[0] > 1e-3
    with pytest.raises(ValueError, match="expected more levels, or temperatures below"):
        thermal_levels(levels, np.array([1000.0]))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((oscillator, 1.0, -1.0, 3), "low < high"),
        ((oscillator, -1.0, 1.0, 0), "one or more"),
        ((lambda q: np.log(q), -1.0, 1.0, 3), "no number at"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_wrong_calls(arguments, words):
    with pytest.raises(ValueError, match=words):
        finite_differences(*arguments)


@pytest.mark.parametrize(("energies", "t"), [([1.0, 0.0], [1.0]), ([np.nan], [1.0]), ([0.0, 1.0], [-1.0])])
def test_wrong_levels(energies, t):
    with pytest.raises(ValueError, match="expected"):
        thermal_levels(np.array(energies), np.array(t))
