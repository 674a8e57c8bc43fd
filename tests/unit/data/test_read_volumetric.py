import bz2
import gzip
import lzma
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.vasp import VaspChargeDensity
from ase.io.cube import read_cube_data, write_cube
from pymatgen.io.vasp import Chgcar, Poscar
from tiny_density import aluminium

from ase_mlx.data.densities import read_densities, write_densities
from ase_mlx.data.read_volumetric import read_density
from ase_mlx.data.volumetric import write
from ase_mlx.units import BOHR_IN_A

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def frame():
    return aluminium(ROOT, count=1)[0]


def same(found, frame, rel):
    assert found.density == pytest.approx(frame.density, rel=rel, abs=1e-9)
    assert found.atoms.cell.array == pytest.approx(frame.atoms.cell.array, abs=1e-5)
    assert found.atoms.positions == pytest.approx(frame.atoms.positions, abs=1e-5)
    assert (found.atoms.numbers == frame.atoms.numbers).all()
    assert found.electrons == pytest.approx(12, abs=1e-4)


def test_files_of_ase_pymatgen_and_ours(frame, tmp_path):
    with open(tmp_path / "ase.cube", "w") as stream:
        write_cube(stream, frame.atoms, frame.density * BOHR_IN_A**3)
    theirs = VaspChargeDensity(None)
    theirs.atoms, theirs.chg = [frame.atoms], [frame.density]
    theirs.write(str(tmp_path / "CHGCAR_ase"))
    from pymatgen.io.ase import AseAtomsAdaptor

    structure = AseAtomsAdaptor.get_structure(frame.atoms)
    total = frame.density * frame.atoms.cell.volume
    Chgcar(Poscar(structure), {"total": total}).write_file(str(tmp_path / "CHGCAR_pmg"))
    for name in ("CHGCAR", "x.cube"):
        write(tmp_path / name, frame.atoms, frame.density.shape, lambda turned: [
            (0, frame.density.transpose() if turned else frame.density)])  # fmt: skip
    for name in ("ase.cube", "CHGCAR_ase", "CHGCAR_pmg", "CHGCAR", "x.cube"):
        same(read_density(tmp_path / name, part="train"), frame, 1e-4)
    found = read_density(tmp_path / "CHGCAR", part="val")
    write_densities(tmp_path / "all.npz", [found])
    (again,) = read_densities(tmp_path / "all.npz")
    assert again.info["part"] == "val"
    assert again.name.endswith("/CHGCAR")
    assert again.density == pytest.approx(frame.density, abs=1e-4)


@pytest.mark.parametrize("name", ["CHGCAR", "x.cube"])
def test_truncated_and_damaged_files_are_refused(frame, tmp_path, name):
    write(tmp_path / name, frame.atoms, frame.density.shape, lambda turned: [
        (0, frame.density.transpose() if turned else frame.density)])  # fmt: skip
    text = (tmp_path / name).read_text()
    for cut, says in ((len(text) // 2, "truncated"), (80, "damaged")):
        (tmp_path / name).write_text(text[:cut])
        with pytest.raises(ValueError, match=says):
            read_density(tmp_path / name)
    broken = text.splitlines()
    broken[-20] = broken[-20].replace("0", "x")
    (tmp_path / name).write_text("\n".join(broken))
    with pytest.raises(ValueError, match="damaged"):
        read_density(tmp_path / name)


def test_other_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="check the path"):
        read_density(tmp_path / "CHGCAR")
    (tmp_path / "x.xyz").write_text("1\n")
    with pytest.raises(ValueError, match="CHG in it"):
        read_density(tmp_path / "x.xyz")
    (tmp_path / "orbital.cube").write_text("a\nb\n-1 1.0 0 0\n2 1 0 0\n2 0 1 0\n2 0 0 1\n13 0 0 0 0\n" + "1 " * 8)
    with pytest.raises(ValueError, match="not orbitals"):
        read_density(tmp_path / "orbital.cube")
    (tmp_path / "moved.cube").write_text("a\nb\n1 1.0 0 0\n2 1 0 0\n2 0 1 0\n2 0 0 1\n13 0 0 0 0\n" + "1 " * 8)
    with pytest.raises(ValueError, match="origin"):
        read_density(tmp_path / "moved.cube")


CRYSTAL = bulk("SiGe", "zincblende", a=5.5)
SHAPE = (3, 4, 5)
GRID = np.linspace(0.5, 2.0, 60).reshape(SHAPE)


def _rows(table):
    return "\n".join(" ".join(map(str, row)) for row in table)


def chgcar(scale="1.0", cell=None, species="Si Ge", counts="1 1", mode="Direct", places=None, values=None, tail=""):
    """A CHGCAR of zinc blende, five values a line."""
    cell = CRYSTAL.cell.array if cell is None else cell
    places = CRYSTAL.get_scaled_positions() if places is None else places
    flat = (GRID * CRYSTAL.cell.volume).reshape(-1, order="F") if values is None else values
    words = [word if isinstance(word, str) else f"{word:.11E}" for word in flat]
    lines = [" ".join(words[k : k + 5]) for k in range(0, len(words), 5)]
    head = [scale, _rows(cell), species, counts, mode, _rows(places), "", " ".join(map(str, SHAPE))]
    return "\n".join(["title", *[part for part in head if part is not None], *lines]) + "\n" + tail


def cube(first="2 0 0 0", sizes=SHAPE, unit=BOHR_IN_A, title="density", values=None, tail=""):
    """A cube of zinc blende, its rows of five values in lines of their own."""
    cell, values = CRYSTAL.cell.array, GRID * BOHR_IN_A**3 if values is None else values
    steps = [f"{n} " + " ".join(map(str, v / abs(n) / unit)) for n, v in zip(sizes, cell, strict=True)]
    atoms = [f"{a.number} 0 " + " ".join(map(str, a.position / unit)) for a in CRYSTAL]
    rows = [" ".join(f"{x:.9E}" for x in row) for row in values.reshape(-1, 5)]
    return "\n".join([title, "by hand", first, *steps, *atoms, *rows]) + "\n" + tail


def right(found):
    assert found.atoms.numbers.tolist() == [14, 32]
    assert found.atoms.get_volume() == pytest.approx(CRYSTAL.get_volume(), rel=1e-6)
    assert found.atoms.get_distance(0, 1, mic=True) == pytest.approx(5.5 * 3**0.5 / 4, rel=1e-6)
    assert found.density == pytest.approx(GRID, rel=1e-6)
    assert found.electrons == pytest.approx(GRID.mean() * CRYSTAL.get_volume(), rel=1e-6)


THREE = np.array([1.1, 0.9, 1.25])
HEADS = {
    "plain": {},
    "volume, Cartesian": {"scale": f"{-CRYSTAL.get_volume()}", "cell": CRYSTAL.cell.array / 1.7,
                          "mode": "Cartesian", "places": CRYSTAL.positions / 1.7},
    "volume, Direct": {"scale": f"{-CRYSTAL.get_volume()}", "cell": CRYSTAL.cell.array * 3.1},
    "three factors": {"scale": "1.1 0.9 1.25", "cell": CRYSTAL.cell.array / THREE},
    "three factors, Cartesian": {"scale": "1.1 0.9 1.25", "cell": CRYSTAL.cell.array / THREE, "mode": "cart",
                                 "places": CRYSTAL.positions / THREE},
    "factor, Kartesian": {"scale": "2.0 ! of the cell", "cell": CRYSTAL.cell.array / 2, "mode": "K",
                          "places": CRYSTAL.positions / 2},
    "VASP 6.4.2": {"species": "Si/ Ge/"},
    "hash": {"species": "Si_sv/f474ac0d2b Ge_d/79d9987ad87"},
    "wrapped species": {"species": "Si\n Ge", "counts": "1\n 1"},
    "selective": {"mode": "Selective dynamics\nDirect",
                  "places": [[*p, "T", "F", "T"] for p in CRYSTAL.get_scaled_positions().tolist()]},
    "augmentation": {"tail": "augmentation occupancies 1 4\n 0.1 0.2 0.3 0.4\n"},
    "spin": {"tail": " 0.1 -0.1\n 3 4 5\n" + "0.0 0.0 0.0 0.0 0.0\n" * 12},
    "no augmentation, spin": {"tail": "\n 3 4 5\n" + "0.0 0.0 0.0 0.0 0.0\n" * 12},
}  # fmt: skip
ASE_READS = set(HEADS) - {"factor, Kartesian", "wrapped species", "spin"}


@pytest.mark.parametrize("case", HEADS)
def test_every_head_of_a_chgcar_is_read_right(tmp_path, case):
    (tmp_path / "CHGCAR").write_text(chgcar(**HEADS[case]))
    right(read_density(tmp_path / "CHGCAR"))
    if case in ASE_READS:
        theirs = VaspChargeDensity(str(tmp_path / "CHGCAR"))
        assert theirs.chg[0] == pytest.approx(GRID, rel=1e-6)
        assert theirs.atoms[0].positions == pytest.approx(read_density(tmp_path / "CHGCAR").atoms.positions, abs=1e-6)


def test_exponents_without_their_letter(tmp_path):
    """Fortran drops the E where the exponent has three digits."""
    values = ["1.0-101", "-2.5D-03", *np.arange(1.0, 59.0)]
    (tmp_path / "CHGCAR").write_text(chgcar(values=values))
    found = read_density(tmp_path / "CHGCAR").density * CRYSTAL.get_volume()
    assert found.reshape(-1, order="F") == pytest.approx([1e-101, -2.5e-3, *np.arange(1.0, 59.0)])


@pytest.mark.parametrize("name", ["CHG", "AECCAR0", "PARCHG.1", "chgcar.vasp", "CHGCAR.gz", "CHGCAR.bz2", "aeccar2.xz"])
def test_names_of_vasp(tmp_path, name):
    opened = {"gz": gzip.open, "bz2": bz2.open, "xz": lzma.open}.get(name.rpartition(".")[2], open)
    with opened(tmp_path / name, "wt") as stream:
        stream.write(chgcar())
    right(read_density(tmp_path / name))


@pytest.mark.parametrize("name", ["x.cube", "x.CUBE", "x.cub", "x.Cube.gz"])
def test_names_of_cubes(tmp_path, name):
    with (gzip.open if name.endswith("gz") else open)(tmp_path / name, "wt") as stream:
        stream.write(cube())
    found = read_density(tmp_path / name)
    right(found)
    theirs, atoms = read_cube_data(str(tmp_path / name)) if name == "x.cube" else (GRID * BOHR_IN_A**3, found.atoms)
    assert theirs / BOHR_IN_A**3 == pytest.approx(found.density, rel=1e-6)
    assert atoms.positions == pytest.approx(found.atoms.positions, abs=1e-5)


NO_DENSITIES = {
    "LOCPOT": (chgcar(), "potential"),
    "ELFCAR": (chgcar(), "localisation"),
    "LOCPOT.gz": (chgcar(), "potential"),
    "CHGCAR_spin": (chgcar(values=np.linspace(-1, 1, 60)), "spin density"),
    "CHGCAR_4": (chgcar(species=None), "VASP 4"),
    "CHGCAR_scale": (chgcar(scale="1.0 -1.0 1.0"), "factor above zero"),
    "CHGCAR_flat": (chgcar(cell=np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0]])), "without volume"),
    "CHGCAR_nan": (chgcar(values=[*np.ones(59), "nan"]), "finite"),
    "CHGCAR_inf": (chgcar(values=[*np.ones(59), "1e400"]), "finite"),
    "CHGCAR_stars": (chgcar(values=[*np.ones(59), "*****"]), "expected numbers"),
    "CHGCAR_many": (chgcar(counts="1 999999999"), "a line each"),
    "CHGCAR_grid": (chgcar().replace("\n3 4 5\n", "\n3000 4000 5000\n"), "too short"),
    "CHGCAR_mode": (chgcar(mode="Xartesian"), "Direct or Cartesian"),
    "CHGCAR_element": (chgcar(species="Si Xx"), "symbols of elements"),
    "CHGCAR_empty": ("", "damaged"),
    "orbitals.cube": (cube("-2 0 0 0"), "not orbitals"),
    "two.cube": (cube("2 0 0 0 2"), "2 values a point"),
    "angstrom.cube": (cube(sizes=(-3, -4, -5), unit=1.0), "in bohr"),
    "potential.cube": (cube(title="Electrostatic potential from Total SCF Density"), "expected an electron density"),
    "mo.cub": (cube(values=np.sin(np.arange(60.0))), "orbital"),
    "moved.cube": (cube("2 1.0 0 0"), "origin"),
    "ghost.cube": (cube().replace("\n14 0", "\n0 0"), "those of elements"),
}


@pytest.mark.parametrize("name", NO_DENSITIES)
def test_what_is_no_density_is_refused(tmp_path, name):
    text, says = NO_DENSITIES[name]
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=says) as refused:
        read_density(tmp_path / name)
    assert name in str(refused.value)


@pytest.mark.parametrize("name", ["CHGCAR", "x.cube", "CHGCAR_PAW", "CHGCAR_spin"])
def test_lines_doubled_added_lengthened_or_missing_are_refused(tmp_path, name):
    text = cube() if name == "x.cube" else chgcar(**HEADS[{"CHGCAR_PAW": "augmentation"}.get(name, "spin")])
    lines = (chgcar() if name == "CHGCAR" else text).splitlines()
    first = next(k for k, line in enumerate(lines) if "E" in line and len(line.split()) == 5)
    for k in (first, first + 3, first + 11):
        for damaged in (
            [*lines[:k], lines[k], *lines[k:]],
            [*lines[:k], *lines[k + 1 :]],
            [*lines[:k], lines[k] + " 1.0", *lines[k + 1 :]],
            [*lines[:k], lines[k] + " " + " ".join(["1.0"] * 200), *lines[k + 1 :]],
            [*lines[:k], lines[k].rpartition(" ")[0], *lines[k + 1 :]],
            [*lines[:k], "1.0", *lines[k:]],
        ):
            (tmp_path / name).write_text("\n".join(damaged) + "\n")
            with pytest.raises(ValueError, match=name):
                read_density(tmp_path / name)
