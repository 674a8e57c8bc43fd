"""Small settings and real data of every kind of model of the package."""

from pathlib import Path

import numpy as np
import pandas as pd
from tiny import labelled, tiny_potential
from tiny_anomaly import FILE as CRYSTALS
from tiny_density import aluminium

from ase_mlx.data.densities import write_densities
from ase_mlx.data.io import write_frames
from ase_mlx.learn.files import save_model

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = {
    "potential": """
[data]
file = "frames.extxyz"
[model]
l_max = 1
layers = 2
channels = 4
latent = 8
members = 4
radial_hidden = [8]
cutoff = 4.0
[fit]
epochs = {epochs}
batch_size = 2
""",
    "density": """
start = "start"
[data]
file = "densities.npz"
[model]
range = 2.5
n_radial = 4
channels = 3
radial_hidden = [8]
members = 4
[fit]
epochs = {epochs}
batch_size = 2
""",
    "point_density": """
[data]
file = "densities.npz"
[model]
cutoff = 4.0
near = 3.2
n_radial = 5
degree = 2
hidden = [8, 8]
members = 4
[fit]
epochs = {epochs}
batch_size = 8
""",
    "crystal_property": """
[data]
file = "crystals.parquet"
properties = {{ formation_energy = "formation_energy_per_atom" }}
[model]
members = 2
width = 8
hyper_width = 8
[fit]
epochs = {epochs}
batch_size = 32
""",
    "crystal_network": """
[data]
file = "known.parquet"
properties = {{ formation_energy = "formation_energy_per_atom", hull_distance = "e_above_hull" }}
[model]
cutoff = 4.0
channels = 4
layers = 2
pooled = 8
width = 8
members = 2
radial_hidden = [8]
[fit]
epochs = {epochs}
batch_size = 16
""",
    "crystals": """
[data]
file = "few.parquet"
properties = {{ formation_energy = "formation_energy_per_atom" }}
[model]
latent = 6
width = 16
heads = 2
layers = 1
components = 2
members = 2
mixture = 4
[fit]
epochs = {epochs}
prior_epochs = {epochs}
batch_size = 16
""",
    "heat": """
size = [1e-6]
[[layers]]
kappa = "k300 * (300 / T)**1.3"
[faces.x0]
flux = 5e9
[faces.x1]
temperature = 300
[unknowns.k300]
value = 148
spread = 0.3
[sensors]
file = "sensors.csv"
[model]
width = 6
[fit]
epochs = {epochs}
points = 60
""",
    "boltzmann": """
thickness = [1e-7, 1e-6]
[modes]
capacity = [8e5, 4e5]
speed = [3000, 6000]
mean_free_path = [5e-8, 4e-7]
[model]
temperature_width = 6
rank = 3
width = 6
[fit]
epochs = {epochs}
points = 90
""",
    "free_energy": """
[prior]
volume = 16.5
bulk_modulus = 76
derivative = 4.5
debye_temperature = 390
gruneisen = 2.2
[spread]
gruneisen = 0.4
[data]
file = "measured.csv"
[fit]
epochs = {epochs}
""",
    "levels": """
[potential]
formula = "-0.04 * Q**2 + 0.005 * Q**4 + 0.02 * Q"
range = [-5, 5]
[model]
states = 4
width = 10
[fit]
epochs = {epochs}
""",
    "anomaly": """
[data]
file = "crystals.parquet"
properties = {{ formation_energy = "formation_energy_per_atom", hull_distance = "e_above_hull" }}
[model]
members = 2
width = 8
hyper_width = 8
[fit]
epochs = {epochs}
batch_size = 32
""",
}


def write_data(folder):
    """Small real data of each kind, a potential to start from, and the settings."""
    write_frames(folder / "frames.extxyz", labelled(8))
    densities = [f for part, count in (("train", 3), ("val", 2), ("test", 1)) for f in aluminium(ROOT, part, count)]
    write_densities(folder / "densities.npz", densities)
    save_model(tiny_potential(elements=(13,), cutoff=4.0), folder / "start", {"title": "tiny", "errors": {}})
    crystals = pd.read_parquet(CRYSTALS)
    small = crystals[crystals.nsites <= 12].iloc[:120].reset_index(drop=True)
    small["part"] = np.repeat(["train", "val", "test"], [60, 40, 20])
    small.to_parquet(folder / "crystals.parquet")
    known = {int(z) for n in small.numbers[:60] for z in n}
    small[[set(n) <= known for n in small.numbers]].to_parquet(folder / "known.parquet")
    few = small.iloc[:48].assign(part=np.repeat(["train", "val", "test"], [32, 10, 6]))  # for what draws crystals
    few.to_parquet(folder / "few.parquet")
    place = np.linspace(1e-7, 9e-7, 8)
    noise = np.random.default_rng(0).normal(0, 0.3, 8)
    rise = 300 * (1 - 0.3 * 5e9 * (1e-6 - place) / (100 * 300)) ** (-1 / 0.3)  # κ = 100 (300/T)^1.3: closed form
    pd.DataFrame({"x": place, "temperature": rise + noise, "std": 0.3}).to_csv(folder / "sensors.csv", index=False)
    aluminium_at = {"volume": ((100, 16.54, 0.03), (300, 16.68, 0.03))}
    aluminium_at["heat_capacity_p"] = ((100, 13.0, 0.2), (300, 24.2, 0.3), (600, 28.1, 0.4))
    rows = [(name, *row) for name, values in aluminium_at.items() for row in values]
    measured = pd.DataFrame(rows, columns=["quantity", "temperature", "value", "std"])
    measured.to_csv(folder / "measured.csv", index=False)
    steps = [0.0287, 0.0475, 0.0738]  # eV, of this double well, by finite differences
    pd.DataFrame({"level": [1, 2, 3], "energy": steps, "std": 1e-3}).to_csv(folder / "levels.csv", index=False)
    films = {"thickness": [1e-7, 3e-7, 1e-6], "conductivity": [70.0, 130.0, 210.0], "std": [9.0, 15.0, 25.0]}
    pd.DataFrame(films).to_csv(folder / "films.csv", index=False)
    for kind in SETTINGS:
        write_settings(folder, kind)
    return folder


def write_settings(folder, kind, epochs=2, **added):
    text = f'kind = "{kind}"\n' + SETTINGS[kind].format(epochs=epochs)
    for table, line in added.items():
        text = text.replace(f"[{table}]\n", f"[{table}]\n{line}\n")
    (folder / f"{kind}.toml").write_text(text, encoding="utf-8")
    return folder / f"{kind}.toml"


def checkpoints(folder):
    """Names and times of writing of the checkpoints in a folder."""
    return {p.name: p.stat().st_mtime_ns for p in folder.glob("checkpoint*.safetensors")}
