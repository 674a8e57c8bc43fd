import io
import lzma
import zipfile
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from scipy.io import FortranFile
from tiny_density import aluminium

from ase_mlx.data.densities import DensityFrame, pack, read_densities, unpack, write_densities
from ase_mlx.data.espresso_density import (
    least_grid,
    on_grid,
    ordered_waves,
    read_charge_density,
    write_charge_density,
)
from ase_mlx.data.free_atoms import free_atom, superpose
from ase_mlx.units import BOHR_IN_A

ROOT = Path(__file__).resolve().parents[3]


def smooth(shape=(12, 10, 9), seed=0):
    waves = np.zeros(shape, dtype=complex)
    rng = np.random.default_rng(seed)
    for index in np.ndindex(3, 3, 3):
        waves[index] = rng.standard_normal() + 1j * rng.standard_normal()
    waves[0, 0, 0] = 40.0
    return np.fft.ifftn(waves, norm="forward").real * 0.01


def test_packed_density_comes_back_within_its_error():
    cell = bulk("Si").cell.array @ np.array([[1, 0.1, 0], [0, 1, 0.2], [0, 0, 1.1]])
    density = smooth()
    for rms in (1e-5, 1e-7):
        found = unpack(pack(density, cell, rms), cell)
        assert np.sqrt(np.square(found - density).mean()) == pytest.approx(rms, rel=0.5)
        assert found.mean() == pytest.approx(density.mean(), rel=1e-14)


def test_file_of_densities_is_whole_or_not_there(tmp_path):
    atoms, path = bulk("Si"), tmp_path / "some.npz"
    frames = [DensityFrame(f"si_{k}", atoms, smooth(seed=k), {"part": "train", "T": 300}) for k in range(3)]
    write_densities(path, frames)
    found = list(read_densities(path))
    assert [f.name for f in found] == ["si_0", "si_1", "si_2"]
    assert found[1].info == {"part": "train", "T": 300}
    assert found[2].density == pytest.approx(frames[2].density, abs=1e-4)
    assert np.array_equal(found[0].atoms.positions, atoms.positions)
    assert found[0].electrons == pytest.approx(0.4 * atoms.cell.volume, rel=1e-4)
    first = path.read_bytes()
    write_densities(path, frames)
    assert path.read_bytes() == first
    with pytest.raises(ValueError, match="distinct names"):
        write_densities(path, [frames[0], frames[0]])
    assert path.read_bytes() == first
    assert list(tmp_path.iterdir()) == [path]
    path.write_bytes(first[: len(first) // 2])
    with pytest.raises(ValueError, match="no whole file"):
        list(read_densities(path))
    with pytest.raises(FileNotFoundError, match="check the path"):
        list(read_densities(tmp_path / "none.npz"))


def changed(path, key, array, raw=None):
    """The file with another array in one place; its checksums are right."""
    with zipfile.ZipFile(path) as archive:
        contents = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    stream = io.BytesIO()
    if array is not None:
        np.lib.format.write_array(stream, np.asanyarray(array), allow_pickle=True)
    contents[f"si/{key}.npy"] = stream.getvalue() if raw is None else raw
    if array is None and raw is None:
        del contents[f"si/{key}.npy"]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)


def huge(shape):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return stream.getvalue()


WRONG = [
    ("step", np.nan), ("step", -1.0), ("cutoff", np.inf), ("cutoff", 1e-3), ("mean", np.nan), ("packed", None),
    ("shape", [3000, 3000, 3000]), ("shape", [12, 10]), ("shape", [0, 10, 9]), ("shape", [1e300, 1, 1]),
    ("packed", np.zeros(4, np.uint8)), ("packed", np.frombuffer(lzma.compress(bytes(10**7)), np.uint8)),
    ("numbers", [999, 1]), ("numbers", [-3, 1]), ("numbers", ["Si", "Si"]), ("numbers", []), ("numbers", 14),
    ("positions", np.zeros((3, 3))), ("positions", np.full((2, 3), np.nan)), ("positions", None),
    ("cell", np.zeros((3, 3))), ("cell", np.eye(2)), ("pbc", [True]), ("info part", ["a", "b"]),
    ("info part", np.array({"a": 1}, dtype=object)),
]  # fmt: skip


@pytest.mark.parametrize(("key", "array"), WRONG, ids=[f"{k}-{n}" for n, (k, _) in enumerate(WRONG)])
def test_every_wrong_array_of_a_density_is_named(tmp_path, key, array):
    path = tmp_path / "some.npz"
    write_densities(path, [DensityFrame("si", bulk("Si"), smooth(), {"part": "train"})])
    changed(path, key, array)
    with pytest.raises(ValueError, match=r"some.npz.*no whole file of densities \(.*build it again") as refused:
        list(read_densities(path))
    assert "pickle" not in str(refused.value)


def test_a_checksum_sees_what_no_range_does(tmp_path):
    path = tmp_path / "some.npz"
    write_densities(path, [DensityFrame("si", bulk("Si"), smooth(), {"part": "train"})])
    changed(path, "positions", bulk("Si").positions + 0.01)
    with pytest.raises(ValueError, match=r"checksum.*build it again"):
        list(read_densities(path))
    changed(path, "sha256", None)  # as earlier versions wrote it
    assert next(iter(read_densities(path))).atoms.positions[0, 0] == 0.01


def test_damaged_files_of_densities_end_in_a_sentence(tmp_path):
    """Cut, junk, flipped bytes, arrays that ask for more memory than there is, nothing at all."""
    path, rng = tmp_path / "some.npz", np.random.default_rng(0)
    write_densities(path, [DensityFrame("si", bulk("Si"), smooth())])
    whole = path.read_bytes()
    right = next(iter(read_densities(path))).density
    cases = [
        b"",
        b"PK",
        b"\x93NUMPY" + whole,
        whole[:-30],
        whole[200:],
        bytes(rng.integers(0, 256, 5000, dtype=np.uint8)),
    ]
    for _ in range(150):
        flipped = bytearray(whole)
        flipped[rng.integers(len(whole))] ^= int(rng.integers(1, 256))
        cases.append(bytes(flipped))
    for case in cases:
        path.write_bytes(case)
        try:
            found = list(read_densities(path))
        except ValueError as error:
            assert "some.npz" in str(error) and "build it again" in str(error) and "pickle" not in str(error)
        else:  # a date, a flag
            assert len(found) <= 1 and all((frame.density == right).all() for frame in found)
    for shape in ((10**12,), (2**40, 2**40), (-1, 3)):
        path.write_bytes(whole)
        changed(path, "positions", None, huge(shape))
        with pytest.raises(ValueError, match="expected as many as fit"):
            list(read_densities(path))


@pytest.mark.parametrize("name", ["density_sigesn.npz", "density_al.npz"])
def test_densities_of_the_repository_hold_their_electrons(name):
    valence = {13: 3, 14: 4, 32: 4, 50: 4}
    with zipfile.ZipFile(ROOT / "data" / name) as archive:
        assert archive.testzip() is None
    frames = list(read_densities(ROOT / "data" / name))[::10]
    for frame in frames:
        assert frame.electrons == pytest.approx(sum(valence[z] for z in frame.atoms.numbers), abs=1e-5)
        assert frame.density.min() > -1e-3


@pytest.mark.parametrize("gamma", [0, 1])
def test_charge_density_of_espresso(tmp_path, gamma):
    density, atoms = smooth(), bulk("Si")
    waves = np.fft.fftn(density, norm="forward")
    index = np.stack(np.meshgrid(*[np.fft.fftfreq(n, 1 / n) for n in density.shape], indexing="ij"), -1)
    miller = np.round(index.reshape(-1, 3)).astype(np.int32)
    kept = (np.abs(miller) <= 2).all(1)
    if gamma:
        kept &= (miller @ [10000, 100, 1]) >= 0
    path = tmp_path / "charge-density.dat"
    with FortranFile(path, "w") as stream:
        stream.write_record(np.array([gamma, kept.sum(), 1], dtype=np.int32))
        stream.write_record(np.eye(3))
        stream.write_record(miller[kept])
        stream.write_record(waves.reshape(-1)[kept] * BOHR_IN_A**3)
    found = on_grid(*read_charge_density(path), density.shape)
    assert found == pytest.approx(density, abs=1e-12)
    assert atoms.cell.volume > 0
    with pytest.raises(ValueError, match="at least"):
        on_grid(*read_charge_density(path), (3, 3, 3))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match="no whole charge density"):
        read_charge_density(path)
    with pytest.raises(FileNotFoundError):
        read_charge_density(tmp_path / "other.dat")


def test_free_atoms_hold_their_valence_and_superpose():
    for number, electrons in ((13, 3), (14, 4), (32, 4), (50, 4)):
        r, density, n = free_atom(number)
        assert n == electrons
        assert np.trapezoid(4 * np.pi * r**2 * density, r) == pytest.approx(electrons, abs=1e-5)
    with pytest.raises(ValueError, match="got Fe.*Al, Si"):
        free_atom(26)
    (frame,) = aluminium(ROOT, count=1)
    shape, atoms = frame.density.shape, frame.atoms
    index = np.stack(np.meshgrid(*[np.arange(n) / n for n in shape], indexing="ij"), -1)
    points = index.reshape(-1, 3) @ atoms.cell.array
    values = superpose(points, atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)
    assert values.mean() * atoms.cell.volume == pytest.approx(12, abs=0.02)
    assert 0.05 < np.abs(values.reshape(shape) - frame.density).sum() / frame.density.sum() < 0.12


def test_waves_are_in_the_order_of_espresso_and_come_back(tmp_path):
    cell = bulk("Si").cell.array @ np.array([[1, 0.1, 0], [0, 1, 0.2], [0, 0, 1.1]])
    waves = ordered_waves(cell, 10.0)
    square = np.square(waves @ (2 * np.pi * np.linalg.inv(cell).T)).sum(1) * BOHR_IN_A**2
    assert (np.diff(square) > -1e-6).all()
    assert square.max() <= 40.0
    assert (np.array(least_grid(cell, 10.0)) >= 2 * np.abs(waves).max(0) + 1).all()
    half = np.flatnonzero(np.isclose(square, square[1]))
    assert [tuple(w) for w in waves[half]] == sorted(tuple(w) for w in waves[half])
    density, path = smooth(least_grid(cell, 10.0)), tmp_path / "x.save" / "charge-density.dat"
    write_charge_density(path, density, cell, 10.0)
    assert on_grid(*read_charge_density(path), density.shape) == pytest.approx(density, abs=1e-12)
    with pytest.raises(ValueError, match="of another cell"):
        write_charge_density(path, density, cell * 1.01, 9.5)
    with pytest.raises(ValueError, match="at least"):
        write_charge_density(path, density, cell, 30.0)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_ase_reads_the_structures(tmp_path):
    atoms = bulk("Si", cubic=True)
    frames = [DensityFrame(f"si_{k}", atoms, smooth(seed=k), {"part": "train"}) for k in range(3)]
    write_densities(tmp_path / "d.npz", frames)
    found = ase.io.read(tmp_path / "d.npz", ":", format="ase-mlx-densities")
    assert [a.info["config_name"] for a in found] == ["si_0", "si_1", "si_2"]
    assert found[1].positions == pytest.approx(atoms.positions)
    assert found[1].info["electrons"] == pytest.approx(frames[1].electrons, abs=1e-4)
    last = ase.io.read(tmp_path / "d.npz", format="ase-mlx-densities")
    assert last.info["config_name"] == "si_2" and last.info["shape"] == list(frames[0].density.shape)


def test_damage_that_leaves_no_density_is_seen(tmp_path):
    cell = bulk("Si").cell.array
    density, path = smooth(least_grid(cell, 10.0)), tmp_path / "charge-density.dat"
    write_charge_density(path, density, cell, 10.0)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    seen = 0
    for at in rng.integers(len(whole), size=100):
        damage = bytearray(whole)
        damage[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(damage))
        try:
            found = on_grid(*read_charge_density(path), density.shape)
        except ValueError as error:
            seen += str(path) in str(error)
            continue
        assert found == pytest.approx(density, abs=1e-6)  # in digits that are rounding, or in what is not read
    assert seen > 35  # of 100; the rest are low digits
