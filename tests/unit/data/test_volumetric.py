import io
import resource
import subprocess
import sys
from pathlib import Path

import ase.io.cube
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.vasp import VaspChargeDensity
from pymatgen.io.common import VolumetricData
from pymatgen.io.vasp import Chgcar

from ase_mlx.data import volumetric
from ase_mlx.units import BOHR_IN_A

ATOMS = bulk("Si", cubic=True)
ATOMS.symbols[[1, 4]] = "Ge"
ATOMS.set_cell(ATOMS.cell @ np.array([[1, 0.05, 0], [0, 1.1, 0], [0, 0.02, 0.9]]), scale_atoms=True)
SHAPE = (7, 5, 6)


@pytest.fixture
def density():
    rng = np.random.default_rng(0)
    values = rng.uniform(-0.1, 2, SHAPE) * 10.0 ** rng.integers(-6, 1, SHAPE)
    values[0, 0, :4] = 0.0, 9.99999999999999e-3, -1e-120, 1.0
    return values


def pieces(values, size=2):
    def planes(turned):
        array = values.transpose() if turned else values
        for start in range(0, len(array), size):
            yield start, np.ascontiguousarray(array[start : start + size])

    return planes


def test_chgcar_is_read_back_by_ase_and_pymatgen(tmp_path, density):
    path = tmp_path / "CHGCAR"
    assert volumetric.write(path, ATOMS, SHAPE, pieces(density)) == path.stat().st_size
    found = VaspChargeDensity(str(path))
    assert found.chg[0] == pytest.approx(density, rel=1e-10, abs=1e-13)
    assert found.atoms[0].cell.array == pytest.approx(ATOMS.cell.array, abs=1e-9)
    assert sorted(found.atoms[0].numbers) == sorted(ATOMS.numbers)
    theirs = Chgcar.from_file(path)
    assert theirs.data["total"] / theirs.structure.volume == pytest.approx(density, rel=1e-10, abs=1e-13)


def test_cube_is_read_back_by_ase_and_pymatgen(tmp_path, density):
    path = tmp_path / "x.cube"
    volumetric.write(path, ATOMS, SHAPE, pieces(density))
    with open(path) as stream:
        found = ase.io.cube.read_cube(stream)
    assert found["data"] / BOHR_IN_A**3 == pytest.approx(density, rel=1e-8, abs=1e-12)
    assert found["atoms"].positions == pytest.approx(ATOMS.positions, abs=1e-5)
    assert found["atoms"].cell.array == pytest.approx(ATOMS.cell.array, abs=1e-4)
    theirs = VolumetricData.from_cube(path)
    assert theirs.data["total"] / BOHR_IN_A**3 == pytest.approx(density, rel=1e-8, abs=1e-12)


def test_arrays_are_read_back(tmp_path, density):
    zarr = pytest.importorskip("zarr")
    volumetric.write(tmp_path / "x.npy", ATOMS, SHAPE, pieces(density))
    assert np.array_equal(np.load(tmp_path / "x.npy"), density)
    for _ in range(2):
        volumetric.write(tmp_path / "x.zarr", ATOMS, SHAPE, pieces(density))
    stored = zarr.open_array(tmp_path / "x.zarr", mode="r")
    assert np.array_equal(stored[:], density)
    assert stored.attrs["unit"] == "e/Å³"


def test_text_has_the_digits_of_python(tmp_path, density):
    volumetric.write(tmp_path / "x.cube", ATOMS, SHAPE, pieces(density / BOHR_IN_A**3))
    words = (tmp_path / "x.cube").read_text().split("\n", 6 + len(ATOMS))[-1].split()
    expected = [float(f"{0.0 if abs(v) < 1e-99 else v:.8E}") for v in density.reshape(-1)]
    assert [float(w) for w in words] == pytest.approx(expected, rel=2e-8)


@pytest.mark.parametrize("name", ["density.txt", "x.cub", "POSCAR"])
def test_unknown_formats_are_refused(name, tmp_path, density):
    with pytest.raises(ValueError, match="CHGCAR"):
        volumetric.write(tmp_path / name, ATOMS, SHAPE, pieces(density))


FULL = """
import resource, signal, sys, numpy as np
from ase.build import bulk
from ase_mlx.data import volumetric
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
planes = lambda turned: ((k, np.ones((1, 40, 40))) for k in range(40))
for path in sys.argv[1:]:
    try:
        volumetric.write(path, bulk("Si"), (40, 40, 40), planes)
    except OSError as error:
        print("refused:", error)
"""


def test_full_disk_leaves_nothing_that_looks_whole(tmp_path):
    assert resource.RLIMIT_FSIZE is not None
    names = ["CHGCAR", "x.cube", "x.npy"]
    for name in names:
        (tmp_path / name).write_text("older")
    # no fixtures: the limit on the size of files is that of a process
    done = subprocess.run(
        [sys.executable, "-c", FULL, *(str(tmp_path / name) for name in names)],
        capture_output=True, text=True, timeout=200,
        env={"NUMBA_DISABLE_JIT": "0", "PATH": "", "NUMBA_CACHE_DIR": str(Path.home() / ".cache" / "numba")},
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert len(lines) == 3 and all(line.startswith("refused:") for line in lines), done.stderr
    assert all("what was there is untouched" in line for line in lines)
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    assert all((tmp_path / name).read_text() == "older" for name in names)


@pytest.mark.parametrize("value", [np.nan, np.inf, -1e102])
def test_text_that_no_reader_understands_is_not_written(tmp_path, value):
    values = np.full((4, 3, 5), 0.1)
    values[1, 2, 3] = value
    with pytest.raises(ValueError, match="less than 1e99"):
        volumetric.write(tmp_path / "x.cube", ATOMS, values.shape, pieces(values))
    assert not list(tmp_path.iterdir())


def test_every_exponent_is_written_as_printf_does(tmp_path):
    rng = np.random.default_rng(5)
    values = rng.choice([-1.0, 1.0], 9000) * 10.0 ** rng.uniform(-98.9, 98.9, 9000)
    values[:400] = 10.0 ** np.arange(-98, 99).repeat(3)[:400] * np.tile([1, 1 + 2e-16, 1 - 1e-16], 134)[:400]
    text = volumetric._Text(io.BytesIO(), 10, 5)
    text.write(values, 1.0)
    written = text.stream.getvalue().split()
    for a, b in zip(written, values, strict=True):
        assert abs(float(a) - b) <= 0.500001e-10 * 10.0 ** np.floor(np.log10(abs(b)) + 1e-12)
        assert len(a.decode().split("E")[0].lstrip("-")) == 12


def test_no_folder_but_our_own_arrays_is_ever_replaced(tmp_path, density):
    pytest.importorskip("zarr")
    for name in ("CHGCARs", "my.zarr", "d.npy", "d.cube"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run1").write_text("weeks of VASP")
        for work in (
            lambda path: volumetric.write(path, ATOMS, SHAPE, pieces(density)),
            lambda path: volumetric.check(path, density.size),
        ):
            with pytest.raises(OSError, match="got the folder"):
                work(tmp_path / name)
        assert (tmp_path / name / "run1").read_text() == "weeks of VASP"
    ours = tmp_path / "x.zarr"
    volumetric.write(ours, ATOMS, SHAPE, pieces(density))
    (ours / "notes").write_text("mine")
    with pytest.raises(FileExistsError, match="not written here"):
        volumetric.write(ours, ATOMS, SHAPE, pieces(density))
    assert (ours / "notes").exists()


def test_space_is_looked_at_before_the_work(tmp_path):
    for name in ("CHGCAR", "x.npy", "x.zarr"):
        with pytest.raises(OSError, match=f"{name}.*MB are needed|MB are needed.*{name}|could not write .*MB are"):
            volumetric.check(tmp_path / name, 10**14)
    assert not list(tmp_path.iterdir())


KILLED = """
import os, sys, numpy as np
from ase.build import bulk
from ase_mlx.data import volumetric
def planes(turned):
    yield 0, np.ones((1, 4, 4))
    os._exit(9)
volumetric.write(sys.argv[1], bulk("Si"), (4, 4, 4), planes)
"""


@pytest.mark.parametrize("name", ["CHGCAR", "x.zarr"])
def test_the_same_call_works_after_a_kill_and_leaves_nothing_of_it(tmp_path, name):
    if name == "x.zarr":
        pytest.importorskip("zarr")
    assert subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / name)]).returncode == 9
    assert len(list(tmp_path.iterdir())) == 1 and not (tmp_path / name).exists()
    volumetric.write(tmp_path / name, ATOMS, (4, 4, 4), pieces(np.ones((4, 4, 4))))
    assert [path.name for path in tmp_path.iterdir()] == [name]
