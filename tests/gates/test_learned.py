"""Orders learned from forces, four-phonon scattering and error bars, through the gates."""

import copy
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ensemble_emt import EnsembleEMT

from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.phono3py import conductivity, learned, load_third_order, members, third_order
from ase_mlx.adapters.phono3py.crystal import crystal_of, harmonic_of, mesh_numbers
from ase_mlx.adapters.phono3py.learned import derivatives
from ase_mlx.adapters.phono3py.members import _constants, _kappa, relative_std
from ase_mlx.adapters.phono3py.symmetry import symmetric_third
from ase_mlx.adapters.phonopy.forces import displacement_forces
from ase_mlx.adapters.phonopy.symmetry import symmetric
from ase_mlx.phonons.transport import relaxation_times

YAML = Path(__file__).parents[1] / "reference" / "data" / "phono3py-si" / "phono3py_params.yaml.xz"
ROOM = np.array([300.0])


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


@pytest.mark.slow
def test_a_fourth_order_is_learned_without_any_array(aluminium, tmp_path):
    assert aluminium.fc3 is None
    made = learned(aluminium, EMT(), 4, directions=25, folder=tmp_path)
    assert made.tensor.order == 4 and made.tensor.size < 3000
    assert made.held_out < 0.3
    done = []
    again = learned(aluminium, EMT(), 4, directions=25, folder=tmp_path, progress=lambda k, n: done.append((k, n)))
    assert done == [(150, 150)] or done[0] == (0, 150)
    assert again.held_out == pytest.approx(made.held_out, rel=1e-3)


@pytest.mark.slow
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
    settings = {"supercell": (2, 2, 2), "folder": tmp_path}
    found = conductivity(bulk("Si"), calculator, (3, 3, 3), [300.0], 48, **settings)
    assert 0.005 < found.kappa_std[0, 0] / found.kappa[0, 0] < 0.5
    plain = conductivity(bulk("Si"), calculator, (3, 3, 3), [300.0], error_bars=False, **settings)
    assert plain.kappa_std is None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # of a small supercell
def test_an_error_bar_is_that_of_all_members_and_moves_as_little_as_forces_do():
    calculator = Calculator("sigesn", dtype="float64")
    ph = third_order(bulk("Si"), calculator, (2, 2, 2))
    std = relative_std(ph, calculator, ROOM)[0, 0]
    harmonic, numbers, kappas = harmonic_of(ph), mesh_numbers(ph, 15.0), []
    for forces in displacement_forces(ph, calculator, "forces_members"):
        second, third = _constants(ph, harmonic, range(len(forces)), forces - ph.forces)
        scale = calculator.model.hessian_scale
        kappas.append(_kappa(ph, harmonic, scale * second, scale * third, None, numbers, ROOM))
    spread = np.std(kappas, ddof=1) / np.mean(kappas)  # itself uncertain by 18 %
    assert std == pytest.approx(spread, rel=0.25)
    moved = copy.copy(ph)
    moved.forces = ph.forces + 2e-15 * np.random.default_rng(0).standard_normal(ph.forces.shape)
    moved.produce_fc3()
    moved.fc2, moved.fc3 = symmetric(moved.fc2, ph.primitive), symmetric_third(moved.fc3, ph.primitive)
    ph.fc3 = symmetric_third(ph.fc3, ph.primitive)
    assert relative_std(moved, calculator, ROOM)[0, 0] == pytest.approx(
        relative_std(ph, calculator, ROOM)[0, 0], rel=1e-5
    )


@pytest.mark.filterwarnings("ignore::UserWarning")  # of a small supercell
def test_the_error_bar_of_members_of_other_calculators_is_their_spread():
    strengths = np.array([0.9, 0.95, 1.0, 1.05, 1.1])
    ph = third_order(bulk("Cu", cubic=True), EnsembleEMT(strengths), (2, 2, 2))
    std = relative_std(ph, EnsembleEMT(strengths), np.array([2000.0]))[0, 0]
    # warm, of the energy's factor λ: v² ~ λ, linewidths ~ λ^-1/2
    assert std == pytest.approx(1.5 * np.std(strengths, ddof=1), rel=0.05)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # of a small supercell
def test_the_error_bar_with_a_fourth_order_is_the_spread_of_members(monkeypatch):
    monkeypatch.setattr(members, "FEW", 8)
    strengths = np.array([0.9, 0.95, 1.0, 1.05, 1.1])
    calculator = EnsembleEMT(strengths)
    ph = third_order(bulk("Cu", cubic=True), calculator, (2, 2, 2))
    quartic = learned(ph, calculator, 4, directions=25).tensor
    std = relative_std(ph, calculator, np.array([2000.0]), quartic=quartic)[0, 0]
    # an energy λ times as large is the same crystal at T/λ, in a time √λ times as fast
    around = 2000.0 * np.array([0.98, 1.02])
    kappas = relaxation_times(crystal_of(ph), mesh_numbers(ph, 15.0), around, quartic=quartic).kappa[:, 0]
    power = 0.5 - np.diff(np.log(kappas))[0] / np.diff(np.log(around))[0]
    assert power > 1.8  # 1.5 without the fourth order
    assert std == pytest.approx(power * np.std(strengths, ddof=1), rel=0.02)


def test_the_third_order_is_symmetric_where_alternating_ends():
    ph = third_order(bulk("Al", cubic=True), EMT(), (2, 2, 2))
    ph.produce_fc3()
    once = symmetric_third(ph.fc3, ph.primitive)
    ph.symmetrize_fc3(options="level=20")
    np.testing.assert_allclose(once, ph.fc3, atol=1e-12)
    assert np.abs(once.sum(axis=1)).max() < 1e-12


def test_what_is_missing_is_said(aluminium):
    with pytest.raises(ValueError, match="got 3 displacements with forces of order 4"):
        learned(aluminium, EMT(), 4, directions=3)
    silicon = load_third_order(YAML)
    with pytest.raises(ValueError, match="order=4 needs a calculator"):
        conductivity(silicon, mesh=(3, 3, 3), order=4)
    with pytest.raises(ValueError, match="no calculator and displaced pairs"):
        conductivity(silicon, mesh=(3, 3, 3), rank="learned")
