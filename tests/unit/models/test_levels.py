"""The potential along a mode, its box, and what is refused."""

import numpy as np
import pytest

from ase_mlx.models.levels import Levels, LevelsConfig, ModePotential
from ase_mlx.units import AMU

Q = tuple(np.linspace(-5, 5, 21).tolist())


def curve(tilt=0.0):
    return tuple((-0.04 * q**2 + 0.005 * q**4 + tilt * q) for q in Q)


def test_a_curve_and_a_formula_are_the_same_potential():
    points, formula = ModePotential(Q, curve()), ModePotential(formula="-0.04*Q**2 + 0.005*Q**4", range=(-5.0, 5.0))
    for potential in (points, formula):
        assert potential.even and len(potential.minima) == 2
        assert potential.barrier == pytest.approx(0.08)
        assert abs(potential.minima[0][0]) == pytest.approx(2.0, abs=1e-5)
        assert potential.frequency == pytest.approx(np.sqrt(0.16 / AMU) / (2 * np.pi), rel=1e-5)
    far = np.linspace(-8, 8, 33)
    np.testing.assert_allclose(points(far), formula(far), rtol=1e-6, atol=1e-8)
    assert not ModePotential(Q, curve(0.02)).even


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "of points and a formula, or of none"),
        ({"displacement": Q, "energy": curve(), "formula": "Q"}, "of points and a formula"),
        ({"displacement": (0.0,), "energy": (0.0,)}, "got 1 displacements and 1 energies, expected"),
        ({"displacement": Q, "energy": (*curve()[:-1], float("nan"))}, "no numbers"),
        ({"displacement": Q[::-1], "energy": curve()}, "got displacements 5 and then 4.5, expected them rising"),
        ({"displacement": Q, "energy": tuple(-x for x in curve())}, "binds nothing"),
        ({"formula": "Q**2"}, "expected .low, high."),
        ({"formula": "x**2", "range": (-1.0, 1.0)}, "got a formula of x, expected one of Q"),
        ({"formula": "Q**3", "range": (-1.0, 1.0)}, "does not rise outwards at its low end"),
        ({"formula": "log(Q)", "range": (-1.0, 1.0)}, "no number within its range"),
    ],
)
def test_what_binds_nothing_is_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        ModePotential(**settings)


def test_more_states_than_the_curve_holds_are_refused():
    near = ModePotential(formula="-0.04*Q**2 + 0.005*Q**4", range=(-2.5, 2.5))
    with pytest.raises(ValueError, match="expected it further out, or at most"):
        Levels(LevelsConfig(near, states=12))


def test_a_mode_has_no_atoms_and_displacements_are_numbers():
    model = Levels(LevelsConfig(ModePotential(Q, curve()), states=2))
    with pytest.raises(ValueError, match="it has no atoms"):
        model.at(None, [0.0], charge=1)
    with pytest.raises(ValueError, match="no numbers"):
        model.at(None, [np.nan])
    assert model.at(None, [0.0, 100.0])["wave_functions"].shape == (2, 2)
