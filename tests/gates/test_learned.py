"""Orders learned from forces, four-phonon scattering and error bars, through the gates."""

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.phono3py import conductivity, learned, load_third_order, third_order
from ase_mlx.adapters.phono3py.learned import derivatives

YAML = Path(__file__).parents[1] / "reference" / "data" / "phono3py-si" / "phono3py_params.yaml.xz"


@pytest.fixture(scope="module")
def aluminium():
    return third_order(bulk("Al", cubic=True), EMT(), (2, 2, 2), pairs=False)


def test_derivatives_are_contractions_of_the_force_constants(aluminium):
    whole = third_order(bulk("Al", cubic=True), EMT(), (2, 2, 2))
    along, forces = derivatives(whole, EMT(), 3, directions=3)
    rows = whole.primitive.p2s_map
    exact = np.einsum("ijkabc,mjb,mkc->mia", whole.fc3, along, along) / -2
    assert np.linalg.norm(forces[:, rows] - exact) / np.linalg.norm(exact) < 0.02
    other = derivatives(whole, EMT(), 4, directions=3)[0]
    np.testing.assert_array_equal(along, other)


def test_a_fourth_order_is_learned_without_any_array(aluminium, tmp_path):
    assert aluminium.fc3 is None
    made = learned(aluminium, EMT(), 4, directions=25, folder=tmp_path)
    assert made.tensor.order == 4 and made.tensor.size < 3000
    assert made.held_out < 0.3
    done = []
    again = learned(aluminium, EMT(), 4, directions=25, folder=tmp_path, progress=lambda k, n: done.append((k, n)))
    assert done == [(150, 150)] or done[0] == (0, 150)
    assert again.held_out == pytest.approx(made.held_out, rel=1e-3)


def test_four_phonons_shorten_lifetimes():
    argon = bulk("Ar", a=5.3)
    calculator = LennardJones(sigma=3.4, epsilon=0.0104, rc=8.0, smooth=True)
    found = conductivity(argon, calculator, (5, 5, 5), [20.0, 60.0], supercell=(3, 3, 3), order=4, rank="learned")
    kappa, three = found.kappa[:, 0], found.modes.three_phonon_kappa[:, 0]
    less = 1 - kappa / three
    assert 0 < less[0] < less[1] < 0.9
    assert "supercell of 15 Å" in found.notes[0]
    assert found.certificate is None and found.kappa_std is None and found.quartic.tensor.order == 4


@pytest.mark.filterwarnings("ignore::UserWarning")  # of a small supercell
def test_members_give_an_error_bar(tmp_path):
    calculator = Calculator("sigesn", dtype="float64")
    found = conductivity(bulk("Si"), calculator, (3, 3, 3), [300.0], 48, supercell=(2, 2, 2), folder=tmp_path)
    assert 0.005 < found.kappa_std[0, 0] / found.kappa[0, 0] < 0.5


def test_what_is_missing_is_said(aluminium):
    with pytest.raises(ValueError, match="got 3 displacements with forces of order 4"):
        learned(aluminium, EMT(), 4, directions=3)
    silicon = load_third_order(YAML)
    with pytest.raises(ValueError, match="order=4 needs a calculator"):
        conductivity(silicon, mesh=(3, 3, 3), order=4)
    with pytest.raises(ValueError, match="no calculator and displaced pairs"):
        conductivity(silicon, mesh=(3, 3, 3), rank="learned")
