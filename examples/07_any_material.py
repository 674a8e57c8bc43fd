"""GaN, which no shipped model knows: from a CIF to phonons, thermal expansion and conductivity by an open potential.

ase-mlx import nequix-oam-1-pft      # once, where there is a network; or pip install sevenn
python examples/07_any_material.py
"""

import numpy as np
from ase.build import bulk
from ase.io import read, write

from ase_mlx.adapters.choice import settled
from ase_mlx.adapters.phonopy import conductivity, harmonic, phonons, quasi_harmonic, spectrum
from ase_mlx.figures.main import draw_expansion, draw_phonons
from ase_mlx.figures.style import MODEL, drawn, logarithmic

write("GaN.cif", bulk("GaN", "zincblende", a=4.5))  # in place of yours
crystal = read("GaN.cif")
try:
    calculator = settled("auto", crystal)
except ValueError as error:
    print(f"No potential is here that knows GaN, and this example ends.\n{error}")
    raise SystemExit from None
print(calculator.choice)

steps = {"supercell": (5, 5, 5), "displacement": 0.01}
ph = phonons(crystal, calculator, **steps)
thermal = harmonic(ph, temperatures=np.array([300.0]))
print(f"a = {ph.unitcell.volume ** (1 / 3) * (4 if len(ph.unitcell) == 2 else 1) ** (1 / 3):.3f} Å (experiment 4.50)")
print(f"C_V(300 K) = {thermal.heat_capacity[0] / 2:.2f} J/(K mol atom); {thermal.stability}")
for note in thermal.notes:
    print(note)

curves = quasi_harmonic(crystal, calculator, **steps)
print(f"volumetric expansion at 300 K: {1e6 * curves.expansion[30]:.1f} · 10⁻⁶/K")

k = conductivity(crystal, calculator, mesh=(11, 11, 11), temperatures=np.arange(100, 801, 100), supercell=(3, 3, 3))
for temperature, kappa in zip(k.temperatures, k.kappa, strict=True):
    print(f"{temperature:4.0f} K: κ = {kappa[0]:6.1f} W/(m K)")
print(*k.notes, sep="\n")

with drawn("GaN.png", (14.5, 4.8)) as figure:
    grid = figure.add_gridspec(1, 3, width_ratios=[1.5, 1.2, 1])
    draw_phonons(grid[0], spectrum(ph), {})
    draw_expansion(grid[1], curves, {})
    ax = figure.add_subplot(grid[2])
    ax.plot(k.temperatures, k.kappa[:, 0], "o-", color=MODEL, label=calculator.choice.name)
    ax.set(xlabel="temperature (K)", ylabel="κ (W/(m K))", title="Lattice conductivity", xscale="log", yscale="log")
    for axis in (ax.xaxis, ax.yaxis):
        logarithmic(axis)
    ax.legend()
    figure.suptitle("Cubic gallium nitride, from a CIF", x=0.01, ha="left", fontweight="bold")
print("drawn: GaN.png")
