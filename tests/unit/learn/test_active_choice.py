"""Costs of labels, and choices that read them."""

import numpy as np
import pytest

from ase_mlx.learn.active.choice import choose, covering, in_order
from ase_mlx.learn.active.costs import affordable, predicted_seconds, work
from ase_mlx.learn.active.pool import View, covariance


def view(sizes, bars, seed=0, features=3):
    random = np.random.default_rng(seed)
    designs = [random.standard_normal((min(n, features), features)) for n in sizes]
    latent = np.array([np.concatenate([d.mean(axis=0), d.std(axis=0)]) for d in designs])
    bars = np.array(bars, dtype=float)
    return View(bars, np.stack([bars, 0 * bars], axis=1), bars, designs, latent, 3.0 * np.array(sizes))


def test_seconds_are_a_power_of_the_work_and_a_factor_a_family():
    random = np.random.default_rng(0)
    amount = work(random.integers(2, 64, size=40), random.integers(1, 30, size=40))
    family = ["metal" if k % 2 else "insulator" for k in range(40)]
    seconds = 0.01 * amount**0.8 * np.where(np.arange(40) % 2, 3.0, 1.0) * np.exp(0.05 * random.standard_normal(40))
    out = predicted_seconds(amount, family, amount[:30], family[:30], seconds[:30])
    assert np.abs(np.log(out / seconds))[30:].max() < 0.2
    assert np.array_equal(predicted_seconds(amount, family, amount[:0], [], seconds[:0]), amount)
    new = predicted_seconds(np.array([100.0]), ["molecule"], amount, family, seconds)[0]
    assert 0.01 * 100**0.8 < new < 0.03 * 100**0.8, "an unknown family lies between the others"


def test_one_label_sets_the_scale():
    out = predicted_seconds(np.array([64.0, 128.0]), ["", ""], np.array([64.0]), [""], np.array([10.0]))
    assert out == pytest.approx([10.0, 20.0])


def test_what_can_be_afforded():
    assert [affordable(np.array([5.0, 5.0, 1.0]), left) for left in (4, 5, 10, 11, 100)] == [0, 1, 2, 3, 3]


def test_costs_choose_between_sizes():
    sizes, bars = np.array([4, 8, 32, 64]), [1.0, 1.0, 1.0, 1.0]
    by_bars = choose("variance", 4, view(sizes, bars), None, None, sizes, 0)
    assert by_bars.tolist() == [0, 1, 2, 3], "without costs, in their order"
    quadratic = choose("variance", 4, view(sizes, bars), None, sizes.astype(float) ** 2, sizes, 0)
    assert quadratic.tolist() == [0, 1, 2, 3], "small ones teach more a second"
    flat = choose("variance", 4, view(sizes, bars), None, np.full(4, 10.0), sizes, 0)
    assert flat.tolist() == [3, 2, 1, 0], "at one price the large ones"
    strange = choose("variance", 1, view(sizes, [1, 1, 1, 9]), None, sizes.astype(float) ** 2, sizes, 0)
    assert strange.tolist() == [3], "and where the small ones are known, the large one"


@pytest.mark.parametrize("acquisition", ["variance", "distance", "integrated", "d_optimal", "farthest", "random"])
def test_each_acquisition_gives_each_frame_once(acquisition):
    sizes = np.array([4, 8, 4, 2, 6])
    pool, learned = view(sizes, [1, 2, 3, 4, 5]), view([4, 4], [1, 1], seed=1)
    for known in (None, learned):
        picks = choose(acquisition, 9, pool, known, np.ones(5), sizes, 0)
        assert sorted(picks.tolist()) == [0, 1, 2, 3, 4]


def test_a_frame_like_the_learned_ones_comes_last_by_integrated_variance():
    sizes = np.array([3, 3])
    pool = view(sizes, [1, 1])
    pool.designs[0][:] = [[9, 0, 0]] * 3
    pool.designs[1][:] = [[0, 9, 0]] * 3
    learned = view([3], [1])
    learned.designs[0][:] = [[9, 0, 0]] * 3
    assert choose("integrated", 2, pool, learned, None, sizes, 0).tolist() == [1, 0]
    assert np.diag(covariance(learned.designs, 3)) == pytest.approx([1 / 244, 1, 1])


def test_few_frames_cover_all_elements():
    numbers = [np.array([14]), np.array([14, 32]), np.array([32, 50, 50]), np.array([14, 32, 50, 6])]
    assert covering({14, 32, 50}, numbers) == [3]
    assert covering({32}, numbers) == [1] and covering(set(), numbers) == [] and covering({79}, numbers) == []


def test_the_tessellation_goes_on_where_it_was():
    numbers = [np.array([14] * k + [32] * (8 - k)) for k in range(9)] * 2
    whole = in_order(numbers, [""] * 18, set(), 9, seed=1)
    first = in_order(numbers, [""] * 18, set(), 3, seed=1)
    rest = in_order(numbers, [""] * 18, set(first), 9, seed=1)
    assert first + rest == whole and len(whole) == 9
    assert {len(set(numbers[k])) for k in whole[:2]} == {1}, "corners first"
