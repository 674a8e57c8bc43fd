"""Powder patterns against pymatgen's XRDCalculator, an independent route from the crystal to the peaks."""

import warnings

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal
from scipy.stats import norm

from ase_mlx.descriptors import diffraction
from ase_mlx.descriptors.diffraction import BINS, END, START, STEP, WAVELENGTH, WIDTH, powder_patterns
from ase_mlx.graph import from_atoms


def triclinic():
    places = [[0.02, 0.03, 0.05], [0.31, 0.48, 0.22], [0.55, 0.12, 0.71], [0.83, 0.66, 0.44], [0.12, 0.79, 0.63]]
    return Atoms("CaSiO3", scaled_positions=places, cell=[4.1, 5.2, 6.3, 77, 98, 109], pbc=True)


CRYSTALS = {
    "silicon": lambda: bulk("Si", "diamond", 5.431),
    "rock salt": lambda: bulk("NaCl", "rocksalt", 5.64, cubic=True),
    "rutile": lambda: crystal(
        "TiO", [(0, 0, 0), (0.3053, 0.3053, 0)], spacegroup=136, cellpar=[4.594, 4.594, 2.959, 90, 90, 90]
    ),
    "wurtzite": lambda: bulk("ZnS", "wurtzite", a=3.823, c=6.261, u=0.3748),
    "triclinic": triclinic,
    "uranium": lambda: Atoms(
        "U2", scaled_positions=[[0, 0.1, 0.25], [0, 0.9, 0.75]], cell=[2.854, 5.87, 4.955], pbc=True
    ),
}


def peaks_of_pymatgen(atoms):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pymatgen.analysis.diffraction.xrd import XRDCalculator
        from pymatgen.core import Structure

        structure = Structure(atoms.cell.array, atoms.get_chemical_symbols(), atoms.get_scaled_positions())
        found = XRDCalculator(WAVELENGTH).get_pattern(structure, two_theta_range=(START - 1.25, END + 1.25))
    return np.array(found.x), np.array(found.y)


@pytest.mark.parametrize("name", CRYSTALS)
def test_bins_are_those_of_pymatgen(name):
    atoms = CRYSTALS[name]()
    angles, intensities = peaks_of_pymatgen(atoms)
    below = norm.cdf(START + STEP * np.arange(BINS + 1)[:, None], angles, WIDTH / np.sqrt(8 * np.log(2)))
    expected = np.diff(below, axis=0) @ intensities
    ours = powder_patterns(from_atoms(atoms, 6.0))[0]
    assert np.abs(ours - expected / expected.max()).max() < 2e-5  # pymatgen drops peaks below 1e-5


@pytest.mark.parametrize("name", CRYSTALS)
def test_peaks_are_those_of_pymatgen(name):
    atoms = CRYSTALS[name]()
    angles, intensities = peaks_of_pymatgen(atoms)
    there, ours = diffraction._reflections(atoms.cell.array, atoms.positions, atoms.numbers)
    strong = intensities > 1
    assert strong.sum() >= 5
    same = np.abs(there - angles[strong, None]) < 2e-5
    assert same.any(1).all()
    merged = same @ ours
    np.testing.assert_allclose(merged / merged.max(), intensities[strong] / intensities.max(), rtol=1e-4)
    among = (np.abs(there[:, None] - angles) < 2e-5).any(1)
    assert ours[~among].max(initial=0) < 1e-4 * merged.max()  # and no others
