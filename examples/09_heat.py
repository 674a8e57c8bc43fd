"""From a potential to a temperature: κ(T) of silicon, a film that is heated, and what eight thermometers tell of it.

python examples/09_heat.py
"""

import numpy as np
import pandas as pd
from ase.build import bulk

from ase_mlx.adapters.ase import Calculator
from ase_mlx.heat import Face, Layer, Material, Problem, finite_volumes
from ase_mlx.jobs import conductivity_job
from ase_mlx.jobs.heat import heat_job
from ase_mlx.learn.config import build
from ase_mlx.learn.recipes.heat import HeatRecipe, HeatTraining

# phonons to a material: κ(T) and ρc(T), in phono3py's file
silicon, calculator = bulk("Si", "diamond", a=5.43), Calculator("sigesn", dtype="float64")
temperatures = [200.0, 250.0, 300.0, 350.0, 400.0, 500.0]
conductivity_job(silicon, calculator, "silicon", mesh=(9, 9, 9), temperatures=temperatures, error_bars=False)
material = Material.from_phono3py("silicon/kappa.hdf5")

# the film: 1 µm, heated by 5.9 GW/m² at x = 0, held at 300 K at the other end; as measured, κ is 148 (300 K / T)^1.3
flux, length = 148.0 * 40.0 / 1e-6, 1e-6
real = Problem(
    (length,), (Layer("148 * (300 / T)**1.3"),), {"x0": Face(flux=flux), "x1": Face(temperature=300.0)}
)  # fmt: skip
x = np.linspace(0.05, 0.95, 8) * length
measured = finite_volumes(real).at(x[:, None]) + np.random.default_rng(0).normal(0, 0.4, 8)
pd.DataFrame({"x": x, "temperature": measured, "std": 0.4}).to_csv("thermometers.csv", index=False)

# the prior is the phonons' κ times a factor that theory may be wrong by; the thermometers tell it
film = build(
    HeatTraining,
    {
        "title": "A film of silicon",
        "size": [length],
        "layers": [{"kappa": {**material.kappa, "factor": "factor"}}],
        "faces": {"x0": {"flux": flux}, "x1": {"temperature": 300.0}},
        "unknowns": {"factor": {"value": 1.0, "spread": 0.5}},
        "sensors": {"file": "thermometers.csv"},
    },
)
HeatRecipe(film)  # refuses what is no problem
solution = heat_job(film, ".")
told, theory = solution.unknowns["factor"], np.interp(300, temperatures, material.kappa["values"])
print(
    f"κ(300 K): from phonons {theory:.0f}, from thermometers {theory * told['value']:.1f} ± {theory * told['std']:.1f}"
)
print("measured: 148 W/(m K)", *solution.notes, sep="\n")
print("heat.png shows the film")
