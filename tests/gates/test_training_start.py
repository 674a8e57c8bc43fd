"""Training that begins with another model's weights."""

import numpy as np
import pytest
import torch
from ase.calculators.singlepoint import SinglePointCalculator
from tiny import labelled, tiny_potential

from ase_mlx.data.io import write_frames
from ase_mlx.graph import from_atoms
from ase_mlx.learn.cards import read_card
from ase_mlx.learn.files import save_model
from ase_mlx.learn.recipes.potential import LabelledData, PotentialFit, PotentialRecipe, PotentialTraining
from ase_mlx.learn.run import run

SHIFT = {13: 3.0, 79: -40.0}
FIT = PotentialFit(epochs=2, batch_size=2, warmup_steps=2, learning_rate=1e-4)


def train(config, folder):
    return run(PotentialRecipe(config), folder)


def in_another_code(atoms):
    """The same frame with another zero of energy, as another pseudopotential would give."""
    out = atoms.copy()
    energy = atoms.get_potential_energy() + sum(SHIFT[z] for z in atoms.numbers)
    results = {"energy": energy, "forces": atoms.get_forces(), "stress": atoms.get_stress()}
    out.calc = SinglePointCalculator(out, **results)
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("start")
    frames = labelled(8)
    write_frames(folder / "frames.extxyz", frames)
    write_frames(folder / "shifted.extxyz", [in_another_code(a) for a in frames])
    sizes = {"l_max": 1, "layers": 2, "channels": 8, "latent": 16, "members": 0, "radial_hidden": (16,), "cutoff": 4.0}
    fit = PotentialFit(epochs=30, batch_size=2, warmup_steps=5, learning_rate=1e-2)
    train(PotentialTraining(LabelledData(str(folder / "frames.extxyz")), sizes, fit), folder / "first")
    return folder


@pytest.fixture(scope="module")
def second(folder):
    """Card lines of a training that begins with the first one's weights, in the folder "second"."""
    return train(config(folder), folder / "second")[1]


def config(folder, data="shifted.extxyz", **changes):
    return PotentialTraining(LabelledData(str(folder / data)), fit=FIT, start=str(folder / "first"), **changes)


@pytest.mark.parametrize("elements", [(13, 79), (79,), (13,)])
def test_adopted_weights_give_the_same_energies(elements):
    first = tiny_potential(elements=(13, 79))
    second = tiny_potential(
        elements=elements, seed=1, reference_energies=tuple(-100.0 - z for z in elements), products=False
    )
    atoms = labelled(1)[0]
    atoms.numbers[:] = elements[0]
    graph = from_atoms(atoms, first.cutoff)
    before = second(graph)["energy"].clone()
    second.adopt(first)
    assert float(second(graph)["energy"]) == pytest.approx(float(first(graph)["energy"]), abs=1e-5)
    assert float(before) != pytest.approx(float(first(graph)["energy"]), abs=1e-3)


def test_another_zero_of_energy_is_taken_up_before_the_first_step(folder):
    recipe = PotentialRecipe(config(folder))
    model, samples = recipe.model.eval(), recipe.samples
    off = [float(model(s.graph)["energy"] - s.targets["energy"]) / 4 for s in samples["train"]]
    assert np.abs(off).max() < 0.05
    first = read_card(folder / "first")["config"]
    change = np.subtract(model.config.reference_energies, first["reference_energies"])
    assert change @ [3, 1] == pytest.approx(3 * SHIFT[13] + SHIFT[79], abs=0.1)  # every frame is Al3Au
    assert model.config.energy_scale == first["energy_scale"]


def test_a_start_saves_training(folder, second):
    scratch = PotentialTraining(
        LabelledData(str(folder / "shifted.extxyz")), {"cutoff": 4.0, "l_max": 1, "layers": 2}, FIT
    )
    _, other = train(scratch, folder / "scratch")
    assert second["errors"]["forces"]["mae"] < 0.5 * other["errors"]["forces"]["mae"]
    card = read_card(folder / "second")
    assert card["started_from"]["sha256"] == read_card(folder / "first")["sha256"]
    assert "started_from" not in read_card(folder / "scratch")


def test_elements_are_those_of_the_new_frames(folder):
    frames = labelled(8)
    for atoms in frames:
        atoms.symbols[atoms.numbers == 79] = "Cu"
    write_frames(folder / "copper.extxyz", frames)
    model = PotentialRecipe(config(folder, "copper.extxyz")).model
    assert model.elements == (13, 29)
    first = PotentialRecipe(config(folder, "frames.extxyz")).model
    torch.testing.assert_close(model.trunk.embedding[0], first.trunk.embedding[0])


def test_a_checkpoint_of_another_start_is_refused(folder, second):
    save_model(tiny_potential(elements=(13, 79), cutoff=4.0), folder / "other", {})
    changed = PotentialTraining(LabelledData(str(folder / "shifted.extxyz")), fit=FIT, start=str(folder / "other"))
    with pytest.raises(ValueError, match="another start"):
        train(changed, folder / "second")


def test_sizes_come_from_the_start(folder):
    with pytest.raises(ValueError, match=r"got l_max in \[model\]"):
        PotentialRecipe(config(folder, model={"l_max": 2, "cutoff": 4.0}))
    with pytest.raises(FileNotFoundError, match="expected a model folder"):
        PotentialRecipe(PotentialTraining(LabelledData(str(folder / "shifted.extxyz")), start=str(folder / "nothing")))
