"""A map over the compositions of three elements: laws of its numbers, what judges it, what it refuses."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from commands import call
from tiny import tiny_potential

from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.ase.job import equation_of_state, relax
from ase_mlx.adapters.ase.mixed_crystals import site_volumes
from ase_mlx.data.densities import DensityFrame, write_densities
from ase_mlx.data.label import content_key
from ase_mlx.jobs import composition_map as job
from ase_mlx.jobs.composition_errors import distances, read_judges, shares_of
from ase_mlx.jobs.composition_map import FILES, MapTask, composition_map, map_job
from ase_mlx.learn.active.settings import read_settings
from ase_mlx.learn.files import save_model

ELEMENTS = ("Si", "Ge", "Sn")
CONFIG = """
pool = ["pool.extxyz"]
known = "known.extxyz"

[map]
elements = ["Si", "Ge", "Sn"]
crystal = "diamond"
divisions = {divisions}
{more}
"""


def alloy(symbols, seed, **info):
    atoms = bulk("Si", a=5.6, cubic=True)
    atoms.symbols[: len(symbols)] = symbols
    atoms.rattle(0.02, seed=seed)
    atoms.info = {"config_name": f"alloy {seed}", **info}
    atoms.calc = SinglePointCalculator(atoms, energy=-900.0 - seed, forces=np.zeros((8, 3)), stress=np.zeros(6))
    return atoms


def prepared(folder, divisions=1, more=""):
    """Write a pool of three labelled cells (one of known atoms, one without labels) and known silicon."""
    silicon = alloy([], 1, part="train")
    unlabelled = alloy(["Sn", "Sn"], 4)
    unlabelled.calc = None
    same = silicon.copy()
    same.calc = silicon.calc
    same.info["part"] = "pool"
    write(folder / "pool.extxyz", [alloy(["Ge"] * 2, 2), alloy(["Ge"] * 2, 3), same, unlabelled])
    write(folder / "known.extxyz", [silicon, alloy(["Sn"], 5, part="val"), alloy(["Ge"], 6, part="test")])
    path = folder / "map.toml"
    path.write_text(CONFIG.format(divisions=divisions, more=more))
    return path


@pytest.fixture(scope="module")
def chart(tmp_path_factory):
    """The shipped model at the corners and the middles of the edges."""
    folder = tmp_path_factory.mktemp("map")
    return composition_map(prepared(folder, 2), "sigesn", folder / "out")


@pytest.mark.slow
def test_mixing_energies_vanish_at_the_corners_with_their_bars(chart):
    corner = chart.shares.max(axis=1) == 1
    mixing, std = chart.values["mixing_energy"], chart.std["mixing_energy"]
    assert mixing[corner] == pytest.approx(0, abs=1e-9) and std[corner] == pytest.approx(0, abs=1e-9)
    assert (np.abs(mixing[~corner]) > 1).all() and (std[~corner] > 0).all()


@pytest.mark.slow
def test_alloys_of_group_four_cost_energy_and_their_lattices_lie_between(chart):
    a = chart.values["lattice_constant"]
    sides = chart.shares @ a[[np.argmax(chart.shares[:, k]) for k in range(3)]]
    assert a == pytest.approx(sides, rel=0.01)  # Vegard's law
    middle = {tuple(share): e for share, e in zip(chart.shares.tolist(), chart.values["mixing_energy"], strict=True)}
    assert 0 < middle[0.5, 0.5, 0] < middle[0.5, 0, 0.5]
    assert (np.diff(chart.values["bulk_modulus"][[np.argmax(chart.shares[:, k]) for k in range(3)]]) < 0).all()


@pytest.mark.slow
def test_bars_of_mixing_energies_know_what_members_share(chart):
    corners = [np.argmax(chart.shares[:, k]) for k in range(3)]
    alone = np.hypot(chart.std["energy"], np.sqrt(chart.shares**2 @ chart.std["energy"][corners] ** 2))
    mixed = chart.shares.max(axis=1) < 1
    assert (chart.std["mixing_energy"][mixed] < 2e3 * alone[mixed]).all()


@pytest.mark.slow
def test_a_corner_is_the_pure_element(chart):
    calculator = Calculator("sigesn", dtype="float64")
    a = (8 * site_volumes(("Ge",))["Ge"]) ** (1 / 3)
    relaxed = relax(bulk("Ge", a=a, cubic=True), calculator, 1e-5)
    curve = equation_of_state(relaxed.atoms, calculator)
    k = np.argmax(chart.shares[:, 1])
    assert chart.values["energy"][k] == pytest.approx(relaxed.energy.value / 8, abs=1e-5)
    assert chart.std["energy"][k] == pytest.approx(relaxed.energy.std / 8, rel=1e-3)
    assert chart.values["lattice_constant"][k] == pytest.approx(curve.lattice_constant.value, rel=1e-5)
    assert chart.std["lattice_constant"][k] == pytest.approx(curve.lattice_constant.std, rel=0.02)
    assert chart.values["bulk_modulus"][k] == pytest.approx(curve.bulk_modulus.value, rel=1e-3)
    fine = calculator.get_density_std(relaxed.atoms, spacing=0.13)
    share = 100 * fine.mean() * relaxed.atoms.get_volume() / (8 * 4)
    assert chart.values["density_std"][k] == pytest.approx(share, rel=0.03)


def quick(monkeypatch):
    """Look at crystals as they are laid down: a random potential has no minimum to relax to."""

    def vertex(calculator, atoms, cells, values):
        members = calculator.get_property("energy_members", atoms) / len(atoms)
        values |= {"energy": calculator.get_property("energy", atoms) / len(atoms), "energy_std": 0.1}
        values |= {"deviations": members - members.mean(), "distance": 0.5, "lattice_constant": atoms.cell[0, 0]}
        return []

    monkeypatch.setattr(job, "_vertex", vertex)


def tiny_task(folder, elements, divisions=4):
    settings = read_settings(prepared(folder, divisions))
    asked = replace(settings.map, elements=elements)
    calculator = Calculator(tiny_potential(), dtype="float64")
    return MapTask(asked, "tiny", calculator, read_judges(settings, asked, "tiny"))


def test_another_order_of_elements_is_the_same_map_turned(tmp_path, monkeypatch):
    quick(monkeypatch)
    one = map_job(tiny_task(tmp_path, ELEMENTS))
    order = (2, 0, 1)
    other = map_job(tiny_task(tmp_path, tuple(ELEMENTS[k] for k in order)))
    place = {tuple(share): k for k, share in enumerate(one.shares[:, order].tolist())}
    rows = [place[tuple(share)] for share in other.shares.tolist()]
    assert sorted(rows) == list(range(15)) != rows
    for name in ("energy", "mixing_energy", "lattice_constant"):
        assert other.values[name] == pytest.approx(one.values[name][rows], abs=1e-8, nan_ok=True)
        assert other.std[name] == pytest.approx(one.std[name][rows], abs=1e-8, nan_ok=True)


def test_what_is_learned_from_judges_nothing(tmp_path):
    task = tiny_task(tmp_path, ELEMENTS)
    assert [a.info["config_name"] for a in task.judges.frames] == ["alloy 2", "alloy 3"]
    assert task.judges.trained.tolist() == [[1, 0, 0]]
    shares = shares_of(task.judges.frames, ELEMENTS)
    assert distances(shares, task.judges.trained).tolist() == [0.25, 0.25]


def test_what_an_active_folder_learned_is_trained_and_judges_nothing(tmp_path):
    settings = read_settings(prepared(tmp_path))
    (tmp_path / "al" / "work").mkdir(parents=True)
    taught = alloy(["Ge"] * 2, 2)
    taught.info["label_key"] = content_key(taught)
    write(tmp_path / "al" / "work" / "labels.extxyz", [taught])
    judges = read_judges(settings, settings.map, tmp_path / "al")
    assert [a.info["config_name"] for a in judges.frames] == ["alloy 3"]
    assert judges.trained.tolist() == [[0.75, 0.25, 0], [1, 0, 0]]


def test_errors_are_those_of_the_labels(tmp_path, monkeypatch):
    quick(monkeypatch)
    task = tiny_task(tmp_path, ELEMENTS)
    (line,) = map_job(task).errors
    off = [task.calculator.get_potential_energy(a) - a.calc.results["energy"] for a in task.judges.frames]
    assert line["distance"] == 0.25 and line["energy_frames"] == 2
    assert line["energy_rmse_meV_atom"] == pytest.approx(1e3 * np.sqrt(np.mean(np.square(off))) / 8, rel=1e-6)
    assert line["density_frames"] == 0 and line["density_error_percent"] is None


def test_one_composition_that_fails_costs_no_other(tmp_path, monkeypatch):
    quick(monkeypatch)
    whole = job._vertex

    def failing(calculator, atoms, cells, values):
        if len(set(atoms.numbers)) == 3:
            raise RuntimeError("no minimum")
        return whole(calculator, atoms, cells, values)

    monkeypatch.setattr(job, "_vertex", failing)
    done = map_job(tiny_task(tmp_path, ELEMENTS), tmp_path / "out")
    assert np.isnan(done.values["energy"]).sum() == 3
    assert any("no minimum" in note and "3" not in note.split(":")[0][:1] for note in done.notes)
    monkeypatch.setattr(job, "_vertex", lambda *_: 1 / 0)
    with pytest.raises(RuntimeError, match="no composition of 15"):
        map_job(tiny_task(tmp_path, ELEMENTS))


@pytest.mark.slow
def test_densities_are_judged_and_written(chart, tmp_path):
    atoms = bulk("Si", a=5.47, cubic=True)
    model = Calculator("sigesn")
    density = model.get_pseudo_density(atoms, spacing=0.4)
    write_densities(tmp_path / "densities.npz", [DensityFrame("silicon", atoms, 1.01 * density)])
    config = prepared(tmp_path, 1, 'densities = ["densities.npz"]')
    done = call(tmp_path, "active", config, "--map", "sigesn", "-o", "out", "--json", "out.json")
    assert done.returncode == 0, done.stderr
    assert {p.name for p in (tmp_path / "out").iterdir() if not p.name.startswith(".")} == set(FILES)
    assert "Energy against DFT, by distance" in done.stdout and "Density against DFT" in done.stdout
    result = json.loads((tmp_path / "out.json").read_text())
    (line,) = [line for line in result["errors"] if line["density_frames"]]
    assert line["distance"] == 0 and line["density_error_percent"] == pytest.approx(1, abs=0.05)
    rows = list(csv.DictReader((tmp_path / "out" / FILES[0]).read_text().splitlines()))
    assert [row["Si"] for row in rows] == ["0.0", "0.0", "1.0"]
    assert float(rows[2]["energy_eV_atom"]) == pytest.approx(chart.values["energy"][-1], abs=1e-9)


def test_a_model_without_a_density_is_mapped_without_one(tmp_path, monkeypatch):
    quick(monkeypatch)
    save_model(tiny_potential(), tmp_path / "tiny", {"title": "tiny"})
    done = call(tmp_path, "active", prepared(tmp_path), "--map", "tiny", "-o", "out")
    assert done.returncode == 0, done.stderr
    assert "No density: tiny has none" in done.stdout


@pytest.mark.parametrize(
    ("change", "model", "words"),
    [
        (("divisions", "division"), "sigesn", "got unknown key 'division' in [map]; did you mean 'divisions'"),
        (('elements = ["Si", "Ge", "Sn"]', 'elements = ["Si", "Ge"]'), "sigesn", "expected 3 different ones"),
        (('"Sn"]', '"Xx"]'), "sigesn", "got 'Xx' in [map] elements"),
        (('"Sn"]', '"Pb"]'), "sigesn", "got Pb among the elements of [map], but sigesn knows Si Ge Sn only"),
        (('"Sn"]', '"Sn"]'), "al", "but al knows Al only"),
        (('"diamond"', '"wurtzite"'), "sigesn", "expected one of 'diamond'"),
        (("known.extxyz", "nothing.extxyz"), "sigesn", "check the path"),
        (("", ""), "bhnaa", "no potential"),
        (("", ""), "nonsense", "expected a shipped model"),
    ],
)
def test_wrong_calls_are_refused_before_the_work(tmp_path, change, model, words):
    config = prepared(tmp_path)
    config.write_text(config.read_text().replace(*change))
    done = call(tmp_path, "active", config, "--map", model, "-o", "out")
    assert done.returncode == 2 and words in " ".join(done.stderr.replace("│", " ").split())
    assert not (tmp_path / "out").exists()


def test_no_map_without_its_table_and_none_while_asking(tmp_path):
    config = prepared(tmp_path)
    config.write_text(config.read_text().split("[map]")[0])
    done = call(tmp_path, "active", config, "--map", "sigesn")
    assert done.returncode == 2 and "got no table [map]" in " ".join(done.stderr.replace("│", " ").split())
    done = call(tmp_path, "active", config, "--map", "sigesn", "--ask", 3)
    assert done.returncode == 2 and "one at a time" in " ".join(done.stderr.replace("│", " ").split())
