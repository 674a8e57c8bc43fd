"""Networks of crystals' properties: what no symmetry changes, what the rule of the textbooks cannot see, their bars."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from ase import Atoms
from ase.build import bulk, make_supercell
from kinds import SETTINGS, write_data
from tiny import tiny_potential
from tiny_anomaly import FILE

import ase_mlx as am
from ase_mlx.graph import from_atoms
from ase_mlx.learn.files import load_model, save_model
from ase_mlx.learn.recipe import read_training
from ase_mlx.learn.recipes.crystal_network import CrystalNetworkRecipe, calibrate_network, network_loss
from ase_mlx.learn.recipes.labelled_crystals import read_table
from ase_mlx.learn.run import run
from ase_mlx.models.crystal_network import TARGETS, CrystalNetwork, CrystalNetworkConfig
from ase_mlx.units import VOIGT

SMALL = {"cutoff": 4.0, "channels": 8, "layers": 2, "pooled": 8, "width": 8, "members": 3, "neighbors": 12.0}


def network(targets=("formation_energy", "band_gap", "metal_probability"), seed=0, **sizes):
    torch.manual_seed(seed)
    made = CrystalNetwork(CrystalNetworkConfig(tuple(targets), (11, 14, 17, 32), **SMALL | sizes))
    torch.nn.init.normal_(made.spread, std=0.1)
    torch.nn.init.normal_(made.mean)
    return made.double().eval()


def rocksalt():
    crystal = bulk("NaCl", "rocksalt", a=5.64)
    crystal.rattle(0.05, seed=1)
    return crystal


def values(model, atoms):
    p = am.predict(model, atoms)
    return np.array([float(p[q.name]) for q in model.outputs] + [float(p.std[q.name]) for q in model.outputs])


@pytest.mark.parametrize("messages", ["equivariant", "sums"])
def test_no_cell_turn_or_order_changes_a_property(messages):
    model, crystal = network(messages=messages), rocksalt()
    expected = values(model, crystal)
    large = make_supercell(crystal, [[1, 1, 0], [0, 1, 0], [0, 0, 2]])
    turned = crystal.copy()
    turned.rotate(40, (1, 2, 3), rotate_cell=True)
    mirrored = Atoms(crystal.numbers, -crystal.positions, cell=-crystal.cell.array, pbc=True)
    for other in (large, turned, mirrored, crystal[[1, 0]]):
        np.testing.assert_allclose(values(model, other), expected, rtol=1e-9)
    batched = am.predict(model, [crystal, bulk("Si"), large])
    np.testing.assert_allclose([float(p["band_gap"]) for p in batched[::2]], expected[1], rtol=1e-9)


def test_sums_of_neighbours_see_no_distances_and_directions():
    crystal, stretched = bulk("NaCl", "rocksalt", a=5.64), bulk("NaCl", "rocksalt", a=5.65)
    np.testing.assert_array_equal(*(values(network(messages="sums"), a) for a in (crystal, stretched)))
    assert np.abs(np.subtract(*(values(network(), a) for a in (crystal, stretched)))).max() > 1e-6


def test_values_keep_to_their_ranges():
    model = network(TARGETS)
    p = am.predict(model, [rocksalt(), bulk("Si"), bulk("Ge")])
    for one in p:
        assert 0 <= float(one["metal_probability"]) <= 1
        assert all(float(one[name]) >= 0 for name in ("hull_distance", "band_gap", "bulk_modulus", "shear_modulus"))
        assert all(float(one.std[name]) > 0 for name in TARGETS)


def test_slabs_and_other_elements_are_refused():
    open_cell = rocksalt()
    open_cell.pbc = (True, True, False)
    with pytest.raises(ValueError, match="periodic in three directions"):
        am.predict(network(), open_cell)
    with pytest.raises(ValueError, match="got Cu"):
        am.predict(network(), bulk("Cu"))


@pytest.mark.parametrize("name", ["band_gap", "metal_probability"])
def test_derivatives_by_strain_are_those_of_finite_differences(name):
    model, crystal, step = network(seed=3).train(), rocksalt(), 1e-4  # exact radial functions
    crystal.rotate(20, (1, 1, 0), rotate_cell=True)
    value, slope = model.by_strain(from_atoms(crystal, model.cutoff), name)
    assert float(value) > 0
    for k, (i, j) in enumerate(zip(*VOIGT, strict=True)):
        ends = []
        for sign in (1, -1):
            strain = np.zeros((3, 3))
            strain[i, j] += 0.5 * sign * step
            strain[j, i] += 0.5 * sign * step
            moved = crystal.copy()
            moved.set_cell(crystal.cell.array @ (np.eye(3) + strain), scale_atoms=True)
            ends.append(float(model(from_atoms(moved, model.cutoff))[name].detach()))
        assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(float(slope[0, k]), abs=1e-6, rel=1e-4)
    with pytest.raises(ValueError, match="got 'shear_modulus', expected one of"):
        model.by_strain(from_atoms(crystal, model.cutoff), "shear_modulus")


@pytest.mark.parametrize("targets", [(), ("volume",), ("band_gap", "band_gap")])
def test_targets_are_checked(targets):
    with pytest.raises(ValueError, match="expected some of formation_energy"):
        CrystalNetworkConfig(targets, (14,))


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    crystals = pd.read_parquet(FILE)
    small = crystals[crystals.nsites <= 8].iloc[:60].reset_index(drop=True)
    small["part"] = np.repeat(["train", "val", "test"], [30, 20, 10])
    small["band_gap"] = np.where(np.arange(60) % 3 == 0, np.nan, np.arange(60) % 4 * 0.5)
    path = tmp_path_factory.mktemp("table") / "crystals.parquet"
    small.to_parquet(path)
    return path


def test_what_a_table_lacks_is_left_out(table):
    names = {"band_gap": "band_gap", "metal_probability": ""}
    samples, parts = read_table(table, names, 4.0)
    gap = pd.read_parquet(table).band_gap.to_numpy()
    assert [float(s.weight["band_gap"][0]) for s in samples] == np.isfinite(gap).astype(float).tolist()
    metal = [float(s.targets["metal_probability"][0]) for s in samples if s.weight["metal_probability"] > 0]
    assert metal == (gap[np.isfinite(gap)] < 1e-3).astype(float).tolist()
    assert sorted(set(parts)) == ["test", "train", "val"]
    elements = tuple(sorted({int(z) for s in samples for z in s.graph.numbers}))
    model = CrystalNetwork(CrystalNetworkConfig(tuple(names), elements, **SMALL)).double()
    nothing = replace(samples[0], weight={name: torch.zeros(1) for name in names})
    assert all(float(term.total.detach()) == 0 == term.count for term in network_loss(model, nothing).values())
    with pytest.raises(ValueError, match="without gap, expected"):
        read_table(table, {"band_gap": "gap"}, 4.0)
    with pytest.raises(ValueError, match="without a column of band_gap"):
        read_table(table, {"metal_probability": ""}, 4.0)


def test_widths_are_those_of_held_out_errors(table):
    samples, _ = read_table(table, {"formation_energy": "formation_energy_per_atom"}, 4.0)
    elements = tuple(sorted({int(z) for s in samples for z in s.graph.numbers}))
    model = CrystalNetwork(CrystalNetworkConfig(("formation_energy",), elements, **SMALL)).double().eval()
    before = {name: p.clone() for name, p in model.named_parameters()}
    p = [model.with_std(s.graph) for s in samples[::2]]
    error = torch.cat(
        [
            (s.targets["formation_energy"] - q.members["formation_energy"]).abs().mean(0)
            for s, q in zip(samples[::2], p, strict=True)
        ]
    )
    calibrate_network(model, samples)
    changed = {name for name, q in model.named_parameters() if not torch.equal(q, before[name])}
    assert changed == {"spread", "level"}
    with torch.no_grad():
        width = torch.cat(
            [model.widths(model.hiddens(model.vector(s.graph, s.graph.vectors()))).mean(0)[:, 0] for s in samples[::2]]
        )
    assert float(width.mean()) == pytest.approx(float(error.mean()), rel=0.1)
    assert np.corrcoef(width, error)[0, 1] > 0.2


def test_bars_hold_what_they_were_set_on(table):
    names = {"formation_energy": "formation_energy_per_atom"}
    samples, _ = read_table(table, names, 4.0)
    elements = tuple(sorted({int(z) for s in samples for z in s.graph.numbers}))
    model = CrystalNetwork(CrystalNetworkConfig(tuple(names), elements, **SMALL)).double()
    calibrate_network(model, samples)
    p = [model.with_std(s.graph) for s in samples[1::2]]
    z = [
        float((s.targets["formation_energy"] - q["formation_energy"]) / q.std["formation_energy"])
        for s, q in zip(samples[1::2], p, strict=True)
    ]
    assert 0.7 < np.mean(np.abs(z) < model.half_width("formation_energy", 0.9))  # of thirty


def test_a_training_may_begin_with_the_trunk_of_a_potential(tmp_path):
    write_data(tmp_path)
    frame = pd.read_parquet(tmp_path / "known.parquet")
    elements = tuple(sorted({int(z) for n in frame.numbers for z in n}))
    start = tiny_potential(elements=elements, cutoff=4.0, by_element="gains", members=0)
    save_model(start, tmp_path / "trunk", {"title": "tiny", "errors": {}})
    text = 'kind = "crystal_network"\nstart = "trunk"\n' + SETTINGS["crystal_network"].format(epochs=1)
    sizes = [line for line in text.splitlines() if not line.startswith(("cutoff", "channels", "layers", "radial"))]
    (tmp_path / "trunk.toml").write_text("\n".join(sizes))
    (tmp_path / "sizes.toml").write_text(text)
    with pytest.raises(ValueError, match="got cutoff, layers, channels, radial_hidden in"):
        CrystalNetworkRecipe(read_training(tmp_path / "sizes.toml")[1])
    recipe_class, config = read_training(tmp_path / "trunk.toml")
    assert recipe_class is CrystalNetworkRecipe
    recipe = recipe_class(config)
    theirs = start.trunk.state_dict()
    assert all(torch.equal(x, theirs[name]) for name, x in recipe.model.trunk.state_dict().items())
    _, lines = run(recipe, tmp_path / "model")
    assert lines["started_from"]["title"] == "tiny" and "formation_energy" in lines["errors"]
    again = load_model(tmp_path / "model")
    assert again.config.channels == start.config.channels
    text = text.replace('start = "trunk"', "").replace("known", "crystals")
    (tmp_path / "foreign.toml").write_text(text)
    with pytest.raises(ValueError, match="in the table, which no training crystal has"):
        CrystalNetworkRecipe(read_training(tmp_path / "foreign.toml")[1])
    save_model(tiny_potential(elements=elements, cutoff=4.0), tmp_path / "trunk", {"title": "tiny", "errors": {}})
    with pytest.raises(ValueError, match='by_element = "gains"'):
        recipe_class(config)
