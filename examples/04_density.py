"""Where the electrons are that hold silicon together, and what one atom of tin among them does: charges, a file.

python examples/04_density.py
"""

from ase.build import bulk

import ase_mlx as am
from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.ase.job import relax
from ase_mlx.data.free_atoms import free_atom
from ase_mlx.fields import hirshfeld
from ase_mlx.fields.density_files import write_density
from ase_mlx.fields.density_slice import density_slice
from ase_mlx.figures.main import draw_density
from ase_mlx.figures.style import DOUBT, GREY, MODEL, drawn

model = am.load("sigesn")
silicon = bulk("Si", cubic=True)
doped = silicon.copy()
doped.symbols[0] = "Sn"  # one atom in eight
calculator = Calculator(model, dtype="float64")
crystals = {"silicon": relax(silicon, calculator).atoms, "silicon with tin": relax(doped, calculator).atoms}

free = {z: free_atom(z) for z in (14, 50)}
for name, crystal in crystals.items():
    p = am.predict(model, crystal, at=am.grid(crystal, spacing=0.2))
    density, std = p["density"], p.std["density"]
    print(f"{name}: {density.mean() * crystal.cell.volume:.10f} electrons on a grid of {density.shape}")
    print(
        f"  highest {density.max():.3f} e/Å³; standard deviation {std.mean():.1e} on average, {std.max():.1e} at most"
    )
charges = hirshfeld(density, crystal.cell.array, crystal.positions, crystal.numbers, free)
distances = crystal.get_distances(0, range(len(crystal)), mic=True)
print(f"Hirshfeld charges: tin {charges[0]:+.3f} e, silicon {charges[1:].min():+.3f} to {charges[1:].max():+.3f} e")

written = write_density(model, crystals["silicon"], "silicon.cube", spacing=0.2, std=True)
print(f"wrote {written.path} and {written.std_path}, {written.bytes / 1e6:.1f} MB")

with drawn("bond.png", (15, 4.6)) as figure:
    grid = figure.add_gridspec(1, 2, width_ratios=[2.7, 1])
    draw_density(grid[0], density_slice(model, crystals["silicon"]))
    ax = figure.add_subplot(grid[1])
    ax.axhline(0, color=GREY, lw=0.8)
    ax.plot(distances[1:], charges[1:], "o", color=MODEL, label="silicon")
    ax.plot(0, charges[0], "o", color=DOUBT, label="tin")
    ax.set(xlabel="distance from the tin atom (Å)", ylabel="Hirshfeld charge (e)", title="One tin in eight atoms")
    ax.margins(0.12)
    ax.legend()
print("drawn: bond.png")
