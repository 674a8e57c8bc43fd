"""Calls of the calculator and of `predict` that are refused by name, and lists of structures."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.calculator import PropertyNotImplementedError
from geometries import EXTRAS, GEOMETRIES, cluster, rattled
from tiny import tiny_potential

from ase_mlx.adapters.ase import Calculator
from ase_mlx.models.predict import predict


@pytest.fixture
def silicon():
    return rattled(bulk("Si") * (2, 1, 1))


@pytest.fixture(scope="module")
def model():
    return tiny_potential(l_max=2)


@pytest.mark.parametrize("name", ["dipole", "charge_std", "nonsense"])
def test_unknown_properties_are_refused_by_name(model, silicon, name):
    with pytest.raises(PropertyNotImplementedError, match=name):
        Calculator(model).get_property(name, silicon)


@pytest.mark.parametrize("name", EXTRAS)
def test_a_model_without_members_says_so(silicon, name):
    with pytest.raises(PropertyNotImplementedError, match=f"{name}.*members"):
        Calculator(tiny_potential(members=0)).get_property(name, silicon)


def test_unknown_element_names_what_it_has_and_the_ways_on(model):
    atoms = bulk("Cu")
    atoms.calc = Calculator(model)
    with pytest.raises(ValueError) as caught:
        atoms.get_potential_energy()
    for word in ("Cu", "Si", "Ge", "Sn", "train", "fine-tune", "another calculator"):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"dtype": "float16"}, "float16.*float32, float64"),
        ({"skin": -0.1}, "skin=-0.1.*zero or more"),
    ],
)
def test_wrong_arguments(model, wrong, match):
    with pytest.raises(ValueError, match=match):
        Calculator(model, **wrong)


def test_wrong_name_of_a_model():
    with pytest.raises(FileNotFoundError, match="sigesm.*expected a shipped model"):
        Calculator("sigesm")


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda a: a.positions.__setitem__((2, 1), np.nan), r"NaN or infinite positions of atoms \[2\]"),
        (lambda a: a.positions.__setitem__((0, 1), np.inf), "NaN or infinite positions"),
        (lambda a: a.cell.__setitem__(2, 0.0), "zero or parallel"),
        (lambda a: a.__delitem__(slice(None)), "without atoms"),
    ],
    ids=["NaN", "infinite", "zero volume", "empty"],
)
def test_structures_without_meaning_are_refused(model, silicon, spoil, match):
    calculator = silicon.calc = Calculator(model, skin=0.5)
    silicon.get_forces()
    spoil(silicon)
    with pytest.raises(ValueError, match=match):
        silicon.get_potential_energy()
    assert not calculator.results


def test_predicting_a_list_equals_a_loop(model):
    frames = [rattled(build()) for build in GEOMETRIES.values()]
    calculator = Calculator(model)
    together = predict(model, frames, members=True)
    assert len(together) == len(frames)
    for atoms, p in zip(frames, together, strict=True):
        assert ("stress" in p) == (atoms.cell.rank == 3)
        assert ("stress" in p.std) == ("stress" in p) == ("stress" in p.members)
        for name in p:
            assert p[name] == pytest.approx(np.asarray(calculator.get_property(name, atoms)), abs=2e-4)
            assert p[name] == pytest.approx(predict(model, atoms)[name], abs=2e-4)
        for name in p.std:
            assert p.std[name] == pytest.approx(np.asarray(calculator.get_property(f"{name}_std", atoms)), abs=2e-4)
            assert p.members[name] == pytest.approx(calculator.get_property(f"{name}_members", atoms), abs=2e-4)
    assert not predict(model, frames[0], std=False).std


def test_predicting_more_atoms_than_one_batch_holds(model, monkeypatch):
    frames = [rattled(bulk("Si"), seed=k) for k in range(7)]
    whole = [p["energy"] for p in predict(model, frames)]
    monkeypatch.setattr("ase_mlx.models.predict.ATOMS_PER_BATCH", 3)
    assert [p["energy"] for p in predict(model, frames)] == pytest.approx(whole, abs=1e-4)


def test_predicting_a_list_names_the_bad_structure(model):
    bad = bulk("Si")
    bad.positions[1, 2] = np.nan
    with pytest.raises(ValueError, match="structure 2: .*NaN"):
        predict(model, [bulk("Si"), cluster(), bad])
    with pytest.raises(ValueError, match="structure 1: got Cu"):
        predict(model, [bulk("Si"), bulk("Cu")])
    assert predict(model, []) == []
