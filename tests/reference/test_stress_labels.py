"""Stress labels are the strain derivative of the energy labels: equations of state, energies at one cutoff."""

import sys
from pathlib import Path

import numpy as np
import pytest

DATA = Path(__file__).parents[2] / "data"
sys.path.insert(0, str(DATA))
from stress_offset import equations_of_state, offsets  # noqa: E402

FAMILIES = equations_of_state()


@pytest.mark.parametrize("family", FAMILIES)
def test_pressure_of_the_labels_is_that_of_the_energies(family):
    volume, corrected, raw = offsets(FAMILIES[family])
    middle = slice(1, -1)  # the ends of a polynomial
    assert np.abs(corrected[middle]).max() < (0.11 if family == "al4_eos" else 0.055)  # GPa
    assert np.abs(corrected[middle]).max() < 0.5 * np.abs(raw[middle]).max()
