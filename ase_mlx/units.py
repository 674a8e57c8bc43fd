"""Inside the package: eV, Å, amu, K, THz (frequencies), fs, elementary charges; every factor and constant stands here.

Source: CODATA 2014, the set of `ase.units`, to the digits that are written; where it says so, another one.
"""

from math import pi

EV_PER_A3_IN_GPA = 160.21766208
"""1 eV/Å³ in GPa."""

EV_IN_KJ_PER_MOL = 96.48533289
"""1 eV in kJ/mol."""

EV_IN_KCAL_PER_MOL = EV_IN_KJ_PER_MOL / 4.184
"""1 eV in kcal/mol."""

HARTREE_IN_EV = 27.21138602
"""1 Hartree in eV."""

RYDBERG_IN_EV = HARTREE_IN_EV / 2
"""1 Ry in eV."""

BOHR_IN_A = 0.529177210903
"""1 bohr in Å, of CODATA 2018 as in pw.x, which compares cells; CODATA 2014 has 0.52917721067."""

COULOMB_EV_A = 14.399645
"""e²/(4π ε₀) in eV Å."""

PLANCK = 4.135667662e-3
"""h in eV/THz: the quantum of a mode of 1 THz."""

HBAR = PLANCK / (2 * pi)
"""eV per rad THz."""

LIGHT = 2.99792458e6
"""Speed of light in Å THz."""

EV_IN_JOULE = 1.6021766208e-19
"""1 eV in J."""

BOLTZMANN = 8.6173303e-5
"""k_B in eV/K."""

GAS = 1e3 * BOLTZMANN * EV_IN_KJ_PER_MOL
"""R in J/(K mol)."""

AMU = 1.0364269572e-4
"""eV/(Å THz)² per amu."""

KINETIC = HBAR**2 / (2 * AMU)
"""ħ²/2 in eV Å² amu: the kinetic energy of a displacement that is weighted by the root of the mass."""

WATTS = 1602.1766208
"""1 eV/(K ps Å) in W/(m K)."""

VELOCITY = 0.77602454
"""km/s of √(GPa Å³/amu)."""

NORMAL_95 = 1.959964
"""Standard deviations on either side that hold 95 % of a normal distribution (dimensionless)."""

VOIGT = ([0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1])
"""Rows and columns of xx yy zz yz xz xy, ASE's order of the six components of a stress."""
