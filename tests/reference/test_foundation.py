"""Our reading of open checkpoints against their own codes, on small random ones (`scripts/nequix_checkpoints.py`)."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms

import ase_mlx.nn.grouped as grouped
from ase_mlx.adapters.checkpoints import read_checkpoint
from ase_mlx.graph import batch, from_atoms
from ase_mlx.models.predict import predict
from ase_mlx.nn.convolution import convolve_dense

DATA = Path(__file__).parent / "data"
REFERENCE = {name: json.loads((DATA / name / "reference.json").read_text()) for name in ("nequix", "sevennet")}
FRAMES = [Atoms(**one) for one in REFERENCE["nequix"]["structures"]]
FILES = {"plain": "nequix/plain.nqx", "species": "nequix/species.nqx", "small": "sevennet/small.pth"}


def read(name):
    return read_checkpoint(DATA / FILES[name])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", FILES)
def test_energies_forces_and_stresses_are_those_of_its_own_code(name, dtype):
    predictions = predict(read(name).to(dtype), FRAMES)
    reference = REFERENCE[FILES[name].split("/")[0]][name]
    for atoms, p, expected in zip(FRAMES, predictions, reference, strict=True):
        assert float(p["energy"]) == pytest.approx(expected["energy"], abs=3e-6 * len(atoms))
        assert p["energies"].sum() == pytest.approx(float(p["energy"]))
        assert np.abs(p["forces"] - expected["forces"]).max() < 3e-5
        assert np.abs(p["stress"] - expected["stress"]).max() < 1e-6
    forces, stresses = ([np.abs(one[key]).max() for one in reference] for key in ("forces", "stress"))
    assert max(forces) > 0.02 and max(stresses) > 1e-3  # a thousand times what may differ


@pytest.mark.parametrize("name", FILES)
def test_tables_networks_and_plain_torch_agree(name, monkeypatch):
    model = read(name).double()
    graph = batch([from_atoms(atoms, model.cutoff) for atoms in FRAMES])
    tabulated = model(graph)
    exact = model.train()(graph)
    monkeypatch.setattr(grouped, "convolve", convolve_dense)
    dense = model(graph)
    for key in ("energies", "forces", "stress"):
        assert torch.allclose(tabulated[key], exact[key], atol=1e-6), key
        assert torch.allclose(dense[key], exact[key], atol=1e-12), key


def test_a_crystal_and_its_supercell_have_the_same_energy_per_atom_and_stress():
    model = read("plain").double()
    small = FRAMES[0]
    one, eight = predict(model, [small, small.repeat(2)])
    assert float(eight["energy"]) / 8 == pytest.approx(float(one["energy"]), abs=1e-9)
    assert eight["stress"] == pytest.approx(one["stress"], abs=1e-12)
    assert eight["forces"] == pytest.approx(np.tile(one["forces"], (8, 1)), abs=1e-9)
    blocks = predict(model, small.repeat(2), blocks=True)
    assert blocks["forces"] == pytest.approx(eight["forces"], abs=1e-9)
