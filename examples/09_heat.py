"""From phonons to a temperature: a film of silicon is heated, and eight thermometers correct the κ(T) of its phonons.

python examples/09_heat.py
"""

import numpy as np
import pandas as pd
from ase.build import bulk

from ase_mlx.adapters.ase import Calculator
from ase_mlx.figures.style import DOUBT, EXPERIMENT, GREY, MODEL, drawn
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
print("the film: 148 W/(m K)", *solution.notes, sep="\n")

with drawn("kappa.png", (6.4, 4.4)) as figure:
    ax, kappa = figure.subplots(), np.array(material.kappa["values"])
    ax.plot(temperatures, kappa, "o--", color=GREY, label="phonons, mesh of 9 × 9 × 9")
    ax.plot(temperatures, told["value"] * kappa, "o-", color=MODEL, label="corrected by thermometers (± 2σ)")
    low, high = ((told["value"] + sign * 2 * told["std"]) * kappa for sign in (-1, 1))
    ax.fill_between(temperatures, low, high, color=MODEL, alpha=0.25, lw=0)
    fine = np.linspace(200, 500)
    ax.plot(fine, 148 * (300 / fine) ** 1.3, color=EXPERIMENT, label="the film's own, 148 (300 K / T)$^{1.3}$")
    ax.axvspan(300, measured.max(), color=DOUBT, alpha=0.08, lw=0, label="temperatures in the film")
    ax.set(xlabel="temperature (K)", ylabel="κ (W/(m K))", title="Conductivity of silicon")
    ax.legend()
print("drawn: heat.png, the film, and kappa.png, its conductivity")
