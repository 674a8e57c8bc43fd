"""What a phonopy yaml and the files beside it say: units, precedence, foreign code, and forces that cannot be."""

import lzma
import shutil
import time
from pathlib import Path

import numpy as np
import phonopy
import pytest
from ase.build import bulk
from ase.calculators.calculator import Calculator as AseCalculator
from ase.calculators.emt import EMT
from phonopy import Phonopy
from phonopy.file_IO import write_FORCE_CONSTANTS, write_force_constants_to_hdf5, write_FORCE_SETS
from phonopy.physical_units import get_calculator_physical_units
from phonopy.structure.atoms import PhonopyAtoms
from phonopy_codes import CODES

from ase_mlx.adapters.phonopy import (
    ForcesError,
    group_velocities,
    harmonic,
    load_phonons,
    phonons,
    save_phonons,
    spectrum,
)
from ase_mlx.adapters.phonopy.consistency import SuspectForcesWarning
from ase_mlx.adapters.phonopy.physical_units import FileUnits

NACL = Path(__file__).parents[1] / "reference" / "data" / "phonopy-nacl"
WAVES = np.array([[0.01, 0.01, 0.02], [0.3, 0.1, 0.2]])
OLD = "ignore:phonopy_disp.yaml was written by phonopy 2"
pytestmark = [pytest.mark.filterwarnings(OLD), pytest.mark.filterwarnings("ignore:FORCE_SETS beside")]


@pytest.fixture(scope="module")
def sodium_chloride():
    """By phonopy's own reader, in eV and Å: forces and Born charges of DFT."""
    files = {"force_sets_filename": NACL / "FORCE_SETS", "born_filename": NACL / "BORN"}
    ph = phonopy.load(NACL / "phonopy_disp.yaml", primitive_matrix="F", produce_fc=False, log_level=0, **files)
    ph.produce_force_constants(calculate_full_force_constants=False, fc_calculator="traditional", show_drift=False)
    return ph


@pytest.fixture(scope="module")
def aluminium():
    return phonons(bulk("Al", cubic=True), EMT(), supercell=(2, 2, 2))


def in_units_of(ph, calculator, constants=False):
    """The same crystal as a code of other units would have it written."""
    u, c = get_calculator_physical_units(calculator), ph.unitcell
    cell = PhonopyAtoms(
        numbers=c.numbers, cell=c.cell / u.distance_to_A, scaled_positions=c.scaled_positions, masses=c.masses
    )
    other = Phonopy(cell, ph.supercell_matrix, primitive_matrix=ph.primitive_matrix, calculator=calculator)
    first = [
        dict(e, displacement=np.array(e["displacement"]) / u.distance_to_A, forces=e["forces"] / u.force_to_eVperA)
        for e in ph.dataset["first_atoms"]
    ]
    other.dataset = dict(ph.dataset, first_atoms=first)
    if constants:
        other.force_constants = ph.force_constants / (u.force_to_eVperA / u.distance_to_A)
    if ph.nac_params:
        other.nac_params = dict(ph.nac_params, factor=u.nac_factor)
    return other


@pytest.mark.parametrize("calculator", CODES)
def test_every_calculator_of_phonopy_gives_the_crystal_in_ev_and_angstrom(sodium_chloride, calculator, tmp_path):
    other = in_units_of(sodium_chloride, calculator)
    other.save(tmp_path / "other.yaml", settings={"force_sets": True, "displacements": True})
    back = load_phonons(tmp_path / "other.yaml")
    assert back.calculator is None
    np.testing.assert_allclose(back.unitcell.cell, sodium_chloride.unitcell.cell, rtol=1e-9)
    np.testing.assert_allclose(
        back.dataset["first_atoms"][0]["displacement"],
        sodium_chloride.dataset["first_atoms"][0]["displacement"],
        atol=1e-9,
    )
    original = sodium_chloride.force_constants
    assert np.abs(back.force_constants - original).max() < 3e-3 * np.abs(original).max()  # ours are symmetrised
    assert back.nac_params["factor"] == pytest.approx(14.3996, rel=1e-4)
    ours, theirs = back.run_qpoints(WAVES).frequencies.copy(), sodium_chloride.run_qpoints(WAVES).frequencies
    np.testing.assert_allclose(ours, theirs, atol=0.01)
    other.produce_force_constants(calculate_full_force_constants=False, fc_calculator="traditional", show_drift=False)
    np.testing.assert_allclose(other.run_qpoints(WAVES).frequencies, theirs, atol=1e-3)  # as phonopy reads its units


def test_velocities_and_heat_capacity_do_not_depend_on_the_units_of_the_file(tmp_path):
    original = phonons(bulk("Al", cubic=True), EMT(), supercell=(3, 3, 3))
    in_units_of(original, "qe", constants=True).save(tmp_path / "qe.yaml", settings={"force_constants": True})
    back = load_phonons(tmp_path / "qe.yaml")
    speeds = [group_velocities(ph, WAVES[:1]).value for ph in (original, back)]
    np.testing.assert_allclose(speeds[1], speeds[0], rtol=1e-4, atol=1e-4)
    cold = [harmonic(ph, temperatures=np.array([10.0])).heat_capacity[0] for ph in (original, back)]
    assert cold == pytest.approx([0.0425, 0.0425], abs=1e-4)
    with pytest.raises(ValueError, match="in the units of qe, expected eV and Å"):
        spectrum(phonopy.load(tmp_path / "qe.yaml", log_level=0))


def test_a_wrong_factor_of_born_charges_is_said_and_put_right(sodium_chloride, tmp_path):
    other = in_units_of(sodium_chloride, "qe")
    other.nac_params = dict(other.nac_params, factor=14.4)
    other.save(tmp_path / "qe.yaml", settings={"force_sets": True, "displacements": True})
    with pytest.warns(UserWarning, match="e²/4πε₀ is 14.3997 eV Å: this is taken"):
        back = load_phonons(tmp_path / "qe.yaml")
    assert back.nac_params["factor"] == pytest.approx(14.3997, rel=1e-4)


@pytest.mark.parametrize("factor", ["1e400", "nan"])
def test_a_factor_of_born_charges_that_is_no_number_is_refused(factor):
    with pytest.raises(ValueError, match="got BORN with the unit conversion factor .*, expected a number"):
        FileUnits().born({"factor": float(factor)}, "BORN")


@pytest.mark.parametrize("name", ["FORCE_SETS", "FORCE_CONSTANTS", "force_constants.hdf5", "BORN"])
def test_the_working_folder_is_never_looked_at(aluminium, name, tmp_path, monkeypatch):
    work, own = tmp_path / "work", tmp_path / "own"
    work.mkdir(), own.mkdir()
    save_phonons(aluminium, own / "params.yaml")
    stale = [dict(e, forces=2 * e["forces"]) for e in aluminium.dataset["first_atoms"]]
    write_FORCE_SETS(dict(aluminium.dataset, first_atoms=stale), filename=work / "FORCE_SETS")
    write_FORCE_CONSTANTS(2 * aluminium.force_constants, work / "FORCE_CONSTANTS", p2s_map=aluminium.primitive.p2s_map)
    write_force_constants_to_hdf5(2 * aluminium.force_constants, str(work / "force_constants.hdf5"))
    (work / "BORN").write_text("14.4\n" + "2 0 0 0 2 0 0 0 2\n" + "0 0 0 0 0 0 0 0 0\n")
    for other in work.iterdir():
        if other.name != name:
            other.unlink()
    monkeypatch.chdir(work)
    back = load_phonons("../own/params.yaml")
    np.testing.assert_allclose(back.force_constants, aluminium.force_constants, atol=1e-10)
    assert back.nac_params is None and back.sources == ("force constants from params.yaml",)


def test_files_beside_the_yaml_serve_from_everywhere_and_are_named(aluminium, tmp_path, monkeypatch):
    ph = aluminium
    ph.save(tmp_path / "disp.yaml", settings={"force_sets": False, "displacements": True, "force_constants": False})
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(ValueError, match="1 displacements, of which 1 have no finite forces"):
        load_phonons("../disp.yaml")
    write_force_constants_to_hdf5(
        ph.force_constants, str(tmp_path / "force_constants.hdf5"), p2s_map=ph.primitive.p2s_map
    )
    assert load_phonons("../disp.yaml").sources == ("force constants from force_constants.hdf5 beside disp.yaml",)
    write_FORCE_SETS(ph.dataset, filename=tmp_path / "FORCE_SETS")
    back = load_phonons("../disp.yaml")
    assert back.sources == ("forces from FORCE_SETS beside disp.yaml",)
    np.testing.assert_allclose(back.force_constants, ph.force_constants, atol=1e-6)


def test_stale_files_beside_the_yaml_are_passed_over_with_a_warning(aluminium, tmp_path):
    ph = aluminium
    ph.save(tmp_path / "forces.yaml", settings={"force_sets": True, "displacements": True, "force_constants": False})
    write_FORCE_CONSTANTS(2 * ph.force_constants, tmp_path / "FORCE_CONSTANTS", p2s_map=ph.primitive.p2s_map)
    with pytest.warns(UserWarning, match="FORCE_CONSTANTS beside forces.yaml holds other values"):
        back = load_phonons(tmp_path / "forces.yaml")
    np.testing.assert_allclose(back.force_constants, ph.force_constants, atol=1e-6)
    other = [dict(e, displacement=[0.0, 0.0, 0.02]) for e in ph.dataset["first_atoms"]]
    (tmp_path / "FORCE_CONSTANTS").unlink()
    ph.save(tmp_path / "disp.yaml", settings={"force_sets": False, "displacements": True, "force_constants": False})
    write_FORCE_SETS(dict(ph.dataset, first_atoms=other), filename=tmp_path / "FORCE_SETS")
    with pytest.raises(ValueError, match="other displacements than the yaml"):
        load_phonons(tmp_path / "disp.yaml")


def test_a_born_file_that_was_named_counts(sodium_chloride, tmp_path):
    text = (NACL / "BORN").read_text().replace("2.43533967", "4.0")
    (tmp_path / "mine").write_text(text)
    assert load_phonons(NACL / "phonopy_disp.yaml").nac_params["dielectric"][0, 0] == pytest.approx(2.43534, abs=1e-5)
    named = load_phonons(NACL / "phonopy_disp.yaml", born=tmp_path / "mine")
    assert named.nac_params["dielectric"][0, 0] == 4.0 and "as named" in named.sources[1]
    (tmp_path / "bad").write_text(text.replace("4.0", "nan"))
    with pytest.raises(ValueError, match=r"dielectric .* not finite"):
        load_phonons(NACL / "phonopy_disp.yaml", born=tmp_path / "bad")


@pytest.mark.parametrize(
    "line",
    [
        "evil: !!python/object/apply:os.system ['touch PWNED']",
        "evil: !!python/object/new:subprocess.Popen [['touch', 'PWNED']]",
        "? !!python/name:os.system\n: 1",
    ],
)
def test_a_yaml_runs_no_code(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("FORCE_SETS", "BORN"):
        shutil.copy(NACL / name, tmp_path)
    Path("e.yaml").write_text(line + "\n" + (NACL / "phonopy_disp.yaml").read_text())
    with pytest.raises(ValueError, match=r"the tag !!python/.* nothing was run"):
        load_phonons("e.yaml")
    assert not Path("PWNED").exists()


def test_bombs_and_floods_are_refused_at_once(tmp_path):
    text = (NACL / "phonopy_disp.yaml").read_text()
    bomb = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
    bomb += "".join(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, 12))
    files = {
        "aliases": (bomb + text).encode(),
        "ring": ("a: &a [*a]\n" + text).encode(),
        "deep": ("a: " + "[" * 50000 + "]" * 50000 + "\n" + text).encode(),
        "stacked": ("a:\n" + "- " * 50000 + "1\n" + text).encode(),
        "flood": lzma.compress((text + "- 0\n" * 10_000_000).encode(), preset=1),
        "twice": (text + "\nsupercell_matrix:\n- [1, 0, 0]\n- [0, 1, 0]\n- [0, 0, 1]\n").encode(),
        "half": lzma.compress(text.encode())[:-100],
        "words": b"0.1 0.2 0.3\n" * 1_000_000,
    }
    said = {
        "aliases": "repeat values",
        "ring": "holds itself",
        "deep": "nested",
        "stacked": "nested",
        "flood": "unpack",
    }
    said |= {"twice": "'supercell_matrix' twice", "half": "EOFError", "words": "cannot read"}
    for name, data in files.items():
        path = tmp_path / f"{name}.yaml"
        path.write_bytes(data)
        start = time.process_time()
        with pytest.raises(ValueError, match=said[name]):
            load_phonons(path)
        assert time.process_time() - start < 5, name


def damaged(tmp_path, change):
    """NaCl's FORCE_SETS with its lines changed, beside its yaml."""
    lines = (NACL / "FORCE_SETS").read_text().splitlines()
    (tmp_path / "FORCE_SETS").write_text("\n".join(change(lines)) + "\n")
    return shutil.copy(NACL / "phonopy_disp.yaml", tmp_path)


def times_thousand(lines):
    k = max(range(5, 69), key=lambda k: abs(float(lines[k].split()[0])))
    x, y, z = lines[k].split()
    return [*lines[:k], f"{1000 * float(x)} {y} {z}", *lines[k + 1 :]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: [*lines[:100], lines[100], *lines[100:]], "a line is missing, twice"),
        (lambda lines: [*lines[:100], *lines[101:]], "a line is missing, twice"),
        (lambda lines: [*lines[:10], "inf 0 0", *lines[11:]], "not finite"),
        (lambda lines: [*lines[:10], "1e400 0 0", *lines[11:]], "not finite"),
        (times_thousand, "eV/Å"),
        (lambda lines: [*lines[:-1], "0.5 0.0 0.0"], "expected a sum of zero"),
        (
            lambda lines: [" ".join(np.roll(line.split(), 1)) if line.count(".") == 3 else line for line in lines],
            "other",
        ),
    ],
)
def test_forces_that_cannot_be_are_refused(change, said, tmp_path):
    with pytest.raises(ValueError, match=said) as error:
        load_phonons(damaged(tmp_path, change))
    assert "FORCE_SETS" in str(error.value)


def test_suspect_forces_are_said(tmp_path):
    def drifting(lines):
        return [
            line if line.count(".") != 3 or k < 5 else " ".join(f"{float(x) + 3e-5:.10f}" for x in line.split())
            for k, line in enumerate(lines)
        ]

    with pytest.warns(UserWarning, match="the sum should be zero"):
        load_phonons(damaged(tmp_path, drifting))


@pytest.mark.parametrize("value", [np.inf, np.nan, 1e5])
def test_force_constants_that_cannot_be_are_no_imaginary_modes(aluminium, value, tmp_path):
    broken = aluminium.force_constants.copy()
    broken[0, 1, 0, 0] = value
    write_force_constants_to_hdf5(broken, str(tmp_path / "force_constants.hdf5"))
    settings = {"force_sets": False, "displacements": True, "force_constants": False}
    aluminium.save(tmp_path / "disp.yaml", settings=settings)
    with pytest.raises(ValueError, match=r"not finite|at most 500"):
        load_phonons(tmp_path / "disp.yaml")
    if not np.isfinite(value):
        ph = load_phonons(save_phonons(aluminium, tmp_path / "good" / "good.yaml"))
        ph.force_constants = broken
        with pytest.raises(ValueError, match="1 are not finite"):
            harmonic(ph)


class Damaged(AseCalculator):
    """EMT with one component of the forces gone wrong."""

    implemented_properties = ("energy", "forces")

    def __init__(self, factor):
        super().__init__()
        self.inner, self.factor = EMT(), factor

    def calculate(self, atoms, properties=(), changes=()):
        super().calculate(atoms, properties, changes)
        forces = self.inner.get_property("forces", atoms).copy()
        k = np.argmax(np.abs(forces).max(axis=1))
        if np.abs(forces).max() > 1e-3:
            forces[k] *= self.factor
        self.results = {"energy": self.inner.get_property("energy", atoms), "forces": forces}


def test_forces_of_a_calculator_are_looked_at_too():
    with pytest.raises(ForcesError, match=r"sum|harmonic crystal"):
        phonons(bulk("Al", cubic=True, a=3.99), Damaged(3.0), supercell=(2, 2, 2), relax=False)


def test_phonons_without_force_constants_are_saved_as_far_as_they_are(aluminium, tmp_path):
    bare = Phonopy(aluminium.unitcell, aluminium.supercell_matrix, primitive_matrix=aluminium.primitive_matrix)
    with pytest.raises(ValueError, match="without displacements or force constants"):
        save_phonons(bare, tmp_path / "bare.yaml")
    bare.dataset = aluminium.dataset
    back = load_phonons(save_phonons(bare, tmp_path / "forces.yaml.xz"))
    assert (tmp_path / "forces.yaml.xz").read_bytes().startswith(b"\xfd7zXZ")
    np.testing.assert_allclose(back.force_constants, aluminium.force_constants, atol=1e-6)


def test_bands_go_to_the_longitudinal_mode_on_both_sides_of_gamma():
    ph = load_phonons(NACL / "phonopy_disp.yaml")
    found = spectrum(ph, ensemble=(ph, ph, ph), mesh=(4, 4, 4))
    at = [x for x, label in found.ticks if label == "G"]
    rows = [np.flatnonzero(np.abs(found.distances - x) < 1e-9) for x in at]
    assert [len(r) for r in rows] == [1, 2]  # where the path begins, and where it goes through
    path = [np.linspace([0.5, 0, 0.5], [0, 0, 0], 11), np.linspace([0, 0, 0], [0.5, 0.5, 0.5], 11)]
    peer = [np.array(f) for f in ph.run_band_structure(path, is_legacy_plot=False).frequencies]
    for row in np.concatenate(rows):
        np.testing.assert_allclose(found.bands[row, 3:], peer[0][-1][3:], atol=1e-5)  # NaCl is cubic
        neighbours = [
            k for k in (row - 1, row + 1) if abs(found.distances[k % len(found.bands)] - found.distances[row]) > 0
        ]
        assert min(abs(found.bands[k, -1] - found.bands[row, -1]) for k in neighbours) < 0.05
    assert found.bands[rows[0][0], -1] > 1.3 * found.bands[rows[0][0], -2]
    assert np.abs(found.std["bands"]).max() < 1e-10
    plain = ph.run_qpoints([[0, 0, 0]]).frequencies[0]
    assert any("longitudinal" in note for note in harmonic(ph, temperatures=np.array([300.0])).notes)
    assert plain[-1] < 0.8 * found.bands[rows[0][0], -1]


class RoughEMT(EMT):
    """EMT whose forces have ripples, as those of learned potentials may: no derivative of anything."""

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        forces = self.results["forces"]
        ripples = np.sin(900.0 * self.atoms.positions) * np.abs(forces).max() * 0.4
        self.results["forces"] = forces + ripples - ripples.mean(axis=0)


@pytest.mark.filterwarnings("ignore:The undisplaced atoms")
def test_a_rough_potential_has_its_frequencies_and_a_warning():
    with pytest.warns(SuspectForcesWarning, match=r"the calculator's forces are rough .* try another displacement="):
        ph = phonons(bulk("Cu"), RoughEMT(), (2, 2, 2), relax=False, on_imaginary="report")
    assert np.isfinite(ph.run_qpoints([[0.5, 0.5, 0.0]]).frequencies).all()
