"""How well silicon conducts heat: its phonons collide by threes and, when it is hot, by fours.

python examples/05_conductivity.py
"""

import numpy as np
from ase.build import bulk

from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.phonopy import conductivity
from ase_mlx.figures.conductivity import draw_conductivity

k = conductivity(
    bulk("Si"),
    Calculator("sigesn", dtype="float64"),
    mesh=(7, 7, 7),  # quick, and not converged: finer meshes give more
    temperatures=np.array([200, 300, 400, 500, 600, 800]),
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
draw_conductivity(k, "Silicon by sigesn: collisions of three and of four phonons", "conductivity.png")
print("drawn: conductivity.png")
