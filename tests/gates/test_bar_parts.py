"""The two parts of error bars, of every shipped model that tells them apart."""

import numpy as np
import pytest
from ase.build import bulk

import ase_mlx as am

SHIPPED = {
    "sigesn": {"energy", "forces", "stress", "density"},
    "al": {"energy", "forces", "stress", "density"},
    "universal": {"energy", "forces", "stress"},
    "formation_energy": {"formation_energy", "hull_distance"},
    "bhnaa": {"formation_energy", "hull_distance", "tail_margin"},
}


@pytest.fixture
def crystal(request):
    atoms = bulk("Al" if request.param == "al" else "Si", cubic=True)
    atoms.rattle(0.1, seed=1)
    return request.param, atoms


@pytest.mark.parametrize("crystal", SHIPPED, indirect=True)
def test_squares_of_the_parts_add_up_to_the_bars(crystal):
    name, atoms = crystal
    at = {"at": am.grid(atoms, 0.4)} if "density" in SHIPPED[name] else {}
    prediction = am.predict(am.load(name), [atoms] if not at else atoms, **at)
    prediction = prediction if at else prediction[0]
    parts = prediction.std_parts
    assert set(parts) == {"epistemic", "aleatoric"}
    assert set(parts["epistemic"]) == set(parts["aleatoric"]) == SHIPPED[name]
    for quantity in SHIPPED[name]:
        both = [np.asarray(part[quantity], dtype=float) for part in parts.values()]
        assert both[0].shape == both[1].shape == np.shape(prediction.std[quantity])
        assert (both[0] > 0).any() and (both[1] > 0).any() and min(part.min() for part in both) >= 0
        np.testing.assert_allclose(np.hypot(*both), prediction.std[quantity], rtol=1e-5)


def test_what_stays_is_the_same_far_from_the_data_where_the_other_grows():
    model, near, far = am.load("sigesn"), bulk("Si", cubic=True), bulk("Si", cubic=True)
    near.rattle(0.05, seed=0)
    far.rattle(0.6, seed=0)
    with pytest.warns(UserWarning, match="training data"):
        both = [am.predict(model, atoms).std_parts for atoms in (near, far)]
    sizes = [[np.linalg.norm(parts[name]["forces"]) for parts in both] for name in ("epistemic", "aleatoric")]
    assert sizes[0][1] > 5 * sizes[0][0] and sizes[1][1] == pytest.approx(sizes[1][0])


def test_parts_that_are_not_known_are_absent_and_say_why():
    parts = am.predict(am.load("bhnaa"), bulk("Si")).std_parts
    assert "novelty" not in parts["epistemic"]
    with pytest.raises(KeyError, match="does not tell the parts apart"):
        parts["aleatoric"]["novelty"]
