"""Thermal functions against the values that phonopy's own test expects of its NaCl example (kJ/mol, J/(K mol))."""

from pathlib import Path

import numpy as np
import phonopy
import pytest

from ase_mlx.adapters.phonopy import harmonic
from ase_mlx.phonons.thermal import thermal_functions

DATA = Path(__file__).parent / "data" / "phonopy-nacl"
KILOJOULE = 96.4853  # per mole, of 1 eV


@pytest.fixture(scope="module")
def nacl():
    files = {"force_sets_filename": DATA / "FORCE_SETS", "born_filename": DATA / "BORN"}
    return phonopy.load(
        DATA / "phonopy_disp.yaml", fc_calculator="traditional", symmetrize_fc=False, log_level=0, **files
    )


def test_sums_over_a_mesh(nacl):
    mesh = nacl.run_mesh([5, 5, 5])
    thermal = thermal_functions(
        mesh.frequencies, mesh.weights, np.array([0.0, 300.0, 900.0]), counted=mesh.frequencies > 1e-5
    )
    np.testing.assert_allclose(thermal.free_energy[:2] * KILOJOULE, [4.856522, -6.808753], rtol=1e-4)
    np.testing.assert_allclose(thermal.entropy[1:] * 1000 * KILOJOULE, [74.268068, 128.022838], rtol=3e-5)
    assert thermal.heat_capacity[1] * 1000 * KILOJOULE == pytest.approx(47.838756, rel=1e-5)


def test_acoustic_modes_at_gamma_stay_out(nacl):
    result = harmonic(nacl, mesh=(5, 5, 5), temperatures=np.array([300.0]))
    assert result.natoms == 2
    assert result.entropy[0] == pytest.approx(74.268068, rel=1e-4)
