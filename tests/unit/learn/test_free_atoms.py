"""Reference energies of free atoms, and force errors that count relative to the force."""

import pytest
import torch
from ase import Atoms
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from tiny import labelled, tiny_potential

from ase_mlx.data.io import write_frames
from ase_mlx.data.samples import sample
from ase_mlx.data.shard_writer import write_shards
from ase_mlx.learn.recipes.potential import (
    LabelledData,
    PotentialFit,
    PotentialRecipe,
    PotentialTraining,
    potential_loss,
)

SIZES = {"cutoff": 4.0, "l_max": 1, "layers": 1, "channels": 4, "latent": 8, "radial_hidden": [8], "members": 0}


def free(symbol):
    atom = Atoms(symbol, calculator=EMT())
    atom.calc = SinglePointCalculator(atom, energy=atom.get_potential_energy(), forces=atom.get_forces())
    return atom


@pytest.mark.parametrize("stored", [False, True])
def test_energies_of_free_atoms_are_the_references(tmp_path, stored):
    frames = [*labelled(8), free("Al"), free("Au")]
    for k, atoms in enumerate(frames):
        atoms.info |= {"part": "val" if k < 2 else "train", "config_name": f"frame {k}"}
    frames.append(free("Al"))
    frames[-1].calc.results["energy"] += 1.0
    frames[-1].info["part"] = "test"
    write_frames(tmp_path / "a.extxyz", frames)
    write_shards([tmp_path / "a.extxyz"], tmp_path / "shards")
    data = LabelledData(str(tmp_path / ("shards" if stored else "a.extxyz")), references="free atoms")
    model = PotentialRecipe(PotentialTraining(data, SIZES)).model
    expected = [float(atoms.calc.results["energy"]) for atoms in frames[8:10]]
    assert list(model.config.reference_energies) == pytest.approx(expected, abs=1e-7)


def test_an_element_without_a_free_atom_is_named(tmp_path):
    write_frames(tmp_path / "a.extxyz", [*labelled(8), free("Al")])
    data = LabelledData(str(tmp_path / "a.extxyz"), references="free atoms")
    with pytest.raises(ValueError, match="no free atom of Au"):
        PotentialRecipe(PotentialTraining(data, SIZES))


def test_errors_of_large_forces_count_less():
    model, (small, large) = tiny_potential(elements=(13, 79), members=0, cutoff=4.0).train(), labelled(2)
    large.calc.results["forces"] = small.calc.results["forces"] + 30.0 * torch.eye(3)[[0, 0, 1, 1]].numpy()
    one = sample(large, 4.0, "large")
    floored, plain = (potential_loss(model, one, floor=f)["forces"] for f in (0.2, 0.0))
    size = torch.linalg.vector_norm(one.targets["forces"], dim=1)
    error = torch.linalg.vector_norm(model(one.graph)["forces"] - one.targets["forces"], dim=1)
    relative = float((error / (size + 0.2)).detach().sum()) * model.config.energy_scale
    assert floored.total.item() == pytest.approx(relative, rel=1e-3)  # errors below 0.01 eV/Å are smoothed
    assert floored.weight == plain.weight and floored.count == plain.count
    assert PotentialFit(forces_floor=0.2).weights.keys() == PotentialFit().weights.keys()
