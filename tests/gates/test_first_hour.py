"""What a newcomer types in the first hour, and what it is answered."""

import re

import pytest
import torch
from ase.build import bulk, molecule
from commands import call

import ase_mlx as am
from ase_mlx.occupancy import check_occupancy


def words(done):
    """What was printed on both streams, in one line without frames."""
    return " ".join(re.sub("[│╭╮╰╯─]", " ", done.stdout + done.stderr).split())


@pytest.mark.parametrize("wrong", ["silicon.cif", ["silicon.cif"], 14])
def test_something_else_than_atoms_is_named(wrong):
    with pytest.raises(TypeError, match=r"got an? \w+, '(silicon.cif|14)', expected ase.Atoms.*ase.io.read"):
        am.predict("sigesn", wrong)


def test_an_iterator_gives_what_its_list_gives():
    crystals = [bulk("Si"), bulk("Ge")]
    (a, b), expected = am.predict("sigesn", iter(crystals), std=False), am.predict("sigesn", crystals, std=False)
    assert [a["energy"], b["energy"]] == [one["energy"] for one in expected]


def test_models_of_few_elements_name_the_shipped_one_of_most():
    with pytest.raises(ValueError, match="got N, Ga, but this model knows Si, Ge, Sn only; take 'universal'"):
        am.predict("sigesn", bulk("GaN", "zincblende", a=4.5))
    with pytest.raises(ValueError, match="got Po, but|got Am, but") as wrong:
        am.predict("universal", bulk("Am", "fcc", a=4.9))
    assert "'universal'" not in str(wrong.value)


def test_sites_shared_alike_are_one_kind_of_site():
    crystal = bulk("Si", cubic=True)
    crystal.info["occupancy"] = {"0": {"Si": 0.5, "Ge": 0.5}, "1": {"Ge": 0.5, "Si": 0.5}}
    with pytest.raises(ValueError, match=r"partial occupancy \(Si 0.5 Ge 0.5\), expected"):
        check_occupancy(crystal)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_device_that_is_not_here_is_a_wrong_call(tmp_path):
    bulk("Si").write(tmp_path / "silicon.cif")
    done = call(tmp_path, "run", "silicon.cif", "-c", "sigesn", "--device", "cuda", "-o", "out")
    assert done.returncode == 2 and "got --device cuda, which torch does not find here" in words(done)


def test_what_is_skipped_for_one_reason_is_said_once(tmp_path):
    molecule("H2O").write(tmp_path / "water.xyz")
    done = call(tmp_path, "run", "water.xyz", "-c", "universal", "--steps", 50)
    assert done.returncode == 0, done.stderr
    assert words(done).count("this is a molecule") == 1
    assert "elastic constants, anomaly score, phonons skipped" in words(done)
