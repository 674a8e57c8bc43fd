"""Silicon's lattice thermal conductivity from the shipped potential, with three- and four-phonon scattering.

python examples/05_conductivity.py
"""

from ase.build import bulk

from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.phonopy import conductivity

k = conductivity(
    bulk("Si"),
    Calculator("sigesn", dtype="float64"),
    mesh=(7, 7, 7),
    temperatures=[300, 600],
    solver="iterative",
    order=4,  # four-phonon scattering, its force constants learned from 360 supercells
    isotopes=True,
)
three = k.modes.three_phonon_kappa
for temperature, kappa, std, rta, less in zip(k.temperatures, k.kappa, k.kappa_std, k.modes.kappa, three, strict=True):
    print(
        f"{temperature:4.0f} K: κ = {kappa[0]:6.1f} ± {std[0]:4.1f} W/(m K); with relaxation times {rta[0]:6.1f}, "
        f"with three-phonon scattering alone {less[0]:6.1f}"
    )
full, compact = k.quartic.ratios
print(
    f"fourth order: {k.quartic.tensor.size} numbers, {full:,.0f} times fewer ({compact:,.0f} times less translations)"
)
