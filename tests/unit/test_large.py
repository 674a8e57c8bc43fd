import numpy as np
import pytest
import torch
from ase.build import bulk, fcc111
from tiny_density import tiny_density

from ase_mlx.graph import from_atoms
from ase_mlx.models import blocks
from ase_mlx.models.field import whole
from ase_mlx.models.large import conditioned_structure, predict_large


def crystal():
    atoms = bulk("Al", cubic=True).repeat((9, 6, 5))
    atoms.rattle(0.1, seed=1)
    atoms.set_cell(atoms.cell @ np.array([[1, 0.1, 0], [0, 1, 0], [0.05, 0, 1]]), scale_atoms=True)
    return atoms


def slab():
    atoms = fcc111("Al", (12, 7, 5), vacuum=4)
    atoms.rattle(0.1, seed=2)
    atoms.symbols[::3] = "Si"
    return atoms


@pytest.mark.parametrize("atoms", [crystal(), slab()], ids=["crystal", "slab"])
def test_blocks_give_what_one_graph_gives(monkeypatch, atoms):
    model = tiny_density(elements=(13, 14), cutoff=3.2).to(dtype=torch.float64)
    graph = from_atoms(atoms, model.cutoff)
    expected, one = model(graph), model.conditioned(graph)
    shape = (28, 20, 18)
    density = whole(one.field(), shape)
    monkeypatch.setattr("ase_mlx.models.large.FIELD_BLOCK", 120)
    monkeypatch.setattr("ase_mlx.models.large.FORCE_BLOCK", 120)
    monkeypatch.setattr("ase_mlx.models.large.CACHED_ATOMS", 200)
    parts = list(blocks.blocks(atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc, 2 * model.cutoff, 120))
    assert len(parts) > 1
    assert sorted(np.concatenate([p.core for p in parts])) == list(range(len(atoms)))
    assert all(np.array_equal(p.atom[: len(p.core)], p.core) for p in parts)
    found = predict_large(model, atoms)
    assert found["energy"] == pytest.approx(float(expected["energy"]), rel=1e-12)
    assert found["forces"] == pytest.approx(expected["forces"].numpy(), abs=1e-10)
    assert found["stress"] == pytest.approx(expected["stress"][0].numpy(), abs=1e-12)
    assert found["distance"] == pytest.approx(expected["distance"].numpy(), abs=1e-10)
    many = conditioned_structure(model, atoms)
    assert many.electrons().sum() == pytest.approx(one.electrons().sum(), abs=1e-9)
    assert whole(many.field(), shape) == pytest.approx(density, abs=1e-10)


def test_small_structures_are_one_block():
    atoms = crystal()
    (only,) = blocks.blocks(atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc, 9.0, 5000)
    assert np.array_equal(only.core, np.arange(len(atoms)))
    assert np.array_equal(only.structure.pbc, atoms.pbc)
