import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from tiny_density import aluminium

import ase_mlx as am
from ase_mlx.data.densities import write_densities
from ase_mlx.graph import at, from_atoms
from ase_mlx.learn.config import FitConfig
from ase_mlx.learn.recipes.density import DensityData, DensityRecipe, DensityTraining
from ase_mlx.learn.recipes.point_density import (
    FROZEN,
    PointDensityRecipe,
    PointDensityTraining,
    PointSample,
    calibrate_points,
    point_density,
    point_density_loss,
    train_points,
)
from ase_mlx.learn.run import run
from ase_mlx.models.point_density import PointDensityConfig
from ase_mlx.nn.terms import value

ROOT = Path(__file__).resolve().parents[2]
SIZES = {"cutoff": 4.5, "near": 3.5, "n_radial": 6, "degree": 2, "hidden": (12, 12, 12), "members": 4}
FIT = FitConfig(epochs=3, batch_size=2, learning_rate=1e-2)


@pytest.fixture(scope="module")
def frames():
    return aluminium(ROOT, count=4)


@pytest.fixture(scope="module")
def trained(frames):
    torch.manual_seed(0)
    model = point_density((13,), SIZES)
    found = train_points(model, frames[:3], frames[3:], dataclasses.replace(FIT, epochs=100))
    return model, found


def test_untrained_model_is_the_free_atoms_where_there_is_nothing_to_learn():
    model = point_density((13, 14), SIZES)
    far = at(np.array([[0.0, 0.0, 20.0]]))
    assert am.predict(model, Atoms("Al"), at=far)["density"] == pytest.approx([0.0], abs=1e-12)
    assert model.chemistry[:, 1] == pytest.approx([1.0, -1.0])  # aluminium's atom is the larger one


def test_training_learns_and_error_bars_hold(trained, frames):
    model, found = trained
    from ase_mlx.learn.density.errors import density_errors

    table = density_errors(model, frames[3:])
    assert table["nmae"] < 4  # superposed atoms: 9.6 %
    assert table["inside_68"] == pytest.approx(0.683, abs=0.08)
    assert table["electrons"] < 1e-10
    assert found["calibration"]["tail"] > 1


def test_charge_goes_where_the_model_is_least_sure(trained, frames):
    model, atoms = trained[0], frames[0].atoms
    graph, points = from_atoms(atoms, model.cutoff), am.grid(atoms, 0.4)
    neutral = model.density_at(graph, points, True)
    charged = model.density_at(graph, points, charge=-1.0)
    volume = atoms.cell.volume
    assert float(neutral["density"].mean()) * volume == pytest.approx(12, abs=1e-10)
    assert float(charged["density"].mean()) * volume == pytest.approx(13, abs=1e-10)
    added = (charged["density"] - neutral["density"]).numpy().reshape(-1)
    assert np.corrcoef(added, neutral.std["density"].numpy().reshape(-1) ** 2)[0, 1] > 0.5


def test_same_model_interface(trained, frames):
    model, atoms = trained[0], frames[0].atoms
    p = am.predict(model, atoms, at=am.grid(atoms, 0.5))
    assert p["density"].shape == p.std["density"].shape == am.grid(atoms, 0.5).shape
    assert set(am.predict(model, atoms)) == set()
    assert "density" not in am.predict(model, atoms, std=False, at=am.grid(atoms, 0.5)).std
    with pytest.raises(ValueError, match="knows Al only"):
        am.predict(model, bulk("Cu"), at=am.grid(bulk("Cu"), 0.5))
    with pytest.raises(ValueError, match="no volume"):
        model.density_at(from_atoms(Atoms("Al2", [[0, 0, 0], [0, 0, 2.5]]), model.cutoff), am.grid(atoms, 0.5))


def test_members_are_the_same_in_every_call(trained, frames):
    model, atoms = trained[0], frames[0].atoms
    points = am.grid(atoms, 0.6)
    first, again = (am.predict(model, atoms, at=points) for _ in range(2))
    assert np.array_equal(first["density"], again["density"])
    assert np.array_equal(first.std["density"], again.std["density"])


def test_transfer_leaves_the_first_layers(trained, frames):
    model = trained[0]
    copy = point_density((13,), SIZES)
    copy.load_state_dict(model.state_dict())
    train_points(copy, frames[2:3], frames[3:], FIT, frozen=FROZEN)
    for k, (old, new) in enumerate(zip(model.network.layers, copy.network.layers, strict=True)):
        assert torch.equal(old.mean, new.mean) == (k < FROZEN)
    assert torch.equal(model.centre, copy.centre)
    assert all(p.requires_grad for p in copy.parameters())


def test_loss_is_the_likelihood_and_the_divergence(trained, frames):
    model = point_density((13,), SIZES)
    with torch.no_grad():
        for layer in model.network.layers:
            layer.spread.fill_(-20.0)
            layer.mean.zero_()
        model.network.layers[-1].mean[-1] = torch.tensor([0.3, math.log(4.0)])

    graph = from_atoms(frames[0].atoms, model.cutoff)
    sample = PointSample(graph, torch.zeros(2, model.centre.numel()), torch.ones(2), torch.tensor([0.3, 1.3]))
    loss, parts = value([point_density_loss(model, sample, torch.Generator(), 1000)])
    expected = 0.5 * (0.5 / 4 + math.log(4)) + float(model.network.divergence().detach()) / 1000
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-4)
    assert parts["mean square"] == pytest.approx(0.5, rel=1e-5)


def test_uncalibrated_model_has_no_error_bars(frames):
    model, atoms = point_density((13,), SIZES), frames[0].atoms
    assert "density" not in am.predict(model, atoms, at=am.grid(atoms, 0.8)).std
    calibrate_points(model, frames[:1])
    assert "density" in am.predict(model, atoms, at=am.grid(atoms, 0.8)).std


def test_sizes_without_meaning_are_refused():
    good = {"elements": (13,), "electrons": (3.0,), "radii": (1.5,)}
    for wrong in ({"near": 7.0}, {"degree": 0}, {"members": 1}, {"radii": (1.0, 2.0)}, {"hidden": ()}):
        with pytest.raises(ValueError, match="expected"):
            PointDensityConfig(**(good | wrong))
    with pytest.raises(ValueError, match="reference atom"):
        point_density((8,))


def test_whole_run_and_transfer_from_its_folder(tmp_path):
    sizes = SIZES | {"hidden": [12, 12, 12]}
    parts = (("train", 2), ("val", 1), ("test", 1))
    write_densities(tmp_path / "few.npz", [f for part, count in parts for f in aluminium(ROOT, part, count)])
    config = PointDensityTraining(DensityData(str(tmp_path / "few.npz"), title="tiny"), sizes, FIT)
    short = dataclasses.replace(config, fit=dataclasses.replace(FIT, epochs=1))
    model, card = run(PointDensityRecipe(short), tmp_path / "one")
    loaded = am.load(tmp_path / "one")
    assert [q.name for q in loaded.outputs] == ["density"]
    assert card["density"]["errors"]["nmae"] < 30
    fit = dataclasses.replace(FIT, epochs=1)
    again = PointDensityTraining(config.data, {}, fit, start=str(tmp_path / "one"))
    moved, _ = run(PointDensityRecipe(again), tmp_path / "two")
    assert torch.equal(moved.network.layers[0].mean, model.network.layers[0].mean)
    with pytest.raises(ValueError, match="sizes are those of the start"):
        PointDensityRecipe(dataclasses.replace(again, model=SIZES))
    with pytest.raises(ValueError, match="expected the folder of a Potential"):
        DensityRecipe(DensityTraining(config.data, start=str(tmp_path / "one")))


def test_molecules_in_open_space_have_a_density_at_points(trained):
    model = trained[0]
    cluster = molecule("H2")
    cluster.numbers[:] = 13
    cluster.positions[1, 2] += 2.0
    p = am.predict(model, cluster, at=at(cluster.positions))
    assert np.isfinite(p["density"]).all()


def test_files_of_a_point_density(trained, frames, tmp_path):
    from ase_mlx.data.espresso_density import on_grid, read_charge_density
    from ase_mlx.fields.density_files import write_density, write_restart

    model, atoms = trained[0], frames[0].atoms
    expected = am.predict(model, atoms, at=am.grid(atoms, 0.4))
    done = write_density(model, atoms, tmp_path / "x.npy", spacing=0.4, std=True)
    assert np.load(tmp_path / "x.npy") == pytest.approx(expected["density"], abs=1e-12)
    assert np.load(tmp_path / "x_std.npy") == pytest.approx(expected.std["density"], abs=1e-12)
    assert done.electrons == pytest.approx(12, abs=1e-9)
    write_density(model, atoms, tmp_path / "CHGCAR", spacing=0.4)
    from ase.calculators.vasp import VaspChargeDensity

    assert VaspChargeDensity(str(tmp_path / "CHGCAR")).chg[-1] == pytest.approx(expected["density"], abs=1e-8)
    path = write_restart(model, atoms, tmp_path, 12.0)
    shape = (24, 24, 24)
    assert on_grid(*read_charge_density(path), shape).mean() * atoms.cell.volume == pytest.approx(12, abs=1e-9)
