"""Crystals on demand, as a user asks for them: from Python, by the command, killed and again."""

import csv
import json

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from commands import call, finish, kill, start
from tiny_crystals import METALS, teach

import ase_mlx as am
from ase_mlx.data.io import read_frames
from ase_mlx.jobs.generation import generation_job
from ase_mlx.learn.files import load_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return teach(tmp_path_factory.mktemp("crystals"))


@pytest.fixture(scope="module")
def crystals(model):
    return am.load(model)


@pytest.mark.slow
def test_samples_are_atoms_that_say_what_they_are(crystals):
    made = crystals.sample(20, seed=3)
    assert len(made) == 20 and all(type(atoms) is Atoms and atoms.pbc.all() for atoms in made)
    for atoms in made:
        about = atoms.info
        assert 1 <= about["space_group"] <= 230 and isinstance(about["known"], bool)
        assert np.isfinite([about["formation_energy"], about["formation_energy_std"], about["density"]]).all()
    assert {atoms.info["space_group"] for atoms in made} <= {221, 225}
    assert sum(set(atoms.numbers) <= {*METALS} for atoms in made) > 2 < sum(8 in atoms.numbers for atoms in made)


@pytest.mark.slow
def test_a_crystal_comes_back_from_its_latent(crystals):
    salt = bulk("MgO", "rocksalt", a=4.3)
    (again,) = crystals.decode(crystals.encode([salt]))
    assert again.info["space_group"] == 225 and again.get_chemical_formula(empirical=True) == "MgO"
    assert again.cell.volume / len(again) == pytest.approx(salt.cell.volume / 2, rel=0.15)


def test_ranges_move_what_is_drawn(crystals):
    free, low = crystals.sample(40, seed=5), crystals.sample(40, seed=5, formation_energy=(-4.0, -2.0))
    share = lambda made: np.mean([8 in atoms.numbers for atoms in made])  # noqa: E731
    assert share(low) > 0.9 > share(free)


def test_a_cell_that_holds_no_matter_is_drawn_again(model, monkeypatch):
    badly_taught = load_model(model)
    draw, half = badly_taught.decoder.arrangement.lattice.draw, torch.Generator().manual_seed(0)

    def flat(context, chosen, random):
        lattice = draw(context, chosen, random)
        lattice[torch.rand(len(lattice), generator=half) < 0.5, 0] -= 9.0  # volumes 8,000 times too small
        return lattice

    monkeypatch.setattr(badly_taught.decoder.arrangement.lattice, "draw", flat)
    crystals = badly_taught.sample(20, seed=3)
    volumes = [abs(np.linalg.det(crystal.cell)) / len(crystal.numbers) for crystal in crystals]
    assert len(crystals) == 20 and min(volumes) > 0.09  # Å³ an atom


@pytest.fixture(scope="module")
def whole(tmp_path_factory, model):
    folder = tmp_path_factory.mktemp("generated")
    words = ("generate", "-m", model, "-n", "30", "--elements", "O", "--seed", "2", "-o", "out")
    done = call(folder, *words, "--json", "g.json")
    assert done.returncode == 0, done.stderr
    return folder


def rows(folder):
    with open(folder / "candidates.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_command_writes_table_structures_and_cifs(whole):
    table, frames = rows(whole / "out"), read_frames(whole / "out" / "candidates.extxyz")
    assert len(table) == 30
    ranked = [row for row in table if row["rank"]]
    assert len(ranked) == len(frames) == len(list((whole / "out" / "cif").glob("*.cif"))) > 4
    assert [int(row["rank"]) for row in ranked] == list(range(1, len(ranked) + 1))
    upper = [float(row["hull_distance (eV/atom)"]) + float(row["hull_distance_std (eV/atom)"]) for row in ranked]
    assert upper == sorted(upper)
    assert all(8 in atoms.numbers for atoms in frames)
    assert all(row["reasons"].startswith("rejected: ") for row in table if not row["rank"])
    result = json.loads((whole / "g.json").read_text(encoding="utf-8"))
    assert result["asked"] == 30 and result["structures"] == len(frames)


def test_the_same_call_changes_nothing_and_another_is_refused(whole, model):
    before = (whole / "out" / "candidates.csv").read_bytes()
    words = ("generate", "-m", model, "-n", "30", "--seed", "2", "-o", "out", "--elements")
    done = call(whole, *words, "O")
    assert done.returncode == 0 and (whole / "out" / "candidates.csv").read_bytes() == before
    done = call(whole, *words, "Mg")
    words = " ".join(done.stderr.replace("│", " ").split())
    assert done.returncode == 2 and "candidates of another call (conditions differ)" in words


@pytest.mark.slow
def test_a_call_that_is_killed_three_times_ends_in_the_same_table(tmp_path, model):
    words = ["generate", "-m", model, "-n", "80", "--seed", "7", "-c", "emt", "--allowed", "Cu,Au,Ni,Al,Ag,Pd", "-o"]
    pieces = lambda: len(list((tmp_path / "cut").glob("pieces/*.extxyz")))  # noqa: E731
    for _ in range(3):
        before = pieces()
        with start(tmp_path, *words, "cut") as process:
            assert kill(process, lambda: pieces() > before)  # noqa: B023
    for name in ("cut", "whole"):
        finish(tmp_path, *words, name)
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")


@pytest.mark.filterwarnings("ignore:FixSymmetry adjust_cell")
@pytest.mark.filterwarnings("ignore:FixSymmetry adjust_cell")
def test_relaxation_by_a_calculator(tmp_path, model):
    wanted = {"elements": ["Cu"], "allowed": ["Cu", "Au"], "atoms": (1, 16)}
    made = generation_job(12, tmp_path / "out", model, 1, wanted, EMT(), "emt")
    ranked = [row for row in made.rows if row["rank"]]
    assert ranked and all(np.isfinite(row["energy of emt (eV/atom)"]) for row in ranked)
    for atoms in made.structures:
        atoms.calc = EMT()
        assert np.abs(atoms.get_forces()).max() < 0.1


class Broken(EMT):
    """A calculator that fails on gold."""

    def calculate(self, atoms=None, *words, **more):
        if 79 in atoms.numbers:
            raise RuntimeError("no gold here")
        super().calculate(atoms, *words, **more)


@pytest.mark.filterwarnings("ignore:FixSymmetry adjust_cell", "ignore:.*structures failed to relax")
def test_a_calculator_that_fails_on_a_candidate_rejects_it_with_its_reason(tmp_path, model):
    wanted = {"allowed": ["Cu", "Au"], "atoms": (1, 16)}
    made = generation_job(12, tmp_path / "out", model, 4, wanted, Broken(), "broken")
    gold = [row for row in made.rows if "Au" in row["formula"] and "no relaxation" in row["reasons"]]
    assert gold and all(not row["rank"] for row in gold)
    assert any("no gold here" in row["reasons"] for row in gold)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-n", "0"), "greater than or equal to 1"),
        (("--density", "3", "1"), "expected (least, most) in g/cm³"),
        (("--elements", "Xx"), "those that the model knows, one a word"),
        (("--elements", "Mg", "--allowed", "Al,O"), "which are not among those allowed"),
        (("--model", "al"), "which generates no crystals"),
        (("--calculator", "nonsense"), "expected a shipped model"),
        (("--space-group", "231"), "less than or equal to 230"),
    ],
)
def test_wrong_calls(tmp_path, model, words, said):
    name = () if "--model" in words else ("-m", model)
    done = call(tmp_path, "generate", *name, *words, "-o", "out")
    assert done.returncode == 2 and said in " ".join(done.stderr.replace("│", " ").split()), done.stderr
    assert not (tmp_path / "out").exists()


def test_elements_may_be_asked_for_one_by_one_or_in_one_word(tmp_path, model):
    one = call(tmp_path, "generate", "-m", model, "-n", 4, "--elements", "Cu", "--elements", "Au", "-o", "one")
    two = call(tmp_path, "generate", "-m", model, "-n", 4, "--elements", "Cu,Au", "-o", "two")
    assert one.returncode == two.returncode == 0, one.stderr
    assert (tmp_path / "one" / "candidates.csv").read_text() == (tmp_path / "two" / "candidates.csv").read_text()
    assert "Cu" in one.stdout and "Au" in one.stdout
    header = next(line for line in one.stdout.splitlines() if "formula" in line)
    assert "hull distance (eV/atom)" in header and "std" not in header
    wrong = call(tmp_path, "generate", "-m", model, "-n", 4, "--elements", 118, "-o", "three")
    assert wrong.returncode == 2 and "got the elements ['118'], expected" in wrong.stderr
