"""Folders of results that the package's own jobs wrote, small ones, for the report."""

from pathlib import Path

import numpy as np
import pandas as pd
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT
from tiny_anomaly import save_tiny, screen_here, table
from tiny_crystals import teach

from ase_mlx.adapters.phono3py import load_third_order
from ase_mlx.data.tables import open_table
from ase_mlx.jobs import conductivity_job, main_job, phonon_job
from ase_mlx.jobs.generation import generation_job
from ase_mlx.jobs.phonons import PhononSettings
from ase_mlx.jobs.screening import finish_screening
from ase_mlx.screen import Screening, open_job

SILICON = Path(__file__).parent / "reference" / "data" / "phono3py-si" / "phono3py_params.yaml.xz"
EVIL = '</script><script>window.evil = 1</script><img src=x onerror="window.evil = 2">'


def ran(folder):
    """A slab: no bulk, so that stages are skipped with their reasons."""
    main_job(fcc111("Al", (1, 1, 3), vacuum=8), EMT(), folder, "slab", "emt", steps=50)
    return folder


def vibrated(folder):
    phonon_job(bulk("Al", a=3.99), EMT(), folder, PhononSettings(supercell=(2, 2, 2), relax=False, mesh=20.0))
    return folder


def conducted(folder):
    conductivity_job(load_third_order(SILICON), folder=folder, name="Si", mesh=(5, 5, 5), temperatures=[200, 300, 400])
    return folder


def screened(folder, rows=40, evil=True):
    """Some crystals of the Materials Project; an id that would run as a script, atoms in one place."""
    crystals = table().iloc[:rows].drop(columns=["formation_energy", "hull_distance"]).reset_index(drop=True)
    if evil:
        crystals.loc[3, "material_id"] = EVIL
        crystals.at[5, "frac_coords"] = np.zeros(len(crystals["frac_coords"][5]))
    crystals.to_parquet(folder.parent / "crystals.parquet")
    model = save_tiny(folder.parent / "model")
    job = open_job(open_table(folder.parent / "crystals.parquet"), model, Screening("novelty"), folder)
    screen_here(job)
    finish_screening(job)
    return folder


def generated(folder):
    (folder.parent / "generator").mkdir()
    generation_job(12, folder, teach(folder.parent / "generator"), seed=2, conditions={"allowed": ["Cu", "Au", "Ag"]})
    return folder


def lengthened(folder, out, rows=50_000):
    """The same screening as if of many more crystals: numbers moved at random, ids of their own."""
    out.mkdir()
    short = pd.read_parquet(folder / "results.parquet")
    long = pd.concat([short] * (rows // len(short) + 1), ignore_index=True).iloc[:rows]
    random = np.random.default_rng(0)
    for name in ("anomaly_score", "formation_energy", "hull_distance"):
        long[name] = long[name] + random.normal(0, 0.3, rows)
    long["material_id"] = [f"crystal-{k}" for k in range(rows)]
    long["rank"] = (-long["anomaly_score"]).rank(method="first").astype("Int64")
    long.to_parquet(out / "results.parquet")
    for name in ("results.json", "top_crystals.parquet"):
        (out / name).write_bytes((folder / name).read_bytes())
    return out
