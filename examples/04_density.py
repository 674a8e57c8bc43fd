"""The electron density of a zinc-blende crystal of silicon and tin: charges, its error bar, a file.

Run: python examples/04_density.py
"""

from ase.build import bulk

import ase_mlx as am
from ase_mlx.data.free_atoms import free_atom
from ase_mlx.fields import hirshfeld, planar_average
from ase_mlx.fields.density_files import write_density

model = am.load("sigesn")
crystal = bulk("SnSi", "zincblende", a=6.05, cubic=True)

p = am.predict(model, crystal, at=am.grid(crystal, spacing=0.2))
density, std = p["density"], p.std["density"]
print(f"grid {density.shape}, {density.mean() * crystal.cell.volume:.10f} electrons")
print(f"highest {density.max():.3f} e/Å³; standard deviation {std.mean():.1e} on average, {std.max():.1e} at most")

free = {z: free_atom(z) for z in (14, 50)}
charges = hirshfeld(density, crystal.cell.array, crystal.positions, crystal.numbers, free)
for symbol in ("Si", "Sn"):
    print(f"Hirshfeld charge of {symbol}: {charges[crystal.symbols == symbol].mean():+.3f} e")

profile = planar_average(density, axis=2)
print(f"planar average along z: {profile.min():.3f} to {profile.max():.3f} e/Å³")

written = write_density(model, crystal, "silicon-tin.cube", spacing=0.15, std=True)
print(f"wrote {written.path} and {written.std_path}, {written.bytes / 1e6:.1f} MB")
