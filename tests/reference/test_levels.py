"""Levels of a network against closed forms and finite differences, and of a real soft mode."""

import math
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import torch
from ase.build import bulk

from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.phonopy import phonons
from ase_mlx.adapters.phonopy.soft_mode import soft_mode, supercell_of, wave
from ase_mlx.adapters.phonopy.stability import ImaginaryModesError
from ase_mlx.jobs.levels import heat_capacity_at, levels_job, solve_levels
from ase_mlx.learn.recipes.levels import LevelsFit, LevelsRecipe, LevelsTraining, read_levels
from ase_mlx.models.levels import ModePotential
from ase_mlx.testing import LawBroken, check_model
from ase_mlx.units import AMU, PLANCK

CASES = {
    "oscillator": ("0.01*Q**2", 6.0),
    "quartic": ("0.002*Q**4", 6.0),
    "double well": ("-0.04*Q**2 + 0.005*Q**4", 5.0),
    "deep double well": ("-0.12*Q**2 + 0.01*Q**4", 6.0),
    "asymmetric double well": ("-0.04*Q**2 + 0.005*Q**4 + 0.02*Q", 5.0),
}
FEW = LevelsFit(epochs=4)


def potential(name):
    formula, end = CASES[name]
    return ModePotential(formula=formula, range=(-end, end))


@pytest.mark.parametrize("name", CASES)
def test_levels_of_a_network_are_those_of_finite_differences(name):
    solved = solve_levels(LevelsTraining(potential(name), fit=FEW))
    assert solved.converged and solved.model.missing() == 0
    assert solved.error < 1e-5 * (solved.potential.barrier or solved.model.box.spacing)
    assert (solved.energies > solved.exact.energies - 1e-10).all()
    assert (np.abs(solved.energies - solved.exact.energies) <= solved.model.bounds.numpy()).all()
    assert check_model(solved.model) == 4
    if name == "oscillator":
        np.testing.assert_allclose(
            solved.energies, PLANCK * solved.potential.frequency * (np.arange(8) + 0.5), rtol=1e-7
        )
    psi = solved.model.at(None, solved.exact.grid)["wave_functions"]
    overlap = np.abs(psi.T @ solved.exact.functions.T * (solved.exact.grid[1] - solved.exact.grid[0]))
    if name != "deep double well":  # whose doublets are closer than finite differences tell apart
        np.testing.assert_allclose(np.diag(overlap), 1, atol=1e-6)


def test_tunnelling_splits_a_level_in_two_that_are_even_and_odd():
    model = solve_levels(LevelsTraining(potential("double well"), fit=FEW)).model
    q = np.linspace(0.1, 4, 50)
    right, left = (model.at(None, sign * q)["wave_functions"] for sign in (1, -1))
    np.testing.assert_allclose(right, left * (-1.0) ** np.arange(8), atol=1e-12)
    assert 0 < float(model.energies[1] - model.energies[0]) < 1e-6


def test_a_broken_law_is_told():
    model = solve_levels(LevelsTraining(potential("double well"), fit=FEW)).model
    model.energies[0] -= 1e-3
    with pytest.raises(LawBroken, match="bounds from above"):
        check_model(model)
    model.energies += 2e-3
    model.energies[1:] = model.energies[1:].roll(-1)
    with pytest.raises(LawBroken):
        check_model(model)


def test_a_missing_level_is_counted():
    model = solve_levels(LevelsTraining(potential("double well"), fit=FEW)).model
    model.energies[-1] += 0.02
    assert model.missing() > 0


def test_the_gauss_newton_steps_make_a_narrow_network_better():
    training = LevelsTraining(potential("asymmetric double well"), model={"states": 4, "width": 12})
    recipe = LevelsRecipe(training)
    points = recipe.model.points(120)
    before = sum(float(part.detach().square().sum()) for part in recipe.model.rows(points).values())
    solved = solve_levels(training)
    after = sum(float(part.detach().square().sum()) for part in solved.model.rows(points).values())
    assert after < before / 10


def test_files_of_measured_levels(tmp_path):
    training = LevelsTraining(potential("double well"), fit=FEW)
    solved = solve_levels(training)
    steps = solved.energies[1:4] - solved.energies[0]
    pd.DataFrame({"level": [1, 2, 3], "energy": steps + 1e-4}).to_csv(tmp_path / "a.csv", index=False)
    residuals = LevelsRecipe.residuals(solved.model, LevelsRecipe.read(solved.model, tmp_path / "a.csv"))["levels"]
    np.testing.assert_allclose(residuals.reference - residuals.predicted, 1e-4, atol=1e-9)
    for text, words in (("level\n1\n", "expected also energy"), ("level,energy\n9,0.1\n", "expected 0 to 7"),
                        ("level,energy\n1,x\n", "no numbers")):  # fmt: skip
        (tmp_path / "b.csv").write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=words):
            read_levels(solved.model, tmp_path / "b.csv")


@pytest.mark.filterwarnings("ignore:Imaginary", "ignore:Extrapolation")
def test_the_soft_mode_of_bcc_aluminium(tmp_path):
    calculator = Calculator("al", dtype="float64")
    ph = phonons(bulk("Al", "bcc", a=3.24), calculator, supercell=(6, 6, 6), on_imaginary="report")
    mode = soft_mode(ph, calculator)
    assert mode.frequency < -2 and mode.atoms == 2 and mode.potential.even
    inner = mode.displacement[np.abs(mode.displacement) < 1.0]
    curvature = np.polyfit(inner, mode.potential(inner), 4)[2]  # of V at rest is that of the force constants
    assert -np.sqrt(-2 * curvature / AMU) / (2 * np.pi) == pytest.approx(mode.frequency, rel=0.03)
    solved = levels_job(LevelsTraining(mode.potential, model={"states": 10}, fit=FEW), tmp_path)
    assert solved.error < 1e-4 * solved.potential.barrier
    assert solved.energies[1] - solved.energies[0] < 1e-5  # a doublet
    levels, harmonic = heat_capacity_at(solved, 50.0)
    assert levels > harmonic + 0.02
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(solved.files)


@pytest.mark.parametrize(
    "q", [(0, 0.5, 0.5), (0.5, 0, 0), (1 / 3, 1 / 3, 0), (0.25, 0.5, 1 / 6), (0, 0, 0), (0.2, 0.3, -0.7)]
)
def test_the_smallest_supercell_of_a_wave(q):
    matrix = supercell_of(q)
    turns = matrix.T @ np.array(q)
    np.testing.assert_allclose(turns, np.round(turns), atol=1e-12)
    assert round(np.linalg.det(matrix)) == math.lcm(*(Fraction(x).limit_denominator(96).denominator for x in q))


@pytest.mark.filterwarnings("ignore:Imaginary", "ignore:Extrapolation")
def test_waves_of_one_star_have_one_potential():
    calculator = Calculator("al", dtype="float64")
    ph = phonons(bulk("Al", "bcc", a=3.24), calculator, supercell=(6, 6, 6), on_imaginary="report")
    changes = []
    for q in [(0, 0.5, 0.5), (0.5, 0, 0)]:
        mode = wave(ph, q)
        assert len(mode.atoms) == 2
        rest, moved = (calculator.get_potential_energy(mode.displaced(x)) for x in (0, 0.5))
        changes.append(moved - rest)
    assert changes[0] == pytest.approx(changes[1], rel=1e-6) and changes[0] < 0


def test_no_supercell_holds_a_wave_of_any_length():
    with pytest.raises(ValueError, match="at most 96 cells"):
        supercell_of((0.5, np.sqrt(2) / 10, 0))


@pytest.mark.filterwarnings("ignore:Imaginary")
def test_a_stable_crystal_has_no_soft_mode():
    calculator = Calculator("al", dtype="float64")
    ph = phonons(bulk("Al", "fcc", a=4.04), calculator, supercell=(5, 5, 5), on_imaginary="report")
    with pytest.raises(ImaginaryModesError, match="expected an imaginary mode"):
        soft_mode(ph, calculator)


def test_a_stopped_job_goes_on(tmp_path):
    training = LevelsTraining(potential("quartic"), fit=FEW)
    first = solve_levels(training, tmp_path / "work")
    again = solve_levels(training, tmp_path / "work")
    assert torch.equal(first.model.energies, again.model.energies)
