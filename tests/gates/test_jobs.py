"""The jobs of the commands, from Python: results as objects and, where a folder is named, as files."""

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from tiny_anomaly import save_tiny, table

from ase_mlx.adapters.ase.sampling import Sampling
from ase_mlx.adapters.phono3py import load_third_order
from ase_mlx.jobs import conductivity_job, main_job, phonon_job, sampling_job, screening_job
from ase_mlx.jobs.outcome import Outcome
from ase_mlx.jobs.phonons import PhononSettings

SILICON = Path(__file__).parents[1] / "reference" / "data" / "phono3py-si" / "phono3py_params.yaml.xz"


def quantities(outcome):
    return {row["quantity"]: row["value"] for row in outcome.quantities}


@pytest.mark.slow
def test_main_job_gives_objects_and_writes_where_a_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = []
    plain = main_job(bulk("Al"), EMT(), steps=50, progress=lambda stage, done, total: told.append(stage))
    assert not list(tmp_path.iterdir()) and plain.files == []
    assert {"relaxation", "equation of state", "dynamics"} <= set(told)
    assert plain.results["equation of state"].lattice_constant.value == quantities(plain)["lattice constant"]
    waves, spectrum = plain.results["phonons"]
    assert waves.frequencies.max() == quantities(plain)["highest frequency"] and spectrum.bands.shape[1] == 3
    assert not plain.failed
    written = main_job(bulk("Al"), EMT(), "al", "aluminium", steps=50)
    assert quantities(written) == quantities(plain)
    assert {path.name for path in (tmp_path / "al").iterdir()} == set(written.files)
    kept = json.loads((tmp_path / "al" / "results.json").read_text())
    assert kept["name"] == "aluminium" and "results" not in kept and "words" not in kept
    assert {row["quantity"]: row["value"] for row in kept["quantities"]} == quantities(plain)


@pytest.mark.slow
def test_phonon_job_of_a_crystal_and_of_its_force_constants(tmp_path):
    settings = PhononSettings(supercell=(2, 2, 2), relax=False, mesh=20.0, temperature=400.0)
    made = phonon_job(bulk("Al", a=3.99), EMT(), tmp_path / "al", settings, work=tmp_path / "work")
    assert not made.failed and made.formula == "Al" and made.spacegroup == "Fm-3m (225)"
    ph = made.results["phonons"]
    assert len(ph.supercell) == 8 and list((tmp_path / "work").iterdir())
    with (tmp_path / "al" / "thermal.csv").open() as stream:
        rows = {float(row["temperature_K"]): row for row in csv.DictReader(stream)}
    assert float(rows[400.0]["C_V_J/(K mol atom)"]) == pytest.approx(quantities(made)["heat capacity C_V (400 K)"])
    again = phonon_job(ph, settings=settings)
    assert quantities(again)["highest frequency"] == quantities(made)["highest frequency"] and not again.files


def test_what_fails_is_named_in_the_words_of_the_caller():
    outcome = phonon_job(bulk("Al", a=3.99), EMT(), settings=PhononSettings(supercell="two"), words=str.upper)
    assert outcome.failed["phonons"].isupper() and "GOT" in outcome.failed["phonons"]
    broken = Outcome("odd")
    assert broken.stage("work", lambda: {}["key"]) is None and broken.failed["work"] == "KeyError: key"


def test_conductivity_job_is_a_table_with_its_files(tmp_path):
    made = conductivity_job(
        load_third_order(SILICON), folder=tmp_path / "si", mesh=(5, 5, 5), temperatures=[300], rank=None
    )
    assert made.mesh == "5 × 5 × 5" and made.certificate is None
    assert made.rows[0]["xx"] == pytest.approx(made.conductivity.kappa[0, 0])
    assert {path.name for path in (tmp_path / "si").iterdir()} == set(made.files)
    with (tmp_path / "si" / "kappa.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    assert float(row["kappa_xx_W/(m K)"]) == pytest.approx(made.rows[0]["xx"], rel=1e-7)


def test_screening_job_goes_on_and_says_what_it_found(tmp_path):
    table().iloc[:40].drop(columns=["formation_energy", "hull_distance"]).to_parquet(tmp_path / "c.parquet")
    model, rows = save_tiny(tmp_path / "model"), []
    for _ in range(2):
        found = screening_job(
            tmp_path / "c.parquet", tmp_path / "out", model, suggestions=3, processes=1,
            progress=lambda stage, done, total: rows.append((stage, done, total)),
        )  # fmt: skip
        results = pd.read_parquet(tmp_path / "out" / "results.parquet")
        assert found.rows == len(results) == 40 and found.anomalies == results["anomaly"].eq(True).sum()
        assert found.top[0]["probability"] == results.loc[results["rank"] == 1, "anomaly_probability"].item()
    assert rows == [("novelty, local", 40, 40)]  # the second call found all of it done
    assert len(pd.read_csv(tmp_path / "out" / "suggestions.csv")) == 3


def test_sampling_job_keeps_whole_runs(tmp_path):
    settings = Sampling((300.0, 600.0), frames=2, equilibration=20.0, longest=60.0, timestep=4.0)
    made = sampling_job(bulk("Cu").repeat(2), EMT(), tmp_path / "cu.extxyz", settings)
    assert [run["T, K"] for run in made.runs] == [300.0, 600.0] and len(made.frames) == 4
    before = (tmp_path / "cu.extxyz").read_bytes()
    again = sampling_job(bulk("Cu").repeat(2), EMT(), tmp_path / "cu.extxyz", settings)
    assert (tmp_path / "cu.extxyz").read_bytes() == before
    assert len(again.frames) == 4 and np.allclose(again.frames[3].positions, made.frames[3].positions, atol=1e-7)
    with pytest.raises(ValueError, match="other settings"):
        sampling_job(bulk("Cu").repeat(2), EMT(), tmp_path / "cu.extxyz", Sampling((300.0,), frames=2))
