"""Thermal columns with error bars in a dataframe, by matminer's own calls; what fails or is unstable stays visible."""

import pandas as pd
from ase.build import bulk
from pymatgen.core import Lattice, Structure

from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.matminer import ThermalFeaturizer

# Structures of pymatgen and Atoms of ASE serve alike. "sigesn" knows no carbon, and SiGe does not hold as CsCl does.
crystals = {
    "Si": bulk("Si"),
    "SiGe": Structure.from_spacegroup("F-43m", Lattice.cubic(5.56), ["Si", "Ge"], [[0, 0, 0], [0.25, 0.25, 0.25]]),
    "C": bulk("C"),
    "SiGe like CsCl": bulk("SiGe", "cesiumchloride", a=3.1),
}
frame = pd.DataFrame({"structure": pd.Series(crystals)})

calculator = Calculator("sigesn", dtype="float64")
featurizer = ThermalFeaturizer(calculator, temperature=300.0, folder="thermal")  # a second run computes nothing
frame = featurizer.featurize_dataframe(frame, "structure", ignore_errors=True, return_errors=True, pbar=False)

columns = {"C_V_300K": 1, "S_300K": 1, "theta_D": 1, "alpha_300K": 1e6}
print("per mole of atoms at 300 K: C_V and S in J/(K mol), θ_D in K, α in 1e-6/K")
for name, row in frame.iterrows():
    if isinstance(row["ThermalFeaturizer Exceptions"], str):
        print(f"{name:16}failed: {row['ThermalFeaturizer Exceptions'].strip().splitlines()[-1]}")
    elif not row["stable"]:
        print(f"{name:16}unstable: lowest frequency {row['min_frequency_THz']:.2f} THz")
    else:
        pairs = ((label, row[label] * scale, row[f"{label}_std"] * scale) for label, scale in columns.items())
        print(f"{name:16}" + "   ".join(f"{label} {value:.2f} ± {std:.2f}" for label, value, std in pairs))
print("cite:", featurizer.citations()[0].splitlines()[2].strip())
