"""Structure files under any name and in any state: the right structures are those that were written."""

import bz2
import gzip
import lzma
import os
import time

import ase.io
import numpy as np
import pytest
from ase.build import bulk

import ase_mlx.data.io
from ase_mlx.data.io import each_frame, read_cif, read_frames
from ase_mlx.data.tables import open_table

NAMES = ["Si@2", "Si@300K.cif", "a@:", "Si%20.cif", "x*y.cif", "-si.cif", "postgres-si.cif", "mysql:si.cif", "a b.cif"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_a_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    ase.io.write("decoy.extxyz", bulk("Ge", cubic=True))
    for stem in ("Si", "a"):
        os.link("decoy.extxyz", stem)
    form = "cif" if name.endswith("cif") else "extxyz"
    ase.io.write("plain", [bulk("Si", cubic=True)] * 3, format=form)
    os.replace("plain", name)
    assert [str(a.symbols) for a in read_frames(name)] == ["Si8"] * 3
    assert open_table(name).count == 3


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, bz2.compress], ids=["gz", "xz", "bz2"])
@pytest.mark.parametrize("name", ["a.cif", "a.extxyz", "POSCAR"])
def test_packed_files_are_read_under_any_name(tmp_path, name, pack):
    form = {"a.cif": "cif", "a.extxyz": "extxyz", "POSCAR": "vasp"}[name]
    ase.io.write(tmp_path / name, bulk("Si", cubic=True), format=form)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(pack(data))
    assert str(read_frames(tmp_path / name)[0].symbols) == "Si8"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("999999999\nLattice='4 0 0 0 4 0 0 0 4'\nSi 0 0 0\n", "1 of 999999999 atoms"),
        ("-3\n\nSi 0 0 0\n", "where frame 0 should begin"),
        ("1\n\nSi 0 0 0\n\n1\n\nGe 0 0 0\n", "empty line behind frame 0"),
        ("1\n\nSi 0 0 0\nSi 0 0 0\n", "where frame 1 should begin"),
        ("2\n\nSi 0 0 0\n", "1 of 2 atoms"),
        ("1\n\nSi 0 0 0\0\n", "zero byte in line 3"),
        ("1\n\nSi 0 0 x\n", "cannot be read"),
    ],
)
def test_counts_of_extxyz_are_looked_at_before_they_are_used(tmp_path, text, why):
    (tmp_path / "a.xyz").write_text(text)
    start = time.process_time()
    with pytest.raises(ValueError, match=why) as caught:
        read_frames(tmp_path / "a.xyz")
    assert "a.xyz" in str(caught.value) and time.process_time() - start < 2


def test_a_flood_of_atoms_is_refused(tmp_path):
    (tmp_path / "a.xyz.xz").write_bytes(
        lzma.compress(b"2000000\n\n" + b"Si 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n" * 2_000_000, preset=0)
    )
    with pytest.raises(ValueError, match="unpack to more than 64 MiB"):
        read_frames(tmp_path / "a.xyz.xz")


def test_sites_that_a_poscar_does_not_count_are_refused_and_velocities_are_not(tmp_path):
    ase.io.write(tmp_path / "POSCAR", bulk("Si"), format="vasp")
    lines = (tmp_path / "POSCAR").read_text().rstrip("\n").split("\n")
    (tmp_path / "POSCAR").write_text("\n".join([*lines, "", " 0 0 0", " 0 0 0"]) + "\n")
    assert len(read_frames(tmp_path / "POSCAR")[0]) == 2
    (tmp_path / "POSCAR").write_text("\n".join([*lines, lines[-1]]) + "\n")
    with pytest.raises(ValueError, match="more sites than the 2"):
        read_frames(tmp_path / "POSCAR")


CIF = """data_NaCl
_cell_length_a 5.64
_cell_length_b 5.64
_cell_length_c 5.64
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_cell_volume 179.41
_symmetry_space_group_name_H-M 'P 1'
_chemical_formula_sum 'Na1 Cl1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Na1 Na 0 0 0 1
Cl1 Cl 0.5 0.5 0.5 1
"""


@pytest.mark.parametrize("unknown", ["?", ".", "1.0", "1.0(2)"])
def test_an_occupancy_that_is_not_known_is_one(unknown):
    atoms = read_cif(CIF.replace("0 0 0 1", f"0 0 0 {unknown}"))
    assert str(atoms.symbols) == "NaCl" and all(set(k.values()) == {1} for k in atoms.info["occupancy"].values())
    np.testing.assert_allclose(atoms.cell.volume, 5.64**3)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("_cell_length_b 5.64\n", ""), "without numbers for _cell_length_b"),
        (("_cell_angle_beta 90", "_cell_angle_beta ?"), "without numbers for _cell_angle_beta"),
        (("0.5 0.5 0.5 1", "0.5 0.5 0.5 1 1"), "Wrong number"),
        (("0.5 0.5 0.5 1", "0.5 0.5 0.5"), "incomplete row"),
        (("Cl1 Cl 0.5 0.5 0.5 1\n", ""), "whose sites make Na"),
        (("_cell_length_c 5.64", "_cell_length_c 5.94"), "says 179.41"),
        (("0 0 0 1", "0 0 0 7"), "an occupancy of 7"),
        (("data_NaCl", "NaCl"), "no CIF"),
        (("0.5 0.5 0.5", "0.5 ? 0.5"), "cannot be read"),
    ],
)
def test_a_damaged_cif_is_refused(tmp_path, change, why):
    (tmp_path / "a.cif").write_text(CIF.replace(*change))
    with pytest.raises(ValueError, match=why) as caught:
        read_frames(tmp_path / "a.cif")
    assert "a.cif" in str(caught.value)


def test_partly_occupied_sites_are_still_said():
    atoms = read_cif(CIF.replace("0 0 0 1", "0 0 0 0.5"))
    assert atoms.info["occupancy"]["0"] == {"Na": 0.5}


def test_rows_of_a_table_say_in_words_why_they_were_not_read(tmp_path):
    import csv

    cifs = [CIF, "a.cif", "{'lattice': 3}", "not\na cif", CIF.replace("0 0 0 1", "0 0 0 ?"), ""]
    with open(tmp_path / "a.csv", "w", newline="") as stream:
        csv.writer(stream).writerows([("id", "cif"), *((f"NA{k}", text) for k, text in enumerate(cifs))])
    (chunk,) = open_table(tmp_path / "a.csv").chunks(99)
    problems = chunk["problem"].tolist()
    assert problems[0] is None and problems[4] is None and chunk["id"].tolist() == [f"NA{k}" for k in range(6)]
    assert "name of a file" in problems[1] and "no CIF" in problems[3] and "fill it in" in problems[5]
    assert all("Error" not in p for p in problems if p)


THREE = "1\n\nSi 0 0 0\n2\n\nSi 0 0 0\nSi 1 1 1\nVEC1 9 0 0\n3\n\nSi 0 0 0\nSi 1 1 1\nSi 2 2 2\n"


@pytest.mark.parametrize("block", [1, 60, 10**6])
@pytest.mark.parametrize("start", [0, 1, 3, 7])
def test_frames_come_whole_wherever_blocks_end(tmp_path, monkeypatch, block, start):
    monkeypatch.setattr(ase_mlx.data.io, "BLOCK", block)
    with lzma.open(tmp_path / "a.xyz.xz", "wt") as file:
        file.write(THREE)
    assert [len(atoms) for atoms in each_frame(tmp_path / "a.xyz.xz", start)] == [1, 2, 3][start:]


def test_a_packed_file_is_unpacked_twice_not_once_a_frame(tmp_path, monkeypatch):
    ase.io.write(tmp_path / "a.extxyz", [bulk("Si", cubic=True)] * 40)
    (tmp_path / "a.extxyz.xz").write_bytes(lzma.compress((tmp_path / "a.extxyz").read_bytes()))
    back, seek = [], lzma.LZMAFile.seek
    monkeypatch.setattr(lzma.LZMAFile, "seek", lambda *a: back.append(a[1:]) or seek(*a))
    assert len(read_frames(tmp_path / "a.extxyz.xz")) == 40
    assert len(back) <= 2
