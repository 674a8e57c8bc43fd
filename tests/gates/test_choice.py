"""`auto`: what computes a structure where nobody names it, at every door."""

import csv
import hashlib
import http.server
import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, diamond111, fcc111, molecule
from ase.io import write
from commands import call

import ase_mlx as am
from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.checkpoints import import_checkpoint, published
from ase_mlx.adapters.choice import choose
from ase_mlx.adapters.matminer import ElasticFeaturizer, ThermalFeaturizer
from ase_mlx.adapters.phonopy import phonons
from ase_mlx.jobs.main import main_job

PLAIN = Path(__file__).parents[1] / "reference" / "data" / "nequix" / "plain.nqx"
SMALL = PLAIN.parents[1] / "sevennet" / "small.pth"


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The user's models, with an imported potential of H, O, Na, Cl, Cu."""
    monkeypatch.setenv("ASE_MLX_MODELS", str(tmp_path / "own"))
    import_checkpoint(PLAIN, tmp_path / "own" / "plain")
    return tmp_path / "own"


def salt():
    return bulk("NaCl", "rocksalt", a=5.6)


def test_a_model_is_chosen_by_elements_and_environment():
    assert choose(bulk("Al")).name == "al" and choose(bulk("Ge")).name == "sigesn"
    assert "like its training data (distance score up to 0.1" in choose(bulk("Si")).reason
    slab = choose(diamond111("Si", (1, 1, 4), vacuum=8))
    assert slab.name == "universal" and "the structure is beyond the training data of sigesn" in slab.reason
    assert "Better: `ase-mlx import nequix-oam-1-pft`" in slab.reason


def test_a_model_of_the_users_own_is_chosen_where_none_is_better(own):
    shutil.copytree(am.pretrained.find("al"), own / "softer")
    assert choose(bulk("Al")).name == "al"
    choice = choose(salt())
    assert choice.name == "plain" and str(choice) == (
        "Calculator (auto): plain, of your own models: no model of few elements knows Cl Na."
    )
    surface = choose(fcc111("Cu", (1, 1, 4), vacuum=8))
    assert surface.name == "plain"
    calculator = Calculator("auto", atoms=salt())
    assert (calculator.name, calculator.choice) == ("plain", choice)
    assert Calculator("plain").model.elements == calculator.model.elements
    with pytest.raises(FileNotFoundError, match="did you mean 'plain'"):
        Calculator("plane")


def test_an_imported_potential_goes_before_a_model_outside_of_its_data(own, monkeypatch):
    card = json.loads((own / "plain" / "card.json").read_text())
    monkeypatch.setattr("ase_mlx.adapters.choice._card", lambda name: card | {"elements": ["Al"]} if name == "plain"
                        else am.learn.cards.read_card(am.pretrained.find(name)))  # fmt: skip
    choice = choose(fcc111("Al", (1, 1, 4), vacuum=8))
    assert choice.name == "plain" and "beyond the training data of al (distance score up to 3" in choice.reason
    assert choose(bulk("Al")).name == "al"


def test_the_shipped_potential_of_most_elements_comes_last_and_says_so(monkeypatch):
    monkeypatch.setattr("ase_mlx.adapters.choice.installed", lambda name: None)
    monkeypatch.setattr("ase_mlx.adapters.choice.find_spec", lambda name: None)
    choice = choose(salt())
    assert choice.name == "universal" and choice.reason.startswith("which ships with ase_mlx and knows most elements")
    assert "no model of few elements knows Cl Na. Better: `ase-mlx import nequix-oam-1-pft`" in choice.reason
    assert choose(bulk("Si")).name == "sigesn"
    energy = Calculator("auto", atoms=salt()).get_property("energy_std", salt())
    assert 0 < energy < 1


def test_where_there_is_none_the_error_says_what_to_get(tmp_path):
    write(tmp_path / "He.cif", bulk("He", "fcc", a=4.2))  # no crystal of the Materials Project
    for command in ("run", "phonons", "conductivity", "sample"):
        done = call(tmp_path, command, "He.cif")
        words = " ".join(done.stderr.replace("│", " ").split())
        assert done.returncode == 2 and "Traceback" not in words, words
        assert "got He; no model that is here knows all of these" in words
        assert "`ase-mlx import nequix-oam-1-pft`, or pip install sevenn" in words and "-c chgnet" in words
    with pytest.raises(ValueError, match="without atoms"):
        choose(bulk("Al")[:0])


@pytest.mark.filterwarnings("ignore")  # random weights: what they say of water is no physics
def test_commands_and_jobs_say_once_what_was_chosen_and_keep_it(own, tmp_path):
    write(tmp_path / "water.xyz", molecule("H2O"))
    done = call(tmp_path, "run", "water.xyz", "--steps", "50", "-o", "out", "--json", "run.json")
    assert done.stderr.count("Calculator (auto): plain") == 1 and "Traceback" not in done.stderr
    result = json.loads((tmp_path / "run.json").read_text())
    assert result["model"] == "plain" and sum("Calculator (auto): plain" in note for note in result["notes"]) == 1
    with open(tmp_path / "out" / "results.csv", newline="") as file:
        assert {row["calculator"] for row in csv.DictReader(file)} == {"plain"}
    outcome = main_job(molecule("H2O"), "auto", steps=50)
    assert outcome.model == "plain" and any("of your own models" in note for note in outcome.notes)


@pytest.mark.filterwarnings("ignore:The undisplaced atoms", "ignore:The supercell is")
def test_functions_take_names_and_choose(monkeypatch):
    ph = phonons(bulk("Al"), "auto", (2, 2, 2), relax=False)
    other = phonons(bulk("Al"), Calculator("al", dtype="float64"), (2, 2, 2), relax=False)
    assert np.array_equal(ph.force_constants, other.force_constants)


@pytest.mark.slow
def test_the_weights_of_an_installed_package_serve(tmp_path, monkeypatch):
    weights = tmp_path / "sevenn" / "pretrained_potentials" / "SevenNet_0__11Jul2024"
    weights.mkdir(parents=True)
    (tmp_path / "sevenn" / "__init__.py").write_text("raise ImportError('it is looked at, not imported')")
    shutil.copy(SMALL, weights / "checkpoint_sevennet_0.pth")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("ASE_MLX_MODELS", str(tmp_path / "own"))
    choice = choose(salt())
    assert choice.name == "sevennet-0" and "of the installed package sevenn" in choice.reason
    assert Calculator("auto", atoms=salt()).name == "sevennet-0"
    write(tmp_path / "water.xyz", molecule("H2O"))
    done = call(tmp_path, "run", "water.xyz", "-c", "sevennet-0", "--steps", "50", "--json", "a.json")
    assert json.loads((tmp_path / "a.json").read_text())["model"] == "sevennet-0", done.stderr
    assert call(tmp_path, "import", "sevennet-0").returncode == 0
    assert am.load("sevennet-0").cutoff == Calculator("sevennet-0").model.cutoff
    assert choose(salt()).reason.startswith("of your own models")


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *words):
        """A reader that hangs up is what one of the tests is about."""


@pytest.fixture
def server(tmp_path):
    """A server of this machine, and what it has served."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=tmp_path / "served")

        def log_message(self, *words):
            asked.append(self.path)

    (tmp_path / "served").mkdir()
    with Server(("127.0.0.1", 0), Handler) as here:
        thread = threading.Thread(target=here.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{here.server_port}", tmp_path / "served", asked
        here.shutdown()
        thread.join()


def test_a_name_is_fetched_and_used_only_with_its_sha256(server, tmp_path, monkeypatch):
    address, served, asked = server
    monkeypatch.setenv("ASE_MLX_MODELS", str(tmp_path / "own"))
    monkeypatch.setenv("no_proxy", "*")
    content = PLAIN.read_bytes()
    first = published.CHECKPOINTS[0]
    one = replace(first, address=f"{address}/a.nqx", sha256=hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(published, "CHECKPOINTS", (one, *published.CHECKPOINTS[1:]))
    for bad, words in (
        (None, "(HTTP Error 404: File not found)"),
        (content[:-8], "expected " + one.sha256),
        (b"<html>sign in</html>", "nothing was imported"),
        (bytes(65 * 2**20), "longer than 67108864 bytes"),
    ):
        if bad is not None:
            (served / "a.nqx").write_bytes(bad)
        done = call(tmp_path, "import", first.name)
        assert done.returncode == 1 and words in done.stderr, done.stderr
        assert "Traceback" not in done.stderr and not (tmp_path / "own").exists()
    (served / "a.nqx").write_bytes(content)
    done = call(tmp_path, "import", first.name, "--json", "card.json")
    assert done.returncode == 0 and "finds it by itself" in done.stdout, done.stderr
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["origin"]["known"] and card["licence"] == one.licence and card["folder"].endswith(first.name)
    assert asked and choose(salt()).name == first.name


def test_without_a_network_the_error_says_what_to_do(tmp_path, monkeypatch):
    first = replace(published.CHECKPOINTS[0], address="http://127.0.0.1:9/a.nqx")
    monkeypatch.setattr(published, "CHECKPOINTS", (first,))
    monkeypatch.setenv("no_proxy", "*")
    done = call(tmp_path, "import", first.name, "-o", "x")
    assert done.returncode == 1 and "download it where there is a network" in done.stderr
    done = call(tmp_path, "import", "sevennet-l3i5", "-o", "x")
    assert done.returncode == 2 and not (tmp_path / "x").exists()
    write(tmp_path / "al.nqx", bulk("Al"), format="xyz")
    done = call(tmp_path, "import", "al.nqx")
    assert done.returncode == 2 and "the name of a shipped model" in " ".join(done.stderr.replace("│", " ").split())


@pytest.mark.filterwarnings("ignore:.*The cell feels")
def test_featurizers_choose_for_each_structure_and_say_what():
    featurizer = ElasticFeaturizer("auto", relax=False)
    labels = featurizer.feature_labels()
    rows = featurizer.featurize_many([bulk("Al"), bulk("Si")], pbar=False)
    assert labels[-1] == "calculator" and [row[-1] for row in rows] == ["al", "sigesn"]
    named = ElasticFeaturizer("al", relax=False).featurize(bulk("Al"))
    assert named == pytest.approx(rows[0][:-1], nan_ok=True) and len(rows[0]) == len(labels)


@pytest.mark.filterwarnings("ignore:The undisplaced atoms", "ignore:The supercell is")
def test_thermal_columns_name_the_calculator(tmp_path):
    featurizer = ThermalFeaturizer("auto", supercell=(2, 2, 2), relax=False, expansion=False, folder=tmp_path / "kept")
    row = featurizer.featurize(bulk("Al"))
    assert featurizer.feature_labels()[-1] == "calculator" and row[-1] == "al" and (tmp_path / "kept" / "al").is_dir()
    assert featurizer.featurize(bulk("Al")) == row
