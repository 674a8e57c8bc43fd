"""A new oxide with a band gap between 1 and 2.5 eV: drawn, brought to rest, ranked, its phonons looked at.

python examples/08_new_oxide.py
"""

from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.phonopy import members, phonons, spectrum, stability
from ase_mlx.adapters.phonopy.forces import ForcesError
from ase_mlx.figures.main import draw_phonons
from ase_mlx.figures.style import drawn
from ase_mlx.jobs.generation import generation_job

calculator = Calculator("universal", dtype="float64")
conditions = {"elements": ["O"], "band_gap": (1.0, 2.5), "atoms": (1, 16)}  # eV, of PBE
candidates = generation_job(
    30, "oxides", seed=8, conditions=conditions, calculator=calculator, calculator_name="universal"
)
print(*candidates.notes, sep="\n")
for row in candidates.rows[:6]:
    gap = f"gap {row['band_gap (eV)']} ± {row['band_gap_std (eV)']} eV"
    above = f"{row['above hull by universal (eV/atom)']} eV/atom above the hull"
    print(f"{row['rank']}. {row['formula']:14} group {row['space_group']:3}: {above}, {gap}. {row['reasons']}")

for row, atoms in zip(candidates.rows, candidates.structures, strict=False):
    if row["known"] or len(atoms) > 8:
        continue
    try:
        ph = phonons(atoms, calculator, supercell=(2, 2, 2), on_imaginary="report")
    except (ForcesError, ValueError) as error:  # where a learned potential is rough, nothing is harmonic
        print(f"{row['formula']}: {error}")
        continue
    modes = stability(ph)
    print(f"{row['formula']}: {modes}")
    if modes.exact > -0.05:
        break
else:
    print("None of these small crystals is stable by its phonons; draw more.")
    raise SystemExit
with drawn("oxide.png", (7.5, 4.5)) as figure:
    grid = figure.add_gridspec(1, 1)
    draw_phonons(grid[0], spectrum(ph, members(ph, calculator)), {})
    figure.suptitle(
        f"{row['formula']}, space group {row['space_group']}: phonons", x=0.01, ha="left", fontweight="bold"
    )
print("drawn: oxide.png")
