import copy
import json
import multiprocessing
import pickle
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111
from ase.calculators.calculator import PropertyNotImplementedError
from ase.io import write
from ase.io.cube import read_cube_data

import ase_mlx as am
from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.matminer import DensityFeaturizer
from ase_mlx.data.io import read_frames
from ase_mlx.fields.density_files import CoarseGridWarning, write_density, write_restart
from ase_mlx.fields.density_surface import density_surface
from ase_mlx.units import BOHR_IN_A

PROGRAM = Path(sys.executable).parent / "ase-mlx"

far = pytest.mark.filterwarnings("ignore::ase_mlx.models.extrapolation.ExtrapolationWarning")
"""Slabs and molecules are far from the training data."""


@pytest.fixture(scope="module")
def model():
    return am.load("al")


@pytest.fixture
def aluminium():
    atoms = bulk("Al", cubic=True)
    atoms.rattle(0.08, seed=1)
    return atoms


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
    for name, call in calls.items():
        for atoms, lost in ((corner, True), (middle, False)):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                call(atoms)
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


def test_command_points_to_what_knows_other_elements(tmp_path):
    write(tmp_path / "cu.cif", bulk("Cu"))
    for words in ((), ("-m", "al")):
        done = command("density", str(tmp_path / "cu.cif"), *words)
        assert done.returncode == 2
        assert "neutral_atom" in re.sub(r"[│\s]+", " ", done.stderr)


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


@pytest.mark.parametrize("name", ["CHGCAR", "x.cube", "x.npy"])
def test_files_hold_what_the_model_says(tmp_path, model, aluminium, name):
    from ase.calculators.vasp import VaspChargeDensity

    found = write_density(model, aluminium, tmp_path / name, shape=(15, 14, 16), std=True)
    expected = am.predict(model, aluminium, at=am.grid(aluminium, shape=(15, 14, 16)))
    read = {
        "CHGCAR": lambda path: VaspChargeDensity(str(path)).chg[0],
        "x.cube": lambda path: read_cube_data(str(path))[0] / BOHR_IN_A**3,
        "x.npy": np.load,
    }[name]
    assert read(found.path) == pytest.approx(expected["density"], abs=1e-7)
    assert read(found.std_path) == pytest.approx(expected.std["density"], abs=1e-6)
    assert found.electrons == pytest.approx(12, abs=1e-9)
    assert found.mean_std == pytest.approx(expected.std["density"].mean(), rel=1e-5)
    assert found.lowest == pytest.approx(expected["density"].min())
    assert found.bytes == found.path.stat().st_size + found.std_path.stat().st_size
    with pytest.warns(UserWarning, match=f"{found.std_path.name} is of an earlier call"):
        write_density(model, aluminium, tmp_path / name, shape=(15, 14, 16))


def warnings_off():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@far
def test_coarse_grids_and_lost_tails_are_told(tmp_path, model, aluminium):
    with pytest.warns(CoarseGridWarning, match="finer spacing"):
        found = write_density(model, aluminium, tmp_path / "x.npy", spacing=1.4)
    assert found.electrons == pytest.approx(12, abs=1e-9)
    pair = Atoms("Al2", [(0, 0, 0), (0, 0, 2.6)])
    pair.center(vacuum=1.0)
    with pytest.warns(CoarseGridWarning, match="more vacuum"):
        found = write_density(model, pair, tmp_path / "y.npy", spacing=0.2)
    assert found.electrons < 5.99


def test_single_precision_is_close(tmp_path, model, aluminium):
    found = write_density(model, aluminium, tmp_path / "x.npy", spacing=0.25, dtype="float32")
    values = np.load(tmp_path / "x.npy")
    assert values.dtype == np.float32
    assert found.electrons == pytest.approx(12, rel=1e-6)
    assert values == pytest.approx(am.predict(model, aluminium, at=am.grid(aluminium, 0.25))["density"], abs=1e-5)


def command(*words):
    return subprocess.run([PROGRAM, *words], capture_output=True, text=True, timeout=250)


def test_command_writes_density_and_error_bar(tmp_path, aluminium):
    write(tmp_path / "al.cif", aluminium)
    done = command(
        "density", str(tmp_path / "al.cif"), "-o", str(tmp_path / "al.cube"), "--spacing", "0.3", "--std", "--json", "-"
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["electrons"] == pytest.approx(12, abs=1e-9)
    assert result["expected"] == 12
    assert {p.name for p in tmp_path.iterdir()} == {"al.cif", "al.cube", "al_std.cube"}
    assert read_frames(tmp_path / "al.cube")[0].cell.volume == pytest.approx(aluminium.cell.volume, rel=1e-4)
    plain = command("density", str(tmp_path / "al.cif"), "-o", str(tmp_path / "CHGCAR"), "--shape", "12 12 12")
    assert plain.returncode == 0, plain.stderr
    assert "12 × 12 × 12 points" in plain.stdout
    assert "electrons 12.0000000000 (expected 12)" in plain.stdout


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
    done = command("density", str(tmp_path / "al.cif"), *words)
    assert done.returncode == 2
    assert says in " ".join(done.stderr.replace("│", "").split())


def test_restart_is_the_predicted_density(tmp_path, model, aluminium):
    from ase_mlx.data.espresso_density import on_grid, read_charge_density
    from ase_mlx.fields.density_files import write_restart

    path = write_restart(model, aluminium, tmp_path, 24.0)
    assert path == tmp_path / "pwscf.save" / "charge-density.dat"
    density = on_grid(*read_charge_density(path), (27, 27, 27))
    assert density.mean() * aluminium.cell.volume == pytest.approx(12, abs=1e-9)
    expected = am.predict(model, aluminium, std=False, at=am.grid(aluminium, shape=(27, 27, 27)))["density"]
    assert np.abs(density - expected).max() < 5e-4
    write(tmp_path / "al.cif", bulk("Al", cubic=True, a=4.2))
    done = command("density", str(tmp_path / "al.cif"), "-o", str(tmp_path), "--ecut", "24")
    assert done.returncode == 2
    assert "of another cell" in " ".join(done.stderr.replace("│", "").split())
    done = command("density", str(tmp_path / "al.cif"), "-o", str(tmp_path / "new"), "--ecut", "24")
    assert done.returncode == 0, done.stderr
    assert "startingpot = 'file'" in done.stdout


@far
def test_slice_shows_the_bond_charge_of_silicon():
    from ase_mlx.fields.density_slice import density_slice

    found = density_slice(am.load("sigesn"), bulk("Si"), points=41)
    assert found.ends == ("Si", "Si")
    assert found.distance[-1] == pytest.approx(5.43 * 3**0.5 / 4, abs=0.01)
    assert found.density == pytest.approx(found.density[::-1], abs=1e-4)  # inversion at the middle of the bond
    assert found.difference == pytest.approx(found.difference[::-1, ::-1], abs=1e-4)
    assert found.density[20] - found.free[20] == pytest.approx(found.difference[20, 20], abs=1e-6)
    assert found.difference[20, 20] > 0.1
    assert (found.std > 0).all()
    assert len(found.symbols) == len(found.atoms) >= 4
    assert density_slice(am.load("sigesn"), Atoms("Si", cell=[20] * 3, pbc=True)) is None
    dimer = density_slice(am.load("al"), Atoms("Al2", [[0, 0, 0], [0, 0, 2.6]]), points=11)
    assert len(dimer.symbols) == 2


def test_surface_of_a_sheared_cell_is_that_of_the_short_one():
    atoms, areas = bulk("SiGe", "zincblende", a=5.55), []
    sheared = atoms.copy()
    sheared.set_cell(np.array([[1, 0, 0], [3, 1, 0], [0, 2, 1]]) @ atoms.cell.array)
    for case in (atoms, sheared):
        surface = density_surface(am.load("sigesn"), case, level=0.35)
        a, b, c = surface.vertices[surface.triangles].transpose(1, 0, 2)
        areas.append(0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1).sum())
        assert np.linalg.norm(surface.cell, axis=1) == pytest.approx(np.full(3, 5.55 / 2**0.5))
        assert surface.std.max() < 2e-3
    assert areas[1] == pytest.approx(areas[0], rel=0.01)


def test_picture_of_a_surface(tmp_path, aluminium):
    structure, picture = str(tmp_path / "al.cif"), str(tmp_path / "al.png")
    write(structure, aluminium)
    done = command("density", structure, "-o", picture, "--json", "-")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["lowest"] < found["level"] < found["highest"]
    assert (tmp_path / "al.png").read_bytes()[:4] == b"\x89PNG"
    refused = command("density", structure, "-o", picture, "--level", "9")
    assert refused.returncode == 2 and "between the field's" in refused.stderr


@far
@pytest.mark.filterwarnings("ignore:.*below zero")  # far from its own dipole
def test_slab_takes_a_known_dipole(tmp_path, model):
    slab = fcc111("Al", (1, 1, 4), vacuum=6.0)
    slab.rattle(0.1, seed=4)
    slab.info.clear()
    heights = lambda n: np.arange(n) / n * slab.cell[2, 2]  # noqa: E731
    moments = []
    for dipole in (None, [0, 0, 0.0], [0, 0, 0.2]):
        write_density(model, slab, tmp_path / "x.npy", spacing=0.15, dipole=dipole)
        density = np.load(tmp_path / "x.npy")
        point = slab.cell.volume / density.size
        moments.append(3 * slab.positions[:, 2].sum() - (density.sum((0, 1)) * heights(density.shape[2])).sum() * point)
    assert moments[1:] == pytest.approx([0.0, 0.2], abs=2e-3)
    assert abs(moments[0]) < 0.5
    write(tmp_path / "slab.xyz", slab)
    refused = command("density", str(tmp_path / "slab.xyz"), "-o", str(tmp_path / "x.npy"), "--dipole", "1 0 0")
    assert refused.returncode == 2 and "periodic" in refused.stderr


@pytest.mark.filterwarnings("ignore:.*(Brillouin|grid)")
def test_the_charge_on_the_atoms_is_that_of_every_density(tmp_path, model, aluminium):
    """Of file, restart, picture, Hirshfeld charges and command; what the call says comes first."""
    charged, calculator = aluminium.copy(), Calculator(model)
    charged.info["charge"] = -1
    neutral = calculator.get_property("charges", aluminium)
    assert neutral.sum() == pytest.approx(0, abs=1e-4)
    assert calculator.get_property("charges", charged).sum() == pytest.approx(-1, abs=1e-4)
    assert calculator.get_property("charges", aluminium) == pytest.approx(neutral)
    files = [tmp_path / name for name in ("neutral.npy", "charged.npy", "of_the_call.npy")]
    calls = zip((aluminium, charged, charged), (None, None, 0.0), strict=True)
    written = [
        write_density(model, atoms, path, 0.4, charge=charge)
        for path, (atoms, charge) in zip(files, calls, strict=True)
    ]
    assert [each.electrons for each in written] == pytest.approx([12, 13, 12], abs=1e-9)
    assert np.array_equal(np.load(files[2]), np.load(files[0]))
    assert density_surface(model, charged).highest > density_surface(model, aluminium).highest
    write(tmp_path / "al.xyz", charged)
    for options, electrons in (((), 13), (("--charge", "2"), 10)):
        done = command(
            "density", str(tmp_path / "al.xyz"), "-o", str(files[0]), "--spacing", "0.4", *options, "--json", "-"
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["electrons"] == pytest.approx(electrons, abs=1e-9)


@far
@pytest.mark.filterwarnings("ignore:.*below zero")
def test_restart_takes_a_known_dipole(tmp_path, model):
    slab = fcc111("Al", (1, 1, 3), vacuum=4.0)
    slab.rattle(0.1, seed=4)
    plain, bent = (write_restart(model, slab, tmp_path / name, 12.0, dipole=dipole).read_bytes()
                   for name, dipole in (("plain", None), ("bent", [0, 0, 0.2])))  # fmt: skip
    assert len(plain) == len(bent) and plain != bent
