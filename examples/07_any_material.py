"""What of a compound that the model of silicon refuses? Silicon carbide, from a CIF to phonons and conductivity.

ase-mlx import nequix-oam-1-pft      # once, where there is a network; else the rough `universal` that ships is taken
python examples/07_any_material.py
"""

import numpy as np
from ase.build import bulk
from ase.io import read, write

from ase_mlx.adapters.choice import settled
from ase_mlx.adapters.phonopy import conductivity, harmonic, members, phonons, quasi_harmonic, spectrum
from ase_mlx.figures.main import draw_expansion, draw_phonons
from ase_mlx.figures.style import MODEL, drawn, logarithmic

write("SiC.cif", bulk("SiC", "zincblende", a=4.36))  # in place of yours
crystal = read("SiC.cif")
calculator = settled("auto", crystal)
print(calculator.choice)

ph = phonons(crystal, calculator, supercell=(4, 4, 4), displacement=0.01)
ensemble = members(ph, calculator)  # none where a potential has no error bars
thermal = harmonic(ph, ensemble, temperatures=np.array([300.0]))
print(f"a = {(4 * ph.primitive.volume) ** (1 / 3):.3f} Å (experiment 4.360)")
print(f"C_V(300 K) = {thermal.heat_capacity[0] / 2:.2f} J/(K mol atom); {thermal.stability}")
print(f"transverse optical phonons at Γ: {thermal.gamma[-1]:.1f} THz (experiment 23.9)")

curves = quasi_harmonic(crystal, calculator, supercell=(3, 3, 3), displacement=0.01)
print(f"volumetric expansion at 300 K: {1e6 * curves.expansion[30]:.1f} · 10⁻⁶/K")

# 32 atoms and a coarse mesh are quick and not converged: larger ones change κ by tens of per cent.
cell = [[3, -1, -1], [-1, 3, -1], [-1, -1, 3]]
k = conductivity(crystal, calculator, mesh=(11, 11, 11), temperatures=np.arange(100, 801, 100), supercell=cell)
for temperature, kappa in zip(k.temperatures[::2], k.kappa[::2], strict=True):
    print(f"{temperature:4.0f} K: κ = {kappa[0]:6.1f} W/(m K)")
print(*dict.fromkeys((*thermal.notes, *curves.notes, *k.notes)), sep="\n")

with drawn("SiC.png", (15, 4.8)) as figure:
    grid = figure.add_gridspec(1, 3, width_ratios=[1.5, 1.2, 1])
    draw_phonons(grid[0], spectrum(ph, ensemble), {})
    draw_expansion(grid[1], curves, {})
    ax = figure.add_subplot(grid[2])
    ax.plot(k.temperatures, k.kappa[:, 0], "o-", color=MODEL, label=calculator.choice.name)
    for n in (1, 2) if k.kappa_std is not None else ():
        low, high = (np.maximum(k.kappa + sign * n * k.kappa_std, 1)[:, 0] for sign in (-1, 1))
        ax.fill_between(k.temperatures, low, high, color=MODEL, alpha=0.18, lw=0)
    ax.set(xlabel="temperature (K)", ylabel="κ (W/(m K))", title="Lattice conductivity", xscale="log", yscale="log")
    for axis in (ax.xaxis, ax.yaxis):
        logarithmic(axis)
    ax.legend()
    figure.suptitle("Cubic silicon carbide, from a CIF", x=0.01, ha="left", fontweight="bold")
print("drawn: SiC.png")
