"""Files, slices and surfaces of a density."""

import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111
from ase.io import write
from ase.io.cube import read_cube_data
from commands import call
from tiny_density import far, rattled_aluminium

import ase_mlx as am
from ase_mlx.adapters.ase import Calculator
from ase_mlx.fields.density_files import CoarseGridWarning, write_density, write_restart
from ase_mlx.fields.density_surface import density_surface
from ase_mlx.units import BOHR_IN_A


@pytest.fixture(scope="module")
def model():
    return am.load("al")


@pytest.fixture
def aluminium():
    return rattled_aluminium()


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
    done = call(tmp_path, "density", str(tmp_path / "al.cif"), "-o", str(tmp_path), "--ecut", "24")
    assert done.returncode == 2
    assert "of another cell" in " ".join(done.stderr.replace("│", "").split())
    done = call(tmp_path, "density", str(tmp_path / "al.cif"), "-o", str(tmp_path / "new"), "--ecut", "24")
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
    done = call(tmp_path, "density", structure, "-o", picture, "--json", "-")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["lowest"] < found["level"] < found["highest"]
    assert (tmp_path / "al.png").read_bytes()[:4] == b"\x89PNG"
    refused = call(tmp_path, "density", structure, "-o", picture, "--level", "9")
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
    refused = call(tmp_path, "density", str(tmp_path / "slab.xyz"), "-o", str(tmp_path / "x.npy"), "--dipole", "1 0 0")
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
        done = call(
            tmp_path,
            "density",
            str(tmp_path / "al.xyz"),
            "-o",
            str(files[0]),
            "--spacing",
            "0.4",
            *options,
            "--json",
            "-",
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
