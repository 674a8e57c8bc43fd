import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from tiny import tiny_potential
from tiny_density import tiny_density, tiny_points

import ase_mlx as am
from ase_mlx.graph import Points, at
from ase_mlx.models import Field, Generates, Model, Prediction, Predicts
from ase_mlx.quantities import Quantity
from ase_mlx.structure import Structure, net_charge

TEMPERATURE = Quantity("temperature", "point", (), 1, "K")


class Heat(torch.nn.Module, Field):
    """A field and nothing else: no forward, no error bars, no parameters."""

    outputs, cutoff, elements = (TEMPERATURE,), 3.0, (14,)

    def at(self, graph, points, std=False, start=300.0):
        return Prediction({"temperature": start + torch.from_numpy(points.positions[:, 0])})


class Lattices(torch.nn.Module, Generates):
    """New structures and nothing else."""

    elements = (14,)

    def sample(self, n, seed=0, length=(3.0, 5.0)):
        lengths = np.random.default_rng(seed).uniform(*length, n)
        return [Structure(np.array([14]), np.zeros((1, 3)), a * np.eye(3), np.ones(3, bool)) for a in lengths]


class Old(Model):
    """A kind of before there were fields: its density comes with all else, at points."""

    outputs, cutoff, elements = (TEMPERATURE, Quantity("count", "graph", (), 1, "dimensionless")), 3.0, (14,)

    def forward(self, graph, points=None):
        values = {"count": graph.n_atoms.double()}
        if points is not None:
            values["temperature"] = torch.from_numpy(points.positions[:, 0])
        return Prediction(values)

    with_std = forward


PLACES = at([[1.0, 0, 0], [2.0, 0, 0], [4.0, 0, 0]])


def test_what_our_models_are():
    assert isinstance(tiny_potential(), Predicts) and isinstance(tiny_density(), Field)
    assert isinstance(tiny_points(), Field) and not isinstance(tiny_points(), Generates)
    assert isinstance(Lattices(), Generates) and not isinstance(Lattices(), Predicts | Field)


def test_a_contract_that_is_not_kept_is_no_model():
    class Empty(torch.nn.Module, Generates):
        pass

    class Blind(Model):
        def with_std(self, graph, points=None):
            return Prediction({})

    for broken, name in ((Empty, "sample"), (Blind, "forward")):
        with pytest.raises(TypeError, match=name):
            broken()


def test_a_field_alone_is_predicted_at_points():
    assert am.predict(Heat(), bulk("Si"), at=PLACES)["temperature"].tolist() == [301, 302, 304]
    with pytest.raises(ValueError, match=r"got no points for a model that gives a field only \(temperature\)"):
        am.predict(Heat(), bulk("Si"))
    with pytest.raises(ValueError, match="got Ge, but"):
        am.predict(Heat(), bulk("Ge"), at=PLACES)


def test_kinds_of_before_keep_working():
    p = am.predict(Old(), [bulk("Si"), bulk("Si", cubic=True)], at=PLACES)
    assert [q["count"] for q in p] == [2, 8] and p[0]["temperature"].tolist() == [1, 2, 4]
    with pytest.raises(ValueError, match="got a charge of 1 e for a Old"):
        am.predict(Old(), bulk("Si"), at=PLACES, charge=1)


@pytest.mark.filterwarnings("ignore::ase_mlx.models.electron_count.CoarseGridWarning")  # of random weights
@pytest.mark.parametrize("make", [tiny_density, tiny_points])
def test_a_charge_counts_from_the_argument_or_from_the_atoms(make):
    model, atoms = make(), bulk("Al", cubic=True)
    points = am.grid(atoms, shape=(20, 20, 20))
    volume = atoms.cell.volume / len(points)
    electrons = lambda **more: am.predict(model, atoms, at=points, **more)["density"].sum() * volume  # noqa: E731
    neutral = electrons()
    assert electrons(charge=-2) - neutral == pytest.approx(2, abs=1e-6)
    atoms.info["charge"] = 1
    assert electrons() - neutral == pytest.approx(-1, abs=1e-6)
    assert electrons(charge=0.0) == pytest.approx(neutral, abs=1e-9)
    assert electrons(std=False) == pytest.approx(electrons(), abs=1e-9)


def test_charges_without_meaning_are_refused():
    atoms = bulk("Al")
    with pytest.raises(ValueError, match="got charge=1 without points"):
        am.predict(tiny_potential(elements=(13,)), atoms, charge=1)
    atoms.info = {"charge": 1, "total_charge": 2}
    with pytest.raises(ValueError, match="expected one charge"):
        am.predict(tiny_density(), atoms, at=Points((4, 4, 4)))
    with pytest.raises(ValueError, match="expected a number of e"):
        net_charge(Atoms("H", info={"charge": "positive"}))
    assert (
        net_charge(Atoms("H", info={"charge": -1})) == -1
        and net_charge(Structure(np.ones(1, int), np.zeros((1, 3)))) == 0
    )
