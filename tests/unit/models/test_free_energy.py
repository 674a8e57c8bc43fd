"""F(V, T): thermodynamics by construction, whatever the weights; Debye's closed forms; wrong calls."""

import dataclasses

import numpy as np
import pytest
import torch

from ase_mlx.learn.files import load_model, save_model
from ase_mlx.models.free_energy import FreeEnergy, FreeEnergyConfig, QuasiHarmonicPrior, Spread
from ase_mlx.phonons.thermal import thermal_functions
from ase_mlx.testing import check_model
from ase_mlx.testing.laws import LawBroken
from ase_mlx.units import BOLTZMANN, EV_PER_A3_IN_GPA

ALUMINIUM = QuasiHarmonicPrior.debye_gruneisen(16.5, 76, 4.5, 400, 2.2)


def model_of(prior=ALUMINIUM, stirred=0.0, **settings):
    torch.manual_seed(0)
    model = FreeEnergy(FreeEnergyConfig(prior, **settings)).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(stirred * torch.randn_like(p))
    return model


@pytest.fixture(scope="module")
def stirred():
    return model_of(stirred=0.5)


def test_laws_hold_whatever_the_weights_are(stirred):
    assert check_model(model_of()) == 5
    assert check_model(stirred) == 5
    assert check_model(model_of(stirred=0.5, depth=2, spread=Spread(anharmonic=0.1, detail=0.1))) == 5


def test_a_broken_maxwell_relation_is_seen(stirred):
    class Wrong(FreeEnergy):
        def values_at(self, points):
            values = super().values_at(points)
            return values | {"entropy": values["entropy"] * 1.001}

    wrong = Wrong(stirred.config)
    wrong.load_state_dict(stirred.state_dict())
    with pytest.raises(LawBroken):
        check_model(wrong, laws=["Maxwell's relation"])
    with pytest.raises(LawBroken):
        check_model(wrong, laws=["conjugates"])


def test_derivatives_along_a_pressure(stirred):
    t, step = np.array([20.0, 150.0, 400.0, 700.0]), 0.05
    here, ends = stirred.along(t), [stirred.along(t + sign * step, std=False) for sign in (1, -1)]
    expansion = (np.log(ends[0]["volume"]) - np.log(ends[1]["volume"])) / (2 * step)
    assert here["expansion"] == pytest.approx(expansion, rel=1e-5)
    entropy = (ends[0]["entropy"] - ends[1]["entropy"]) / (2 * step)
    assert here["heat_capacity_p"] == pytest.approx(t * entropy, rel=1e-5)
    gibbs = (ends[0]["gibbs_energy"] - ends[1]["gibbs_energy"]) / (2 * step)
    assert here["entropy"] == pytest.approx(-gibbs, rel=1e-5)
    squeezed = [stirred.along(t, pressure, std=False)["volume"] for pressure in (0.01, -0.01)]
    assert here["bulk_modulus"] == pytest.approx(-0.02 / (np.log(squeezed[0]) - np.log(squeezed[1])), rel=1e-5)
    points = np.stack([here["volume"], t], axis=1)
    assert stirred.at(None, points)["pressure"] == pytest.approx(np.zeros(4), abs=1e-6)


def test_bars_are_those_of_small_moves_of_the_weights(stirred):
    t, bars = np.array([100.0, 500.0]), []
    with torch.no_grad():
        for direction in (
            torch.randn(len(stirred.start), generator=torch.Generator().manual_seed(k)) for k in range(3)
        ):
            moved, narrow = [], model_of()
            for sign in (1, -1):
                narrow.load_state_dict(stirred.state_dict())
                torch.nn.utils.vector_to_parameters(
                    torch.nn.utils.parameters_to_vector(stirred.parameters()) + sign * 1e-5 * direction.double(),
                    narrow.parameters(),
                )
                moved.append(narrow.along(t, std=False))
            narrow.load_state_dict(stirred.state_dict())
            narrow.width.zero_()
            narrow.width[:, 0] = direction
            bars.append((narrow.along(t), moved))
    for bar, (up, down) in bars:
        for name in bar:
            assert bar.std[name] == pytest.approx(np.abs(up[name] - down[name]) / 2e-5, rel=1e-4, abs=1e-12), name


def test_a_bar_of_the_prior_is_what_was_put_in():
    model = model_of(spread=Spread(0.02, 0, 0, 0, 0, 0, 0, 0))
    curves = model.along([0.0, 300.0])
    assert curves.std["volume"] == pytest.approx(0.02 * curves["volume"], rel=0.04)
    assert model_of(spread=Spread(0, 0.1, 0, 0, 0, 0, 0, 0)).along([0.0]).std["bulk_modulus"][0] == pytest.approx(
        0.1 * curves["bulk_modulus"][0], rel=0.03
    )
    hot = model_of(spread=Spread(0, 0, 0, 0.05, 0, 0, 0, 0)).at(None, [[16.5, 1e4]], std=True)
    assert hot.std["entropy"][0] == pytest.approx(3 * BOLTZMANN * 0.05, rel=1e-3)  # ∂S/∂ln ω = -3 k_B
    detail = model_of(spread=Spread(0, 0, 0, 0, 0, 0, 0, 0.04))
    assert 0.2 < detail.at(None, [[16.5, 1e4]], std=True).std["entropy"][0] / (3 * BOLTZMANN * 0.04) <= 1


def test_a_debye_crystal_has_debyes_heat_capacity_and_gruneisens_expansion():
    model = model_of()
    cold, room = model.along([15.0, 300.0], std=False), model.along([300.0], std=False)
    theta = 400 * (float(cold["volume"][0]) / 16.5) ** -2.2
    assert cold["heat_capacity_v"][0] == pytest.approx(12 * np.pi**4 / 5 * BOLTZMANN * (15 / theta) ** 3, rel=0.01)
    gamma = 2.2 + 2.2 * np.log(room["volume"] / 16.5)  # with q = 1, to second order
    modulus = room["bulk_modulus"] / EV_PER_A3_IN_GPA
    expansion = gamma * room["heat_capacity_v"] / (modulus * room["volume"])
    assert room["expansion"] == pytest.approx(expansion, rel=2e-3)


def test_oscillators_stand_for_a_spectrum():
    frequencies = np.random.default_rng(0).beta(2, 2, 3000) * 12 + 0.5
    strains, weights = np.linspace(-0.03, 0.07, 6), np.ones(3000)
    spectra = [(frequencies * np.exp(-1.5 * z - 2 * z**2), weights) for z in strains]
    model = model_of(QuasiHarmonicPrior.of_spectra((20.0, 90.0, 4.0, -5.0), strains, spectra))
    kelvin = np.array([30.0, 100.0, 300.0, 900.0])
    for z in (-0.02, 0.05):
        exact = thermal_functions((frequencies * np.exp(-1.5 * z - 2 * z**2))[None], np.ones(1), kelvin)
        here = model.at(None, np.stack([np.full(4, 20.0 * np.exp(z)), kelvin], axis=1))
        assert here["entropy"] == pytest.approx(exact.entropy / 1000, abs=2e-3 * BOLTZMANN)
        assert here["heat_capacity_v"] == pytest.approx(exact.heat_capacity / 1000, abs=2e-3 * BOLTZMANN)


def test_files_and_model_folders_keep_everything(stirred, tmp_path):
    ALUMINIUM.write(tmp_path / "prior.json")
    assert QuasiHarmonicPrior.read(tmp_path / "prior.json") == ALUMINIUM
    save_model(stirred, tmp_path / "model", {"title": "tiny", "errors": {}})
    same, curves = load_model(tmp_path / "model").along([300.0]), stirred.along([300.0])
    assert all(same[name] == curves[name] and same.std[name] == curves.std[name] for name in curves)
    before = stirred.before().along([300.0])
    assert before["volume"] == model_of().along([300.0])["volume"] != curves["volume"]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (lambda m: m.at(None, [[30.0, 300.0]]), "expected volumes from"),
        (lambda m: m.at(None, [[16.5, -1.0]]), "temperatures from 0 K on"),
        (lambda m: m.at(None, [[16.5, float("nan")]]), "temperatures from 0 K on"),
        (lambda m: m.at(None, [16.5, 300.0]), "expected (points, 2)"),
        (lambda m: m.at(None, [[16.5, 300.0]], charge=1), "expected none"),
        (lambda m: m.along([-5.0]), "expected numbers from 0 K on"),
        (lambda m: m.along([300.0, 3000.0]), "expected lower temperatures"),
        (lambda m: m.along([300.0], -50.0), "expected lower temperatures"),
    ],
)
def test_wrong_calls(asked, words):
    with pytest.raises(ValueError, match="got") as error:
        asked(model_of())
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"volume": -1.0}, "prior.volume = -1.0"),
        ({"bulk_modulus": float("nan")}, "prior.bulk_modulus = nan"),
        ({"frequencies": ((1.0, 2.0), (1.0,))}, "oscillators with [1, 2] coefficients"),
        ({"low": 0.1}, "prior.low"),
    ],
)
def test_wrong_priors(change, words):
    with pytest.raises(ValueError, match="got") as error:
        dataclasses.replace(ALUMINIUM, **change)
    assert words in str(error.value)


def test_wrong_numbers_of_a_guess_and_of_spectra():
    with pytest.raises(ValueError, match="debye_temperature = 0"):
        QuasiHarmonicPrior.debye_gruneisen(16.5, 76, 4.5, 0, 2.2)
    one = (np.array([1.0, -2.0]), np.ones(2))
    with pytest.raises(ValueError, match="expected positive ones"):
        QuasiHarmonicPrior.of_spectra((16.5, 76, 4.5, 0), np.array([-0.01, 0.0, 0.01]), [one] * 3)
    with pytest.raises(ValueError, match="at least three"):
        QuasiHarmonicPrior.of_spectra((16.5, 76, 4.5, 0), np.array([-0.01, 0.01]), [one] * 2)
    with pytest.raises(ValueError, match=r"spread\.volume = -0\.1"):
        Spread(volume=-0.1)


def test_another_json_is_no_prior(tmp_path):
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(ValueError, match="without format"):
        QuasiHarmonicPrior.read(tmp_path / "a.json")
    with pytest.raises(FileNotFoundError):
        QuasiHarmonicPrior.read(tmp_path / "b.json")
