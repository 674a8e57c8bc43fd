"""Before a compound of silicon is trusted: which ones in a table are strange, and whose reported energies look wrong?

python examples/06_screening.py
"""

from pathlib import Path

import pandas as pd
from matplotlib.patheffects import withStroke

import ase_mlx as am
from ase_mlx.figures.style import DOUBT, GREY, MODEL, drawn
from ase_mlx.screen import Screening, screen

table = pd.read_parquet(Path(__file__).parents[1] / "data" / "mp_crystals.parquet")  # of the Materials Project
silicon = table.formula.str.contains("Si(?![a-z])", regex=True)
crystals = table[silicon & (table.part == "test")].rename(columns={"formation_energy_per_atom": "reported"})
wrong = crystals.columns.get_loc("reported")
crystals.iloc[7, wrong] += 0.8  # an entry that we spoil, eV/atom
spoiled = crystals.iloc[7]

model = am.load("bhnaa").double()  # in double precision a row's numbers do not depend on the rows beside it
keep = ("material_id", "formula", "reported")
scored = {}
for wanted in (Screening("novelty"), Screening("residual", "reported")):
    (rows,) = screen([crystals], model, wanted, keep)
    scored[wanted.mode] = rows.set_index("material_id")
    rows = rows.sort_values("anomaly_probability", ascending=False)
    print(f"\n{wanted.mode}: {int(rows.anomaly.sum())} of {len(rows)} flagged")
    for row in rows.head(5).itertuples():
        print(
            f"{row.formula:14} score {row.anomaly_score:6.2f} ± {row.anomaly_score_std:.2f}, probability "
            f"{row.anomaly_probability:.3f}; reported {row.reported:6.3f}, predicted {row.formation_energy:6.3f} ± "
            f"{row.formation_energy_std:.3f} eV/atom; because of {', '.join(row.top_descriptors[:2])}"
        )

strange, energies = scored["novelty"], scored["residual"]
off, bar = energies.reported - energies.formation_energy, energies.formation_energy_std
with drawn("silicon_compounds.png", (8.6, 5.4)) as figure:
    ax = figure.subplots()
    for label, color, chosen in (
        ("others", GREY, ~energies.anomaly & ~strange.anomaly),
        ("strange crystals", MODEL, strange.anomaly),
        ("energies that look wrong", DOUBT, energies.anomaly),
    ):
        ids = chosen.index[chosen.astype(bool)]
        style = {"fmt": "o", "ms": 4, "color": color, "alpha": 0.4 if color == GREY else 1, "elinewidth": 1}
        label = f"{len(ids)} {label}"
        ax.errorbar(strange.anomaly_score[ids], off[ids], yerr=2 * bar[ids], label=label, **style)
        for name in ids if color != GREY else ():
            here, halo = (strange.anomaly_score[name], off[name]), [withStroke(linewidth=3, foreground="w")]
            text = {"textcoords": "offset points", "fontsize": 8.5, "color": color, "path_effects": halo}
            ax.annotate(strange.formula[name], here, (6, 4), **text)
    ax.axhline(0, color=GREY, lw=0.8)
    ax.annotate("spoiled by 0.8 eV/atom", (strange.anomaly_score[spoiled.material_id], off[spoiled.material_id]),
                (-12, 22), textcoords="offset points", ha="right", arrowprops={"arrowstyle": "->"})  # fmt: skip
    ax.set(xlabel="novelty (nats a descriptor)", ylabel="reported minus predicted ± 2σ (eV/atom)")
    ax.set_title(f"Formation energies of {len(crystals)} compounds of silicon")
    ax.margins(x=0.08)
    ax.legend(loc="lower right")
print("\ndrawn: silicon_compounds.png")
