"""Quasi-harmonic curves from published tables of free energies: phonopy's own tests, and phonopy 4.8.6 on them.

The tables are J/(K mol) and kJ/mol of a cell; expansions volumetric.
"""

import lzma
import re
from pathlib import Path

import numpy as np
import pytest

from ase_mlx.phonons.quasi_harmonic import quasi_harmonic_curves

DATA = Path(__file__).parent / "data"
KILOJOULE = 96.48533  # per mole, of 1 eV
GPA = 160.21766
NUMBER = r"(-?[\d.]+)"


@pytest.fixture(scope="module")
def aluminium():
    volumes, energies = np.loadtxt(DATA / "phonopy-al-qha" / "e-v.dat").T
    keys = ("temperature", "free_energy", "entropy", "heat_capacity")
    tables = []
    for k in range(-5, 6):
        text = lzma.open(DATA / "phonopy-al-qha" / f"thermal_properties.yaml-{k}.xz", "rt").read()
        text = text.split("thermal_properties:")[1]
        tables.append([np.array(re.findall(rf"{key}:\s+{NUMBER}", text), dtype=float) for key in keys])
    t, free, entropy, capacity = np.swapaxes(tables, 0, 1)
    scaled = (free / KILOJOULE, entropy / KILOJOULE / 1000, capacity / KILOJOULE / 1000)
    return quasi_harmonic_curves(volumes, energies, t[0], *scaled)


def test_aluminium(aluminium):
    q = aluminium
    at = int(np.argmin(abs(q.temperatures - 300)))
    assert q.volume[0] == pytest.approx(66.684, abs=6e-4)
    assert q.volume[at] == pytest.approx(67.6118, abs=6e-5)
    assert q.expansion[at] == pytest.approx(7.345e-5, abs=6e-9)
    assert q.bulk_modulus[at] * GPA == pytest.approx(68.59, abs=6e-3)
    assert q.heat_capacity_p[at] * KILOJOULE * 1000 == pytest.approx(96.71, abs=2e-2)
    assert q.gruneisen[at] == pytest.approx(2.224, abs=1e-3)


def test_silicon_shrinks_before_it_expands():
    table = np.loadtxt(DATA / "phonopy-si-qha-test" / "tprop-Si.dat.xz").reshape(3, 211, 11)
    capacity, entropy, free = np.swapaxes(table, 1, 2) / KILOJOULE / np.array([1000, 1000, 1])[:, None, None]
    volumes = [140.03, 144.50, 149.06, 153.72, 158.47, 163.32, 168.27, 173.32, 178.47, 183.72, 189.07]
    energies = [
        -42.132246, -42.600974, -42.949142, -43.188162, -43.326751, -43.375124,
        -43.339884, -43.230619, -43.054343, -42.817825, -42.527932,
    ]  # fmt: skip
    temperatures = np.arange(0.0, 2101.0, 10.0)
    q = quasi_harmonic_curves(np.array(volumes), np.array(energies), temperatures, free, entropy, capacity)
    np.testing.assert_allclose(q.volume[[0, 10, 20, 30]], [164.4549, 164.4442, 164.4847, 164.6143], atol=3e-3)
    np.testing.assert_allclose(q.expansion[[10, 20, 30]] * 1e6, [-0.633, 5.614, 9.675], atol=5e-3)
