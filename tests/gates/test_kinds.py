"""Every kind of model × what holds for all of them because it exists once: the table of docs/kinds.md, cell by cell."""

import json
import os
import re

import pytest
import torch
from commands import call, finish, kill, start, together
from kinds import SETTINGS, checkpoints, write_data, write_settings

from ase_mlx.learn.files import load_model, parameters_equal
from ase_mlx.learn.recipe import RECIPES, kinds, read_training
from ase_mlx.learn.run import run
from ase_mlx.testing import check_model

MEANINGLESS = {
    "potential": ("fit", "energy_weigth = 0.1", "did you mean 'energy_weight'"),
    "density": ("fit", "hessian_weight = 1.0", "unknown key 'hessian_weight'"),
    "point_density": ("data", "validation = 0.7", "unknown key 'validation'"),
    "crystal_property": ("fit", "ema_decay = 0.9", "did you mean 'weight_decay'"),
    "crystal_network": ("fit", "weight_decay = 0.1", "unknown key 'weight_decay'"),
    "crystals": ("fit", "kl_wieght = 0.1", "did you mean 'kl_weight'"),
    "heat": ("fit", "point = 30", "did you mean 'points'"),
    "boltzmann": ("fit", "point = 30", "did you mean 'points'"),
    "levels": ("fit", "point = 30", "did you mean 'points'"),
    "free_energy": ("spread", "volumes = 0.1", "did you mean 'volume'"),
    "anomaly": ("fit", "energy_weight = 1.0", "unknown key 'energy_weight'"),
}
EVALUATED = {
    "potential": ("frames.extxyz", {"energy", "forces", "stress"}),
    "density": ("densities.npz", {"density"}),
    "point_density": ("densities.npz", {"density"}),
    "crystal_property": ("crystals.parquet", {"formation_energy"}),
    "crystal_network": ("known.parquet", {"formation_energy", "hull_distance"}),
    "crystals": ("few.parquet", {"formation_energy", "volume_per_atom", "density"}),
    "heat": ("sensors.csv", {"temperature"}),
    "boltzmann": ("films.csv", {"film_conductivity"}),
    "levels": ("levels.csv", {"levels"}),
    "free_energy": ("measured.csv", {"volume", "heat_capacity_p"}),
    "anomaly": ("crystals.parquet", {"formation_energy", "hull_distance"}),
}


def test_every_kind_of_the_package_is_in_the_table():
    assert set(SETTINGS) == set(MEANINGLESS) == set(EVALUATED) == set(RECIPES) <= set(kinds())


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("kinds"))


@pytest.fixture(scope="module")
def trained(data):
    """One model of each kind, trained when it is first asked for."""
    folders = {}

    def folder(kind):
        if kind not in folders:
            done = call(data, "train", f"{kind}.toml", "-o", f"{kind}-model")
            assert done.returncode == 0, done.stderr
            assert re.search(r"inside 68\s*%", done.stdout), done.stdout
            folders[kind] = data / f"{kind}-model"
        return folders[kind]

    return folder


class Killed(Exception):
    pass


@pytest.mark.parametrize("kind", [k if k == "potential" else pytest.param(k, marks=pytest.mark.slow) for k in RECIPES])
def test_a_training_that_stops_three_times_ends_in_the_same_weights(data, trained, tmp_path, kind):
    """In this process; `test_a_training_that_is_killed_...` does it by SIGKILL."""
    whole = load_model(trained(kind))
    stopped = []

    def stop(progress):
        if (progress.stage, progress.epoch) not in stopped and len(stopped) < 3:
            stopped.append((progress.stage, progress.epoch))
            raise Killed

    for _ in range(3):
        recipe, config = read_training(data / f"{kind}.toml")
        try:
            run(recipe(config), tmp_path / "model", stop)
        except Killed:
            assert not (tmp_path / "model" / "card.json").exists()
    recipe, config = read_training(data / f"{kind}.toml")
    run(recipe(config), tmp_path / "model", stop)
    assert len(stopped) >= 2
    assert parameters_equal(load_model(tmp_path / "model"), whole)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", RECIPES)
def test_a_training_that_is_killed_three_times_ends_in_the_same_weights(data, tmp_path, kind):
    config = write_settings(data, kind, epochs=60)
    finish(tmp_path, "train", config, "-o", "whole")
    kills = 0
    for _ in range(3):
        before = checkpoints(tmp_path / "model")
        with start(tmp_path, "train", config, "-o", "model") as process:
            kills += kill(process, lambda: checkpoints(tmp_path / "model") != before)  # noqa: B023
    assert kills >= 2, "the training was done before it could be killed"
    finish(tmp_path, "train", config, "-o", "model")
    assert parameters_equal(load_model(tmp_path / "model"), load_model(tmp_path / "whole"))


@pytest.mark.parametrize("kind", RECIPES)
@pytest.mark.parametrize("device", ["nonsense", "cuda:77", "mps"])
def test_a_wrong_device_is_a_wrong_call(data, tmp_path, kind, device):
    done = call(data, "train", f"{kind}.toml", "-o", tmp_path / "model", "--device", device)
    assert done.returncode == 2
    assert f"got device '{device}', expected one of this machine: cpu" in " ".join(
        done.stderr.replace("│", " ").split()
    )
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("kind", RECIPES)
def test_a_setting_without_meaning_is_refused_with_the_nearest(data, tmp_path, kind):
    table, line, words = MEANINGLESS[kind]
    files = ("crystals.parquet", "few.parquet", "frames.extxyz", "densities.npz", "sensors.csv", "measured.csv")
    for name in (*files, "start"):
        os.symlink(data / name, tmp_path / name)
    write_settings(tmp_path, kind, **{table: line})
    done = call(tmp_path, "train", f"{kind}.toml", "-o", "model")
    assert done.returncode == 2
    assert words in " ".join(done.stderr.replace("│", " ").split())
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("kind", RECIPES)
def test_evaluation_gives_errors_coverage_and_pictures(data, trained, tmp_path, kind):
    file, quantities = EVALUATED[kind]
    out = tmp_path / "evaluation"
    done = call(data, "evaluate", trained(kind), file, "-o", out, "--part", "all", "--json", tmp_path / "e.json")
    assert done.returncode == 0, done.stderr
    table = json.loads((tmp_path / "e.json").read_text(encoding="utf-8"))["errors"]
    assert set(table) == quantities
    for row in table.values():
        assert row["rmse"] >= row["mae"] > 0 and row["count"] > 1
        assert 0 <= row["inside_68"] <= row["inside_95"] <= 1
    assert sorted(p.name for p in out.glob("*.png")) == ["parity.png", "reliability.png"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", RECIPES)
def test_laws_hold(trained, kind):
    model = load_model(trained(kind))
    if kind == "point_density":  # untrained it has lost electrons, which only grids restore
        model.scale.fill_(1e-4)
    assert check_model(model), "no law was tried"


def test_a_kind_that_is_none_is_named_with_the_nearest(data, tmp_path):
    (tmp_path / "a.toml").write_text('kind = "anomoly"\n[data]\nfile = "x"\n', encoding="utf-8")
    done = call(tmp_path, "train", "a.toml")
    words = " ".join(done.stderr.replace("│", " ").split())
    assert done.returncode == 2 and "did you mean 'anomaly'" in words
    assert all(f"'{kind}'" in words for kind in RECIPES)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", RECIPES)
def test_two_processes_make_the_losses_and_the_model_of_one(data, tmp_path, kind):
    config = write_settings(data, kind, epochs=3)
    if kind == "potential":  # in float64 what is left is the order of sums alone
        config.write_text("dtype = 'float64'\n" + config.read_text(encoding="utf-8"), encoding="utf-8")
    printed = [together(count, config, tmp_path / str(count)) for count in (1, 2)]
    losses = [[float(x) for x in re.findall(r"loss (-?\d+\.\d+)", text)] for text in printed]
    assert len(losses[0]) >= 3
    one, two = (dict(load_model(tmp_path / str(count)).named_parameters()) for count in (1, 2))
    if kind == "point_density":  # each process draws the outputs of its own points
        assert losses[0] == pytest.approx(losses[1], rel=0.3)
        return
    assert losses[0] == pytest.approx(losses[1], abs=2e-4)
    for name, weight in one.items():
        torch.testing.assert_close(weight, two[name], rtol=2e-3, atol=2e-3, msg=name)
