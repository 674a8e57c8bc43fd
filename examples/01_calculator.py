"""A calculator with error bars: how sure is the model of silicon as one atom leaves its place?"""

from ase.build import bulk

from ase_mlx.adapters.ase import Calculator

silicon = bulk("Si", cubic=True)
silicon.calc = Calculator("sigesn", dtype="float64")

print("displacement    energy            std      force on it     std   distance")
print("       (Å)   (eV/atom)     (meV/atom)           (eV/Å)  (eV/Å)   (1 = edge)")
for displacement in (0.0, 0.05, 0.1, 0.2, 0.4, 0.8):
    atoms = silicon.copy()
    atoms.calc = silicon.calc
    atoms.positions[0] += [displacement, 0, 0]
    energy = atoms.get_potential_energy() / len(atoms)
    force = atoms.get_forces()[0, 0]
    energy_std = 1000 * atoms.calc.get_property("energy_std", atoms) / len(atoms)
    force_std = atoms.calc.get_property("forces_std", atoms)[0, 0]
    distance = atoms.calc.get_property("distance", atoms).max()
    print(f"{displacement:10.2f} {energy:11.4f} {energy_std:14.2f} {force:16.3f} {force_std:7.3f} {distance:12.2f}")

# `results` holds names registered in ASE only; save_extras copies the error bars beside the structure.
silicon.calc.save_extras(silicon)
silicon.write("silicon.extxyz")
print("\nwritten to silicon.extxyz with", ", ".join(sorted(silicon.info)), "and", ", ".join(sorted(silicon.arrays)))
