"""Inside the package: eV, Å, amu, K, fs, elementary charges. These factors are used at the gates only.

Source: CODATA 2014, the set that ASE uses, so that numbers agree with `ase.units` to the last digit.
"""

EV_PER_A3_IN_GPA = 160.21766208
"""1 eV/Å³ in GPa."""

COULOMB_EV_A = 14.399645
"""e²/(4π ε₀) in eV Å."""

BOHR_IN_A = 0.52917721067
"""1 bohr in Å."""
