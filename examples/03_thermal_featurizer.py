"""The same for silicon's neighbours, as columns of a dataframe by matminer's own calls; what fails stays visible.

python examples/03_thermal_featurizer.py
"""

import pandas as pd
from ase.build import bulk
from pymatgen.core import Lattice, Structure

from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.matminer import ThermalFeaturizer
from ase_mlx.figures.style import DOUBT, MODEL, drawn

# Structures of pymatgen and Atoms of ASE serve alike. SiGe does not hold as CsCl does, and carbon is unknown.
crystals = {
    "Si": bulk("Si"),
    "SiGe": Structure.from_spacegroup("F-43m", Lattice.cubic(5.56), ["Si", "Ge"], [[0, 0, 0], [0.25, 0.25, 0.25]]),
    "Ge": bulk("Ge"),
    "SiGe like CsCl": bulk("SiGe", "cesiumchloride", a=3.1),
    "SiC": bulk("SiC", "zincblende", a=4.36),
}
frame = pd.DataFrame({"structure": pd.Series(crystals)})

calculator = Calculator("sigesn", dtype="float64")
featurizer = ThermalFeaturizer(calculator, temperature=300.0, folder="thermal")  # a second run computes nothing
frame = featurizer.featurize_dataframe(frame, "structure", ignore_errors=True, return_errors=True, pbar=False)

columns = {
    "C_V_300K": (1, "$C_V$ (J/(K mol atom))"),
    "theta_D": (1, "Debye temperature (K)"),
    "alpha_300K": (1e6, "expansion $\\alpha_V$ (10⁻⁶/K)"),
}
reasons = {}
for name, row in frame.iterrows():
    if isinstance(row["ThermalFeaturizer Exceptions"], str):
        reasons[name] = (
            row["ThermalFeaturizer Exceptions"].strip().splitlines()[-1].split(";")[0].removeprefix("ValueError: ")
        )
    elif not row["stable"]:
        reasons[name] = f"unstable: lowest frequency {row['min_frequency_THz']:.2f} THz"
    pairs = ((key, row[key] * scale, row[f"{key}_std"] * scale) for key, (scale, _) in columns.items())
    print(f"{name:18}" + reasons.get(name, "   ".join(f"{key} {value:.2f} ± {std:.2f}" for key, value, std in pairs)))

with drawn("neighbours.png", (11.5, 3.6)) as figure:
    axes = figure.subplots(1, len(columns), sharey=True)
    for ax, (key, (scale, label)) in zip(axes, columns.items(), strict=True):
        numbers, std = scale * frame[key].astype(float), scale * frame[f"{key}_std"].astype(float)
        ax.errorbar(numbers, range(len(frame)), xerr=2 * std, fmt="o", color=MODEL, capsize=4, label="± 2σ")
        ax.set(xlabel=label, ylim=(len(frame) - 0.5, -0.5))
        ax.margins(x=0.15)
    for name, reason in reasons.items():
        box = {"facecolor": "white", "edgecolor": "none", "pad": 2}
        where = {"transform": axes[0].get_yaxis_transform(), "va": "center", "in_layout": False}
        axes[0].text(0.03, frame.index.get_loc(name), reason, color=DOUBT, fontsize=9, bbox=box, **where)
    axes[0].set_yticks(range(len(frame)), frame.index)
    axes[-1].legend(loc="upper right")
    figure.suptitle("Silicon and its neighbours at 300 K", x=0.01, ha="left", fontweight="bold")
print("drawn: neighbours.png")
print("cite:", featurizer.citations()[0].splitlines()[2].strip())
