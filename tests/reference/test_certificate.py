"""Conductivities corrected by exact triplets: against the exact ones that they stand for."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from poor_tensors import weakened

from ase_mlx.adapters.phono3py import load_third_order
from ase_mlx.adapters.phono3py.crystal import crystal_of
from ase_mlx.phonons.certificate import _draw, certify
from ase_mlx.phonons.compression import compress
from ase_mlx.phonons.transport import relaxation_times

DATA = Path(__file__).parent / "data"
TEMPERATURES = np.array([100.0, 300.0, 1000.0])
NUMBERS = (9, 9, 9)
ANY = 1e9
"""A width that asks for no further draws."""


@pytest.fixture(scope="module")
def crystal():
    return crystal_of(load_third_order(DATA / "phono3py-si" / "phono3py_params.yaml.xz"))


@pytest.fixture(scope="module")
def tensor(crystal):
    return weakened(compress(crystal, 48)).tensor


@pytest.fixture(scope="module")
def exact(crystal):
    return relaxation_times(crystal, NUMBERS, TEMPERATURES)


@pytest.fixture(scope="module")
def compressed(crystal, tensor):
    return relaxation_times(crystal, NUMBERS, TEMPERATURES, tensor)


def off(kappa, exact):
    return np.abs(kappa[:, :3].mean(axis=1) / exact.kappa[:, :3].mean(axis=1) - 1)


@pytest.mark.slow
def test_a_poor_tensor_is_corrected_at_every_temperature(crystal, exact, compressed):
    assert np.all(off(compressed.kappa, exact) > 0.02)
    found = certify(crystal, compressed)
    assert found.half_widths.max() <= 0.01 and not found.exact
    assert np.all(off(found.corrected, exact) <= found.half_widths)
    np.testing.assert_array_equal(found.compressed, compressed.kappa)
    np.testing.assert_allclose(found.changes, compressed.kappa[:, 0] / found.corrected[:, 0] - 1, rtol=1e-8)
    assert f"{found.triplets} exact triplets" in str(found) and "(95 %)" in str(found)


def test_intervals_hold_over_seeds(crystal, exact, compressed):
    runs = [certify(crystal, compressed, 400, ANY, seed) for seed in range(12)]
    inside = np.array([off(run.corrected, exact) <= run.half_widths for run in runs])
    errors = np.array([off(run.corrected, exact) for run in runs])
    halves = np.array([run.half_widths for run in runs])
    assert inside.mean() > 0.85
    assert np.all(halves.mean(axis=0) < 8 * errors.mean(axis=0))  # nor are they wide for nothing


def test_parts_of_modes_make_the_corrected_conductivity(crystal, compressed):
    found = certify(crystal, compressed, 300, ANY)
    total = (compressed.mode_kappa * found.ratios[..., None]).sum(axis=(1, 2))
    np.testing.assert_allclose(total, found.corrected, rtol=1e-12, atol=1e-12 * total.max())
    np.testing.assert_allclose(found.corrected[:, :3], found.corrected[:, :1].repeat(3, axis=1), rtol=1e-10)
    np.testing.assert_allclose(1.96 * found.std[:, 0] / found.corrected[:, 0], found.half_widths, rtol=1e-6)


def test_more_draws_shrink_the_interval(crystal, compressed):
    widths = [certify(crystal, compressed, count, ANY).half_widths for count in (200, 800, 3200)]
    assert np.all(widths[1] < 0.8 * widths[0]) and np.all(widths[2] < 0.6 * widths[1])


def test_a_narrower_interval_is_drawn_for(crystal, compressed):
    wide = certify(crystal, compressed, 100, ANY)
    narrow = certify(crystal, compressed, 100, 0.005)
    assert wide.half_widths.max() > 0.005 >= narrow.half_widths.max()
    assert narrow.triplets > 2 * wide.triplets


def test_all_triplets_give_the_exact_conductivity(crystal, exact, compressed):
    found = certify(crystal, compressed, 10**6)
    assert found.exact and found.half_widths.max() == 0 and found.std.max() == 0
    np.testing.assert_allclose(found.corrected[:, :3], exact.kappa[:, :3], rtol=1e-10)
    known = ~np.isnan(found.linewidth_errors)
    counted = exact.gamma > 0
    np.testing.assert_array_equal(known, counted)
    truth = np.abs(exact.gamma[counted] / compressed.gamma[counted] - 1)
    np.testing.assert_allclose(found.linewidth_errors[counted], truth, atol=1e-9)


def test_exact_elements_need_no_correction(crystal, exact):
    found = certify(crystal, exact)
    assert np.abs(found.changes).max() < 1e-12 and found.half_widths.max() < 1e-12


def test_the_seed_alone_decides(crystal, compressed):
    one, again, other = (certify(crystal, compressed, 200, ANY, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.corrected, again.corrected)
    assert np.any(one.corrected != other.corrected)


def test_linewidths_are_off_by_no_more_than_their_bounds(crystal, exact, compressed):
    bounds = certify(crystal, compressed, 2000, ANY).linewidth_errors
    known = ~np.isnan(bounds) & (exact.gamma > 0)
    truth = np.abs(exact.gamma / np.where(compressed.gamma > 0, compressed.gamma, 1.0) - 1)
    assert 0.1 < known.mean() < 0.9
    assert np.mean(truth[known] <= bounds[known]) > 0.9
    assert np.median(bounds[known]) < 10 * np.median(truth[known])


def test_a_tensor_that_misses_what_counts_ends_exactly(crystal, compressed):
    scaled = replace(compressed, parts=tuple(np.random.default_rng(0).random(p.shape) for p in compressed.parts))
    found = certify(crystal, scaled, 50, 1e-6)  # draws by chance alone: no interval is narrow enough
    assert found.half_widths.max() > 1e-6 and not found.exact
    last = found.superseded(compressed)
    assert last.exact and last.half_widths.max() == 0 and np.all(last.ratios == 1) and "exact" in str(last)


@pytest.mark.parametrize("samples", [1, 7, 40, 100])
def test_weights_of_draws_are_those_of_what_they_stand_for(samples):
    random = np.random.default_rng(0)
    sizes = random.random(60) ** 6
    sizes[::5] = 0
    values, sums = sizes * random.random(60), []
    for seed in range(400):
        index, weights, sure = _draw(sizes, samples, np.random.default_rng(seed))
        assert np.all(weights[:sure] == 1) and np.all(sizes[index] > 0) and len(index) <= max(samples, 48)
        sums.append((weights * values[index]).sum())
    assert np.mean(sums) == pytest.approx(values.sum(), abs=4 * np.std(sums) / 20 + 1e-12)
    assert len(index) == sure == 48 if samples == 100 else len(index) == samples
