"""`ase-mlx heat` and `solve` as a user meets them: phonons to a film, thermometers to a material, wrong calls."""

import json

import numpy as np
import pandas as pd
import pytest
from commands import call

import ase_mlx as am
from ase_mlx.heat import Face, Layer, Material, Problem, finite_volumes
from ase_mlx.jobs.heat import heat_job, solve
from ase_mlx.learn.recipe import read_training

FILM = """
kind = "heat"
size = [1e-6]
[[layers]]
kappa = "k300 * (300 / T)**p"
[faces.x0]
flux = 5e9
[faces.x1]
temperature = 300
[unknowns.k300]
value = 148
spread = 0.5
[unknowns.p]
value = 1.3
std = 0.2
[sensors]
file = "sensors.csv"
[fit]
points = 150
"""
TRUTH = {"k300": 110.0, "p": 1.3}


def film_of(flux, factor=1.0):
    """Temperatures (K) of a film of known conductivity, by finite volumes."""
    layer = Layer(f"{factor} * {TRUTH['k300']} * (300 / T)**{TRUTH['p']}")
    return finite_volumes(Problem((1e-6,), (layer,), {"x0": Face(flux=flux), "x1": Face(temperature=300.0)}))


def write_sensors(folder, flux=5e9, noise=0.3, seed=0, factor=1.0, count=8):
    """Thermometers in a film of known conductivity."""
    grid, x = film_of(flux, factor), np.linspace(5e-8, 9.5e-7, count)
    temperature = grid.at(x[:, None]) + np.random.default_rng(seed).normal(0, noise, count)
    pd.DataFrame({"x": x, "temperature": temperature, "std": noise}).to_csv(folder / "sensors.csv", index=False)
    return float(grid.temperature.max() - 300)


def words(done):
    return " ".join(done.stderr.replace("│", " ").split())


@pytest.fixture(scope="module")
def kappa(tmp_path_factory):
    """A file in phono3py's layout, of two modes: κ = 90 at 300 K and 30 at 900 K, by 1/T."""
    import h5py

    path = tmp_path_factory.mktemp("kappa") / "kappa.hdf5"
    temperature = np.array([0.0, 200.0, 300.0, 600.0, 900.0])
    kappa = np.zeros((5, 6))
    kappa[1:, :3] = 27000 / temperature[1:, None]
    with h5py.File(path, "w") as file:
        file["temperature"], file["kappa"], file["weight"] = temperature, kappa, np.array([1, 7])
        file["heat_capacity"] = np.full((5, 2, 6), 8.617333e-5)
        file["kappa_unit_conversion"] = 1602.1766208 / (2 * np.pi) / 40.0
    return path


def test_a_material_of_phono3py_has_its_conductivity_and_heat_capacity(kappa):
    import torch

    material = Material.from_phono3py(kappa)
    values = {"T": torch.tensor([300.0, 450.0, 900.0], dtype=torch.float64)}
    assert material.components[0](values).numpy() == pytest.approx([90, 60, 30], rel=1e-4)
    assert material.volumetric(values).numpy() == pytest.approx(6 * 1.380649e-23 / 40e-30, rel=1e-5)  # 3 N k_B / V
    assert material.known == (200.0, 900.0)


def test_a_film_from_the_command_line(kappa, tmp_path):
    film = ["--kappa", kappa, "--length", 1e-6, "--hot", 600, "--cold", 300, "-o", "film", "--json", "film.json"]
    done = call(tmp_path, "heat", *film)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "film.json").read_text(encoding="utf-8"))
    assert result["converged"] and result["balance"]["off"] < 1e-4 and not result["notes"]
    assert sorted(result["files"]) == ["heat.png", "temperature.csv"]
    table = pd.read_csv(tmp_path / "film" / "temperature.csv")
    assert table["temperature"].to_numpy() == pytest.approx(600 * 0.5 ** (table["x"].to_numpy() / 1e-6), rel=1e-4)
    field = am.load(tmp_path / "film" / "work" / "1-windows")
    assert field.at(None, [[5e-7]])["temperature"] == pytest.approx(600 * 0.5**0.5, rel=1e-4)


def test_thermometers_tell_the_conductivity_and_say_what_they_cannot_tell(tmp_path):
    write_sensors(tmp_path)
    (tmp_path / "film.toml").write_text(FILM, encoding="utf-8")
    _, training = read_training(tmp_path / "film.toml")
    solution = solve(training)
    told = solution.unknowns
    assert abs(told["k300"]["value"] - TRUTH["k300"]) < 3 * told["k300"]["std"] < 0.1 * TRUTH["k300"]
    assert told["k300"]["identified"] and not told["p"]["identified"]  # a rise of 45 K does not tell an exponent
    assert any("p is not identified" in note for note in solution.notes)


SPLINE = """
kind = "heat"
size = [1e-6]
[[layers]]
kappa = {temperature = [290, 360, 440], values = ["a", "b", "c"]}
[faces.x0]
flux = 1e10
[faces.x1]
temperature = 300
[unknowns]
a = {value = 100, spread = 0.5}
b = {value = 100, spread = 0.5}
c = {value = 100, spread = 0.5}
[sensors]
file = "sensors.csv"
"""


def test_a_spline_of_unknowns_is_the_conductivity_and_the_field_has_bars(tmp_path):
    (tmp_path / "spline.toml").write_text(SPLINE, encoding="utf-8")
    assert 100 < write_sensors(tmp_path, flux=1e10, noise=0.05, count=24) < 130
    _, training = read_training(tmp_path / "spline.toml")
    solution = heat_job(training, tmp_path)
    for name, temperature in (("a", 290), ("b", 360), ("c", 440)):
        unknown, exact = solution.unknowns[name], TRUTH["k300"] * (300 / temperature) ** TRUTH["p"]
        assert unknown["identified"] and abs(unknown["value"] - exact) < 3 * unknown["std"] < 0.06 * exact
    x = np.linspace(0, 1e-6, 101)[:, None]
    off, std = np.abs(solution.temperature(x) - film_of(1e10).at(x)), solution.temperature_std(x)
    assert std[-1] == 0 and 0 < std[:-1].min() and std.max() < 0.1  # held at x1
    assert (off < 3 * std + 1e-3).all()
    table = pd.read_csv(tmp_path / "temperature.csv")
    np.testing.assert_allclose(table["temperature_std"], solution.temperature_std(table[["x"]].to_numpy()), rtol=1e-6)


@pytest.mark.slow
def test_bars_of_a_field_cover_what_thermometers_leave_open(tmp_path):
    (tmp_path / "film.toml").write_text(FILM, encoding="utf-8")
    _, training = read_training(tmp_path / "film.toml")
    x, inside = np.linspace(0, 9e-7, 10)[:, None], []
    exact = film_of(5e9).at(x)
    for seed in range(10):
        write_sensors(tmp_path, noise=2.0, seed=seed)
        solution = solve(training)
        inside.append(np.abs(solution.temperature(x) - exact) < 1.645 * solution.temperature_std(x))
    assert 0.7 < np.mean(inside) <= 1  # ten places of one field are not independent


def test_a_field_without_thermometers_has_no_bars():
    film = Problem((1e-6,), (Layer(1.0),), {"x0": Face(flux=1.0), "x1": Face(temperature=300.0)})
    assert solve(film).temperature_std([[5e-7]]) is None and solve(film, "fv").temperature_std([[5e-7]]) is None


def test_two_temperatures_tell_no_conductivity(kappa, tmp_path):
    x = np.linspace(1e-7, 9e-7, 8)
    temperature = 600 * 0.5 ** (x / 1e-6)
    pd.DataFrame({"x": x, "temperature": temperature, "std": 1.0}).to_csv(tmp_path / "sensors.csv", index=False)
    film = ["--kappa", kappa, "--length", 1e-6, "--hot", 600, "--cold", 300, "--fit", "sensors.csv"]
    done = call(tmp_path, "heat", *film, "-o", "film", "--json", "film.json")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "film.json").read_text(encoding="utf-8"))
    assert not result["unknowns"]["factor"]["identified"]
    assert result["unknowns"]["factor"]["of_prior"] > 0.95
    assert any("factor is not identified" in note for note in result["notes"])


def test_a_prior_that_data_contradict_is_told(kappa, tmp_path):
    write_sensors(tmp_path, factor=4.0, noise=0.05)
    film = ["--kappa", kappa, "--length", 1e-6, "--flux", 5e9, "--cold", 300, "--fit", "sensors.csv"]
    done = call(tmp_path, "heat", *film, "--prior-spread", 0.3, "-o", "film", "--json", "film.json")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "film.json").read_text(encoding="utf-8"))
    assert any("standard deviations of its prior from it" in note for note in result["notes"])


BASE = {"size": (1.0,), "layers": (Layer(1.0),), "faces": {"x0": Face(temperature=300.0)}}
WRONG = {
    "all flux, steady": (BASE | {"faces": {"x0": Face(flux=1.0)}}, "any constant may be added"),
    "not positive": (BASE | {"layers": (Layer(-1.0),)}, "not positive definite"),
    "not definite": (
        BASE | {"size": (1.0, 1.0), "layers": (Layer((1.0, 1.0, 1.0, 0.0, 0.0, 2.0)),)}, "not positive definite"
    ),
    "falls below zero": (BASE | {"layers": (Layer("300 - T"),)}, "not positive definite"),
    "no capacity": (BASE | {"duration": 1.0, "initial": 300.0}, "without capacity"),
    "no begin": (BASE | {"duration": 1.0, "layers": (Layer(1.0, 1.0),)}, "without initial"),
    "a face that is none": (BASE | {"faces": {"z0": Face(temperature=1.0)}}, "expected one of x0, x1"),
    "layers of another sum": (BASE | {"layers": (Layer(1.0, thickness=0.4), Layer(1.0, thickness=0.4))}, "of this sum"),
    "a name that is none": (BASE | {"source": "x + q"}, "expected names: T, x"),
    "cold": (BASE | {"faces": {"x0": Face(temperature=-3.0)}}, "above 0 K"),
    "outside its table": (
        BASE | {"layers": (Layer({"temperature": (400.0, 500.0), "values": (1.0, 2.0)}),)}, "table goes from 400"
    ),
    "no formula": (BASE | {"source": "__import__('os')"}, "got the formula"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_problem_without_a_solution_is_refused(name):
    arguments, sentence = WRONG[name]
    with pytest.raises(ValueError, match="got") as error:
        Problem(**arguments)
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [("2.0,300,1", "outside the body"), ("0.5,hot,1", "no numbers"), ("0.5,300,0", "no numbers, or a std of 0")],
)
def test_wrong_thermometers_are_a_wrong_call(tmp_path, line, sentence):
    (tmp_path / "film.toml").write_text(FILM.replace("1e-6", "1.0"), encoding="utf-8")
    (tmp_path / "sensors.csv").write_text(f"x,temperature,std\n{line}\n", encoding="utf-8")
    done = call(tmp_path, "heat", "film.toml")
    assert done.returncode == 2 and sentence in words(done)
    assert not (tmp_path / "film-heat").exists()


def test_a_solve_that_does_not_converge_says_so(tmp_path):
    table = {"size": (1.0,), "layers": ({"kappa": 1.0},), "faces": {n: {"temperature": 300.0} for n in ("x0", "x1")}}
    table |= {"source": "100 * sin(40 * pi * x)", "model": {"width": 2, "depth": 1}}
    from ase_mlx.learn.equations import EquationFit
    from ase_mlx.learn.recipes.heat import HeatTraining

    solution = solve(HeatTraining(**table, fit=EquationFit(points=100, epochs=5)))
    assert not solution.converged and any(note.startswith("NOT CONVERGED") for note in solution.notes)


def test_a_field_of_temperature_is_no_calculator(tmp_path):
    from ase_mlx.adapters.ase import Calculator

    write_sensors(tmp_path)
    (tmp_path / "film.toml").write_text(FILM, encoding="utf-8")
    assert call(tmp_path, "train", "film.toml", "-o", "model").returncode == 0
    with pytest.raises(ValueError, match="not of atoms"):
        Calculator(tmp_path / "model")
