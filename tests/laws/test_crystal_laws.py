import numpy as np
import pytest
from tiny_anomaly import table, tiny_anomaly

from ase_mlx import pretrained
from ase_mlx.graph import from_atoms
from ase_mlx.structure import Structure
from ase_mlx.testing.crystal_laws import CRYSTAL_LAWS, TOLERANCE, crystal_violation


def crystal(row):
    cell = np.reshape(row.lattice, (3, 3))
    return Structure(
        np.array(row.numbers, dtype=int), np.reshape(row.frac_coords, (-1, 3)) @ cell, cell, np.ones(3, bool)
    )


MODELS = {"tiny": tiny_anomaly, "bhnaa": lambda: pretrained.load("bhnaa")}


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    return MODELS[request.param]().double()


@pytest.mark.parametrize("law", [*CRYSTAL_LAWS, "batch"])
def test_law_holds_on_real_crystals(model, law):
    for k in range(0, 60, 12):
        assert crystal_violation(model, crystal(table().iloc[k]), law, seed=k) < TOLERANCE, table().formula[k]


def test_the_laws_can_fail():

    broken = tiny_anomaly().double()
    sound = broken.property.described
    broken.property.described = lambda graph: sound(graph) + graph.positions[0, 0].item()
    try:
        assert crystal_violation(broken, crystal(table().iloc[0]), "translation") > TOLERANCE
    finally:
        del broken.property.described


def test_slabs_and_unknown_elements_are_refused():
    model = tiny_anomaly()
    atoms = crystal(table().iloc[0])
    with pytest.raises(ValueError, match="periodic in three directions"):
        model(from_atoms(Structure(atoms.numbers, atoms.positions, atoms.cell, np.array([True, True, False])), 6.0))
    with pytest.raises(ValueError, match="He.*elements from"):
        model(from_atoms(Structure(np.full(len(atoms.numbers), 2), atoms.positions, atoms.cell, atoms.pbc), 6.0))


def test_std_is_never_zero_and_probabilities_are_probabilities(model):
    p = model.with_std(from_atoms(crystal(table().iloc[3]), model.cutoff))
    assert all((std > 0).all() for std in p.std.values())
    for name in p:
        if name.endswith("probability"):
            assert 0 <= float(p[name]) <= 1
