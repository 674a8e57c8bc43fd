"""A compound of silicon that the generator was never shown: drawn, brought to rest, ranked, its phonons looked at.

python examples/08_new_silicide.py
"""

from dataclasses import replace

from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.phonopy import members, phonons, spectrum, stability
from ase_mlx.adapters.phonopy.forces import ForcesError
from ase_mlx.figures.main import draw_phonons
from ase_mlx.figures.style import DOUBT, GREY, MODEL, drawn
from ase_mlx.jobs.generation import generation_job

# Few are drawn here, to be quick; a search draws thousands, takes a better potential, and ends with DFT.
calculator = Calculator("universal", dtype="float64")
conditions = {"elements": ["Mg", "Si"], "allowed": ["Mg", "Si"], "atoms": (1, 10)}  # both elements, and no others
candidates = generation_job(20, "silicides", "crystals", 1, conditions, calculator, "universal")
print(*candidates.notes, sep="\n")
above = "above hull by universal (eV/atom)"  # by the potential's own energies of known crystals
ranked = list(zip(candidates.rows, candidates.structures, strict=False))  # rows of the rejected stand at the end
for row, _ in ranked[:6]:
    print(f"{row['rank']}. {row['formula']}, space group {row['space_group']}: {row[above]} eV/atom above the hull")

unstable = []
for row, atoms in ranked:
    if row["known"]:
        continue
    try:
        ph = phonons(atoms, calculator, supercell=(2, 2, 2), on_imaginary="report")
    except (ForcesError, ValueError) as error:  # where a learned potential is rough, nothing is harmonic
        print(f"{row['formula']}: {error}")
        continue
    modes = stability(ph)
    print(f"{row['formula']}, space group {row['space_group']}: {modes}")
    if modes.exact > -0.05:  # THz
        break
    unstable.append(row)
else:
    raise SystemExit("None of these crystals is stable by its phonons; draw more.")

bands = spectrum(ph, members(ph, calculator))
print(f"standard deviation of a frequency: {bands.std['bands'].mean():.1f} THz, too wide to draw: a first look")
with drawn("silicide.png", (15, 4.6)) as figure:
    grid = figure.add_gridspec(1, 2, width_ratios=[1, 2.5])
    ax = figure.add_subplot(grid[0])
    shares = [crystal.symbols.count("Mg") / len(crystal) for _, crystal in ranked]
    for label, color, size, shown in (
        ("candidates", GREY, 5, [r for r, _ in ranked]),
        ("unstable", DOUBT, 6, unstable),
        ("stable by its phonons", MODEL, 8, [row]),
    ):
        if shown:
            x, y = zip(*((shares[r["rank"] - 1], r[above]) for r in shown), strict=True)
            ax.plot(x, y, "o", ms=size, color=color, label=label)
    ax.axhline(0, color=GREY, lw=0.8)
    ax.set(xlabel="share of magnesium", ylabel="energy above the hull (eV/atom)", title="Candidates", xlim=(0, 1))
    ax.legend()
    draw_phonons(grid[1], replace(bands, std={"dos": bands.std["dos"]}), {})
    figure.axes[1].set_title(f"{row['formula']}, space group {row['space_group']}: phonons")
print("drawn: silicide.png")
