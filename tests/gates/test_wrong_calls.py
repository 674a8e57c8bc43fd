"""Wrong calls end with exit code 2 before torch is imported, in messages that name what the command has."""

import json
import os
import subprocess
import sys

import pytest
from ase.build import bulk
from typer.testing import CliRunner

from ase_mlx.cli import app, exits


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("calls")
    bulk("Cu").write(path / "cu.cif")
    bulk("Si").write(path / "si.cif")
    bulk("GaAs", "zincblende", a=5.65).write(path / "gaas.cif")
    bulk("He", "fcc", a=4.2).write(path / "he.cif")
    (path / "ownpotential.py").write_text("from ase.calculators.emt import EMT as morse\n", encoding="utf-8")
    return path


def call(folder, monkeypatch, *arguments):
    monkeypatch.chdir(folder)
    run = CliRunner().invoke(app, list(arguments))
    words = " ".join("".join(c for c in run.output if c not in "│╭╮╰╯─").split())
    assert run.exit_code == 2, run.output
    return words


@pytest.mark.parametrize("command", ["run", "phonons", "conductivity", "sample"])
def test_other_elements_are_sent_to_the_calculators_there_are(folder, monkeypatch, command):
    words = call(folder, monkeypatch, command, "he.cif")
    assert "--calculator" in words and "--model" not in words
    assert "got He" in words and "-c chgnet" in words and "-c MODULE:FACTORY" in words and "train" in words
    assert "emt" not in words  # does not know it
    assert "-c emt" in call(folder, monkeypatch, command, "cu.cif", "-c", "al")


@pytest.mark.parametrize("command", ["run", "phonons", "conductivity", "sample"])
@pytest.mark.parametrize("name", ["bhnaa", "formation_energy"])
def test_a_model_without_forces_is_no_potential(folder, monkeypatch, command, name):
    words = call(folder, monkeypatch, command, "si.cif", "-c", name)
    assert f"got '{name}', a model of crystals" in words and "no potential" in words


def test_evaluate_and_the_hidden_name_of_the_option_refuse_it_too(folder, monkeypatch):
    assert "expected a parquet table of crystals" in call(folder, monkeypatch, "evaluate", "bhnaa", "si.cif")
    assert "no potential" in call(folder, monkeypatch, "run", "si.cif", "-m", "bhnaa")
    assert "a model without a density" in call(folder, monkeypatch, "density", "si.cif", "-m", "bhnaa")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("phonons", "cu.cif", "-c", "chgnt"), "did you mean chgnet?"),
        (("run", "si.cif", "-c", "sigesm"), "did you mean sigesn?"),
        (("evaluate", "sigesm", "si.cif"), "did you mean 'sigesn'?"),
        (("phonons", "cu.cif", "-c", "ownpotential:mors"), "did you mean ownpotential:morse?"),
        (("phonons", "si.cif", "--supercell", "2x2"), "Invalid value for --supercell"),
        (("phonons", "si.cif", "--supercell", "2.5 2 2"), "Invalid value for --supercell"),
        (("conductivity", "si.cif", "--mesh", "7 7"), "Invalid value for --mesh"),
        (("density", "si.cif", "--shape", "20"), "Invalid value for --shape"),
        (("density", "si.cif", "--dipole", "1 nan 0"), "Invalid value for --dipole"),
        (("density", "gaas.cif", "-m", "sigesn"), "with --model"),
        (("run", "cu.cif", "-c", "al"), "al knows Al only"),
        (("conductivity", "si.cif", "-t", "300", "600"), "Of several values each has its option: -t … -t …"),
        (("generate", "--elements", "Ga", "N"), "each has its option: --elements … --elements …"),
    ],
)
def test_wrong_calls_name_the_option_and_the_remedy(folder, monkeypatch, arguments, words):
    assert words in call(folder, monkeypatch, *arguments)


def test_supercells_are_read_in_the_ways_people_write_them():
    from ase_mlx.cli.phonons import _supercell

    assert _supercell("2x2x2") == _supercell("2 2 2") == _supercell("2,2,2") == (2, 2, 2)
    assert _supercell("12") == 12.0 and _supercell("auto") == "auto"
    assert _supercell("1 0 0 0 2 0 0 0 3").tolist() == [[1, 0, 0], [0, 2, 0], [0, 0, 3]]


def test_messages_name_options_of_the_command_or_the_command_that_has_them(monkeypatch):
    class Call:
        command = __import__("typer").main.get_command(app)
        invoked_subcommand = "phonons"

    monkeypatch.setattr(exits, "call", Call)
    text = 'The structure is no minimum; pass on_imaginary="follow" or relax=False; Compare with supercell=15.'
    assert exits.in_options(text) == (
        "The structure is no minimum; pass --on-imaginary follow or --no-relax; Compare with --supercell 15."
    )
    assert "strains=" in exits.in_options("leaves the range; widen the strains.")
    monkeypatch.setattr(Call, "invoked_subcommand", "run")
    assert exits.in_options('pass on_imaginary="follow"') == "pass `ase-mlx phonons` with --on-imaginary follow"
    assert exits.in_options('make it with dtype="float64".') == 'make it with dtype="float64".'


def test_names_are_looked_at_before_torch(folder):
    code = (
        "import sys; from typer.testing import CliRunner; from ase_mlx.cli import app\n"
        "for line in sys.argv[1:]:\n"
        "    assert CliRunner().invoke(app, line.split()).exit_code in (0, 2), line\n"
        "    assert not {'torch', 'scipy.stats', 'phonopy'} & set(sys.modules), line\n"
    )
    lines = ("models", "--help", "run nofile", "screen nofile", "train nofile", "evaluate nomodel si.cif", "run he.cif",
             "phonons he.cif", "conductivity he.cif", "density cu.cif -m al", "run si.cif -c chgnt")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code, *lines], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_terminal_without_sigma_gets_its_table(folder):
    run = [sys.executable, "-c", "from ase_mlx.cli import main; main()", "models"]
    for encoding in ("latin-1", "ascii"):
        done = subprocess.run(run, env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True)
        assert done.returncode == 0, done.stderr
        assert b"sigesn" in done.stdout
        done = subprocess.run(
            [*run, "--json", "-"],
            env={**os.environ, "PYTHONIOENCODING": encoding},
            capture_output=True,
        )
        assert json.loads(done.stdout)[0]["errors"]["forces"]["unit"] == "meV/Å"
