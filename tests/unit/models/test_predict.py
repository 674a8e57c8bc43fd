import numpy as np
import pytest
import torch
from ase.build import bulk, molecule

import ase_mlx as am
from ase_mlx.adapters.ase import Calculator
from ase_mlx.fields.density_files import write_density
from ase_mlx.models import Model, Prediction
from ase_mlx.quantities import Quantity, energy

GAP = Quantity("band_gap", "graph", (), 1, "eV")
COORDINATION = Quantity("coordination", "atom", (), 1, "dimensionless")
BOND = Quantity("bond", "edge", (3,), -1, "Å")
POLARISABILITY = Quantity("polarisability", "graph", (3, 3), 1, "Å³")


class PlugIn(Model):
    """Quantities that this package has never heard of, one of each kind."""

    outputs = (GAP, COORDINATION, BOND, POLARISABILITY)
    cutoff, elements = 3.0, (1, 8, 14)

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, graph, points=None):
        counts = torch.bincount(graph.center, minlength=len(graph.numbers)).to(torch.float64)
        gap = counts.new_zeros(graph.n_graphs).index_add(0, graph.atom_graph, counts) * self.scale
        return Prediction(
            {"band_gap": gap, "coordination": counts, "bond": graph.vectors(), "polarisability": graph.cell}
        )

    def with_std(self, graph, points=None):
        values = self(graph)
        std = {name: 0.1 * values[name].abs() for name in ("band_gap", "bond")}
        return Prediction(values, std, {name: torch.stack([values[name]] * 2) for name in std})


STRUCTURES = [bulk("Si", "fcc", 4.0), molecule("H2O"), bulk("Si"), molecule("H2")]


@pytest.mark.parametrize("atoms", STRUCTURES, ids=lambda atoms: str(atoms.symbols))
def test_shapes_of_outputs_that_only_the_model_declares(atoms):
    p = am.predict(PlugIn(), atoms)
    edges = int(p["coordination"].sum())
    with pytest.raises(KeyError, match="'energy', whose standard deviation is not known here; known are those of"):
        p.std["energy"]
    assert p["band_gap"].shape == p.std["band_gap"].shape == ()
    assert p["coordination"].shape == (len(atoms),)
    assert p["bond"].shape == p.std["bond"].shape == (edges, 3)
    assert p["polarisability"].shape == (3, 3)
    assert p.members["band_gap"].shape == (2,) and p.members["bond"].shape == (2, edges, 3)


def test_a_batch_is_cut_by_graphs_atoms_and_edges_as_the_structures_alone():
    together = am.predict(PlugIn(), STRUCTURES)
    for atoms, p in zip(STRUCTURES, together, strict=True):
        alone = am.predict(PlugIn(), atoms)
        for here, there in ((p, alone), (p.std, alone.std), (p.members, alone.members)):
            assert set(here) == set(there)
            for name in here:
                assert np.array_equal(here[name], there[name]), name


class Undeclared(PlugIn):
    outputs = (COORDINATION, BOND, POLARISABILITY)


class Misshapen(PlugIn):
    outputs = (Quantity("band_gap", "atom", (), 1, "eV"), COORDINATION, BOND, POLARISABILITY)


def test_what_a_model_does_not_declare_or_declares_otherwise_is_refused():
    with pytest.raises(ValueError, match="got 'band_gap' from Undeclared, expected one of its outputs, coordination"):
        am.predict(Undeclared(), STRUCTURES[0])
    with pytest.raises(ValueError, match=r"got 'band_gap' of shape \(1,\) from Misshapen, expected \(2,\)"):
        am.predict(Misshapen(), bulk("Si"))


class Renamed(PlugIn):
    """Energy is a number per edge here: the package's own meaning of a name does not count."""

    outputs = (Quantity(energy.name, "edge", (), 1, "eV"),)

    def forward(self, graph, points=None):
        return Prediction({"energy": graph.vectors().square().sum(-1)})

    with_std = forward


def test_the_models_word_counts_rather_than_the_vocabulary():
    energies = [p["energy"] for p in am.predict(Renamed(), STRUCTURES)]
    bonds = [p["bond"] for p in am.predict(PlugIn(), STRUCTURES)]
    for one, vectors in zip(energies, bonds, strict=True):
        assert one == pytest.approx((vectors**2).sum(1))


def test_numbers_and_fields_of_a_list_are_those_of_each_structure_and_of_the_command(tmp_path):
    model, frames = am.load("al"), [bulk("Al", cubic=True), bulk("Al") * (2, 1, 1)]
    for atoms in frames:
        atoms.rattle(0.05, seed=1)
    points = [am.grid(atoms, 0.4) for atoms in frames]
    for atoms, at, p in zip(frames, points, am.predict(model, frames, at=points), strict=True):
        alone = am.predict(model, atoms, at=at)
        assert set(p) == set(alone) and set(p.std) == set(alone.std) >= {"energy", "forces", "density"}
        for name in ("energy", "forces", "density", "distance"):
            assert p[name] == pytest.approx(alone[name], rel=1e-5, abs=1e-5)
        for name in ("energy", "forces", "density"):
            assert p.std[name] == pytest.approx(alone.std[name], rel=1e-4, abs=1e-6)
        write_density(model, atoms, tmp_path / "x.npy", shape=at.shape, std=True)
        assert np.load(tmp_path / "x.npy") == pytest.approx(p["density"], abs=1e-12)
        assert np.load(tmp_path / "x_std.npy") == pytest.approx(p.std["density"], abs=1e-7)


@pytest.mark.parametrize("name", [c for c in am.available() if c["outputs"]], ids=lambda card: card["name"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_models_are_in_single_or_double_precision(name, dtype):
    model = am.load(name["name"])
    with pytest.raises(ValueError, match=rf"got a model in {dtype}, expected torch.float32 or torch.float64.*load it"):
        model.to(dtype)
    assert all(weight.dtype in (torch.float32, torch.float64) for weight in model.parameters())
    assert model.double().float() is model


def test_models_of_others_are_in_single_or_double_precision_too():
    model = PlugIn()
    model.scale.data = model.scale.data.to(torch.bfloat16)  # behind the back of `.to`
    with pytest.raises(ValueError, match=r"got a model in torch.bfloat16, expected torch.float32"):
        am.predict(model, bulk("Si"))


def test_somebody_s_autocast_changes_no_number():
    atoms = bulk("Al", cubic=True)
    atoms.rattle(0.05, seed=0)
    expected, calculator = am.predict("al", atoms), Calculator("al")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        p, forces = am.predict("al", atoms), calculator.get_forces(atoms)
    assert np.array_equal(p["forces"], expected["forces"]) and np.array_equal(forces, expected["forces"])
    assert np.array_equal(p.std["forces"], expected.std["forces"])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "int64"], ids=str)
def test_what_takes_a_dtype_names_those_it_has(dtype, tmp_path):
    with pytest.raises(ValueError, match=r"expected one of float32, float64.*leave it out"):
        Calculator("al", dtype=dtype)
    with pytest.raises(ValueError, match=r'expected "float64" or "float32"; leave it out'):
        write_density(am.load("al"), bulk("Al"), tmp_path / "x.npy", dtype=dtype)
