"""Silicon's lattice thermal conductivity from the shipped potential, through compressed force constants.

python examples/05_conductivity.py
"""

from ase.build import bulk

from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.phonopy import conductivity

k = conductivity(
    bulk("Si"),
    Calculator("sigesn", dtype="float64"),
    mesh=(11, 11, 11),
    temperatures=[200, 300, 600],
    rank=96,  # "auto" would add products until held-out elements are met within 2.5 %
    solver="iterative",
    isotopes=True,
)
for temperature, kappa, rta in zip(k.temperatures, k.kappa, k.modes.kappa, strict=True):
    print(f"{temperature:4.0f} K: κ = {kappa[0]:6.1f} W/(m K), {rta[0]:6.1f} with relaxation times")
full, compact = k.compression.ratios
print(f"force constants compressed {full:.0f} times ({compact:.0f} times against the translation-reduced tensor)")
print(k.certificate)
