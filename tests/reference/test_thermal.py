"""Thermal functions and Grüneisen parameters of published force sets: phonopy's own tests, and phonopy 4.8.6 on them.

Units: kJ/mol, J/(K mol) and THz, per primitive cell.
"""

from pathlib import Path

import numpy as np
import phonopy
import pytest

from ase_mlx.adapters.phonopy import harmonic, load_phonons, mode_gruneisen
from ase_mlx.phonons.thermal import thermal_functions

FOLDER = Path(__file__).parent / "data"
DATA = FOLDER / "phonopy-nacl"
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


def test_sodium_chloride_on_a_dense_mesh():
    files = {"force_sets_filename": DATA / "FORCE_SETS", "born_filename": DATA / "BORN"}
    ph = phonopy.load(DATA / "phonopy_disp.yaml", log_level=0, **files)
    result = harmonic(ph, mesh=(20, 20, 20), temperatures=np.array([0.0, 300.0, 1000.0]))
    np.testing.assert_allclose(result.free_energy[:2], [4.8633, -6.9386], atol=2e-4)
    np.testing.assert_allclose(result.entropy[1:], [74.9017, 134.106], rtol=2e-5)
    np.testing.assert_allclose(result.heat_capacity[1:], [48.0309, 49.7124], rtol=2e-5)
    assert result.zero_point_energy == pytest.approx(4.8633, abs=1e-4)
    assert result.frequencies.max() == pytest.approx(7.3746, abs=1e-3)


def test_aluminium_in_atomic_units():
    folder = FOLDER / "phonopy-al-abacus"
    with pytest.warns(UserWarning, match="written by phonopy 2.15.1.*primitive cell of 1 of 4 atoms"):
        ph = load_phonons(folder / "phonopy_disp.yaml")  # with the FORCE_SETS beside it
    result = harmonic(ph, mesh=(20, 20, 20), temperatures=np.array([0.0, 300.0]))
    np.testing.assert_allclose(result.free_energy, [3.6982, -0.1431], atol=2e-4)
    assert result.entropy[1] == pytest.approx(27.5854, rel=2e-5)
    assert result.heat_capacity[1] == pytest.approx(22.8690, rel=2e-5)
    assert result.frequencies.max() == pytest.approx(9.9719, abs=1e-3)


@pytest.mark.parametrize(
    ("crystal", "folders", "mean", "lowest", "highest"),
    [
        ("phonopy-si-gruneisen", ("orig", "plus", "minus"), 0.588, -1.752, 1.556),
        ("phonopy-nacl-gruneisen", ("NaCl-1.00", "NaCl-1.005", "NaCl-0.995"), 1.784, 0.115, 3.076),
    ],
)
def test_mode_gruneisen_parameters(crystal, folders, mean, lowest, highest):
    three = []
    for name in folders:
        folder = FOLDER / crystal / name
        born = {"born_filename": folder / "BORN"} if (folder / "BORN").exists() else {}
        three.append(
            phonopy.load(
                unitcell_filename=folder / "POSCAR-unitcell",
                supercell_matrix=[2, 2, 2],
                primitive_matrix="F",
                force_sets_filename=folder / "FORCE_SETS",
                log_level=0,
                **born,
            )
        )
    found = mode_gruneisen(*three, mesh=(20, 20, 20))
    shifted = _count_shifted(found.qpoints, three[0].primitive_symmetry.reciprocal_operations)
    assert shifted.sum() == 1000
    gamma = found.gamma[shifted > 0]
    assert np.average(gamma.mean(axis=1), weights=shifted[shifted > 0]) == pytest.approx(mean, abs=6e-4)
    assert gamma.min() == pytest.approx(lowest, abs=6e-4)
    assert gamma.max() == pytest.approx(highest, abs=6e-4)


def _count_shifted(qpoints, rotations):
    """How many points of each star of the 20×20×20 mesh belong to the 10×10×10 mesh shifted by half a step."""
    found = []
    for q in np.rint(20 * qpoints).astype(int):
        star = np.unique(np.concatenate([rotations @ q, -rotations @ q]) % 20, axis=0)
        found.append((star % 2 == 1).all(axis=1).sum())
    return np.array(found)
