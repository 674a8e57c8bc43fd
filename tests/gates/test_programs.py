"""Programs that people already use, on files that our commands wrote: what they print is what we said."""

import shutil
import subprocess
import sys
from importlib.metadata import version

import numpy as np
import pytest
import yaml
from ase import units
from ase.build import bulk
from ase.db import connect
from ase.io import write
from commands import call
from programs import program

from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.phonopy import harmonic, phonons
from ase_mlx.adapters.phonopy.files import save_phonons
from ase_mlx.jobs.conductivity import conductivity_job


@pytest.fixture(scope="module")
def silicon(tmp_path_factory):
    """A folder with three rattled crystals as a database, an extxyz file and a trajectory."""
    folder = tmp_path_factory.mktemp("ase")
    frames = [bulk("Si", cubic=True) for _ in range(3)]
    with connect(folder / "silicon.db") as database:
        for k, atoms in enumerate(frames):
            atoms.rattle(0.02, seed=k)
            atoms.calc = Calculator("sigesn", dtype="float64")
            atoms.get_forces()
            database.write(atoms, **atoms.calc.save_extras(atoms))
    write(folder / "silicon.extxyz", frames)
    write(folder / "silicon.traj", frames)
    return folder, frames


def test_ase_info_lists_us(tmp_path):
    printed = program(tmp_path, "ase", "info", "--plugins")
    ours = printed.split(f"ase_mlx {version('ase-mlx')}")[1]
    assert "CalculatorPlugin" in ours and "ase-mlx-densities" in ours


@pytest.mark.parametrize("name", ["silicon.extxyz", "silicon.traj", "silicon.db"])
def test_ase_gui_shows_energies_and_forces_of_our_files(silicon, name):
    folder, frames = silicon
    energy, force = map(float, program(folder, "ase", "gui", "-t", "-n", 1, name, "-g", "e,fmax").split())
    assert energy == pytest.approx(frames[1].get_potential_energy(), abs=1e-6)
    assert force == pytest.approx(np.linalg.norm(frames[1].get_forces(), axis=1).max(), abs=1e-6)


@pytest.mark.slow
def test_ase_gui_opens_a_window(silicon):
    if not shutil.which("xvfb-run"):
        pytest.skip("no xvfb-run: apt-get install xvfb")
    window = (
        "from ase.gui.gui import GUI; from ase.gui.images import Images; images = Images(); "
        "images.read(['silicon.extxyz'], slice(None)); gui = GUI(images); gui.set_frame(2); gui.window.win.update(); "
        "print(gui.window.win.winfo_width(), len(gui.images)); gui.exit()"
    )
    shown = ["xvfb-run", "-a", sys.executable, "-c", window]
    done = subprocess.run(shown, cwd=silicon[0], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    width, frames = map(int, done.stdout.split())
    assert width > 100 and frames == 3


def test_ase_db_shows_energies_and_error_bars(silicon):
    folder, frames = silicon
    columns = "energy,energy_std,calculator,formula"
    rows = program(folder, "ase", "db", "silicon.db", "energy_std>0", "-c", columns, "--csv").splitlines()[1:4]
    for row, atoms in zip(rows, frames, strict=True):
        energy, std, calculator, formula = (word.strip() for word in row.split(","))
        assert float(energy) == pytest.approx(atoms.get_potential_energy(), abs=1e-3)
        assert float(std) == pytest.approx(atoms.calc.get_property("energy_std", atoms), abs=1e-3)
        assert (calculator, formula) == ("sigesn", "Si8")


@pytest.fixture(scope="module")
def density(tmp_path_factory):
    """A folder with one density of silicon as CHGCAR and as cube, of 8 electrons."""
    folder = tmp_path_factory.mktemp("density")
    bulk("Si").write(folder / "POSCAR")
    for name in ("CHGCAR", "silicon.cube"):
        done = call(folder, "density", "POSCAR", "-m", "sigesn", "-o", name, "--shape", "16 15 18")
        assert done.returncode == 0, done.stderr
    values = Calculator("sigesn").get_pseudo_density(bulk("Si"), shape=(16, 15, 18))
    return folder, values


def test_pymatgen_reads_our_chgcar(density):
    chgcar = pytest.importorskip("pymatgen.io.vasp").Chgcar.from_file(density[0] / "CHGCAR")
    volume = chgcar.structure.volume
    assert chgcar.data["total"].mean() == pytest.approx(8, abs=1e-6)
    np.testing.assert_allclose(chgcar.data["total"] / volume, density[1], atol=1e-5)
    assert chgcar.structure.composition.formula == "Si2"


@pytest.mark.parametrize("reader", ["ase", "pymatgen", "iodata"])
def test_a_cube_keeps_its_electrons(density, reader):
    path = str(density[0] / "silicon.cube")
    if reader == "ase":
        from ase.io.cube import read_cube_data

        values, atoms = read_cube_data(path)
        volume, positions = atoms.cell.volume / units.Bohr**3, atoms.positions
    elif reader == "pymatgen":
        cube = pytest.importorskip("pymatgen.io.common").VolumetricData.from_cube(path)
        values, volume, positions = (
            cube.data["total"],
            cube.structure.volume / units.Bohr**3,
            cube.structure.cart_coords,
        )
    else:
        one = pytest.importorskip("iodata", reason="needs qc-iodata").load_one(path)
        values, volume = one.cube.data, abs(np.linalg.det(one.cellvecs))
        positions = one.atcoords * units.Bohr
    assert values.shape == density[1].shape
    assert values.mean() * volume == pytest.approx(8, rel=1e-4)
    np.testing.assert_allclose(values, density[1] * units.Bohr**3, atol=1e-5)
    np.testing.assert_allclose(positions, bulk("Si").positions, atol=1e-3)


SUPERCELL = {"supercell": (2, 2, 2)}
small = pytest.mark.filterwarnings("ignore:The supercell is .* high")


@small
def test_phonopy_goes_on_from_our_yaml(tmp_path):
    calculator = Calculator("sigesn", dtype="float64")
    ours = phonons(bulk("Si"), calculator, **SUPERCELL)
    save_phonons(ours, tmp_path / "phonopy_params.yaml")
    mesh = (11, 11, 11)
    heat = harmonic(ours, mesh=mesh, temperatures=np.array([300.0])).heat_capacity[0]
    program(tmp_path, "phonopy-load", "phonopy_params.yaml", "--mesh", *mesh, "-t")
    theirs = yaml.safe_load((tmp_path / "thermal_properties.yaml").read_text(encoding="utf-8"))
    at_300 = next(row for row in theirs["thermal_properties"] if row["temperature"] == 300)
    assert at_300["heat_capacity"] == pytest.approx(heat, rel=1e-3)
    program(tmp_path, "phonopy-load", "phonopy_params.yaml", "--band", "0 0 0 0.5 0.5 0.5", "--band-points", "11")
    bands = yaml.safe_load((tmp_path / "band.yaml").read_text(encoding="utf-8"))
    theirs = [band["frequency"] for band in bands["phonon"][-1]["band"]]
    np.testing.assert_allclose(theirs, ours.run_qpoints([[0.5, 0.5, 0.5]]).frequencies[0], atol=1e-4)  # THz


@small
@pytest.mark.slow
def test_phono3py_goes_on_from_our_yaml_and_hdf5(tmp_path):
    calculator = Calculator("sigesn", dtype="float64")
    options = {"mesh": (5, 5, 5), "temperatures": [300], "error_bars": False}
    conductivity_job(bulk("Si"), calculator, tmp_path / "kappa", **SUPERCELL, **options)
    for name in ("phono3py.yaml", "kappa.hdf5"):
        shutil.copy(tmp_path / "kappa" / name, tmp_path)
    table = np.genfromtxt(tmp_path / "kappa" / "kappa.csv", delimiter=",", skip_header=1)
    ours = table[1]  # W/(m K), xx at 300 K
    words = ("--mfp", "--average", "--temperature", "300", "kappa.hdf5")
    printed = program(tmp_path, "phono3py-kaccum", *words)
    last = [line.split() for line in printed.splitlines() if line.strip() and not line.startswith("#")][-1]
    assert float(last[1]) == pytest.approx(ours, rel=2e-3)
    printed = program(tmp_path, "phono3py-load", "phono3py.yaml", "--mesh", *options["mesh"], "--br", "--ts", 300)
    rows = [line.split() for line in printed.splitlines() if line.split()[:1] == ["300.0"]]
    assert float(rows[-1][1]) == pytest.approx(ours, rel=0.02)  # its sum rules are others, see docs/conductivity.md


def test_scikit_learn_pipelines_take_our_featurizers():
    sklearn = pytest.importorskip("sklearn", reason="needs scikit-learn, which comes with matminer")
    pytest.importorskip("matminer", reason="pip install 'ase-mlx[matminer]'")
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from ase_mlx.adapters.matminer import ModelFeaturizer

    frames = [bulk("Si", a=5.43 * (1 + 0.004 * k)) for k in range(8)]
    energies = [Calculator("sigesn", dtype="float64").get_potential_energy(atoms) for atoms in frames]
    pipeline = make_pipeline(ModelFeaturizer("sigesn"), StandardScaler(), Ridge(1e-6))
    copied = sklearn.base.clone(pipeline).fit(frames, energies)
    assert copied.score(frames, energies) > 0.999
    assert np.abs(cross_val_predict(pipeline, frames, energies, cv=4) - energies).max() < 0.01  # eV
    columns = ModelFeaturizer("sigesn").set_output(transform="pandas").fit_transform(frames)
    assert list(columns)[0] == "energy_per_atom" and len(columns) == 8


def test_dataframes_keep_our_columns(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("matminer", reason="pip install 'ase-mlx[matminer]'")
    from matminer.featurizers.base import MultipleFeaturizer
    from matminer.featurizers.structure import DensityFeatures

    from ase_mlx.adapters.matminer import ModelFeaturizer
    from ase_mlx.adapters.matminer.structures import to_atoms

    structure = pytest.importorskip("pymatgen.io.ase").AseAtomsAdaptor.get_structure
    table = pandas.DataFrame({"structure": [structure(bulk("Si", a=a)) for a in (5.4, 5.5)]}, index=["a", "b"])
    both = MultipleFeaturizer([ModelFeaturizer("sigesn"), DensityFeatures()], iterate_over_entries=False)
    wide = both.featurize_dataframe(table, "structure", pbar=False)
    assert list(wide.index) == ["a", "b"] and {"energy_per_atom", "density"} <= set(wide)
    wide.drop(columns="structure").to_parquet(tmp_path / "columns.parquet")
    back = pandas.read_parquet(tmp_path / "columns.parquet")
    pandas.testing.assert_frame_equal(back, wide.drop(columns="structure"))
    expected = Calculator("sigesn", dtype="float64").get_potential_energy(to_atoms(table["structure"]["b"])) / 2
    assert back["energy_per_atom"]["b"] == pytest.approx(expected, abs=1e-6)
