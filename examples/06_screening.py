"""Which of these crystals are strange, and which of their reported energies look wrong?

python examples/06_screening.py
"""

from pathlib import Path

import pandas as pd

import ase_mlx as am
from ase_mlx.screen import Screening, screen

crystals = pd.read_parquet(Path(__file__).parents[1] / "data" / "mp_crystals.parquet")
crystals = crystals[crystals.part == "test"].iloc[:400].rename(columns={"formation_energy_per_atom": "reported"})
crystals.iloc[7, crystals.columns.get_loc("reported")] += 0.8  # a wrong entry, eV/atom

model = am.load("bhnaa").double()  # in double precision a row's numbers do not depend on the rows beside it
keep = ("material_id", "formula", "e_above_hull", "reported")
for wanted in (Screening("novelty"), Screening("residual", "reported")):
    (found,) = screen([crystals], model, wanted, keep)
    found = found.sort_values("anomaly_probability", ascending=False)
    print(f"\n{wanted.mode}: {int(found.anomaly.sum())} of {len(found)} flagged")
    for row in found.head(5).itertuples():
        print(
            f"{row.formula:14} score {row.anomaly_score:6.2f} ± {row.anomaly_score_std:.2f}, probability "
            f"{row.anomaly_probability:.3f}; reported {row.reported:6.3f}, predicted {row.formation_energy:6.3f} ± "
            f"{row.formation_energy_std:.3f} eV/atom; because of {', '.join(row.top_descriptors[:2])}"
        )
