"""Models that shipped once load, and give the numbers that they gave then."""

import json
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

import ase_mlx as am
from ase_mlx.graph import batch, from_atoms
from ase_mlx.learn.upgrades import upgrade

MODELS = Path(__file__).parent / "data" / "models"
NUMBERS = json.loads((MODELS / "numbers.json").read_text(encoding="utf-8"))
OF_CRYSTALS = json.loads((MODELS / "numbers_crystals.json").read_text(encoding="utf-8"))


def crystals(name):
    """The crystals of numbers.json, atoms displaced by 0.04 Å."""
    sigesn = [bulk("Si", cubic=True), bulk("SiGe", "zincblende", a=5.6, cubic=True)]
    frames = {"al": [bulk("Al", cubic=True)], "sigesn": sigesn}[name]
    for k, atoms in enumerate(frames):
        atoms.rattle(0.04, seed=k)
    return frames


@pytest.mark.parametrize("name", NUMBERS)
def test_old_models_give_the_numbers_of_then(name):
    with pytest.warns(UserWarning, match="distance score did not see missing neighbours"):
        model = am.load(MODELS / name)
    for atoms, then in zip(crystals(name), NUMBERS[name], strict=True):
        p = am.predict(model, atoms, at=am.grid(atoms, shape=(4, 4, 4)))
        for key, tolerance in (("energy", 2e-4), ("forces", 2e-4), ("stress", 2e-5), ("density", 2e-5)):
            np.testing.assert_allclose(p[key], then[key], atol=tolerance, err_msg=key)
        for key, bar in then["std"].items():
            np.testing.assert_allclose(p.std[key], bar, atol=2e-4, err_msg=f"std of {key}")


@pytest.mark.filterwarnings("ignore:Potential of an earlier version")
def test_shipped_models_are_others():
    for name in NUMBERS:
        energies = [am.predict(am.load(m), crystals(name)[0])["energy"] for m in (MODELS / name, name)]
        assert abs(energies[0] - energies[1]) > 1e-3


def solids():
    """The crystals of numbers_crystals.json, atoms displaced by 0.04 Å."""
    frames = [
        bulk("KCl", "rocksalt", a=6.29),
        bulk("Si", cubic=True),
        bulk("ZnS", "zincblende", a=5.41),
        bulk("MgO", "rocksalt", a=4.3, cubic=True),
    ]
    for k, atoms in enumerate(frames):
        atoms.rattle(0.04, seed=k)
    return frames


@pytest.mark.parametrize("name", OF_CRYSTALS)
def test_models_of_crystals_lose_their_spare_input_and_no_digit(name):
    then = OF_CRYSTALS[name]
    model = am.load(MODELS / name if (MODELS / name).exists() else name).double()
    graph = batch([from_atoms(atoms, model.cutoff) for atoms in solids()])
    p = model.with_std(graph)
    for key, values in then["values"].items():
        np.testing.assert_allclose(p[key], values, rtol=0, atol=1e-12, err_msg=key)
    for key, bars in then["std"].items():
        np.testing.assert_allclose(p.std[key], bars, rtol=0, atol=1e-12, err_msg=f"std of {key}")
    of_properties = getattr(model, "property", model)
    for view, networks in zip(of_properties.config.views, of_properties.networks, strict=False):
        assert networks.stacked[networks.names.index("out.bias")].shape[1] == len(of_properties.config.columns(view))


def test_each_ensemble_of_a_model_with_attention_loses_its_spare_input():
    then, model = OF_CRYSTALS["crystal_property"], am.load(MODELS / "crystal_property").double()
    rows = model.described(batch([from_atoms(atoms, model.cutoff) for atoms in solids()]))
    pattern = slice(sum(model.config.blocks[:2]), None)
    rows[:, pattern] = np.random.default_rng(0).normal(size=rows[:, pattern].shape)
    for view in ("composition", "pattern"):
        energies = model.table(model.without_others(rows, view))["formation_energy"]
        np.testing.assert_allclose(energies, then[view], rtol=0, atol=1e-12)


def test_a_published_score_of_an_old_model_is_refused(tmp_path):
    card = json.loads((MODELS / "crystal_property" / "card.json").read_text(encoding="utf-8"))
    card["config"]["literal"] = True
    with pytest.raises(ValueError, match="literal = true of schema 2"):
        upgrade(card, {"networks.0.stacked.0": np.zeros(2)})
