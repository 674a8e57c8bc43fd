"""Models that shipped once load, and give the numbers that they gave then."""

import json
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

import ase_mlx as am

MODELS = Path(__file__).parent / "data" / "models"
NUMBERS = json.loads((MODELS / "numbers.json").read_text(encoding="utf-8"))


def crystals(name):
    """The crystals of numbers.json, atoms displaced by 0.04 Å."""
    sigesn = [bulk("Si", cubic=True), bulk("SiGe", "zincblende", a=5.6, cubic=True)]
    frames = {"al": [bulk("Al", cubic=True)], "sigesn": sigesn}[name]
    for k, atoms in enumerate(frames):
        atoms.rattle(0.04, seed=k)
    return frames


@pytest.mark.parametrize("name", NUMBERS)
def test_old_models_give_the_numbers_of_then(name):
    model = am.load(MODELS / name)
    for atoms, then in zip(crystals(name), NUMBERS[name], strict=True):
        p = am.predict(model, atoms, at=am.grid(atoms, shape=(4, 4, 4)))
        for key, tolerance in (("energy", 2e-4), ("forces", 2e-4), ("stress", 2e-5), ("density", 2e-5)):
            np.testing.assert_allclose(p[key], then[key], atol=tolerance, err_msg=key)
        for key, bar in then["std"].items():
            np.testing.assert_allclose(p.std[key], bar, atol=2e-4, err_msg=f"std of {key}")


def test_shipped_models_are_others():
    for name in NUMBERS:
        energies = [am.predict(am.load(m), crystals(name)[0])["energy"] for m in (MODELS / name, name)]
        assert abs(energies[0] - energies[1]) > 1e-3
