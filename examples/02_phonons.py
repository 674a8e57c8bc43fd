"""The forces are good near the lattice sites, so: phonons of silicon, and thermal functions with error bars.

python examples/02_phonons.py
"""

import numpy as np
from ase.build import bulk

from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.phonopy import harmonic, members, phonons, spectrum
from ase_mlx.figures.main import draw_phonons, draw_thermal
from ase_mlx.figures.style import drawn

calculator = Calculator("sigesn", dtype="float64")
ph = phonons(bulk("Si", cubic=True), calculator, supercell=(2, 2, 2), displacement=0.01, relax=True)
print(f"{len(ph.supercells_with_displacements)} displaced supercell(s) of {len(ph.supercell)} atoms")

# `ph` is a phonopy.Phonopy: everything of phonopy works on it.
ph.save("phonopy.yaml", settings={"force_constants": True})
print("frequencies at X (THz):", np.round(ph.run_qpoints([[0.5, 0.5, 0]]).frequencies[0], 2))

# One more call for each supercell gives the forces of all members, and with them error bars on everything derived.
ensemble = members(ph, calculator)
result = harmonic(ph, ensemble, temperatures=np.arange(0.0, 1001.0, 20.0))
print("stability:", result.stability)
print(f"Raman frequency: {result.gamma[-1]:.2f} ± {result.std['gamma'][-1]:.2f} THz (experiment 15.60)")
for k in (5, 15, 50):
    c, f = (getattr(result, name)[k] / result.natoms for name in ("heat_capacity", "free_energy"))
    dc, df = (result.std[name][k] / result.natoms for name in ("heat_capacity", "free_energy"))
    print(f"{result.temperatures[k]:4.0f} K: C_V = {c:.3f} ± {dc:.3f} J/(K mol), F = {f:.3f} ± {df:.3f} kJ/mol")

measured = {"quantities": {"highest frequency at Γ": {"experiment": 15.60}}}  # THz, Raman
with drawn("phonons.png", (12, 4.6)) as figure:
    grid = figure.add_gridspec(1, 2, width_ratios=[1.6, 1])
    draw_phonons(grid[0], spectrum(ph, ensemble), measured)
    draw_thermal(grid[1], result, {})
print("drawn: phonons.png, silicon in a supercell of 64 atoms, shades of 1σ and 2σ")
