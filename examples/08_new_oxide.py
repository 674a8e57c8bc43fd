"""An oxide that nobody wrote down, with a band gap between 1 and 2.5 eV: drawn, brought to rest, ranked, phonons looked at.

python examples/08_new_oxide.py
"""


from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.phonopy import members, phonons, spectrum, stability
from ase_mlx.figures.main import draw_phonons
from ase_mlx.figures.style import drawn
from ase_mlx.jobs.generation import generation_job

calculator = Calculator("universal", dtype="float64")
wanted = {"elements": ["O"], "band_gap": (1.0, 2.5), "atoms": (1, 24)}  # eV, of PBE
made = generation_job(60, "oxides", seed=8, conditions=wanted, calculator=calculator, calculator_name="universal")
print(*made.notes, sep="\n")
for row in made.rows[:6]:
    hull, gap = (f"{row[f'{q} ({unit})']} ± {row[f'{q}_std ({unit})']}" for q, unit in
                 (("hull_distance", "eV/atom"), ("band_gap", "eV")))  # fmt: skip
    print(
        f"{row['rank']}. {row['formula']:14} group {row['space_group']:3}: hull {hull} eV/atom, gap {gap} eV. {row['reasons']}"
    )

for row, atoms in zip(made.rows, made.structures, strict=False):
    if row["known"] or len(atoms) > 8:
        continue
    ph = phonons(atoms, calculator, relax=False, on_imaginary="ignore")
    modes = stability(ph)
    print(f"{row['formula']}: {modes}")
    if modes.stable:
        break
with drawn("oxide.png", (7.5, 4.5)) as figure:
    grid = figure.add_gridspec(1, 1)
    draw_phonons(grid[0], spectrum(ph, members(ph, calculator)), {})
    figure.suptitle(
        f"{row['formula']}, space group {row['space_group']}: phonons", x=0.01, ha="left", fontweight="bold"
    )
print("drawn: oxide.png")
