from pathlib import Path

import pytest
from ase.calculators.vasp import VaspChargeDensity
from ase.io.cube import write_cube
from pymatgen.io.vasp import Chgcar, Poscar
from tiny_density import aluminium

from ase_mlx.data.densities import read_densities, write_densities
from ase_mlx.data.espresso_density import BOHR
from ase_mlx.data.read_volumetric import read_density
from ase_mlx.data.volumetric import write

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
        write_cube(stream, frame.atoms, frame.density * BOHR**3)
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
