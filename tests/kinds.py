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
    "crystals": """
[data]
file = "crystals.parquet"
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
    few = [f for part, count in (("train", 3), ("val", 2), ("test", 1)) for f in aluminium(ROOT, part, count)]
    write_densities(folder / "densities.npz", few)
    save_model(tiny_potential(elements=(13,), cutoff=4.0), folder / "start", {"title": "tiny", "errors": {}})
    crystals = pd.read_parquet(CRYSTALS)
    small = crystals[crystals.nsites <= 12].iloc[:120].reset_index(drop=True)
    small["part"] = np.repeat(["train", "val", "test"], [60, 40, 20])
    small.to_parquet(folder / "crystals.parquet")
    place = np.linspace(1e-7, 9e-7, 8)
    noise = np.random.default_rng(0).normal(0, 0.3, 8)
    rise = 300 * (1 - 0.3 * 5e9 * (1e-6 - place) / (100 * 300)) ** (-1 / 0.3)  # κ = 100 (300/T)^1.3: closed form
    pd.DataFrame({"x": place, "temperature": rise + noise, "std": 0.3}).to_csv(folder / "sensors.csv", index=False)
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
