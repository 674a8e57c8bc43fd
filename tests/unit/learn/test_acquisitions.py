import itertools

import numpy as np
import pytest

from ase_mlx.learn.active.acquisitions import d_optimal, farthest, integrated_variance, largest, random, updated

WEIGHTS = 6


@pytest.fixture
def designs():
    rng = np.random.default_rng(0)
    scales = 0.3 + rng.random(9)
    return [s * rng.standard_normal((3 + k % 3, WEIGHTS)) for k, s in enumerate(scales)]


@pytest.fixture
def prior():
    spread = np.random.default_rng(1).standard_normal((WEIGHTS, 2 * WEIGHTS))
    return spread @ spread.T / WEIGHTS


@pytest.fixture
def target():
    points = np.random.default_rng(2).standard_normal((50, WEIGHTS)) * np.arange(1, WEIGHTS + 1)
    return points.T @ points


def posterior(prior, designs):
    return np.linalg.inv(np.linalg.inv(prior) + sum(d.T @ d for d in designs))


def choosers(designs, prior, target):
    latent = np.array([d.mean(axis=0) for d in designs])
    return {
        "integrated": lambda some, n, cost=None: integrated_variance(
            [designs[k] for k in some], n, prior, target, cost
        ),
        "weights": lambda some, n, cost=None: integrated_variance([designs[k] for k in some], n, prior, None, cost),
        "d_optimal": lambda some, n, cost=None: d_optimal([designs[k] for k in some], n, prior, cost),
        "farthest": lambda some, n, cost=None: farthest(latent[some], n, latent[:1] + 0.1, cost),
        "anew": lambda some, n, cost=None: farthest(latent[some], n, None, cost),
        "largest": lambda some, n, cost=None: largest(np.linalg.norm(latent[some], axis=1), n, cost),
        "random": lambda some, n, cost=None: random(len(some), n, 5),
    }


NAMES = ("integrated", "weights", "d_optimal", "farthest", "anew", "largest", "random")


def test_hypothetical_update_is_the_refit_with_the_frame(designs, prior):
    assert updated(prior, designs[0]) == pytest.approx(posterior(prior, designs[:1]), abs=1e-10)
    twice = updated(updated(prior, designs[0]), designs[1])
    assert twice == pytest.approx(posterior(prior, designs[:2]), abs=1e-10)


def test_greedy_d_optimal_is_brute_force_step_by_step(designs, prior):
    picks = d_optimal(designs, 5, prior).tolist()
    for step in range(5):
        dets = [
            -np.inf if k in picks[:step]
            else -np.linalg.slogdet(posterior(prior, [designs[j] for j in [*picks[:step], k]]))[1]
            for k in range(len(designs))
        ]  # fmt: skip
        assert picks[step] == int(np.argmax(dets))


def test_greedy_d_optimal_gains_what_submodularity_promises_of_the_best_set(designs, prior):
    def information(some):
        return np.linalg.slogdet(prior)[1] - np.linalg.slogdet(posterior(prior, [designs[k] for k in some]))[1]

    best = max(information(some) for some in itertools.combinations(range(len(designs)), 3))
    assert (1 - 1 / np.e) * best <= information(d_optimal(designs, 3, prior)) <= best + 1e-10


@pytest.mark.parametrize("over", ["target", "weights"])
def test_integrated_variance_picks_what_a_refit_would(designs, prior, target, over):
    goal = target if over == "target" else np.eye(WEIGHTS)
    picks = integrated_variance(designs, 4, prior, target if over == "target" else None).tolist()
    for step in range(4):
        left = [
            np.inf if k in picks[:step]
            else np.trace(goal @ posterior(prior, [designs[j] for j in [*picks[:step], k]]))
            for k in range(len(designs))
        ]  # fmt: skip
        assert picks[step] == int(np.argmin(left))


def test_farthest_keeps_away_from_what_is_labelled_and_chosen():
    line = np.array([[0.0], [1.0], [4.0], [10.0], [10.5]])
    assert farthest(line, 2, np.array([[0.0]])).tolist() == [4, 2]
    assert farthest(line, 3).tolist() == [2, 4, 0]  # the mean is 5.1
    assert largest(np.array([3.0, 9.0, 9.0, 1.0]), 3).tolist() == [1, 2, 0]


@pytest.mark.parametrize("name", [n for n in NAMES if n != "random"])
def test_picks_follow_a_permutation_of_the_pool(name, designs, prior, target):
    choose = choosers(designs, prior, target)[name]
    order = np.random.default_rng(3).permutation(len(designs))
    assert order[choose(order, 6)].tolist() == choose(np.arange(len(designs)), 6).tolist()


@pytest.mark.parametrize("name", NAMES)
def test_no_candidate_is_chosen_twice_and_no_more_than_there_are(name, designs, prior, target):
    choose, every = choosers(designs, prior, target)[name], np.arange(len(designs))
    assert sorted(choose(every, len(designs)).tolist()) == every.tolist()
    assert choose(every, 0).tolist() == []
    with pytest.raises(ValueError, match="got a batch of 10 for a pool of 9, expected at most 9"):
        choose(every, 10)


@pytest.mark.parametrize("name", NAMES)
def test_copies_of_one_candidate_are_distinct_candidates(name, designs, prior, target):
    choose = choosers([designs[0]] * 4, prior, target)[name]
    assert sorted(choose(np.arange(4), 4).tolist()) == [0, 1, 2, 3]


@pytest.mark.parametrize("name", [n for n in NAMES if n != "random"])
def test_equal_costs_change_nothing_and_a_dear_candidate_comes_last(name, designs, prior, target):
    choose, every = choosers(designs, prior, target)[name], np.arange(len(designs))
    plain = choose(every, 5).tolist()
    assert choose(every, 5, np.full(len(designs), 16.0)).tolist() == plain
    dear = np.ones(len(designs))
    dear[plain[1]] = 1e6
    assert plain[1] not in choose(every, 5, dear).tolist()
    with pytest.raises(ValueError, match="expected 9 positive numbers of seconds"):
        choose(every, 5, np.zeros(len(designs)))


def test_first_pick_is_of_the_largest_gain_per_second(designs, prior):
    seconds = np.random.default_rng(4).random(len(designs)) + 0.1
    gains = [np.trace(prior) - np.trace(posterior(prior, [d])) for d in designs]
    assert integrated_variance(designs, 1, prior, None, seconds).tolist() == [int(np.argmax(gains / seconds))]


def test_numbers_without_meaning_are_refused():
    with pytest.raises(ValueError, match="got 1 candidates with numbers that are not finite"):
        largest(np.array([1.0, np.nan]), 1)
    with pytest.raises(ValueError, match="got 1 candidates with numbers that are not finite"):
        farthest(np.array([[1.0, 2.0], [np.inf, 0.0]]), 1)
    with pytest.raises(ValueError, match="negative scores with costs"):
        largest(np.array([-1.0, 2.0]), 1, np.ones(2))


def test_random_follows_its_seed():
    assert random(30, 10, 1).tolist() == random(30, 10, 1).tolist() != random(30, 10, 2).tolist()
