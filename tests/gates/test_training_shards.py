"""A potential is taught the same by shards as by the file that they come from."""

from dataclasses import replace

import pytest
import torch
from tiny import labelled

from ase_mlx.data.io import write_frames
from ase_mlx.data.shard_writer import write_shards
from ase_mlx.learn.fit import fit
from ase_mlx.learn.recipes.potential import LabelledData, PotentialFit, PotentialRecipe, PotentialTraining

SIZES = {"cutoff": 4.0, "l_max": 1, "layers": 1, "channels": 4, "latent": 8, "radial_hidden": [8]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("taught")
    write_frames(folder / "a.extxyz", labelled(10))
    write_shards([folder / "a.extxyz"], folder / "shards")
    return folder


def training(folder, name, members=4, **settings):
    sizes = SIZES | {"members": members}
    return PotentialTraining(LabelledData(str(folder / name)), sizes, PotentialFit(epochs=2, batch_size=3, **settings))


@pytest.mark.parametrize("settings", [{}, {"batch_edges": 120, "members": 0}])
def test_shards_teach_what_their_file_teaches(folder, settings):
    recipes = [PotentialRecipe(training(folder, name, **settings)) for name in ("a.extxyz", "shards")]
    for recipe in recipes:
        for stage in recipe.stages():
            recipe.epochs = {"": fit(stage)[-1]["epoch"]}
    listed, stored = (recipe.model for recipe in recipes)
    for name, tensor in listed.state_dict().items():
        torch.testing.assert_close(stored.state_dict()[name], tensor, rtol=0, atol=1e-6)
    cards = [recipe.finish() for recipe in recipes]
    assert cards[0]["training_data"] | {"file": ""} == cards[1]["training_data"] | {"file": ""}
    assert cards[1]["errors"]["forces"]["mae"] == pytest.approx(cards[0]["errors"]["forces"]["mae"], rel=1e-3)


def test_shards_have_the_names_of_their_labels(folder):
    config = training(folder, "shards")
    with pytest.raises(ValueError, match="whose labels have their names already"):
        PotentialRecipe(replace(config, data=replace(config.data, energy="REF_energy")))


def test_a_run_on_shards_goes_on_in_the_middle_of_an_epoch(folder, tmp_path):
    def stage(stop=-1):
        recipe = PotentialRecipe(training(folder, "shards", batch_edges=120))
        (stage,) = recipe.stages()
        seen = []

        def loss(model, group, random):
            seen.append(group.names)
            if len(seen) == stop:
                raise KeyboardInterrupt
            return stage.loss(model, group, random)

        return replace(stage, loss=loss), seen

    whole, seen = stage()
    fit(whole)
    cut, begun = stage(stop=3)  # of some five steps an epoch
    with pytest.raises(KeyboardInterrupt):
        fit(cut, tmp_path, seconds=0)
    rest, ended = stage()
    fit(rest, tmp_path, seconds=0)
    assert whole.train.steps(0) > 3 and begun[:2] + ended == seen
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(rest.model.state_dict()[name], tensor), name


def test_pairs_of_elements_are_known_from_frames_that_set_no_bars(tmp_path, monkeypatch):
    frames = labelled(10)
    for k, atoms in enumerate(frames):
        atoms.info["part"] = "val" if k < 2 else "train"
    frames[9].symbols[:] = "Au"  # the others have one gold atom in four, and no two beside each other
    write_frames(tmp_path / "a.extxyz", frames)
    write_shards([tmp_path / "a.extxyz"], tmp_path / "shards")
    monkeypatch.setattr("ase_mlx.learn.recipes.labelled_frames.DRAWN", 2)
    recipe = PotentialRecipe(training(tmp_path, "shards", members=0))
    assert "alloy 9" not in [name for s in recipe.data.chosen["train"] for name in s.names]
    for stage in recipe.stages():
        recipe.epochs = {"": fit(stage)[-1]["epoch"]}
    recipe.finish()
    assert recipe.model.distance.pairs.all()
