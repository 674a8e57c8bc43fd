import copy
import math

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.emt import EMT
from scipy.stats import norm
from tiny import labelled, tiny_potential

from ase_mlx.data.samples import sample
from ase_mlx.graph import batch, from_atoms
from ase_mlx.learn.metrics import calibration
from ase_mlx.learn.recipes.potential_errors import collect
from ase_mlx.learn.scales import NOMINAL_68, calibrate, calibrate_growth
from ase_mlx.learn.uncertainty import (
    Response,
    fit_members,
    principal_directions,
    responses,
    set_distance,
    set_uncertainty,
)
from ase_mlx.units import NORMAL_95


def test_quantiles_of_the_normal_distribution():
    assert norm.cdf(NORMAL_95) - norm.cdf(-NORMAL_95) == pytest.approx(0.95, abs=1e-6)
    assert norm.cdf(1) - norm.cdf(-1) == pytest.approx(NOMINAL_68, abs=1e-6)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(1)


@pytest.mark.parametrize("scale", [0.2, 1.0, 7.0])
def test_calibration_recovers_a_scale(generator, scale):
    spread = torch.exp(torch.randn(20000, generator=generator, dtype=torch.float64))
    residual = scale * spread * torch.randn(20000, generator=generator, dtype=torch.float64)
    a, b, tail = calibrate(residual, spread)
    assert a == pytest.approx(scale, rel=0.05)
    assert b <= 0.1 * scale
    assert tail == pytest.approx(NORMAL_95, rel=0.05)


def test_calibration_recovers_a_floor(generator):
    spread = 0.01 * torch.rand(20000, generator=generator, dtype=torch.float64)
    residual = 0.5 * torch.randn(20000, generator=generator, dtype=torch.float64)
    a, b, _ = calibrate(residual, spread)
    sigma = torch.sqrt(a**2 * spread**2 + b**2)
    assert float(sigma.mean()) == pytest.approx(0.5, rel=0.05)
    assert float(sigma.std()) < 0.1


def rows(residual, by_weight):
    return Response(residual, by_weight, torch.zeros(len(residual)), torch.ones(len(residual), 1))


def test_bars_grow_with_the_distance_where_errors_do(generator):
    distance = 2 * torch.rand(8000, generator=generator, dtype=torch.float64)
    spread = torch.exp(0.3 * torch.randn(8000, generator=generator, dtype=torch.float64))
    normal = torch.randn(8000, generator=generator, dtype=torch.float64)
    one = torch.ones(8000, 1, dtype=torch.float64)
    error = 0.5 * torch.sqrt(1 + (3 * distance) ** 2) * spread * normal
    scale, floor, tail, growth = calibrate_growth(error, spread, distance, one)
    assert growth == 3 and scale == pytest.approx(0.5, rel=0.05) and tail == pytest.approx(NORMAL_95, rel=0.05)
    assert floor < 0.15
    assert calibrate_growth(0.5 * spread * normal, spread, distance, one)[3] <= 0.25


def test_many_easy_frames_of_one_composition_do_not_set_the_bars_of_all(generator):
    easy = torch.arange(4000) < 2200
    normal = torch.randn(4000, generator=generator, dtype=torch.float64)
    error = torch.where(easy, 0.3, 1.0) * normal
    kinds = torch.where(easy, 0, 1 + torch.arange(4000) % 10)
    composition = torch.stack([kinds, 10 - kinds], dim=1).to(torch.float64) / 10
    zero = torch.zeros(4000, dtype=torch.float64)
    scale, floor, tail, _ = calibrate_growth(error, torch.ones_like(zero), zero, composition)
    sigma = float(torch.sqrt(torch.tensor(scale**2 + floor**2)))
    assert sigma == pytest.approx(0.93, abs=0.12)
    inside = (error[~easy].abs() <= sigma).double().mean()
    assert 0.6 < float(inside) < 0.72


def test_calibration_fills_both_intervals_on_new_errors(generator):
    spread = torch.exp(0.7 * torch.randn(8000, generator=generator, dtype=torch.float64))
    error = torch.sqrt((0.6 * spread) ** 2 + 0.3**2) * torch.randn(8000, generator=generator, dtype=torch.float64)
    a, b, tail = calibrate(error[:4000], spread[:4000])
    sigma = torch.sqrt(a**2 * spread[4000:] ** 2 + b**2)
    found = calibration(error[4000:].abs().numpy(), sigma.numpy(), {0.68: 1.0, 0.95: tail})
    assert found["inside_68"] == pytest.approx(0.68, abs=0.03)
    assert found["inside_95"] == pytest.approx(0.95, abs=0.03)


def test_heavy_tails_widen_the_95_percent_interval_alone(generator):
    spread = torch.ones(20000, dtype=torch.float64)
    normal = torch.randn(20000, 4, generator=generator, dtype=torch.float64)
    error = normal[:, 0] / normal[:, 1:].square().mean(1).sqrt()  # Student's t with three degrees of freedom
    a, b, tail = calibrate(error[:10000], spread[:10000])
    sigma = torch.sqrt(a**2 * spread[10000:] ** 2 + b**2)
    found = calibration(error[10000:].abs().numpy(), sigma.numpy(), {0.68: 1.0, 0.95: tail})
    assert found["inside_68"] == pytest.approx(0.683, abs=0.02)
    assert found["inside_95"] == pytest.approx(0.95, abs=0.01)
    assert tail > 2.3


def test_calibration_of_nothing_leaves_the_spread():
    assert calibrate(torch.zeros(0), torch.zeros(0)) == (1.0, 0.0, NORMAL_95)
    assert calibrate(torch.zeros(5), torch.ones(5)) == (1.0, 0.0, NORMAL_95)


def test_bars_from_few_errors_hold_for_all_with_confidence(generator):
    held = []
    for _ in range(300):
        error = torch.randn(20, generator=generator, dtype=torch.float64)
        scale, floor, _ = calibrate(error, torch.ones(20, dtype=torch.float64))
        held.append(math.erf(math.hypot(scale, floor) / math.sqrt(2)) >= 0.6827)
    assert 0.9 < np.mean(held) < 0.99


def test_the_spread_of_an_energy_adds_up_over_atoms():
    model = tiny_potential(elements=(13, 79), members=6, cutoff=4.0)
    atoms = labelled(1, stdev=0.2)[0]
    graphs = [from_atoms(a, 4.0) for a in (atoms, atoms * (2, 1, 1))]
    spreads, sums = [], []
    for graph in graphs:
        p = model.with_members(graph)
        spreads.append(float(model.energy_spread(graph, p["features"], model.deviations)))
        sums.append(float(p.members["energy"].std(0)))
    assert spreads[1] == pytest.approx(2 * spreads[0], rel=1e-5) and spreads[0] > sums[0] > 0
    bars = [float(model.with_std(g).std["energy"]) for g in graphs]
    assert model.with_std(batch(graphs)).std["energy"].tolist() == pytest.approx(bars, rel=1e-5)


def test_the_larger_of_two_bars_of_an_energy_counts():
    model = tiny_potential(elements=(13, 79), members=6, cutoff=4.0)
    graph = from_atoms(labelled(1, stdev=0.2)[0], 4.0)
    bars = []
    for scales in ((1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (0.1, 1.0), (1.0, 0.1)):
        model.std_scale[[0, 4]] = torch.tensor(scales).clamp_min(1e-12)
        bars.append(float(model.with_std(graph).std["energy"]))
    assert bars[1] > bars[0] and bars[2] == bars[3] == bars[1] and bars[0] <= bars[4] < bars[1]


def test_members_learn_where_errors_are_large(generator):
    x = torch.randn(4000, 6, generator=generator, dtype=torch.float64)
    truth = torch.linalg.vector_norm(x * torch.tensor([2.0, 1.0, 0.5, 0.2, 0.1, 0.1]), dim=1)
    residual = truth * torch.randn(4000, generator=generator, dtype=torch.float64)
    empty = rows(residual[:0], x[:0])
    deviations = fit_members({"energy": empty, "forces": rows(residual, x)}, members=24, steps=600)
    assert deviations.shape == (24, 6)
    assert deviations.mean(0).abs().max() < 1e-12
    spread = ((x @ deviations.T).square().sum(1) / 23).sqrt()
    assert float(torch.corrcoef(torch.stack([spread, truth]))[0, 1]) > 0.97
    assert float(spread.mean() / truth.mean()) == pytest.approx(1, abs=0.15)


def test_members_depend_on_the_seed_alone(generator):
    x = torch.randn(200, 3, generator=generator, dtype=torch.float64)
    data = {"energy": rows(x[:50, 0], x[:50]), "forces": rows(x[:, 1], x)}
    first, again = (fit_members(data, 4, seed=2, steps=20) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, fit_members(data, 4, seed=3, steps=20))


@pytest.fixture(scope="module")
def samples():
    return [sample(a, 4.0, f"frame {k}") for k, a in enumerate(labelled(10))]


def untrained(**changes):
    return tiny_potential(elements=(13, 79), fitted=False, cutoff=4.0, reference_energies=(3.0, 3.0), **changes)


def test_responses_are_derivatives_by_the_readout(samples):
    model = untrained().to(torch.float64)
    found = responses(model, samples[:3])
    step = torch.zeros_like(model.head)
    step[4] = 1e-3
    with torch.no_grad():
        model.head += step
    moved = responses(model, samples[:3])
    for name, response in found.items():
        change = (response.residual - moved[name].residual) / 1e-3
        assert change.numpy() == pytest.approx(response.by_weight[:, 4].numpy(), abs=1e-8)
    assert [len(found[n].residual) for n in ("energy", "forces", "stress")] == [3, 36, 18]


def test_what_symmetry_makes_zero_sets_no_error_bar(samples):
    perfect = bulk("Al", cubic=True)
    perfect.calc = EMT()
    perfect.get_potential_energy(), perfect.get_stress()
    found = responses(untrained(), [*samples[:2], sample(perfect, 4.0, "perfect")])
    assert [len(found[n].residual) for n in ("energy", "forces", "stress")] == [3, 24, 15]


@pytest.fixture(scope="module")
def calibrated(samples):
    """A potential with error bars, and what was set."""
    model = untrained(seed=1)
    return model, set_uncertainty(model, samples[:7], samples[7:])


def test_a_potential_gets_members_scales_and_distances(samples, calibrated):
    model, found = calibrated
    before = collect(untrained(seed=1), samples)
    after = collect(model, samples[7:])
    assert set(found) == {"energy", "forces", "stress", "energies"}
    assert found["forces"]["rows"] == 36
    for name, rows in after.items():
        assert np.all(rows.std > 0), name
        assert before[name].std is None
    forces = after["forces"]
    coverage = calibration(np.abs(forces.predicted - forces.reference), forces.std)
    assert 0.68 - 0.06 <= coverage["inside_68"] <= 30 / 36 + 0.06  # those of 36 that make 68 % of all sure
    assert coverage["rank_correlation"] > 0


def test_directions_carry_the_members_variance(generator):
    deviations = torch.randn(6, 9, generator=generator, dtype=torch.float64)
    deviations -= deviations.mean(0)
    by_weight = torch.randn(40, 9, generator=generator, dtype=torch.float64) * torch.logspace(0, -2, 9)
    every = (by_weight @ deviations.T).square().sum(1) / 5
    variances = [(by_weight @ principal_directions(deviations, by_weight, n).T).square().sum(1) for n in (1, 2, 3, 5)]
    shares = [float(v.mean() / every.mean()) for v in variances]
    assert torch.allclose(variances[-1], every, rtol=1e-6)  # six members about their mean span five directions
    assert 0.3 < shares[0] < shares[1] < shares[2] < shares[3] == pytest.approx(1)
    other = torch.linalg.qr(torch.randn(9, 9, generator=generator, dtype=torch.float64)).Q[:, :1].T
    root = torch.linalg.cholesky(deviations.T @ deviations / 5 + 1e-12 * torch.eye(9, dtype=torch.float64))
    assert float((by_weight @ (root @ other.T)).square().mean() / every.mean()) <= shares[0]


@pytest.mark.slow
@pytest.mark.parametrize("latent", [1, 2])
def test_a_narrow_readout_has_as_many_directions_as_features(samples, latent):
    model = tiny_potential(elements=(13, 79), members=4, cutoff=4.0, fitted=False, latent=latent)
    set_uncertainty(model, samples[:7], samples[7:])
    assert model.directions.shape == (latent, latent)
    p = model.with_members(samples[0].graph)
    assert p.std["forces"].shape == p["forces"].shape and bool((p.std["forces"] > 0).all())


def test_bars_grow_in_training_mode_too(samples, calibrated):
    model = copy.deepcopy(calibrated[0])
    model.std_growth.fill_(2.0)
    grown = model.with_std(samples[0].graph).std["forces"]
    model.train()
    assert torch.allclose(model.with_std(samples[0].graph).std["forces"], grown, rtol=0.05)


def test_bars_from_directions_are_those_of_all_members(samples, calibrated):
    model, found = calibrated
    assert len(model.directions) == 3 and bool(model.directions.any())
    for name in ("forces", "stress"):
        scale, floor = found[name]["all_members"].values()
        pairs = []
        for s in samples:
            p = model.with_members(s.graph)
            pairs.append((p.std[name], torch.sqrt(scale**2 * p.members[name].var(0) + floor**2)))
        bars, every = (torch.cat([x.flatten() for x in column]).log().numpy() for column in zip(*pairs, strict=True))
        assert np.mean(bars) == pytest.approx(np.mean(every), abs=0.05)
        assert np.corrcoef(bars, every)[0, 1] > 0.9


def test_distance_is_small_inside_and_large_outside(samples):
    model = untrained(seed=1)
    set_distance(model, samples[:7])
    trained = [model.distances(s.graph) for s in samples[:7]]
    assert float((torch.cat(trained) <= 1).double().mean()) >= 0.95
    inside = [model.distances(s.graph) for s in samples[7:]]
    squeezed = [sample(a, 4.0, "far") for a in labelled(3, seed=5, strain=0.0, stdev=0.6)]
    outside = [model.distances(s.graph) for s in squeezed]
    assert 0 < float(torch.cat(inside).max()) < 1.5 and float(torch.cat(outside).median()) > 1.5


def test_a_potential_without_members_gets_distances_alone(samples):
    model = tiny_potential(elements=(13, 79), members=0, cutoff=4.0)
    assert set_uncertainty(model, samples[:7], samples[7:]) == {}
    assert model.distance.known
    assert not model.with_std(samples[0].graph).std


def test_one_member_alone_is_refused():
    with pytest.raises(ValueError, match="members=1, expected none or at least two"):
        tiny_potential(members=1)


def molecules(count=6):
    frames = labelled(count)
    for atoms in frames:
        results = {k: v for k, v in atoms.calc.results.items() if k != "stress"}
        atoms.set_cell(None)
        atoms.pbc = False
        atoms.calc.atoms = atoms.copy()
        atoms.calc.results = results
    return [sample(a, 4.0, f"molecule {k}") for k, a in enumerate(frames)]


def test_a_set_of_molecules_has_no_stress_and_no_error_bar_of_it():
    model, made = untrained(), molecules()
    found = set_uncertainty(model, made[:4], made[4:])
    assert found["forces"]["rows"] == 24
    p = model.with_std(made[0].graph)
    assert set(p.std) == {"energy", "forces"}


def test_molecules_beside_crystals_keep_the_crystals_stress(samples):
    rows = responses(untrained(), [*molecules(2), *samples[:2]])
    assert len(rows["stress"].residual) == 12
