import numpy as np
import pytest
from tiny import labelled, tiny_potential

from ase_mlx.data.samples import sample
from ase_mlx.learn.anomaly.calibration import fit_student
from ase_mlx.learn.metrics import Residuals, auroc, average_ranks, calibration, errors, reliability
from ase_mlx.learn.recipes.potential_errors import collect, frame_distance


@pytest.mark.parametrize(
    ("inside", "outside", "expected"),
    [
        ([1, 2, 3], [4, 5], 1.0),
        ([4, 5], [1, 2, 3], 0.0),
        ([1, 2], [1, 2], 0.5),
        ([1, 1], [1, 1], 0.5),
        ([1, 3], [2, 4], 0.75),
    ],
)
def test_auroc_by_counting_pairs(inside, outside, expected):
    assert auroc(np.array(inside, float), np.array(outside, float)) == pytest.approx(expected)


def test_coverage_of_known_errors():
    found = calibration(np.array([0.5, 0.9, 1.5, 2.5]), np.ones(4))
    spread = np.sqrt(np.mean([0.25, 0.81, 2.25, 6.25]))
    assert found == {"inside_68": 0.5, "inside_95": 0.75, "rank_correlation": 0.0, "z_spread": pytest.approx(spread)}


def test_coverage_of_a_perfect_error_bar():
    random = np.random.default_rng(0)
    std = np.exp(random.standard_normal(50000))
    found = calibration(np.abs(std * random.standard_normal(50000)), std)
    assert found["inside_68"] == pytest.approx(0.68, abs=0.01)
    assert found["inside_95"] == pytest.approx(0.95, abs=0.01)
    assert 0.4 < found["rank_correlation"] < 0.9


def test_reliability_bins_hold_equal_counts():
    std, error, count = reliability(np.arange(60.0) * 2 + 2, np.arange(60.0) + 1, bins=6)
    assert count.tolist() == [10] * 6
    assert error == pytest.approx(2 * std)
    assert np.all(np.diff(std) > 0)


def test_errors_in_the_units_of_the_table():
    rows = {
        "energy": Residuals("eV/atom", np.array([1.0, 2.0]), np.array([1.001, 2.003])),
        "forces": Residuals(
            "eV/Å",
            reference=np.zeros(6),
            predicted=np.array([0.0, 0.01, 0.02, 0.1, 0.1, 0.1]),
            std=np.full(6, 0.05),
            species=np.array([13, 13, 13, 79, 79, 79]),
        ),
        "stress": Residuals("eV/Å³", np.zeros(1), np.array([1 / 160.21766208])),
    }
    table = errors(rows)
    assert table["energy"]["mae"] == pytest.approx(2.0)
    assert table["energy"]["rmse"] == pytest.approx(np.sqrt(5.0))
    assert table["forces"]["mae_by_element"] == pytest.approx({"Al": 10.0, "Au": 100.0})
    assert table["forces"]["inside_68"] == table["forces"]["inside_95"] == 0.5
    assert table["forces"]["mean_std"] == pytest.approx(50.0)
    assert table["stress"]["mae"] == pytest.approx(1000.0)
    assert table["stress"]["unit"] == "MPa"
    assert "inside_68" not in table["energy"]


def test_collect_leaves_out_what_has_no_weight():
    frames = labelled(3)
    frames[1].info["energy_weight"] = 0
    frames[2].info["stress_weight"] = 0.0
    samples = [sample(a, 4.0, f"frame {k}") for k, a in enumerate(frames)]
    model = tiny_potential(elements=(13, 79), cutoff=4.0)
    rows = collect(model, samples, batch_size=2)
    assert {name: len(r.reference) for name, r in rows.items()} == {"energy": 2, "forces": 36, "stress": 12}
    assert rows["energy"].reference == pytest.approx([frames[k].calc.results["energy"] / 4 for k in (0, 2)])
    assert rows["forces"].reference[12:24] == pytest.approx(frames[1].calc.results["forces"].ravel())
    assert rows["forces"].std.shape == (36,)
    assert collect(model, samples, std=False)["forces"].std is None


def test_a_frame_is_as_far_as_its_farthest_atom():
    model = tiny_potential(elements=(13, 79), cutoff=4.0)
    s = sample(labelled(1)[0], 4.0, "frame")
    distances = model(s.graph)["distance"]
    assert frame_distance(model, s) == pytest.approx(float(distances.max()))


def test_ranks_and_their_correlation_are_those_of_scipy():
    from scipy.stats import rankdata, spearmanr

    random = np.random.default_rng(0)
    error, std = random.integers(0, 9, 60) / 4, random.integers(1, 6, 60) / 3
    np.testing.assert_array_equal(average_ranks(error), rankdata(error))
    assert calibration(error, std)["rank_correlation"] == pytest.approx(spearmanr(error, std).statistic, abs=1e-12)


def test_a_fit_of_student_is_that_of_scipy():
    from scipy.stats import t as student

    z = student.rvs(5.0, size=4000, random_state=1)
    scale, tails = fit_student(z)
    best = student.logpdf(z, tails, scale=scale * np.sqrt((tails - 2) / tails)).sum()
    freedom, _, width = student.fit(z, floc=0)
    assert best == pytest.approx(student.logpdf(z, freedom, scale=width).sum(), abs=0.05)
