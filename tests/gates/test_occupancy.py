"""Partial occupancy is refused on every road, with one message; a whole site is not."""

import io

import numpy as np
import pandas as pd
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import read, write
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

import ase_mlx as am
from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.ase.anomaly import anomaly_of
from ase_mlx.adapters.ase.dynamics import dynamics
from ase_mlx.adapters.ase.elastic_constants import elastic
from ase_mlx.adapters.ase.job import equation_of_state, relax
from ase_mlx.adapters.ase.sampling import Sampling, random_variant, repeated, sample
from ase_mlx.adapters.matminer import AnomalyFeaturizer, DensityFeaturizer, ModelFeaturizer, ThermalFeaturizer
from ase_mlx.adapters.phonopy import conductivity, phonons, quasi_harmonic
from ase_mlx.cli import app
from ase_mlx.data.label import Teacher, label
from ase_mlx.data.samples import sample as training_sample
from ase_mlx.data.tables import open_table
from ase_mlx.fields.density_files import write_density

MESSAGE = r"got sites with partial occupancy \(Si 0.8 Ge 0.2\).*ase-mlx sample.* --alloy"


@pytest.fixture(scope="module")
def alloy(tmp_path_factory):
    """Si₀.₈Ge₀.₂ as pymatgen's CIF and what ASE makes of it."""
    path = tmp_path_factory.mktemp("alloy") / "sige80.cif"
    sites = [{"Si": 0.8, "Ge": 0.2}]
    Structure.from_spacegroup("Fd-3m", Lattice.cubic(5.55), sites, [[0, 0, 0]]).to(filename=str(path))
    atoms = read(path)
    assert "occupancy" in atoms.info
    return path, atoms


ROADS = {
    "predict": lambda atoms, out: am.predict(am.load("sigesn"), atoms),
    "Calculator": lambda atoms, out: Calculator("sigesn").get_property("energy", atoms),
    "relax": lambda atoms, out: relax(atoms, EMT()),
    "equation_of_state": lambda atoms, out: equation_of_state(atoms, EMT()),
    "elastic": lambda atoms, out: elastic(atoms, EMT()),
    "dynamics": lambda atoms, out: dynamics(atoms, EMT(), steps=50),
    "sample": lambda atoms, out: next(sample(atoms, EMT(), Sampling())),
    "phonons": lambda atoms, out: phonons(atoms, EMT()),
    "quasi_harmonic": lambda atoms, out: quasi_harmonic(atoms, EMT()),
    "conductivity": lambda atoms, out: conductivity(atoms, EMT()),
    "anomaly": lambda atoms, out: anomaly_of(atoms),
    "write_density": lambda atoms, out: write_density(am.load("sigesn"), atoms, out / "x.npy"),
    "label": lambda atoms, out: label([atoms], Teacher("none", ("false",), "none"), out / "x.extxyz"),
    "train": lambda atoms, out: training_sample(labelled(atoms), 5.0, "frame 0"),
    "ModelFeaturizer": lambda atoms, out: ModelFeaturizer("formation_energy").featurize(atoms),
    "AnomalyFeaturizer": lambda atoms, out: AnomalyFeaturizer("bhnaa").featurize(atoms),
    "DensityFeaturizer": lambda atoms, out: DensityFeaturizer().featurize(atoms),
    "ThermalFeaturizer": lambda atoms, out: ThermalFeaturizer(EMT()).featurize(atoms),
}


def labelled(atoms):
    atoms = atoms.copy()
    atoms.calc = EMT()
    atoms.calc.results = {"energy": -1.0, "forces": np.zeros((len(atoms), 3))}
    return atoms


@pytest.mark.parametrize("road", ROADS)
def test_every_road_refuses_partial_occupancy(alloy, road, tmp_path):
    with pytest.raises(ValueError, match=MESSAGE):
        ROADS[road](alloy[1], tmp_path)


@pytest.mark.parametrize(
    "command",
    [
        ("run",), ("phonons", "-c", "emt"), ("conductivity", "-c", "emt"), ("density",), ("sample",),
        ("sample", "--alloy", "Si 0.5 Sn 0.5"), ("label", "--teacher", "ase.calculators.emt:EMT"),
    ],
)  # fmt: skip
def test_every_command_refuses_partial_occupancy(alloy, command, tmp_path):
    done = CliRunner().invoke(app, [command[0], str(alloy[0]), *command[1:], "-o", str(tmp_path / "out.cube")])
    assert done.exit_code == 2, done.output
    said = " ".join((done.output + (done.stderr or "")).replace("│", " ").split())
    assert "partial occupancy" in said and "--alloy" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["cif", "structure"])
def test_rows_of_a_table_say_it_in_the_same_words(alloy, kind, tmp_path):
    structure = Structure.from_file(alloy[0])
    text = alloy[0].read_text() if kind == "cif" else structure.to_json()
    pd.DataFrame({"id": ["a"], kind: [text]}).to_csv(tmp_path / "t.csv")
    (frame,) = open_table(tmp_path / "t.csv").chunks(10)
    assert "got sites with partial occupancy" in frame.problem[0] and "--alloy" in frame.problem[0]


def test_sampling_settles_the_occupancy_of_a_file(alloy, tmp_path):
    settings = Sampling((300.0,), alloy={"Si": 0.8, "Ge": 0.2}, equilibration=2.0, longest=2.0, frames=1, relax=False)
    start = repeated(alloy[1], (2, 2, 1))
    made = random_variant(start, settings, np.random.default_rng(0))
    assert made.get_chemical_formula() == "Ge6Si26" and "occupancy" not in made.info
    (frame,) = next(sample(start, Calculator("sigesn"), settings))
    assert frame.get_chemical_formula() == "Ge6Si26"


def test_an_alloy_takes_only_the_sites_that_the_file_leaves_open():
    structure = Structure.from_spacegroup(
        "F-43m", Lattice.cubic(5.5), [{"Si": 0.5, "Ge": 0.5}, "Si"], [[0, 0, 0], [0.25, 0.25, 0.25]]
    )
    atoms = read(io.StringIO(structure.to(fmt="cif")), format="cif")
    settings = Sampling(alloy={"Si": 1, "Ge": 1})
    made = random_variant(atoms, settings, np.random.default_rng(0))
    whole = np.flatnonzero(np.isclose(np.abs(atoms.get_scaled_positions() % 0.5 - 0.25), 0).all(axis=1))
    assert made.symbols.formula.count()["Ge"] == 2 and set(made.symbols[whole]) == {"Si"}


@pytest.mark.parametrize(
    ("occupancy", "message"),
    [
        ({"0": {"Si": 1.0}}, None), ({"0": {"Si": "?"}}, None), ({"0": {"Si": "."}}, None),
        ({"0": {"Si": "1.000(5)"}}, None), ({"0": {"Si": 1.0, "Ge": 0.0}}, None), ({}, None), (None, None),
        ({"0": {"Si": 0.5}}, r"\(Si 0.5\).*--vacancies"), ({"0": {"Si": "0.50(2)"}}, r"\(Si 0.5\)"),
        ({0: {"Si": 0.5, "Ge": 0.5}}, r'--alloy "Si 0.5 Ge 0.5"'),
        ({"0": {"Si": 1.0}, "1": {"Si": 0.4, "Ge": 0.4}}, r"\(Si 0.4 Ge 0.4\)"),
    ],
)  # fmt: skip
def test_whole_sites_pass_and_others_do_not(occupancy, message):
    atoms = bulk("Si")
    atoms.info["occupancy"] = occupancy
    if message is None:
        assert np.isfinite(am.predict(am.load("sigesn"), atoms)["energy"])
        return
    with pytest.raises(ValueError, match=message):
        am.predict(am.load("sigesn"), atoms)


@pytest.mark.parametrize("name", ["occupancy", "occupancies"])
def test_occupancies_an_atom_are_seen_too(name):
    """As readers of PDB and multislice files leave them."""
    atoms = bulk("Cu", cubic=True)
    atoms.set_array(name, np.array([1.0, 1.0, 0.5, 1.0]))
    with pytest.raises(ValueError, match=r"partial occupancy \(0.5\)"):
        relax(atoms, EMT())
    atoms.arrays[name][:] = 1.0
    assert relax(atoms, EMT()).converged


def test_occupancy_survives_a_round_trip_and_is_still_refused(alloy, tmp_path):
    write(tmp_path / "x.extxyz", alloy[1])
    with pytest.raises(ValueError, match="partial occupancy"):
        am.predict(am.load("sigesn"), read(tmp_path / "x.extxyz"))
