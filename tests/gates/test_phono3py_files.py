"""What a phono3py yaml and the files beside it say: units, precedence, foreign code, and forces that cannot be."""

import copy
import lzma
import re
from pathlib import Path

import numpy as np
import phono3py
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from phono3py import Phono3py
from phono3py.file_IO import write_fc2_to_hdf5, write_fc3_to_hdf5, write_FORCES_FC3
from phonopy.physical_units import get_calculator_physical_units
from phonopy.structure.atoms import PhonopyAtoms
from phonopy_codes import CODES

from ase_mlx.adapters.phono3py import conductivity, load_third_order, third_order
from ase_mlx.adapters.phono3py.crystal import crystal_of, harmonic_of
from ase_mlx.adapters.phono3py.symmetry import LabelledPhono3py
from ase_mlx.adapters.phonopy.cells import to_ase, to_phonopy

DATA = Path(__file__).parents[1] / "reference" / "data"
CHARGES = {"born": np.array([np.eye(3), -np.eye(3)]), "dielectric": 6 * np.eye(3), "factor": 14.399652}
FORCES = {"force_sets": True, "displacements": True}


@pytest.fixture(scope="module")
def alloy():
    """Copper gold in the rock-salt structure, eight atoms, with charges that are made up."""
    return third_order(bulk("CuAu", "rocksalt", a=5.2), EMT(), supercell=(2, 2, 2), born=CHARGES)


@pytest.fixture(scope="module")
def own(alloy, tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "params.yaml"
    alloy.save(path, settings=FORCES)
    return load_third_order(path)


def in_units_of(ph, calculator, charges=CHARGES):
    u, c = get_calculator_physical_units(calculator), ph.unitcell
    cell = PhonopyAtoms(
        numbers=c.numbers, cell=c.cell / u.distance_to_A, scaled_positions=c.scaled_positions, masses=c.masses
    )
    other = Phono3py(cell, ph.supercell_matrix, primitive_matrix=ph.primitive_matrix, calculator=calculator)

    def converted(entry):
        moved = np.array(entry["displacement"]) / u.distance_to_A
        entry = dict(entry, displacement=moved, forces=entry["forces"] / u.force_to_eVperA)
        if "second_atoms" in entry:
            entry["second_atoms"] = [converted(one) for one in entry["second_atoms"]]
        return entry

    other.dataset = dict(ph.dataset, first_atoms=[converted(one) for one in ph.dataset["first_atoms"]])
    other.nac_params = dict(charges, factor=u.nac_factor)
    return other


def changed(ph, change, pair=None):
    """Its data with the forces of one pair changed: the fourth, or the first that `pair` accepts."""
    dataset = copy.deepcopy(ph.dataset)
    first = dataset["first_atoms"][0]
    pairs = first["second_atoms"]
    second = pairs[3] if pair is None else next(one for one in pairs if pair(first, one))
    second["forces"] = change(np.array(second["forces"]))
    other = Phono3py(ph.unitcell, ph.supercell_matrix, primitive_matrix=ph.primitive_matrix)
    other.dataset = dataset
    return other


@pytest.mark.parametrize("calculator", CODES)
def test_every_calculator_of_phonopy_gives_the_crystal_in_ev_and_angstrom(alloy, own, calculator, tmp_path):
    in_units_of(alloy, calculator).save(tmp_path / "other.yaml", settings=FORCES)
    back = load_third_order(tmp_path / "other.yaml")
    assert back.calculator is None
    for name in ("fc2", "fc3"):
        theirs = getattr(own, name)
        assert np.abs(getattr(back, name) - theirs).max() < 2e-5 * np.abs(theirs).max()
    q = [[0.02, 0.01, 0.0], [0.3, 0.1, 0.2]]
    ours, right = (harmonic_of(ph).run_qpoints(q).frequencies for ph in (back, own))
    np.testing.assert_allclose(ours, right, atol=1e-4)
    np.testing.assert_allclose(right, harmonic_of(alloy).run_qpoints(q).frequencies, atol=0.02)
    assert back.nac_params["factor"] == pytest.approx(14.3996, rel=1e-4)


def test_an_object_that_phono3py_read_has_its_charges_in_its_own_unit(alloy, tmp_path):
    in_units_of(alloy, "qe").save(tmp_path / "qe.yaml", settings=FORCES)
    theirs = phono3py.load(tmp_path / "qe.yaml", log_level=0)
    assert theirs.nac_params["factor"] == pytest.approx(2)
    with pytest.warns(UserWarning, match="e²/4πε₀ is 14.3997 eV Å"):
        assert harmonic_of(theirs).nac_params["factor"] == pytest.approx(14.3996, rel=1e-4)


def test_symmetries_of_both_supercells_are_those_of_phono3py():
    crystal, shapes = to_phonopy(bulk("CuAu", "rocksalt", a=5.2)), [np.diag([n] * 3) for n in (2, 3)]
    with_labels, plain = (
        kind(crystal, shapes[0], "P", phonon_supercell_matrix=shapes[1]) for kind in (LabelledPhono3py, Phono3py)
    )
    for name in ("symmetry", "primitive_symmetry", "phonon_supercell_symmetry"):
        ours, theirs = getattr(with_labels, name), getattr(plain, name)
        assert len(ours.atomic_permutations) == len(theirs.symmetry_operations["rotations"])
        assert np.array_equal(ours.atomic_permutations, theirs.atomic_permutations)
        assert np.array_equal(ours.get_independent_atoms(), theirs.get_independent_atoms())


def test_files_of_the_working_folder_and_stale_ones_do_not_count(alloy, tmp_path, monkeypatch):
    work, own = tmp_path / "work", tmp_path / "own"
    work.mkdir(), own.mkdir()
    alloy.save(own / "params.yaml", settings=FORCES)
    right = load_third_order(own / "params.yaml")
    assert right.sources == ("Born charges from params.yaml", "forces in params.yaml")
    for folder in (work, own):
        write_fc3_to_hdf5(2 * right.fc3, filename=str(folder / "fc3.hdf5"), p2s_map=right.primitive.p2s_map)
        write_fc2_to_hdf5(2 * right.fc2, filename=str(folder / "fc2.hdf5"), p2s_map=right.primitive.p2s_map)
    monkeypatch.chdir(work)
    with pytest.warns(UserWarning) as warned:
        back = load_third_order("../own/params.yaml")
    assert {str(w.message).split()[0] for w in warned} == {"fc2.hdf5", "fc3.hdf5"}
    np.testing.assert_array_equal(back.fc3, right.fc3)
    np.testing.assert_array_equal(back.fc2, right.fc2)


def test_files_beside_the_yaml_serve_from_everywhere_and_are_named(alloy, tmp_path, monkeypatch):
    (tmp_path / "own").mkdir()
    alloy.save(tmp_path / "own" / "params.yaml", settings=FORCES)
    right = load_third_order(tmp_path / "own" / "params.yaml")
    alloy.save(tmp_path / "disp.yaml", settings={"force_sets": False})
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    write_FORCES_FC3(alloy.dataset, filename=str(tmp_path / "FORCES_FC3"))
    back = load_third_order("../disp.yaml")
    assert back.sources[1] == "forces in FORCES_FC3 beside disp.yaml"
    assert np.abs(back.fc3 - right.fc3).max() < 1e-4 * np.abs(right.fc3).max()
    lines = (tmp_path / "FORCES_FC3").read_text().splitlines()
    (tmp_path / "FORCES_FC3.xz").write_bytes(lzma.compress("\n".join([*lines, lines[-1]]).encode()))
    (tmp_path / "FORCES_FC3").unlink()
    with pytest.raises(ValueError, match="a line is missing or twice"):
        load_third_order("../disp.yaml")
    (tmp_path / "FORCES_FC3.xz").unlink()
    write_fc3_to_hdf5(right.fc3, filename=str(tmp_path / "fc3.hdf5"), p2s_map=right.primitive.p2s_map)
    write_fc2_to_hdf5(right.fc2, filename=str(tmp_path / "fc2.hdf5"), p2s_map=right.primitive.p2s_map)
    read = load_third_order("../disp.yaml")
    assert read.sources[1:] == ("third order in fc3.hdf5 beside disp.yaml", "second order in fc2.hdf5 beside disp.yaml")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f * np.where(np.arange(len(f)) == 2, 1000, 1)[:, None], "eV/Å"),
        (lambda f: np.where(f == f.max(), np.nan, f), "1 forces that are not finite"),
        (lambda f: np.where(f == f.max(), np.inf, f), "1 forces that are not finite"),
        (lambda f: f[:, [1, 2, 0]], "other than those of any harmonic crystal"),
        (lambda f: f[:-1], "a line is missing, or twice"),
    ],
)
def test_forces_that_cannot_be_are_refused(alloy, change, said, tmp_path):
    changed(alloy, change).save(tmp_path / "bad.yaml", settings=FORCES)
    with pytest.raises(ValueError, match=said) as error:
        conductivity(tmp_path / "bad.yaml", mesh=(3, 3, 3))
    assert "bad.yaml" in str(error.value)


@pytest.mark.filterwarnings("ignore:The undisplaced atoms", "ignore:Got forces of displaced")
@pytest.mark.parametrize("size", [np.inf, np.nan, 1.0])
def test_forces_on_an_atom_moved_there_and_back_count_too(size, tmp_path):
    def at_rest(first, second):
        moved = np.add(first["displacement"], second["displacement"])
        return first["number"] == second["number"] and np.abs(moved).max() < 1e-8

    crystal = third_order(bulk("CuAu", "zincblende", a=5.6), EMT(), supercell=(2, 1, 1), relax=False)
    changed(crystal, lambda f: np.where(f == f.max(), size, f), at_rest).save(tmp_path / "bad.yaml", settings=FORCES)
    with pytest.raises(ValueError, match=r"bad\.yaml.*moved there and back"):
        load_third_order(tmp_path / "bad.yaml")


@pytest.mark.filterwarnings("ignore:The undisplaced atoms")
@pytest.mark.parametrize("snapshots", [None, 60])
def test_a_supercell_without_third_order_force_constants_is_refused(snapshots, tmp_path):
    """Of eight fcc atoms each has the others in opposite directions at once: symfc ended in a bare AssertionError."""
    atoms = bulk("Al")
    ph = Phono3py(
        PhonopyAtoms(["Al"], cell=atoms.cell.array, scaled_positions=[[0, 0, 0]]), 2 * np.eye(3, dtype=int), "auto"
    )
    ph.generate_displacements(number_of_snapshots=snapshots, random_seed=1)
    cells = [to_ase(cell) for cell in ph.supercells_with_displacements]
    ph.forces = [EMT().get_property("forces", cell) for cell in cells]
    ph.save(tmp_path / "params.yaml", settings=FORCES)
    with pytest.raises(ValueError, match="8 atoms whose symmetry leaves no third-order .* take a larger supercell"):
        load_third_order(tmp_path / "params.yaml")
    if snapshots is None:
        with pytest.raises(ValueError, match="8 atoms whose symmetry leaves no third-order"):
            conductivity(atoms, EMT(), (2, 2, 2), supercell=(2, 2, 2), relax=False)


def test_force_constants_that_are_not_finite_are_refused(alloy, tmp_path):
    broken = copy.copy(alloy)
    broken.fc3 = np.where(alloy.fc3 == alloy.fc3.max(), np.nan, alloy.fc3)
    with pytest.raises(ValueError, match="third-order force constants of which .* are not finite"):
        crystal_of(broken)
    broken.fc3, broken.fc2 = alloy.fc3, np.where(alloy.fc2 == alloy.fc2.max(), np.inf, alloy.fc2)
    with pytest.raises(ValueError, match="force constants of which .* are not finite"):
        conductivity(broken, mesh=(3, 3, 3))


def test_a_yaml_runs_no_code_and_packed_damage_has_a_sentence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    packed = (DATA / "phono3py-nacl" / "phono3py_params.yaml.xz").read_bytes()
    text = lzma.decompress(packed)
    Path("e.yaml").write_bytes(b"evil: !!python/object/apply:os.system ['touch PWNED']\n" + text)
    with pytest.raises(ValueError, match=r"the tag !!python/object/apply:os.system"):
        load_third_order("e.yaml")
    assert not Path("PWNED").exists()
    random = np.random.default_rng(0)
    for k in range(40):
        data = bytearray(packed)
        if k % 2:
            del data[random.integers(len(data)) :]
        else:
            data[random.integers(len(data))] ^= 255
        Path("d.yaml.xz").write_bytes(data)
        with pytest.raises(ValueError, match=re.escape("d.yaml.xz")):
            load_third_order("d.yaml.xz")


@pytest.mark.slow
@pytest.mark.parametrize("calculator", ["qe", "elk", "cp2k", "abinit", "wien2k"])
def test_conductivity_with_born_charges_does_not_depend_on_the_units_of_the_file(calculator, tmp_path):
    source = DATA / "phono3py-nacl" / "phono3py_params.yaml.xz"
    raw = phono3py.load(source, produce_fc=False, log_level=0)
    in_units_of(raw, calculator, raw.nac_params).save(tmp_path / "other.yaml", settings=FORCES)
    settings = {"mesh": (9, 9, 9), "temperatures": [300], "rank": None}
    own, other = conductivity(source, **settings), conductivity(tmp_path / "other.yaml", **settings)
    assert other.kappa[0, 0] == pytest.approx(own.kappa[0, 0], rel=0.01)
    assert own.kappa[0, 0] == pytest.approx(7.86, rel=0.01)  # phono3py 4.8 on this file
