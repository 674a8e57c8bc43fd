"""phonopy's programs, one for each set of units in the fast set (siesta and abacus share abinit's)."""

import pytest
from phonopy.interface.calculator import calculator_info

UNITS = ("vasp", "qe", "wien2k", "abinit", "elk", "cp2k")
CODES = [name if name in UNITS else pytest.param(name, marks=pytest.mark.slow) for name in sorted(calculator_info)]
