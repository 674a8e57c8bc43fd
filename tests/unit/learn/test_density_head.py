"""The head of a density in closed form, as active learning reads it, on real densities of aluminium."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_density import aluminium, tiny_density

from ase_mlx.graph import Points, from_atoms
from ase_mlx.learn.active import density_head
from ase_mlx.learn.active.acquisitions import updated
from ase_mlx.learn.active.density_head import (
    candidate,
    electron_row,
    equal_shares,
    errors,
    judged_frame,
    leading_weights,
    standardised,
)
from ase_mlx.learn.density.posterior import NormalEquations, design, normal_equations, posterior, solve
from ase_mlx.learn.density.samples import density_sample

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def frames():
    return aluminium(ROOT, count=4)


@pytest.fixture(scope="module")
def model():
    return tiny_density(elements=(13,))


@pytest.fixture(scope="module")
def samples(model, frames):
    return [density_sample(model, frame, 300) for frame in frames]


@pytest.fixture(scope="module")
def basis(model, samples):
    return leading_weights(normal_equations(model.density, samples).matrix, 30)


def test_leading_weights_carry_nearly_all_that_a_pool_depends_on(model, samples, basis):
    matrix = normal_equations(model.density, samples).matrix
    assert basis.T @ basis == pytest.approx(np.eye(30), abs=1e-10)
    inside = normal_equations(model.density, samples, basis)
    assert inside.matrix == pytest.approx(basis.T @ matrix @ basis, abs=1e-5 * np.trace(matrix))
    assert 0.999 * np.trace(matrix) < np.trace(inside.matrix) <= np.trace(matrix) * (1 + 1e-6)
    with pytest.raises(ValueError, match="expected at most as many"):
        leading_weights(matrix, len(matrix) + 1)


def test_hypothetical_update_is_the_posterior_with_the_frame_whatever_its_label(model, samples, basis, monkeypatch):
    monkeypatch.setattr(density_head, "NEGLIGIBLE", 0.0)
    some = normal_equations(model.density, samples[:2], basis)
    rows = design(model.density, samples[2]).numpy().astype(float) @ basis  # in float64: 1e-10 is asked for
    before = posterior(some)
    after = np.linalg.inv(np.linalg.inv(before.covariance) + before.beta * rows.T @ rows)
    found = updated(before.covariance, candidate(rows.T @ rows, before.alpha, before.beta))
    assert found / before.covariance.max() == pytest.approx(after / before.covariance.max(), abs=1e-10)


def test_rows_of_a_candidate_leave_out_only_what_says_nothing(model, samples, basis):
    one = normal_equations(model.density, samples[:1], basis)
    p = posterior(one)
    rows = candidate(one.matrix, p.alpha, p.beta)
    assert 0 < len(rows) < len(basis.T)
    lost = np.linalg.eigvalsh(p.beta * one.matrix - rows.T @ rows)
    assert abs(lost).max() <= density_head.NEGLIGIBLE * p.alpha * 1.01


def test_electrons_of_weights_are_those_that_the_model_counts(model, samples):
    density, every = model.density, np.eye(model.density.head.numel())
    row = electron_row(density, samples[0], every)
    features = model.density_features(samples[0].graph)
    positions = samples[0].graph.positions
    moments = density.moments(features, samples[0].species, positions, torch.zeros(0, 3, dtype=torch.float64)).detach()
    assert row @ density.head.detach().numpy().reshape(-1) == pytest.approx(float(moments[0, 0]), abs=1e-5)


def test_errors_are_those_of_the_conditioned_head(model, frames, samples, basis):
    p = posterior(normal_equations(model.density, samples[:3], basis))
    test = judged_frame(model, frames[3], basis, 200, seed=5)
    inverse = p.covariance @ test.electrons
    mean = p.mean - inverse * (test.electrons @ p.mean) / (test.electrons @ inverse)
    assert test.electrons @ mean == pytest.approx(0, abs=1e-9)
    expected = 100 * np.abs(test.rows @ mean - test.difference).mean() / frames[3].density.mean()
    assert errors(p, [test, test]) == pytest.approx([expected] * 2, rel=1e-4)


def test_all_weights_give_the_error_of_the_model_that_solve_makes(model, frames, samples):
    every = np.eye(model.density.head.numel())
    equations = normal_equations(model.density, samples[:3])
    (error,) = errors(posterior(equations), [judged_frame(model, frames[3], every, 2000, seed=5)])
    many = tiny_density(elements=(13,), members=4000)
    solve(many.density, equations)
    shape = frames[3].density.shape

    predicted = many.density_at(from_atoms(frames[3].atoms, many.cutoff), Points(shape))["density"].numpy()
    expected = 100 * np.abs(predicted - frames[3].density).sum() / frames[3].density.sum()
    assert error == pytest.approx(expected, rel=0.05)


@pytest.fixture(scope="module")
def matrices(model, samples, basis):
    return np.array([normal_equations(model.density, [s], basis[:, :12]).matrix for s in samples])


def test_integrated_variance_is_the_same_in_standardised_coordinates(model, samples, matrices):
    inside, prior = standardised(matrices)
    assert inside.sum(axis=0) == pytest.approx(np.eye(12), abs=1e-6)
    plain = np.linalg.inv(0.3 * np.eye(12) + 7 * matrices[0])
    turned = np.linalg.inv(0.3 * prior + 7 * inside[0])
    assert np.trace(turned) == pytest.approx(np.trace(matrices.sum(axis=0) @ plain), rel=1e-6)


def test_equal_shares_make_a_frame_of_larger_displacements_count_as_another(matrices):
    louder = matrices * np.array([1.0, 9.0, 0.2, 1.0])[:, None, None]
    for found in (equal_shares(matrices), equal_shares(louder)):
        shares = np.einsum("nij,ji->n", found, np.linalg.inv(found.sum(axis=0)))
        assert shares.sum() == pytest.approx(12) and np.ptp(shares) < 0.5 * np.ptp(
            np.einsum("nij,ji->n", louder, np.linalg.inv(louder.sum(axis=0)))
        )
    assert equal_shares(3 * matrices) == pytest.approx(3 * equal_shares(matrices), rel=1e-9)


def test_directions_that_only_round_off_knows_do_not_run_away():
    random = np.random.default_rng(0)
    rows = np.concatenate([random.standard_normal((40, 8)), np.zeros((40, 4))], axis=1)
    y = rows[:, :8] @ random.standard_normal(8) + 1e-3 * random.standard_normal(40)
    vector = rows.T @ y + np.concatenate([np.zeros(8), np.full(4, 1e-4)])
    p = posterior(NormalEquations(rows.T @ rows, vector, float(y @ y), 40))
    assert p.mean[8:] == pytest.approx(np.zeros(4), abs=1e-12)
    assert np.abs(rows @ p.mean - y).max() < 0.01
