"""`ase-mlx phonons` as a user calls it."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, fcc111
from commands import call

PROGRAM = Path(sys.executable).parent / "ase-mlx"


def run(*arguments, cwd):
    return call(cwd, "phonons", *arguments)


def program(*arguments, cwd):
    """The installed program in a process of its own."""
    return subprocess.run([PROGRAM, "phonons", *map(str, arguments)], capture_output=True, text=True, cwd=cwd)


@pytest.fixture(scope="module")
def silicon(tmp_path_factory):
    folder = tmp_path_factory.mktemp("silicon")
    bulk("Si").write(folder / "POSCAR")
    done = run("POSCAR", "--qha", "--supercell", "8", "-o", "out", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done


@pytest.mark.slow
def test_table_files_and_figures(silicon):
    folder, done = silicon
    for text in ("heat capacity C_V (300 K)", "volumetric expansion (300 K)", "Debye temperature", "±", "16 members"):
        assert text in done.stdout
    assert "displacements of 0.01 Å" in " ".join(done.stdout.split())
    written = {path.name for path in (folder / "out").iterdir()}
    assert {"phonopy_params.yaml", "bands.csv", "thermal.csv", "results.csv", "results.json", "work"} <= written
    assert {"phonons.png", "thermal.png", "expansion.png", "summary.png"} <= written
    rows = list(csv.DictReader((folder / "out" / "thermal.csv").read_text().splitlines()))
    at = next(row for row in rows if float(row["temperature_K"]) == 300)
    assert float(at["C_V_J/(K mol atom)"]) == pytest.approx(20.05, abs=0.15)
    assert float(at["C_V_J/(K mol atom)_std"]) > 0
    assert not any("mol)" in name or name.startswith("V_A3_") for name in at)  # every header names its mole
    table = {row["quantity"]: row for row in csv.DictReader((folder / "out" / "results.csv").read_text().splitlines())}
    for name, column in (("entropy", "S"), ("heat capacity C_V", "C_V"), ("heat capacity C_p", "C_p")):
        both = float(table[f"{name} (300 K)"]["value"]), float(at[f"{column}_J/(K mol atom)"])
        assert both[0] == pytest.approx(both[1], rel=1e-6)
    assert table["heat capacity C_V (300 K)"]["experiment"] == ""
    assert float(table["heat capacity C_p (300 K)"]["experiment"]) == 20.05
    assert float(table["Debye temperature (T → 0)"]["value"]) == pytest.approx(630, abs=3)
    assert 0 < float(at["alpha_V_1/K"]) < 2e-5
    assert json.loads((folder / "out" / "results.json").read_text())["model"] == "sigesn"


@pytest.mark.slow
def test_a_second_call_recomputes_nothing(silicon):
    folder, _ = silicon
    before = {path: path.stat().st_mtime_ns for path in (folder / "out" / "work").iterdir()}
    assert run("POSCAR", "--qha", "--supercell", "8", "-o", "out", cwd=folder).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in (folder / "out" / "work").iterdir()} == before


@pytest.mark.slow
def test_phonopys_own_command_and_our_own_read_the_yaml(silicon):
    folder, _ = silicon
    out = folder / "out"
    done = subprocess.run(
        [PROGRAM.with_name("phonopy"), "phonopy_params.yaml", "--mesh", "11", "-t", "--tmax", "300"],
        cwd=out, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    again = run(out / "phonopy_params.yaml", "--json", "-", "-o", "again", cwd=folder)
    refused = run(out / "phonopy_params.yaml", "--supercell", "2 2 2", "--no-relax", "-o", "third", cwd=folder)
    assert refused.returncode == 2 and not (folder / "third").exists()
    assert "got relax, supercell for force constants that are read" in " ".join(refused.stderr.replace("│", "").split())
    assert again.returncode == 0, again.stderr
    ours = {row["quantity"]: row["value"] for row in json.loads(again.stdout)["quantities"]}
    first = {row["quantity"]: row["value"] for row in json.loads((out / "results.json").read_text())["quantities"]}
    assert ours["entropy (300 K)"] == pytest.approx(first["entropy (300 K)"], rel=1e-5)


@pytest.mark.slow
def test_any_ase_calculator_serves(tmp_path):
    bulk("Cu").write(tmp_path / "copper.cif")
    done = run("copper.cif", "-c", "emt", "--supercell", "3 3 3", "--json", "-", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert all(row["std"] is None for row in result["quantities"])
    assert any("no members" in note for note in result["notes"])
    done = run("copper.cif", "-c", "ase.calculators.emt:EMT", "--supercell", "3 3 3", "-o", "two", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / "two" / "bands.csv").read_text().splitlines()))
    assert all(row["band1_std_THz"] == "" for row in rows)  # an empty field where it is unknown
    assert np.all([float(row["band3_THz"]) >= float(row["band1_THz"]) for row in rows])


@pytest.mark.slow
def test_imaginary_modes_fail_the_call_or_are_reported(tmp_path):
    bulk("Cu", "bcc", a=2.87).write(tmp_path / "bcc.vasp")
    done = run("bcc.vasp", "-c", "emt", "--supercell", "4 4 4", cwd=tmp_path)
    assert done.returncode == 1
    assert "phonons failed: Imaginary modes: lowest -" in done.stderr
    done = run("bcc.vasp", "-c", "emt", "--supercell", "4 4 4", "--on-imaginary", "report", "--json", "-", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not any("heat capacity" in row["quantity"] for row in json.loads(done.stdout)["quantities"])
    done = run("bcc.vasp", "-c", "emt", "--supercell", "4 4 4", "--on-imaginary", "follow", "--json", "-", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["spacegroup"] == "P6_3/mmc (194)"


def test_wrong_calls_end_with_two(tmp_path):
    fcc111("Al", (1, 1, 3), vacuum=8).write(tmp_path / "slab.vasp")
    bulk("He", "fcc", a=4.2).write(tmp_path / "helium.vasp")
    bulk("Cu").write(tmp_path / "copper.vasp")
    (tmp_path / "broken.yaml").write_text("a: [")
    for arguments, said in (
        (["slab.vasp"], "got a slab"),
        (["helium.vasp"], "got He; no model that is here knows all of these"),
        (["none.vasp"], "does not exist"),
        (["copper.vasp", "-c", "emt", "--supercell", "big"], "three whole numbers"),
        (["copper.vasp", "-c", "nowhere:Thing"], "there is no such module here"),
        (["broken.yaml"], "expected the yaml"),
    ):
        done = run(*arguments, cwd=tmp_path)
        assert done.returncode == 2, (arguments, done.stderr)
        assert said in " ".join(done.stderr.replace("│", " ").split()), (arguments, done.stderr)
    done = program("none.vasp", cwd=tmp_path)
    assert done.returncode == 2 and "does not exist" in done.stderr
