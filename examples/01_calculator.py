"""A calculator with error bars: how sure is the model of silicon as one atom leaves its place?

python examples/01_calculator.py
"""

import numpy as np
from ase.build import bulk

from ase_mlx.adapters.ase import Calculator
from ase_mlx.figures.style import DOUBT, GREY, MODEL, drawn

silicon = bulk("Si", cubic=True)
silicon.calc = Calculator("sigesn", dtype="float64")

# One atom is pulled along x: the force on it, its standard deviation, and how far it is from all that was learned.
moved = np.linspace(0.0, 0.7, 29)  # Å
force, std, distance = np.zeros((3, len(moved)))
for k, displacement in enumerate(moved):
    atoms = silicon.copy()
    atoms.calc = silicon.calc
    atoms.positions[0] += [displacement, 0, 0]
    force[k] = atoms.get_forces()[0, 0]
    std[k] = atoms.calc.get_property("forces_std", atoms)[0, 0]
    distance[k] = atoms.calc.get_property("distance", atoms).max()
for k in range(0, len(moved), 4):
    print(f"moved by {moved[k]:.1f} Å: force {force[k]:6.3f} ± {std[k]:.3f} eV/Å, distance {distance[k]:.2f}")
edge = np.interp(1.0, distance, moved)
print(f"from {edge:.2f} Å on the atoms are beyond the training data (distance 1), and the bar is widened")

with drawn("displaced.png", (7.2, 5.6)) as figure:
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[1.7, 1])
    upper.plot(moved, force, color=MODEL, label="sigesn (shades: 1σ, 2σ)")
    for n, alpha in ((2, 0.15), (1, 0.25)):
        upper.fill_between(moved, force - n * std, force + n * std, color=MODEL, alpha=alpha, lw=0)
    lower.plot(moved, distance, color=MODEL)
    lower.axhline(1, color=GREY, ls="--", lw=1.2)
    for ax in (upper, lower):
        ax.axvspan(edge, moved[-1], color=DOUBT, alpha=0.08, lw=0)
    lower.text(moved[-1] - 0.01, 0.3, "beyond the training data", color=DOUBT, ha="right")
    upper.set(ylabel="force on the atom (eV/Å)", title="One atom of silicon leaves its place", xlim=(0, moved[-1]))
    lower.set(xlabel="displacement along x (Å)", ylabel="distance to the\ndata (1: its edge)", ylim=(0, None))
    upper.legend(loc="lower left")
    figure.align_ylabels()
print("drawn: displaced.png")

# `results` holds names registered in ASE only; save_extras copies the error bars beside the structure.
silicon.calc.save_extras(silicon)
silicon.write("silicon.extxyz")
print("written to silicon.extxyz with", ", ".join(sorted(silicon.info)), "and", ", ".join(sorted(silicon.arrays)))
