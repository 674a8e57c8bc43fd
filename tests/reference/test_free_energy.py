"""F(V, T) from five points, against `quasi_harmonic` of copper by ASE's EMT, whose phonons cost nothing.

The prior is copper's with frequencies, Grüneisen parameters and bulk modulus 13 to 15 % off, the volume 1.2 %. And the
prior alone, against the curves that it was made from.
"""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from ase_mlx.adapters.phonopy import quasi_harmonic
from ase_mlx.adapters.phonopy.free_energy import free_energy_prior
from ase_mlx.jobs.free_energy import free_energy_job
from ase_mlx.learn.config import build
from ase_mlx.learn.recipes.free_energy import FreeEnergyTraining
from ase_mlx.models.free_energy import FreeEnergy, FreeEnergyConfig
from ase_mlx.units import BOLTZMANN, GAS

SPREAD = {"volume": 0.02, "bulk_modulus": 0.2, "frequencies": 0.15, "gruneisen": 0.4, "detail": 0.1}


@pytest.fixture(scope="module")
def copper():
    return quasi_harmonic(
        bulk("Cu"), EMT(), (2, 2, 2), temperatures=np.arange(0.0, 801.0, 10.0), mesh=30.0, error_bars=False
    )


def test_a_prior_of_phonons_gives_their_curves(copper):
    model, inside = FreeEnergy(FreeEnergyConfig(free_energy_prior(copper, 30.0))), slice(3, 78)
    curves = model.along(copper.temperatures[inside], std=False)
    assert curves["volume"] == pytest.approx(copper.volume[inside], rel=5e-5)
    assert curves["bulk_modulus"] == pytest.approx(copper.bulk_modulus[inside], rel=4e-3)
    assert curves["heat_capacity_p"] * GAS / BOLTZMANN == pytest.approx(copper.heat_capacity_p[inside], abs=0.03)
    assert curves["expansion"] == pytest.approx(copper.expansion[inside], abs=0.01 * copper.expansion[-2])


def test_five_points_bring_a_wrong_prior_to_the_truth(copper, tmp_path):
    exact, random = free_energy_prior(copper, 30.0), np.random.default_rng(0)
    lines = tuple((line[0] - 0.13, 1.15 * line[1], *line[2:]) for line in exact.frequencies)
    changes = {"volume": 1.012 * exact.volume, "bulk_modulus": 0.87 * exact.bulk_modulus, "frequencies": lines}
    dataclasses.replace(exact, **changes).write(tmp_path / "prior.json")
    rows = []
    for name, kelvin, noise in (("volume", (100, 600), 1e-3), ("heat_capacity_p", (80, 250, 700), 0.01)):
        for t in kelvin:
            value = float(np.interp(t, copper.temperatures, getattr(copper, name)))
            rows.append((name, t, value * (1 + noise * random.normal()), noise * value))
    pd.DataFrame(rows, columns=["quantity", "temperature", "value", "std"]).to_csv(tmp_path / "cu.csv", index=False)
    table = {
        "prior": {"file": str(tmp_path / "prior.json")}, "data": {"file": str(tmp_path / "cu.csv")},
        "spread": SPREAD, "temperatures": [50, 700],
    }  # fmt: skip
    result = free_energy_job(build(FreeEnergyTraining, table), tmp_path / "out")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"free_energy.csv", "free_energy.png"}
    assert np.isnan(result.before["volume"][-1]) and np.isfinite(result.after["volume"][-1])  # there it has left
    ratios, inside = {}, []
    for name in ("heat_capacity_p", "expansion", "bulk_modulus"):
        truth = np.interp(result.temperatures, copper.temperatures, getattr(copper, name))
        off = [np.sqrt(np.nanmean((curve[name] - truth) ** 2)) for curve in (result.after, result.before)]
        ratios[name] = off[0] / off[1]
        inside.append(np.mean(np.abs(result.after[name] - truth) < 1.645 * result.after.std[name]))
    assert ratios["heat_capacity_p"] < 0.3 and ratios["expansion"] < 0.5 and ratios["bulk_modulus"] < 1
    assert np.mean(inside) > 0.75
    identified = {row["quantity"]: row["identified"] for row in result.rows}
    assert identified == {"heat_capacity_p": True, "expansion": True, "bulk_modulus": False, "volume": True}
    assert any("bulk_modulus is not identified" in note for note in result.notes)
