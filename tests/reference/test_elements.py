"""Formation energies of elements are zero by definition; the shipped models were trained on their ground states."""

import numpy as np
import pytest
from ase.build import bulk

import ase_mlx as am
from ase_mlx.data.elements import ground_states


@pytest.fixture(scope="module")
def scores():
    return am.predict(am.load("bhnaa").double(), list(ground_states().values()))


def test_formation_energies_of_ground_states_are_zero_within_their_bars(scores):
    energies, bars = (np.array([float(x) for x in xs]) for xs in zip(
        *((p["formation_energy"], p.std["formation_energy"]) for p in scores), strict=True))  # fmt: skip
    assert np.abs(energies).mean() < 0.025
    assert (np.abs(energies) < bars).mean() > 0.68


def test_ground_states_are_no_stranger_than_other_crystals(scores):
    assert np.median([float(p["novelty_probability"]) for p in scores]) < 0.5


@pytest.mark.parametrize("name", ["Cu", "Fe", "W", "Al", "Mg", "Na", "Au"])
def test_textbook_metals_are_ordinary(name):
    p = am.predict(am.load("bhnaa").double(), bulk(name))
    assert float(p["novelty_probability"]) < 0.9
    assert abs(float(p["formation_energy"])) < float(p.std["formation_energy"])
