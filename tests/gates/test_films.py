"""Films thinner than mean free paths: published fluxes, limits, and the network beside discrete ordinates."""

import json

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from commands import call

import ase_mlx as am
from ase_mlx.heat import Spectrum, discrete_ordinates
from ase_mlx.learn.config import build
from ase_mlx.learn.equations import linearised
from ase_mlx.learn.recipes.boltzmann import BoltzmannRecipe, BoltzmannTraining

GRAY = Spectrum.gray(100.0, 1e-7, 6000.0)
SLAB = {0.1: 0.9157, 0.5: 0.7040, 1.0: 0.5532, 2.0: 0.3900, 3.0: 0.3016}
"""Heat flux between black walls over σ(T₁⁴ - T₂⁴) by optical thickness, whose equation is the gray phonons'.

Source: M. A. Heaslet and R. F. Warming, Int. J. Heat Mass Transfer 8, 979 (1965), table 1.
"""


@pytest.mark.parametrize("depth", SLAB)
def test_gray_films_have_the_fluxes_of_radiation_between_black_walls(depth):
    film = discrete_ordinates(GRAY, depth * 1e-7)
    assert film.conductivity / (GRAY.flow[0] * film.thickness / 4) == pytest.approx(SLAB[depth], abs=4e-4)


def test_ordinates_have_both_limits_and_do_not_depend_on_their_number():
    assert discrete_ordinates(GRAY, 1e-2).conductivity == pytest.approx(100.0, rel=1e-4)
    thin = discrete_ordinates(GRAY, 1e-12)
    assert thin.conductivity == pytest.approx(GRAY.flow[0] * 1e-12 / 4, rel=1e-4)
    assert thin.relative_temperature == pytest.approx(0.5, abs=1e-3)
    coarse, fine = (discrete_ordinates(GRAY, 1e-7, n, d).conductivity for n, d in ((60, 16), (240, 48)))
    assert coarse == pytest.approx(fine, rel=1e-6)


@pytest.fixture
def kappa(tmp_path):
    """Modes as phono3py writes them: isotropic, with lifetimes over two decades."""
    random, path = np.random.default_rng(0), tmp_path / "kappa.hdf5"
    temperature, weight = np.array([0.0, 300.0]), np.array([1, 6, 12, 8])
    speed = np.array([[0, 0, 0], [60, 60, 90], [50, 55, 70], [20, 30, 40]], dtype=float)  # THz Å
    gamma = np.zeros((2, 4, 3))
    gamma[1, 1:] = 10 ** random.uniform(-4, -2, (3, 3))
    capacity = np.zeros((2, 4, 3))
    capacity[1] = 8e-5
    lifetime = np.where(gamma > 0, 1 / (4 * np.pi * np.maximum(gamma, 1e-99)), 0)
    value = np.einsum("q,tqb,qb,tqb->t", weight, capacity, speed**2, lifetime) / weight.sum() / 40 / 3 * 1602.1766208
    with h5py.File(path, "w") as file:
        file["temperature"], file["weight"], file["gamma"], file["heat_capacity"] = temperature, weight, gamma, capacity
        file["group_velocity"] = speed[..., None] * np.array([1, 0, 0])
        file["kappa"] = value[:, None] * np.array([1, 1, 1, 0, 0, 0])
        file["kappa_unit_conversion"] = 1602.1766208 / (2 * np.pi) / 40
    return path


def test_groups_conserve_heat_capacity_conductivity_and_what_films_keep_of_it(kappa):
    with h5py.File(kappa) as file:
        bulk, heat = file["kappa"][1, 0], 3 * 8e-5 / 40 * 160.21766208e9
    spectrum = Spectrum.from_phono3py(kappa)
    assert spectrum.conductivity == pytest.approx(bulk, rel=1e-6)
    assert spectrum.capacity.sum() == pytest.approx(heat, rel=1e-6)
    every = Spectrum.from_phono3py(kappa, groups=2000)
    for length in (1e-8, 1e-7, 1e-6):
        few, all_ = (discrete_ordinates(s, length).conductivity for s in (spectrum, every))
        assert few == pytest.approx(all_, rel=3e-3)


def test_wrong_files_and_films_are_refused(kappa, tmp_path):
    with pytest.raises(ValueError, match=r"expected one of .*300"):
        Spectrum.from_phono3py(kappa, 310)
    with h5py.File(kappa, "a") as file:
        file["kappa"][1] *= 1.1
    with pytest.raises(ValueError, match="relaxation times that kappa was made of"):
        Spectrum.from_phono3py(kappa)
    with h5py.File(kappa, "a") as file:
        del file["gamma"]
    with pytest.raises(ValueError, match="without group_velocity or gamma"):
        Spectrum.from_phono3py(kappa)
    with pytest.raises(ValueError, match="not positive"):
        Spectrum.gray(100.0, -1e-7, 6000.0)
    with pytest.raises(ValueError, match="more than 0"):
        discrete_ordinates(GRAY, 0.0)
    done = call(tmp_path, "heat", "--films", 1e-8, 1e-6, "-o", "films")
    assert done.returncode == 2 and "expected --kappa" in done.stderr
    done = call(tmp_path, "heat", "--kappa", kappa, "--films", 1e-8, 1e-6, "--hot", 320, "-o", "films")
    assert done.returncode == 2 and "got --films with --hot" in done.stderr


def training(**more):
    modes = {name: getattr(GRAY, name).tolist() for name in ("capacity", "speed", "mean_free_path")}
    return build(BoltzmannTraining, {"thickness": [5e-9, 2.5e-6], "modes": modes, **more})


def test_derivatives_by_hand_are_those_of_autograd():
    model = {"temperature_width": 3, "rank": 2, "width": 3}
    recipe = BoltzmannRecipe(training(model=model, fit={"points": 20}))
    films, _ = recipe.content(0)
    by_hand, by_torch = recipe.linear(recipe.model, films, True), linearised(recipe.model, films, recipe.rows, True)
    torch.testing.assert_close(by_hand, by_torch)


QUICK = """
kind = "boltzmann"
thickness = [2e-8, 2e-6]
modes = { file = "kappa.hdf5", temperature = 300 }
[model]
temperature_width = 8
rank = 4
width = 8
[fit]
epochs = 12
points = 120
"""


def test_films_of_a_file_are_near_discrete_ordinates_and_have_bars(kappa, tmp_path):
    (tmp_path / "films.toml").write_text(QUICK, encoding="utf-8")
    done = call(tmp_path, "heat", "films.toml", "-o", "films", "--json", "films.json")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "films.json").read_text(encoding="utf-8"))
    assert sorted(result["files"]) == ["films.csv", "films.png"]
    table = pd.read_csv(tmp_path / "films" / "films.csv")
    off = (table["conductivity"] - table["discrete_ordinates"]).abs()
    assert (off < 0.05 * table["discrete_ordinates"]).all() and (off < 3 * table["std"]).all()
    model = am.load(tmp_path / "films" / "work")
    film = model.at(None, [[5e-8, 1e-7]], std=True)
    assert film["relative_temperature"] == pytest.approx(0.5, abs=1e-9)
    assert 0 < film.std["film_conductivity"][0] < 0.1 * film["film_conductivity"][0]
    with pytest.raises(ValueError, match=r"expected 2e-08 to 2e-06 m"):
        model.at(None, [[5e-10, 1e-9]])
    with pytest.raises(ValueError, match="0 ≤ x ≤ L"):
        model.at(None, [[2e-7, 1e-7]])


@pytest.mark.slow
def test_films_of_a_conductivity_from_the_command_line_are_within_a_percent(kappa, tmp_path):
    done = call(tmp_path, "heat", "--kappa", kappa, "--films", 2e-8, 2e-6, "-o", "films", "--json", "films.json")
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "films.json").read_text(encoding="utf-8"))["rows"]
    assert all(abs(row["conductivity"] / row["discrete_ordinates"] - 1) < 0.015 for row in rows)


def test_a_thin_film_of_fouriers_law_says_so(kappa, tmp_path):
    film = ["--kappa", kappa, "--length", 1e-8, "--hot", 300, "--cold", 299, "-o", "film", "--json", "film.json"]
    with h5py.File(kappa, "a") as file:  # conductivities need two temperatures
        file["temperature"][0] = 250.0
        for name in ("kappa", "gamma", "heat_capacity"):
            file[name][0] = file[name][1]
    done = call(tmp_path, "heat", *film)
    assert done.returncode == 0, done.stderr
    notes = json.loads((tmp_path / "film.json").read_text(encoding="utf-8"))["notes"]
    assert any("Fourier's law is assumed" in note and "--films" in note for note in notes)


@pytest.mark.slow
def test_gray_films_of_all_thicknesses_are_within_a_percent():
    from ase_mlx.jobs.films import film_conductivity

    films = film_conductivity(training())
    exact = np.array([film.conductivity for film in films.ordinates])
    assert np.abs(films.conductivity / exact - 1).max() < 0.01 and not films.notes
