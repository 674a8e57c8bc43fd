"""A generator of crystals that a few seconds teach: rocksalt oxides, and ordered alloys of metals that EMT knows."""

from itertools import permutations

import numpy as np
import pandas as pd
from ase.build import bulk
from ase.data import covalent_radii

from ase_mlx.learn.recipes.crystals import CrystalsRecipe, CrystalsTraining, GeneData, GeneFit
from ase_mlx.learn.run import run

METALS = (13, 28, 29, 46, 47, 79)
OXIDES = (12, 20, 25, 26, 27, 28, 38, 48, 56)


def table():
    """Crystals, with invented formation energies that follow the group."""
    rows = []
    for first, second in permutations(METALS, 2):
        a = 2.0 * (covalent_radii[first] + covalent_radii[second]) / 2**0.5
        for k, energy in ((0, -0.3), (3, -0.1)):
            crystal = bulk("Cu", "fcc", a=a, cubic=True)
            crystal.numbers[:] = second
            crystal.numbers[: 1 + k] = first
            rows.append((crystal, energy))
    for metal in OXIDES:
        a = 2 * (covalent_radii[metal] + covalent_radii[8]) * 1.05
        crystal = bulk("MgO", "rocksalt", a=a)
        crystal.numbers[0] = metal
        rows += [(crystal, -3.0)] * 6
    frame = pd.DataFrame(
        {
            "lattice": [atoms.cell.array.ravel() for atoms, _ in rows],
            "numbers": [atoms.numbers for atoms, _ in rows],
            "frac_coords": [atoms.get_scaled_positions().ravel() for atoms, _ in rows],
            "formation_energy": [energy for _, energy in rows],
        }
    )
    return frame.assign(part=np.resize(["train", "train", "train", "val"], len(frame)))


def teach(folder):
    """Train it into a folder."""
    table().to_parquet(folder / "crystals.parquet")
    data = GeneData(str(folder / "crystals.parquet"), {"formation_energy": "formation_energy"})
    sizes = {"latent": 8, "width": 32, "heads": 2, "layers": 1, "components": 3, "mixture": 4, "members": 3}
    fit = GeneFit(epochs=40, batch_size=28, learning_rate=7e-3, kl_weight=0.02, ema_decay=0.9, prior_epochs=60)
    run(CrystalsRecipe(CrystalsTraining(data, sizes, fit)), folder / "model")
    return folder / "model"
