"""Every factor, constant and Voigt's order stand once, in units.py."""

import re
from pathlib import Path

import pytest

from ase_mlx import units

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / "ase_mlx" / "units.py"
SOURCES = [
    path
    for folder in ("ase_mlx", "benchmarks", "scripts", "data", "examples")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "peers" not in path.parts and path != HOME  # peers run where this package is not installed
]
NUMBERS = [
    r"0\.52917", r"14\.3996", r"160\.217", r"1602\.17", r"96\.48", r"96485", r"23\.06", r"27\.211", r"13\.605",
    r"4\.1356", r"6\.626", r"8\.617", r"1\.3806", r"8\.314", r"24\.94", r"1\.0364", r"1\.6605", r"6\.022",
    r"0\.77602", r"1\.9599?6", r"2\.0900", r"2\.?9979", r"1\.60217",
]  # fmt: skip
ORDERS = [r"0, 1, 2, 1, 0, 0", r"0, 1, 2, 2, 2, 1", r"\(1, 2\), \(0, 2\), \(0, 1\)"]


def copies(pattern):
    for path in SOURCES:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if re.search(pattern, line):
                yield f"{path.relative_to(ROOT)}:{number}: {line.strip()}"


@pytest.mark.parametrize("pattern", [*(rf"(?<![\d.]){number}" for number in NUMBERS), *ORDERS])
def test_constants_stand_once(pattern):
    assert list(copies(pattern)) == []


def test_a_second_copy_of_any_factor_would_be_seen():
    factors = {name: value for name, value in vars(units).items() if name.isupper() and isinstance(value, float)}
    scaled = {name: f"{value:.7e}" if value < 0.01 else f"{value:.6f}" for name, value in factors.items()}
    assert {name for name, text in scaled.items() if not any(re.match(number, text) for number in NUMBERS)} == {"HBAR"}


def test_factors_agree_with_ase_and_among_one_another():
    ase = pytest.importorskip("ase.units")
    assert units.EV_PER_A3_IN_GPA == pytest.approx(1 / ase.GPa, rel=1e-12)
    assert units.EV_IN_JOULE == pytest.approx(1 / ase.J, rel=1e-9)
    assert units.LIGHT == pytest.approx(ase._c * 1e-2, rel=1e-12)
    assert units.EV_IN_KJ_PER_MOL == pytest.approx(ase.mol / ase.kJ, rel=1e-9)
    assert units.EV_IN_KCAL_PER_MOL == pytest.approx(ase.mol / ase.kcal, rel=1e-9)
    assert units.HARTREE_IN_EV == pytest.approx(ase.Hartree, rel=1e-8)
    assert units.RYDBERG_IN_EV == pytest.approx(ase.Rydberg, rel=1e-8)
    assert units.BOHR_IN_A == pytest.approx(ase.Bohr, rel=1e-9)
    assert units.COULOMB_EV_A == pytest.approx(ase.Hartree * ase.Bohr, rel=1e-7)
    assert units.BOLTZMANN == pytest.approx(ase.kB, rel=1e-8)
    assert units.PLANCK == pytest.approx(1e12 * ase._hplanck / ase._e, rel=1e-9)
    assert units.GAS == pytest.approx(ase._k * ase._Nav, rel=1e-8)
    assert units.AMU == pytest.approx(ase._amu * 1e4 / ase._e, rel=1e-8)
    assert units.KINETIC == pytest.approx(1e20 * ase._hbar**2 / (2 * ase._amu * ase._e), rel=1e-8)
    assert units.WATTS == pytest.approx(1e22 * ase._e, rel=1e-9)
    assert units.VELOCITY == pytest.approx(1e-3 * (1e-21 / ase._amu) ** 0.5, rel=1e-7)
