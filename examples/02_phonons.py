"""Phonons of silicon in phonopy's own object; heat capacity and free energy error bars from the members."""

import numpy as np
from ase.build import bulk

from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.phonopy import harmonic, members, phonons

calculator = Calculator("sigesn", dtype="float64")
ph = phonons(bulk("Si", cubic=True), calculator, supercell=(2, 2, 2), displacement=0.01, relax=True)
print(f"{len(ph.supercells_with_displacements)} displaced supercell(s) of {len(ph.supercell)} atoms")

# `ph` is a phonopy.Phonopy: everything of phonopy works on it.
ph.save("phonopy.yaml", settings={"force_constants": True})
print("frequencies at X (THz):", np.round(ph.run_qpoints([[0.5, 0.5, 0]]).frequencies[0], 2))

# One more call for each supercell gives the forces of all members, and with them error bars on everything derived.
result = harmonic(ph, members(ph, calculator), temperatures=np.array([0.0, 100.0, 300.0, 1000.0]))
print("stability:", result.stability)
print(f"Raman frequency: {result.gamma[-1]:.2f} ± {result.std['gamma'][-1]:.2f} THz (experiment 15.60)")
print("\n T (K)   C_V (J/K/mol atom)   F (kJ/mol atom)")
for k, t in enumerate(result.temperatures):
    c, f = (getattr(result, name)[k] / result.natoms for name in ("heat_capacity", "free_energy"))
    dc, df = (result.std[name][k] / result.natoms for name in ("heat_capacity", "free_energy"))
    print(f"{t:6.0f}   {c:8.3f} ± {dc:.3f}     {f:8.3f} ± {df:.3f}")
