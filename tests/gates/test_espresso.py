"""Quantum ESPRESSO as a teacher: settings, refusals, and its numbers where the program is."""

import json
import os
import shutil
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from ase_mlx.adapters.espresso_checks import bands_of, expect_mesh, k_points, mesh_of, reference_blas, slow_blas
from ase_mlx.adapters.teachers import SETTINGS, _check_bands, _facts, _run_espresso, _why, espresso, teacher
from ase_mlx.data.densities import read_densities
from ase_mlx.data.io import each_frame, read_frames
from ase_mlx.data.label import label

ROOT = Path(__file__).resolve().parents[2]

PSEUDO = Path(os.environ.get("ASE_MLX_PSEUDO_DIR", ROOT.parent / "shared" / "data" / "dft" / "pseudo"))

NEEDS_QE = pytest.mark.skipif(
    shutil.which("pw.x") is None or not (PSEUDO / "Si.upf").is_file(),
    reason="needs pw.x and Si.upf in ASE_MLX_PSEUDO_DIR",
)


def settings(**changes):
    table = {"ecut_Ry": 24.0, "k_mesh": [8, 8, 8], "smearing_Ry": 0.005, **changes}
    return {"command": sys.executable, "pseudopotentials": {"Si": "Si.upf"}, "settings": table}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ecut_Ry": -1}, "positive number of Ry"),
        ({"smearing_Ry": None}, "positive number of Ry"),
        ({"k_mesh": [3, 3]}, "three positive integers"),
        ({"k_mesh": [3, 3, 0]}, "three positive integers"),
        ({"k_spacing": 0.3}, "either a positive number"),
        ({"k_mesh": None, "k_spacing": -1}, "either a positive number"),
        ({"ecut": 24}, "did you mean 'ecut_Ry'"),
    ],
)
def test_wrong_settings_are_named(tmp_path, changes, said):
    (tmp_path / "Si.upf").write_text("a pseudopotential")
    with pytest.raises(ValueError, match=said):
        espresso(settings(**changes), tmp_path)


def test_a_mesh_too_coarse_for_a_cell_is_no_label():
    metal, insulator = {"smearing_Ry": 0.02}, {"smearing_Ry": 0.005}
    silicon, aluminium = bulk("Si", a=5.47, cubic=True), bulk("Al", a=4.05, cubic=True)
    assert expect_mesh(insulator | {"k_mesh": [3, 3, 3]}, silicon) == [3, 3, 3]
    assert expect_mesh(insulator | {"k_mesh": [2, 2, 2]}, silicon * 2) == [2, 2, 2]
    assert expect_mesh(metal | {"k_mesh": [6, 6, 6]}, aluminium) == [6, 6, 6]
    assert expect_mesh(metal | {"k_mesh": [3, 3, 3]}, aluminium * 2) == [3, 3, 3]
    for settings_, atoms, mesh in (
        (insulator, silicon * 2, [1, 1, 1]),  # one point in 64 atoms
        (insulator, silicon, [2, 2, 2]),
        (metal, aluminium, [4, 4, 4]),
        (metal, aluminium * (1, 1, 2), [3, 3, 3]),  # the family's mesh in a smaller cell
    ):
        with pytest.raises(ValueError, match="far from converged"):
            expect_mesh(settings_ | {"k_mesh": mesh}, atoms)
        assert expect_mesh(settings_ | {"k_mesh": mesh}, atoms, ["k_mesh"]) == mesh


def test_a_metals_cell_gets_bands_by_its_electrons(tmp_path):
    (tmp_path / "Al.upf").write_text('<PP_HEADER element="Al" z_valence="3.00" l_max="2"/>')
    files, aluminium = {"Al": tmp_path / "Al.upf"}, bulk("Al", a=4.05, cubic=True)
    metal = {"smearing_Ry": 0.02, "input": {}}
    assert bands_of(metal, aluminium, files) == {"nbnd": 17}  # of 12 electrons; pw.x's own number is 10
    assert bands_of(metal | {"input": {"system": {"nbnd": 30}}}, aluminium, files) == {}
    assert bands_of(metal | {"smearing_Ry": 0.005}, aluminium, files) == {}
    (tmp_path / "Al.upf").write_text("a pseudopotential of unknown form")
    assert bands_of(metal, aluminium, files) == {}


def test_k_spacing_makes_the_mesh_of_the_cell(tmp_path):
    spaced = {"k_mesh": None, "k_spacing": 0.3, "smearing_Ry": 0.005}
    silicon = bulk("Si", a=5.47, cubic=True)
    assert mesh_of(spaced, silicon) == [4, 4, 4] and mesh_of(spaced, silicon * (2, 1, 4)) == [2, 4, 1]
    primitive = bulk("Si", a=5.47)
    assert mesh_of(spaced, primitive) == [7, 7, 7], "reciprocal vectors, not edges, are counted"
    slab = silicon.copy()
    slab.pbc = (True, True, False)
    assert mesh_of(spaced, slab) == [4, 4, 1]
    (tmp_path / "Si.upf").write_text("a pseudopotential")
    config = settings()
    config["family"] = {"si64": {"k_spacing": 0.25}}
    one = espresso(config, tmp_path)
    families = json.loads(one.identity)["espresso"]
    assert families["si64"]["k_spacing"] == 0.25 and families["si64"]["k_mesh"] is None
    assert families[""] == {k: v for k, v in (SETTINGS | config["settings"]).items() if k != "k_spacing"}
    large = silicon * 2
    large.info["family"] = "si64"
    assert k_points(one, large) == 27 and k_points(one, silicon) == 512


def test_a_cutoff_below_what_the_pseudopotential_asks_is_refused(tmp_path):
    (tmp_path / "Si.upf").write_text('<PP_HEADER element="Si" wfc_cutoff="4.00E+01"/>')
    with pytest.raises(ValueError, match="below the 40 Ry"):
        espresso(settings(), tmp_path)
    assert espresso(settings() | {"accept": ["cutoff"]}, tmp_path)
    (tmp_path / "Si.upf").write_text("Suggested minimum cutoff for wavefunctions:  20. Ry\n")
    assert espresso(settings(), tmp_path)
    with pytest.raises(ValueError, match="expected a list of k_mesh, cutoff"):
        espresso(settings() | {"accept": ["bands"]}, tmp_path)


def test_the_reference_blas_is_seen(tmp_path):
    slow = "\tliblapack.so.3 => /lib/liblapack.so.3 (0x1)\n\tlibblas.so.3 => /nowhere/libblas.so.3 (0x2)\n"
    assert "libopenblas0-pthread" in reference_blas(slow)
    assert reference_blas(slow + "\tlibopenblas.so.0 => /lib/libopenblas.so.0 (0x3)\n") == ""
    fast = tmp_path / "libopenblas-r0.3.so"
    fast.touch()
    (tmp_path / "libblas.so.3").symlink_to(fast)
    assert reference_blas(slow.replace("/nowhere", str(tmp_path))) == "", "Debian's alternatives are links"
    assert reference_blas("\tnot a dynamic executable\n") == ""
    assert slow_blas("no-such-program") == ""


def test_a_missing_program_or_pseudopotential_is_named(tmp_path):
    with pytest.raises(ValueError, match="pseudo_dir"):
        espresso(settings(), tmp_path)
    (tmp_path / "Si.upf").write_text("a pseudopotential")
    with pytest.raises(FileNotFoundError, match="Quantum ESPRESSO"):
        espresso({**settings(), "command": "no-such-pw.x"}, tmp_path)


def test_another_pseudopotential_is_another_identity(tmp_path):
    (tmp_path / "Si.upf").write_text("a pseudopotential")
    one = espresso(settings(), tmp_path).identity
    assert espresso(settings(), tmp_path).identity == one
    (tmp_path / "Si.upf").write_text("another one")
    assert espresso(settings(), tmp_path).identity != one


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("espresso_*.toml")), ids=lambda path: path.stem)
def test_the_shipped_settings_are_valid(tmp_path, path):
    for symbol in ("Si", "Ge", "Sn", "Al"):
        (tmp_path / f"{symbol}.upf").write_text(symbol)
    copy = tmp_path / path.name
    copy.write_text(path.read_text(encoding="utf-8").replace('"pw.x"', f'"{sys.executable}"'), encoding="utf-8")
    assert json.loads(teacher("espresso", copy, tmp_path).identity)["espresso"][""]["ecut_Ry"] == 24.0


def test_a_charge_that_espresso_is_not_told_of_is_refused(tmp_path):
    cation = bulk("Si", a=5.4)
    cation.info["charge"] = 1
    spec = {"families": {"": {**SETTINGS, **settings()["settings"]}}, "pseudopotentials": {"Si": "Si.upf"}}
    with pytest.raises(ValueError, match="tot_charge = 1"):
        _run_espresso(cation, spec | {"command": "pw.x", "pseudo_dir": "."}, tmp_path)


@NEEDS_QE
def test_espresso_gives_the_numbers_of_the_data_file(tmp_path):
    frames = each_frame(ROOT / "data" / "sigesn.extxyz.xz")
    known = next(atoms for atoms in frames if atoms.info["config_name"] == "si2_eos_3")
    asked = known.copy()
    asked.info = {"family": "si2", "config_name": "again"}
    report = label([asked], espresso({**settings(symmetry=True), "command": "pw.x"}, PSEUDO), tmp_path / "out.extxyz")
    assert report.failed == {}
    atoms = read_frames(tmp_path / "out.extxyz")[0]
    assert atoms.get_potential_energy() == pytest.approx(known.get_potential_energy(), abs=1e-4)
    np.testing.assert_allclose(atoms.get_forces(), known.get_forces(), atol=1e-4)
    pulay = 2 * 0.0151 / known.get_volume() * np.array([1, 1, 1, 0, 0, 0])  # eV an atom: see data/stress_offset.py
    np.testing.assert_allclose(atoms.get_stress(), known.get_stress() + pulay, atol=5e-5)
    assert atoms.info["k_grid"] == "8 8 8 shifted" and atoms.info["n_electrons"] == 8 and atoms.info["cpu_s"] > 0
    assert atoms.info["minus_TS"] == pytest.approx(known.info["minus_TS"], abs=1e-6)


@NEEDS_QE
def test_densities_are_kept_with_the_labels_and_asked_for_again_where_they_lack(tmp_path):
    silicon = bulk("Si", a=5.4)
    silicon.info["config_name"] = "rattled"
    silicon.rattle(0.05, seed=1)
    coarse = {**settings(k_mesh=[2, 2, 2]), "command": "pw.x", "accept": ["k_mesh"]}
    out, folder = tmp_path / "out.extxyz", tmp_path / "densities"
    assert label([silicon], espresso(coarse, PSEUDO), out).done == 1
    text = out.read_text(encoding="utf-8")
    with_density = espresso(coarse, PSEUDO, density=True)
    assert label([silicon], with_density, out, densities=folder).done == 1
    assert out.read_text(encoding="utf-8") == text  # the labels were there
    assert label([silicon], with_density, out, densities=folder).kept == 1
    (frame,) = read_densities(folder)
    assert frame.name == "rattled" and frame.electrons == pytest.approx(8, abs=1e-6)
    np.testing.assert_allclose(frame.atoms.positions, silicon.positions, atol=1e-8)
    assert frame.density.shape == tuple(read_frames(out)[0].info["grid_shape"]) and frame.density.min() > -1e-3


def test_a_calculator_gives_no_density():
    with pytest.raises(ValueError, match="no density that can be kept"):
        teacher("ase.calculators.emt:EMT", density=True)


@NEEDS_QE
def test_espresso_without_convergence_or_pseudopotential_fails(tmp_path):
    hasty = settings(ecut_Ry=8.0, k_mesh=[1, 1, 1], input={"electrons": {"electron_maxstep": 2}})
    silicon, germanium = bulk("Si", a=5.4), bulk("Ge", a=5.7)
    silicon.info["config_name"], germanium.info["config_name"] = "hasty", "foreign"
    report = label(
        [silicon, germanium],
        espresso({**hasty, "command": "pw.x", "accept": ["k_mesh"]}, PSEUDO),
        tmp_path / "out.extxyz",
    )
    assert report.done == 0 and not (tmp_path / "out.extxyz").exists()
    assert "SCF not converged" in report.failed["hasty"]
    assert "no pseudopotential for Ge" in report.failed["foreign"]


@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        ("     PWSCF        :     10.08s CPU     11.31s WALL", 10.08),
        ("     PWSCF        :   5m 9.73s CPU   6m44.11s WALL", 309.73),
        ("     PWSCF        :   1h 2m CPU   1h30m WALL", 3720.0),
    ],
)
def test_processor_time_of_espresso(line, seconds):
    assert _facts(line) == {"cpu_s": seconds}


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("", "before the end"),
        ("convergence has been achieved in 9 iterations\n", "before the end"),
        ("convergence NOT achieved after 100 iterations: stopping\nJOB DONE.", "SCF not converged"),
        (" Error in routine cdiaghg (105):\n  eigenvectors failed to converge\n", "cdiaghg"),
        ("convergence has been achieved in 9 iterations\nJOB DONE.\n", ""),
    ],
)
def test_an_output_that_is_no_result_is_seen(tmp_path, output, said):
    (tmp_path / "espresso.pwo").write_text(output)
    why = _why(tmp_path / "espresso.pwo")
    assert said in why and bool(why) == bool(said)


@pytest.mark.parametrize(("highest", "refused"), [(1.9e-3, False), (5.4e-3, True)])
def test_too_few_bands_are_seen(tmp_path, highest, refused):
    _check_bands(tmp_path)  # an older pw.x writes no such file
    block = '<occupations size="3">\n 1.0e0 0.5e0\n {} </occupations>'
    (tmp_path / "pwscf.xml").write_text("<x>" + block.format("1e-9") + block.format(highest) + "</x>")
    with pytest.raises(RuntimeError, match=r"the highest of 3 bands .* nbnd") if refused else nullcontext():
        _check_bands(tmp_path)
