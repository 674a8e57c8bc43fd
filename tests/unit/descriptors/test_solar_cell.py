import numpy as np
import pytest

from ase_mlx.descriptors.solar_cell import efficiency_limit, expected_limit


def test_the_best_gap_is_the_one_of_the_tables():
    gaps = np.linspace(0.9, 1.7, 801)
    limits = efficiency_limit(gaps)
    assert gaps[limits.argmax()] == pytest.approx(1.34, abs=0.01)  # S. Rühle, Sol. Energy 130, 139 (2016)
    assert limits.max() == pytest.approx(0.337, abs=0.002)


def test_limits_vanish_at_both_ends():
    limits = efficiency_limit(np.array([0.0, 0.1, 5.0]))
    assert limits[0] == 0 == limits[2] and 0 < limits[1] < 0.02
    assert efficiency_limit(1.3).shape == ()


def test_a_bar_of_zero_changes_nothing_and_a_wide_one_does():
    gaps = np.array([0.7, 1.34])
    mean, std = expected_limit(gaps, np.zeros(2))
    np.testing.assert_allclose(mean, efficiency_limit(gaps), rtol=1e-12)
    np.testing.assert_allclose(std, 0, atol=1e-8)
    mean, std = expected_limit(gaps, np.full(2, 0.01))
    slope = (efficiency_limit(0.701) - efficiency_limit(0.699)) / 0.002
    assert std[0] == pytest.approx(0.01 * slope, rel=0.1)
    wide, _ = expected_limit(gaps, np.full(2, 0.5))
    assert wide[1] < mean[1] - 0.05  # at the top every other gap is worse


@pytest.mark.parametrize("gap", [-0.1, np.nan])
def test_gaps_that_are_none_are_refused(gap):
    with pytest.raises(ValueError, match="expected numbers from 0"):
        efficiency_limit(gap)
