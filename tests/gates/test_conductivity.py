import shutil
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import phono3py
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from phono3py.file_IO import write_fc2_to_hdf5
from poor_tensors import weakened
from typer.testing import CliRunner

from ase_mlx.adapters.phono3py import load_third_order, third_order, write_cells, write_kappa
from ase_mlx.adapters.phono3py.crystal import mesh_numbers
from ase_mlx.adapters.phonopy import ImaginaryModesError, conductivity
from ase_mlx.cli import app
from ase_mlx.phonons.compression import compress
from ase_mlx.phonons.tensor_files import load_tensor, save_tensor

DATA = Path(__file__).parents[1] / "reference" / "data" / "phono3py-si"
YAML = DATA / "phono3py_params.yaml.xz"
MESH = (5, 5, 5)
MODULE = sys.modules["ase_mlx.adapters.phono3py.conductivity"]


@pytest.fixture(scope="module")
def silicon():
    return load_third_order(YAML)


def poor(*arguments, **options):
    return weakened(compress(*arguments, **options))


@pytest.fixture(scope="module")
def found(silicon):
    with pytest.MonkeyPatch.context() as context, pytest.warns(UserWarning, match="rank=48: the tensor alone changes"):
        context.setattr(MODULE, "compress", poor)
        return conductivity(silicon, mesh=MESH, temperatures=[300, 600], rank=48)


@pytest.mark.slow
def test_all_that_was_asked_for_comes_back(found, silicon):
    assert found.kappa.shape == (2, 6)
    assert found.kappa[0, 0] > found.kappa[1, 0] > 0
    assert found.compression.tensor.rank == 48 and not found.compression.reached
    exact = conductivity(silicon, mesh=MESH, temperatures=[300, 600])
    assert found.certificate.exact and found.kappa_std is None  # a small mesh: all triplets were taken
    np.testing.assert_allclose(found.kappa[:, :3], exact.kappa[:, :3], rtol=1e-10)
    np.testing.assert_allclose(found.modes.gamma, exact.modes.gamma, rtol=1e-10)
    assert np.all(np.abs(found.compressed_kappa[:, 0] / found.kappa[:, 0] - 1) > 0.01)
    assert "not the tensor's" in found.notes[0] and "kappa is exact" in found.notes[0]


@pytest.mark.slow
def test_a_corrected_conductivity_has_its_interval_and_says_what_was_corrected(silicon, monkeypatch):
    monkeypatch.setattr(MODULE, "compress", poor)
    options = {"mesh": (9, 9, 9), "temperatures": [100, 300]}
    exact = conductivity(silicon, **options)
    with pytest.warns(UserWarning, match="corrected by"):
        found = conductivity(silicon, rank=48, **options)
    certificate = found.certificate
    assert not certificate.exact and certificate.half_widths.max() <= 0.01
    away = np.abs(found.kappa[:, 0] / exact.kappa[:, 0] - 1)
    assert np.all(away < 1.5 * certificate.half_widths) and np.all(away < 0.01)
    assert np.all(np.abs(found.compressed_kappa[:, 0] / exact.kappa[:, 0] - 1) > 0.02)
    np.testing.assert_allclose(1.96 * found.kappa_std[:, 0] / found.kappa[:, 0], certificate.half_widths, rtol=1e-6)
    np.testing.assert_allclose(found.modes.kappa, found.kappa, rtol=1e-10, atol=1e-10)
    assert "not the tensor's" in found.notes[0] and "linewidth_errors" in found.notes[1]


@pytest.mark.slow
def test_an_iterative_solution_is_corrected_as_relaxation_times_are(silicon, monkeypatch):
    monkeypatch.setattr(MODULE, "compress", poor)
    options = {"mesh": (9, 9, 9), "temperatures": [300], "solver": "iterative"}
    exact = conductivity(silicon, **options)
    with pytest.warns(UserWarning, match="corrected by"):
        found = conductivity(silicon, rank=96, **options)
    assert found.kappa_std is None and any("has no interval" in note for note in found.notes)
    assert found.kappa[0, 0] == pytest.approx(exact.kappa[0, 0], rel=0.01)
    alone = found.kappa[0, 0] * found.compressed_kappa[0, 0] / found.modes.kappa[0, 0]
    assert alone != pytest.approx(exact.kappa[0, 0], rel=0.02)


def test_a_tensor_is_kept_by_what_it_depends_on(silicon, tmp_path, monkeypatch):
    options = {"mesh": MESH, "temperatures": [300], "rank": 24, "folder": tmp_path}
    with pytest.warns(UserWarning, match="rank=24"):
        first = conductivity(silicon, **options)
        monkeypatch.setattr(MODULE, "compress", None)
        again = conductivity(silicon, **options)
    np.testing.assert_array_equal(again.kappa, first.kappa)
    assert again.compression.held_out == first.compression.held_out
    np.testing.assert_array_equal(again.compressed_kappa, first.compressed_kappa)
    with pytest.raises(TypeError):
        conductivity(silicon, **options | {"rank": 48})


KILLED = """
import sys
from ase_mlx.adapters.phonopy import conductivity
conductivity(sys.argv[1], mesh=(9, 9, 9), temperatures=[300], rank=96, folder=sys.argv[2])
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:rank=96")
@pytest.mark.parametrize("kept", ["", "tensor-*.npz"])
def test_a_kill_in_the_fit_or_in_the_triplets_changes_nothing(silicon, kept, tmp_path):
    folder = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(YAML), str(folder)])
    while not (any(folder.glob(kept)) if kept else folder.is_dir()):
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.01)
    time.sleep(0.2)
    process.kill()
    process.wait()
    assert len(list(folder.glob("tensor-*.npz"))) == bool(kept)
    options = {"mesh": (9, 9, 9), "temperatures": [300], "rank": 96}
    resumed, whole = (conductivity(silicon, folder=where, **options) for where in (folder, None))
    np.testing.assert_array_equal(resumed.kappa, whole.kappa)
    np.testing.assert_array_equal(resumed.kappa_std, whole.kappa_std)


def test_without_compression_there_is_nothing_to_certify(silicon):
    plain = conductivity(silicon, mesh=MESH, temperatures=[300])
    assert plain.certificate is None and plain.compression is None
    assert [note.split(" may be")[0] for note in plain.notes] == ["A mesh of 5 × 5 × 5 points (16 Å)"]


def test_hdf5_has_the_layout_of_phono3py(found, silicon, tmp_path, monkeypatch):
    path = write_kappa(found.modes, silicon, tmp_path / "kappa.hdf5")
    monkeypatch.chdir(tmp_path)
    silicon.mesh_numbers = list(MESH)
    silicon.init_phph_interaction()
    silicon.run_thermal_conductivity(temperatures=[300, 600], write_kappa=True)
    with h5py.File(path) as ours, h5py.File("kappa-m555.hdf5") as theirs:
        for name in set(theirs) - {"version", "boundary_mfp"}:
            assert ours[name].shape == theirs[name].shape, name
        for name in ("temperature", "mesh", "weight", "frequency", "heat_capacity", "kappa_unit_conversion", "qpoint"):
            np.testing.assert_allclose(ours[name][()], theirs[name][()], rtol=1e-5, atol=1e-6, err_msg=name)
        assert ours["gv_by_gv"][()].sum() == pytest.approx(theirs["gv_by_gv"][()].sum(), rel=1e-6)
        np.testing.assert_allclose(np.sum(ours["mode_kappa"], axis=(1, 2)) / 125, ours["kappa"], rtol=1e-10, atol=1e-10)


def test_phono3py_accumulates_our_file(found, silicon, tmp_path):
    write_kappa(found.modes, silicon, tmp_path / "kappa.hdf5")
    cells = write_cells(silicon, tmp_path / "phono3py.yaml")  # forces stay in the yaml that they came from
    assert "displacement" not in cells.read_text(encoding="utf-8")
    command = [Path(sys.executable).with_name("phono3py-kaccum"), "--mfp", "--average", "--temperature", "300"]
    run = subprocess.run([*command, "kappa.hdf5"], cwd=tmp_path, capture_output=True, text=True, check=True)
    last = [line.split() for line in run.stdout.splitlines() if line.strip() and not line.startswith("#")][-1]
    assert float(last[1]) == pytest.approx(found.modes.kappa[0, :3].mean(), rel=1e-3)


def test_tensor_survives_its_file(found, tmp_path):
    path = save_tensor(found.compression.tensor, tmp_path / "tensor.safetensors")
    back = load_tensor(path)
    q = np.random.default_rng(0).random((3, 3))
    np.testing.assert_array_equal(back.transform(q), found.compression.tensor.transform(q))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="damaged or no safetensors file"):
        load_tensor(path)
    with pytest.raises(FileNotFoundError, match="ase-mlx compress"):
        load_tensor(tmp_path / "none.safetensors")


@pytest.mark.filterwarnings("ignore:The undisplaced atoms")
def test_a_tensor_from_a_file_stands_for_the_force_constants(found, silicon, tmp_path):
    card = {"errors": found.compression.errors}
    path = save_tensor(found.compression.tensor, tmp_path / "tensor.safetensors", card)
    again = conductivity(silicon, mesh=MESH, temperatures=[300, 600], rank=path)
    np.testing.assert_allclose(again.kappa, found.kappa, rtol=1e-9)
    assert again.certificate is not None and again.compression.held_out == found.compression.held_out
    silicon.save(tmp_path / "phono3py.yaml", settings={"force_sets": False, "displacements": False})
    write_fc2_to_hdf5(silicon.fc2, filename=tmp_path / "fc2.hdf5", p2s_map=silicon.primitive.p2s_map)
    with pytest.raises(ValueError, match="without forces of the third order"):
        conductivity(tmp_path / "phono3py.yaml", mesh=MESH)
    alone = conductivity(tmp_path / "phono3py.yaml", mesh=MESH, temperatures=[300, 600], rank=str(path))
    np.testing.assert_allclose(alone.kappa, found.compressed_kappa, rtol=1e-6)
    assert alone.certificate is None and "No third-order force constants are here" in alone.notes[0]
    copper = third_order(bulk("Cu"), EMT(), supercell=(3, 3, 3), relax=False)
    with pytest.raises(ValueError, match="tensor of another crystal"):
        conductivity(copper, mesh=(3, 3, 3), rank=path)
    with pytest.raises(ValueError, match="compress again"):
        conductivity(silicon, mesh=MESH, rank=save_tensor(found.compression.tensor, tmp_path / "bare.safetensors"))


def test_crystal_and_calculator_are_enough(tmp_path):
    options = {"mesh": MESH, "temperatures": [300], "rank": 24, "supercell": (2, 2, 2), "folder": tmp_path}
    crystal = bulk("Cu", cubic=True), EMT()
    copper = conductivity(*crystal, **options)
    assert 1 < copper.kappa[0, 0] < 100
    assert "No error bar of the potential: the calculator has no members." in copper.notes
    again = conductivity(*crystal, **options)
    np.testing.assert_array_equal(again.kappa, copper.kappa)


def test_supercell_without_anharmonicity_is_refused():
    with pytest.raises(ValueError, match="larger supercell"):
        conductivity(bulk("Cu"), EMT(), mesh=MESH, supercell=(2, 2, 2))


def test_yaml_without_forces_is_refused(silicon, tmp_path):
    silicon.save(tmp_path / "phono3py_disp.yaml", settings={"force_sets": False})
    with pytest.raises(ValueError, match="without forces"):
        conductivity(tmp_path / "phono3py_disp.yaml")
    with pytest.raises(FileNotFoundError, match="phono3py_params"):
        conductivity(tmp_path / "nothing.yaml")
    (tmp_path / "bad.yaml").write_text("no: yaml of phono3py\n")
    with pytest.raises(ValueError, match="cannot read"):
        conductivity(tmp_path / "bad.yaml")


def test_truncated_force_constants_are_refused(silicon, tmp_path):
    silicon.save(tmp_path / "phono3py_disp.yaml", settings={"force_sets": False})
    phono3py.file_IO.write_fc3_to_hdf5(
        silicon.fc3, filename=str(tmp_path / "fc3.hdf5"), p2s_map=silicon.primitive.p2s_map
    )
    whole = (tmp_path / "fc3.hdf5").read_bytes()
    (tmp_path / "fc3.hdf5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="whole"):
        conductivity(tmp_path / "phono3py_disp.yaml")


def test_broken_force_constants_are_reported_and_mended_on_request(silicon, tmp_path):
    broken = silicon.fc3.copy()
    broken[0, 1, 2] += 0.2
    silicon.save(tmp_path / "phono3py_disp.yaml", settings={"force_sets": False})
    indices = silicon.primitive.p2s_map
    phono3py.file_IO.write_fc3_to_hdf5(broken, filename=str(tmp_path / "fc3.hdf5"), p2s_map=indices)
    phono3py.file_IO.write_fc2_to_hdf5(silicon.fc2, filename=str(tmp_path / "fc2.hdf5"), p2s_map=indices)
    with pytest.warns(UserWarning, match="break permutation symmetry by .* %"):
        load_third_order(tmp_path / "phono3py_disp.yaml")
    mended = load_third_order(tmp_path / "phono3py_disp.yaml", symmetrize=True)
    assert np.abs(mended.fc3 - mended.fc3.transpose(0, 2, 1, 3, 5, 4)).max() < 1e-8


def test_unstable_crystal_has_no_conductivity(silicon):
    stable = silicon.fc2.copy()
    try:
        silicon.fc2 = -stable
        with pytest.raises(ImaginaryModesError, match=r"Imaginary modes.*`tolerance` in THz leaves such modes out"):
            conductivity(silicon, mesh=MESH)
    finally:
        silicon.fc2 = stable


def test_wrong_calls_say_what_was_expected(silicon):
    with pytest.raises(ValueError, match="without a calculator"):
        conductivity(bulk("Si"))
    with pytest.raises(ValueError, match="positive numbers"):
        conductivity(silicon, temperatures=[0])
    with pytest.raises(ValueError, match="length in Å"):
        conductivity(silicon, mesh=(5, 5))
    with pytest.raises(MemoryError, match="GB"):
        conductivity(silicon, mesh=(200, 200, 200))
    assert mesh_numbers(silicon, 60.0) == (19, 19, 19)


@pytest.mark.slow
def test_command_line_from_yaml_to_figure(tmp_path):
    shutil.copy(YAML, tmp_path / "silicon.yaml.xz")
    run = CliRunner().invoke(
        app, ["conductivity", str(tmp_path / "silicon.yaml.xz"), "--mesh", "3 3 3", "--rank", "24",
              "-o", str(tmp_path / "out"), "-t", "300", "--isotopes", "--json", str(tmp_path / "out.json")],
    )  # fmt: skip
    assert run.exit_code == 0, run.output
    for name in ("kappa.hdf5", "kappa.csv", "conductivity.png", "tensor.safetensors"):
        assert (tmp_path / "out" / name).stat().st_size > 100
    exact = ["conductivity", str(YAML), "--mesh", "3 3 3", "-o", str(tmp_path / "exact"), "-t", "300"]
    run = CliRunner().invoke(app, exact)
    assert run.exit_code == 0, run.output
    assert not (tmp_path / "exact" / "tensor.safetensors").exists() and "Certificate" not in run.output
    run = CliRunner().invoke(app, ["compress", str(YAML), "--rank", "24", "-o", str(tmp_path / "t.safetensors")])
    assert run.exit_code == 0, run.output
    assert load_tensor(tmp_path / "t.safetensors").rank == 24
    call = ["conductivity", str(YAML), "--rank", str(tmp_path / "t.safetensors"), "--mesh", "3 3 3", "-t", "300"]
    run = CliRunner().invoke(app, [*call, "-o", str(tmp_path / "from file")])
    assert run.exit_code == 0, run.output
    for wrong in (["--rank", "many"], ["--mesh", "a b"], ["--mesh", "5 5 4"]):
        run = CliRunner().invoke(app, ["conductivity", str(YAML), *wrong, "-o", str(tmp_path / "out2")])
        assert run.exit_code != 0
