import copy
import json
import multiprocessing
import pickle
import re
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111
from ase.calculators.calculator import PropertyNotImplementedError
from ase.io import write
from commands import call
from tiny_density import far, rattled_aluminium

import ase_mlx as am
from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.matminer import DensityFeaturizer
from ase_mlx.data.io import read_frames
from ase_mlx.fields.density_files import CoarseGridWarning, write_density, write_restart


@pytest.fixture(scope="module")
def model():
    return am.load("al")


@pytest.fixture
def aluminium():
    return rattled_aluminium()


def test_calculator_gives_the_density_of_its_structure(model, aluminium):
    calculator = Calculator(model, dtype="float64")
    aluminium.calc = calculator
    energy = aluminium.get_potential_energy()
    density = calculator.get_pseudo_density(spacing=0.3)
    assert density.shape == am.grid(aluminium, spacing=0.3).shape
    assert density.mean() * aluminium.cell.volume == pytest.approx(12, abs=1e-9)
    assert density.min() > -1e-3
    assert calculator.get_density_std(spacing=0.3).shape == density.shape
    assert 0 < calculator.get_density_std(spacing=0.3).mean() < 0.01 * density.mean()
    assert aluminium.get_potential_energy() == energy
    assert set(calculator.results) <= set(calculator.implemented_properties)
    other = calculator.get_pseudo_density(bulk("Al"), shape=(12, 12, 12))
    assert other.mean() * bulk("Al").cell.volume == pytest.approx(3, abs=1e-9)
    p = am.predict(calculator.model, aluminium, at=am.grid(aluminium, spacing=0.3))
    assert p["density"] == pytest.approx(density, abs=1e-12)


@far
def test_charges_are_a_result_of_ase(aluminium):
    atoms = bulk("SnSi", "zincblende", a=6.05, cubic=True)
    atoms.calc = Calculator("sigesn")
    assert "charges" in atoms.calc.implemented_properties
    atoms.get_forces()
    assert "charges" not in atoms.calc.results
    charges = atoms.get_charges()
    assert charges.shape == (8,)
    assert abs(charges.sum()) < 1e-6
    assert (charges[atoms.symbols == "Sn"] > 0.05).all()
    assert "energy" in atoms.calc.results
    pair = Atoms("Al2", [(0, 0, 0), (0, 0, 2.6)], calculator=Calculator("al"))
    assert pair.get_charges() == pytest.approx([0, 0], abs=1e-4)  # equal atoms, no cell
    with pytest.raises(PropertyNotImplementedError, match="without a volume"):
        pair.get_stress()


@pytest.mark.filterwarnings("ignore:Potential of an earlier version")
def test_charges_do_not_depend_on_where_an_open_cell_ends():
    """A molecule, a wire and a slab at the cell's wall, across it and far from it; the same in every cell."""
    before = Path(__file__).parents[1] / "reference" / "data" / "models" / "sigesn"  # the numbers below are its
    calculator = Calculator(am.load(before), dtype="float64")
    chain = Atoms("SiGe", [[0, 0, 0], [0.3, 0, 2.4]], cell=[8, 8, 5.0], pbc=(False, False, True))
    slab = bulk("SiGe", "zincblende", a=5.6, cubic=True)
    slab.rattle(0.03, seed=1)
    slab.pbc = (True, True, False)
    for atoms, first in (
        (Atoms("SiGe", [[0, 0, 0], [0, 0, 2.35]], cell=[8, 8, 8]), -0.0271),  # what a cell of 14 Å gave all along
        (chain, None),
        (slab, -0.0148),
    ):
        charges = calculator.get_property("charges", atoms)
        assert charges.sum() == pytest.approx(0, abs=1e-6)
        assert first is None or charges[0] == pytest.approx(first, abs=5e-4)
        for change in ("vacuum", "moved", "skewed", "none"):
            other, open_axes = atoms.copy(), ~atoms.pbc
            if change == "vacuum":
                other.center(vacuum=5, axis=tuple(np.flatnonzero(open_axes)))
            elif change == "moved":
                other.positions += 100 * open_axes
            elif change == "skewed":
                other.cell[2 if open_axes[2] else 0] += [0.7, 0.3, 0.2] * atoms.pbc[::-1] * ~atoms.pbc[2]
            else:
                other.cell[open_axes] = 0
            assert calculator.get_property("charges", other) == pytest.approx(charges, abs=1e-9), change
        assert calculator.get_property("energy", other) == pytest.approx(calculator.get_property("energy", atoms))


@far
def test_electrons_outside_of_the_grid_are_told_wherever_the_density_goes_out(tmp_path):
    """By the share, once a call; 7 of 8 of a molecule at a corner, and none of one amid its cell."""
    corner = Atoms("SiGe", [[0, 0, 0], [0, 0, 2.35]], cell=[8, 8, 8])
    middle = Atoms("SiGe", [[7, 7, 5.8], [7, 7, 8.15]], cell=[14, 14, 14])
    model = am.load("sigesn")
    calculator = Calculator(model, dtype="float64")
    write(tmp_path / "corner.xyz", corner)
    calls = {
        "predict": lambda a: am.predict(model, a, at=am.grid(a, 0.4)),
        "pseudo density": lambda a: calculator.get_pseudo_density(a, spacing=0.4),
        "std": lambda a: calculator.get_density_std(a, spacing=0.4),
        "file": lambda a: write_density(model, a, tmp_path / "x.cube", spacing=0.4),
        "restart": lambda a: write_restart(model, a, tmp_path / "out", 8.0),
        "featurizer": lambda a: DensityFeaturizer(model, spacing=0.4).featurize(a),
        "superposition": lambda a: DensityFeaturizer(spacing=0.4).featurize(a),
    }
    for name, electrons_of in calls.items():
        for atoms, lost in ((corner, True), (middle, False)):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                electrons_of(atoms)
            shutil.rmtree(tmp_path / "out", ignore_errors=True)  # no restart beside one of another cell
            told = [str(w.message) for w in caught if issubclass(w.category, CoarseGridWarning)]
            assert len(told) == lost, (name, told)
            if lost:
                share = float(re.search(r"([0-9.]+) % lie outside", told[0])[1])
                assert share == pytest.approx(77, abs=6), name  # an eighth to a quarter of each atom is inside
    rows = [DensityFeaturizer(model).featurize(a) for a in (corner, middle) for _ in warnings_off()]
    columns = DensityFeaturizer(model).feature_labels()
    for label in ("charge_std", "charge_min", "charge_max", "dipole_mean"):
        assert rows[0][columns.index(label)] == pytest.approx(rows[1][columns.index(label)], abs=1e-6)
    assert rows[0][columns.index("charge_std")] == pytest.approx(0.0301, abs=1e-3)


def test_a_density_needs_points_and_says_so(model):
    with pytest.raises(KeyError, match=r"at=am.grid"):
        am.predict(model, bulk("Al"))["density"]
    with pytest.raises(KeyError, match=r"holds energies[^:]*$"):
        am.predict(model, bulk("Al"))["dipole"]
    with pytest.raises(ValueError, match="without a field"):
        am.predict(am.load("bhnaa"), bulk("Al"), at=am.grid(bulk("Al"), spacing=0.5))


def test_a_model_of_other_elements_is_refused_with_what_knows_them(tmp_path):
    write(tmp_path / "cu.cif", bulk("Cu"))
    done = call(tmp_path, "density", str(tmp_path / "cu.cif"), "-m", "al")
    assert done.returncode == 2
    assert "sum of neutral atoms" in re.sub(r"[│\s]+", " ", done.stderr)


@far
def test_negative_electrons_are_told():
    crowded = bulk("Sn", "fcc", a=4.8)
    with pytest.warns(CoarseGridWarning, match=r"of 4 electrons in values of the density below zero \([0-9.]+ %\)"):
        Calculator("sigesn").get_pseudo_density(crowded)


@pytest.mark.parametrize("name", ["al", "sigesn"])
@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))], ids=["deepcopy", "pickle"]
)
def test_copies_of_models_with_a_density(name, duplicate):
    atoms = bulk({"al": "Al", "sigesn": "Si"}[name])
    calculator = Calculator(name)
    twin = duplicate(calculator)
    assert twin.get_potential_energy(atoms) == calculator.get_potential_energy(atoms)
    assert (twin.get_pseudo_density(atoms) == calculator.get_pseudo_density(atoms)).all()
    model = am.load(name)
    points = am.grid(atoms, spacing=0.5)
    found, again = am.predict(model, atoms, at=points), am.predict(duplicate(model), atoms, at=points)
    assert (found["density"] == again["density"]).all()
    assert (found.std["density"] == again.std["density"]).all()


def test_processes_of_their_own_get_the_same_energies(aluminium):
    aluminium.calc = Calculator("al")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        (energy,) = pool.map(Atoms.get_potential_energy, [aluminium])
    assert energy == aluminium.get_potential_energy()


def test_calculator_says_what_it_lacks(model):
    calculator = Calculator(model)
    with pytest.raises(ValueError, match="got no structure"):
        calculator.get_pseudo_density()
    with pytest.raises(ValueError, match="vacuum"):
        calculator.get_pseudo_density(Atoms("Al2", [(0, 0, 0), (0, 0, 2.6)]))
    with pytest.raises(ValueError, match="got Cu"):
        calculator.get_pseudo_density(bulk("Cu"))


@far
def test_slab_and_molecule_keep_their_electrons(model):
    calculator = Calculator(model, dtype="float64")
    slab = fcc111("Al", (1, 1, 4), vacuum=5)
    assert calculator.get_pseudo_density(slab).mean() * slab.cell.volume == pytest.approx(12, abs=1e-9)
    pair = Atoms("Al2", [(0, 0, 0), (0, 0, 2.6)])
    pair.center(vacuum=4)
    assert calculator.get_pseudo_density(pair).mean() * pair.cell.volume == pytest.approx(6, abs=1e-9)


def warnings_off():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def test_command_writes_density_and_error_bar(tmp_path, aluminium):
    write(tmp_path / "al.cif", aluminium)
    done = call(
        tmp_path,
        "density",
        str(tmp_path / "al.cif"),
        "-o",
        str(tmp_path / "al.cube"),
        "--spacing",
        "0.3",
        "--std",
        "--json",
        "-",
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["electrons"] == pytest.approx(12, abs=1e-9)
    assert result["expected"] == 12
    assert {p.name for p in tmp_path.iterdir()} == {"al.cif", "al.cube", "al_std.cube"}
    assert read_frames(tmp_path / "al.cube")[0].cell.volume == pytest.approx(aluminium.cell.volume, rel=1e-4)
    plain = call(tmp_path, "density", str(tmp_path / "al.cif"), "-o", str(tmp_path / "CHGCAR"), "--shape", "12 12 12")
    assert plain.returncode == 0, plain.stderr
    assert "12 × 12 × 12 points" in plain.stdout
    assert "electrons 12.0000000000 (expected 12)" in plain.stdout


def test_other_elements_are_superposed_and_it_is_said(tmp_path):
    write(tmp_path / "gan.cif", bulk("GaN", "zincblende", a=4.5))
    done = call(tmp_path, "density", str(tmp_path / "gan.cif"), "-o", str(tmp_path / "gan.cube"))
    assert done.returncode == 0, done.stderr
    assert "electrons 8.0000000000 (expected 8)" in done.stdout
    assert "the sum of neutral atoms" in done.stdout and "N 5, Ga 3" in done.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-o", "x.txt"], "CHGCAR, or a name that ends"),
        (["--shape", "3 3"], "expected three positive whole numbers"),
        (["--shape", "a b c"], 'got "a b c", expected three positive whole numbers'),
        (["-m", "sigesn"], "got Al; no density of these elements"),
        (["-m", "nothing"], "expected a shipped model"),
    ],
)
def test_wrong_calls_are_told(tmp_path, words, says):
    write(tmp_path / "al.cif", bulk("Al"))
    done = call(tmp_path, "density", str(tmp_path / "al.cif"), *words)
    assert done.returncode == 2
    assert says in " ".join(done.stderr.replace("│", "").split())


@pytest.mark.parametrize("shape", [(2, 2, 2), (3, 2, 2)])
def test_grids_coarser_than_an_atom_keep_the_electrons(shape):
    atoms = bulk("Si") * (2, 1, 1)
    atoms.positions += [0.0, 0.0, -0.02]  # just below the last plane's image
    density = am.predict("sigesn", atoms, at=am.grid(atoms, shape=shape), std=False)["density"]
    assert float(np.mean(density)) * atoms.get_volume() == pytest.approx(16.0, abs=1e-9)
