"""Quasi-harmonic curves of real crystals: thermodynamic identities, known error bars, axes, bad input."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ensemble_emt import EnsembleEMT

from ase_mlx.adapters.phonopy import (
    ImaginaryModesError,
    axial_expansion,
    gruneisen,
    quasi_harmonic,
)

TEMPERATURES = np.arange(0.0, 401.0, 20.0)
KILOJOULE = 96.48533
GPA = 160.21766


@pytest.fixture(scope="module")
def copper(tmp_path_factory):
    folder = tmp_path_factory.mktemp("copper")
    return quasi_harmonic(bulk("Cu"), EMT(), (3, 3, 3), temperatures=TEMPERATURES, folder=folder), folder


def test_thermodynamic_identities(copper):
    q, _ = copper
    inner = slice(5, -1)
    kilo = 1000 * KILOJOULE
    by_maxwell = q.temperatures * q.volume * q.expansion**2 * q.bulk_modulus / GPA * kilo
    np.testing.assert_allclose((q.heat_capacity_p - q.heat_capacity_v)[inner], by_maxwell[inner], rtol=0.03)
    entropy = -np.gradient(q.gibbs_energy * 1000, q.temperatures)
    np.testing.assert_allclose(entropy[inner], q.entropy[inner], rtol=0.01)
    assert np.all(q.expansion[2:] > 0)
    assert np.all(np.diff(q.bulk_modulus[2:]) < 0)
    assert abs(q.expansion[0]) < 1e-6
    assert q.std == {}
    assert q.notes == ()
    np.testing.assert_allclose(np.prod(q.lengths, axis=1) / np.sqrt(2), q.volume, rtol=1e-4)


def test_expansion_is_what_gruneisen_parameters_say(copper):
    q, folder = copper
    found = gruneisen(bulk("Cu"), EMT(), (3, 3, 3), folder=folder)
    assert np.isnan(found.gamma).sum() == 3
    assert found.thermal == pytest.approx(q.gruneisen[-2], rel=0.08)
    assert found.std == {}


def test_pressure_makes_it_smaller_and_stiffer(copper):
    q, folder = copper
    pressed = quasi_harmonic(bulk("Cu"), EMT(), (3, 3, 3), temperatures=TEMPERATURES, pressure=2.0, folder=folder)
    change = -2.0 / q.bulk_modulus[5]
    assert pressed.volume[5] / q.volume[5] - 1 == pytest.approx(change, rel=0.06)
    assert pressed.bulk_modulus[5] > q.bulk_modulus[5]
    assert pressed.pressure == 2.0


def test_members_carry_through_to_every_curve():
    scales = np.array([0.998, 1.0, 1.002])
    calculator = EnsembleEMT(np.ones(3), scales)
    strains = (-0.04, -0.02, 0.0, 0.02, 0.04, 0.06)
    q = quasi_harmonic(
        bulk("Cu"), calculator, (2, 2, 2), temperatures=TEMPERATURES[:8], strains=strains, on_imaginary="report"
    )
    assert q.members == 3
    lengths = q.volume[0] ** (1 / 3) / scales
    assert q.std["volume"][0] == pytest.approx(np.std(lengths**3, ddof=1), rel=0.05)
    assert set(q.std) >= {
        "volume",
        "expansion",
        "bulk_modulus",
        "gibbs_energy",
        "entropy",
        "heat_capacity_p",
        "gruneisen",
    }
    assert np.all(q.std["expansion"][3:] > 0)


def test_temperatures_beyond_the_volumes_are_cut_with_a_note():
    strains = (-0.03, -0.015, 0.0, 0.015, 0.03)
    t = np.arange(0.0, 1001.0, 50.0)
    q = quasi_harmonic(bulk("Cu"), EMT(), (2, 2, 2), temperatures=t, strains=strains)
    assert q.temperatures[-1] < 1000
    assert "widen the strains" in q.notes[0]
    assert all(np.isfinite(getattr(q, name)).all() for name in ("volume", "expansion", "heat_capacity_p"))


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_unstable_volumes_are_named_or_left_out():
    strains = (-0.04, -0.02, 0.0, 0.02, 0.04, 0.6)
    with pytest.raises(ImaginaryModesError, match=r"At the volume of strain \+0.600: Imaginary modes: lowest -"):
        quasi_harmonic(bulk("Cu"), EMT(), (2, 2, 2), temperatures=TEMPERATURES, strains=strains)
    q = quasi_harmonic(bulk("Cu"), EMT(), (2, 2, 2), temperatures=TEMPERATURES, strains=strains, on_imaginary="report")
    assert len(q.volumes) == 5
    assert "strain +0.600 left out" in q.notes[0]


@pytest.mark.slow
def test_axes_of_a_hexagonal_crystal_expand_apart(tmp_path):
    atoms = bulk("Cu", "hcp", a=2.55, c=4.16)
    t = TEMPERATURES[:12]
    axial = axial_expansion(atoms, EnsembleEMT([0.95, 1.05]), (2, 2, 2), temperatures=t, folder=tmp_path, mesh=30.0)
    np.testing.assert_allclose(axial.axial.sum(axis=1), axial.expansion, atol=2e-8)
    np.testing.assert_allclose(axial.axial[:, 0], axial.axial[:, 1])
    assert abs(axial.axial[-1, 2] / axial.axial[-1, 0] - 1) > 0.005
    assert axial.std["axial"][-1, 0] > 0
    assert axial.members == 2


@pytest.mark.parametrize(
    ("atoms", "strains", "message"),
    [
        (bulk("Cu"), (0, 0.01), "at least five volumes, got 2"),
        (bulk("Cu"), (0.1, 0.12, 0.14, 0.16, 0.18), "no minimum between"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_wrong_volumes_are_refused(atoms, strains, message):
    with pytest.raises(ValueError, match=message):
        quasi_harmonic(atoms, EMT(), (2, 2, 2), temperatures=TEMPERATURES, strains=strains, tolerance=99.0)


def test_cubic_crystals_have_no_axes_of_their_own():
    with pytest.raises(ValueError, match="got group 225 .cubic, use quasi_harmonic"):
        axial_expansion(bulk("Cu"), EMT(), (2, 2, 2))
