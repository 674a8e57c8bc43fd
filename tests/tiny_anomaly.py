"""Real crystals and a model of anomalies trained on some of them for seconds."""

import functools
from pathlib import Path

import numpy as np
import pandas as pd

from ase_mlx.data.tables import PROBLEM
from ase_mlx.learn.anomaly.crystals import Crystals, describe_crystals
from ase_mlx.learn.config import TableFit
from ase_mlx.learn.files import save_model
from ase_mlx.learn.recipes.anomaly import train_anomaly
from ase_mlx.models.anomaly import AnomalyConfig, AnomalyModel
from ase_mlx.models.crystal_property import CrystalPropertyConfig
from ase_mlx.screen.ranges import _one_range, needed_columns, open_ranges, range_path

FILE = Path(__file__).resolve().parents[1] / "data" / "mp_crystals.parquet"
NAMES = {"formation_energy_per_atom": "formation_energy", "e_above_hull": "hull_distance"}
TARGETS = tuple(NAMES.values())


@functools.cache
def table(rows=300):
    """The first rows of the Materials Project's table, small cells first come first served."""
    frame = pd.read_parquet(FILE).rename(columns=NAMES)
    return frame[frame.nsites <= 20].iloc[:rows].reset_index(drop=True)


@functools.cache
def crystals(rows=300) -> Crystals:
    return describe_crystals(table(rows), TARGETS)


@functools.cache
def tiny_anomaly(epochs=4, members=2, width=16, **config) -> AnomalyModel:
    known = crystals()
    sizes = CrystalPropertyConfig(TARGETS, known.elements, members=members, width=width, hyper_width=width, **config)
    model = AnomalyConfig(sizes, novelty_members=2, novelty_width=width)
    return train_anomaly(
        known.take(np.arange(220)), known.take(np.arange(220, 300)), model, TableFit(epochs, batch_size=64)
    )


def screen_here(job):
    """Score what is open of a screening as `run_local` does, in this process: one more costs seconds."""
    for first, frame in open_ranges(job):
        kept = frame[[name for name in frame.columns if name in (*needed_columns(job), PROBLEM)]]
        _one_range(kept, first, str(job.model), job.wanted, range_path(job, first, first + len(frame)))


def save_tiny(folder):
    return save_model(tiny_anomaly(), folder, {"title": "tiny", "crystals": {"test": 0}, "errors": {}})
