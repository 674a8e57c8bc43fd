"""Polar crystals: Born charges where they are given, and a word where they may lack."""

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from commands import call

from ase_mlx.adapters.phono3py import load_third_order
from ase_mlx.adapters.phono3py.force_constants import third_order
from ase_mlx.adapters.phonopy import (
    axial_expansion,
    conductivity,
    gruneisen,
    harmonic,
    load_phonons,
    quasi_harmonic,
)
from ase_mlx.adapters.phonopy.born import may_be_polar

DATA = Path(__file__).parents[1] / "reference" / "data"
SALT = DATA / "phono3py-nacl" / "phono3py_params.yaml.xz"
CHARGES = {"born": np.array([3, -1, -1, -1])[:, None, None] * np.eye(3), "dielectric": 6 * np.eye(3)}
BORN = "14.399652\n2.43 0 0 0 2.43 0 0 0 2.43\n1.09 0 0 0 1.09 0 0 0 1.09\n-1.09 0 0 0 -1.09 0 0 0 -1.09\n"
LACKS = "No Born charges, and this may be a polar insulator"
MESH = {"mesh": (4, 4, 4), "temperatures": [300]}


def test_elements_tell_what_may_be_polar():
    assert (
        may_be_polar(["Ga", "N"])
        and may_be_polar(["In", "Sb"])
        and may_be_polar(["Li", "Co", "O"])
        and may_be_polar(["Ga1", "N2"])
    )
    assert not may_be_polar(["Si", "Ge"]) and not may_be_polar(["Cu", "Au"]) and not may_be_polar(["Si", "Si"])


@pytest.mark.filterwarnings("ignore:The undisplaced atoms", "ignore:The supercell is")
def test_a_conductivity_from_a_crystal_takes_born_charges():
    crystal, steps = bulk("Cu", a=3.8, cubic=True), {"supercell": (2, 2, 2), "relax": False}
    crystal.symbols[0] = "Au"
    force_constants = third_order(crystal, EMT(), born=CHARGES, **steps)
    expected = conductivity(force_constants, **MESH).kappa
    given = conductivity(crystal, EMT(), born=CHARGES, error_bars=False, **steps, **MESH).kappa
    without = conductivity(crystal, EMT(), error_bars=False, **steps, **MESH)
    assert given == pytest.approx(expected, rel=1e-9) and abs(without.kappa[0, 0] / given[0, 0] - 1) > 1e-3
    assert not any(LACKS in note for note in without.notes)  # metals alone


def test_where_charges_lack_it_is_said_once(tmp_path):
    salt = load_third_order(SALT)
    assert salt.nac_params is not None
    with_charges = conductivity(salt, **MESH)
    salt.nac_params = None
    without = conductivity(salt, **MESH)
    assert sum(LACKS in note for note in without.notes) == 1 and not any(LACKS in note for note in with_charges.notes)
    (tmp_path / "charges").write_text(BORN)
    again = conductivity(salt, born=tmp_path / "charges", **MESH)
    assert again.kappa[0, 0] == pytest.approx(with_charges.kappa[0, 0], rel=0.02) and salt.nac_params is not None


@pytest.mark.slow
def test_the_command_takes_a_file_of_charges(tmp_path):
    (tmp_path / "charges").write_text(BORN.replace("1.09", "0.2"))
    options = ("conductivity", SALT, "--mesh", "4 4 4", "-t", "300", "--json")
    plain = call(tmp_path, *options, "a.json", "-o", "a")
    named = call(tmp_path, *options, "b.json", "--born", "charges", "-o", "b")
    assert plain.returncode == named.returncode == 0, named.stderr
    assert (tmp_path / "a.json").read_text() != (tmp_path / "b.json").read_text()
    assert LACKS not in plain.stdout  # the yaml has its own
    assert "Born charges from charges, as named" in named.stdout.replace("\n", " ") and LACKS not in named.stdout


def test_an_expansion_takes_born_charges_at_every_volume(tmp_path):
    """Longitudinal modes of charged ions are stiffer: more zero-point energy, less entropy."""
    crystal = bulk("Cu", a=3.8, cubic=True)
    crystal.symbols[0] = "Au"
    kelvin, options = np.arange(0.0, 401.0, 40.0), {"supercell": (2, 2, 2), "mesh": 20.0, "folder": tmp_path}
    without = quasi_harmonic(crystal, EMT(), temperatures=kelvin, **options)
    charged = quasi_harmonic(crystal, EMT(), temperatures=kelvin, born=CHARGES, **options)
    assert charged.entropy[5] < without.entropy[5] and charged.gibbs_energy[0] > without.gibbs_energy[0]
    with pytest.raises(ValueError, match="expected .4, 3, 3. numbers"):
        quasi_harmonic(crystal, EMT(), born={**CHARGES, "born": CHARGES["born"][:3]}, **options)


@pytest.mark.filterwarnings("ignore:phonopy_disp.yaml was written by")
def test_phonons_of_a_polar_crystal_say_what_lacks():
    ph = load_phonons(DATA / "phonopy-nacl" / "phonopy_disp.yaml")
    ph.nac_params = None
    assert sum(LACKS in note for note in harmonic(ph, (), np.array([300.0]), mesh=20.0).notes) == 1


def charges(crystal):
    return {"born": np.where(crystal.numbers == 8, -2, 2)[:, None, None] * np.eye(3), "dielectric": 6 * np.eye(3)}


@pytest.mark.filterwarnings("ignore::UserWarning")  # a toy potential's oxide; what is said does not depend on it
def test_gruneisen_parameters_say_what_lacks():
    oxide, options = bulk("NiO", "rocksalt", a=3.6), {"mesh": (3, 3, 3), "on_imaginary": "report", "error_bars": False}
    without, charged = (gruneisen(oxide, EMT(), (2, 2, 2), born=born, **options) for born in (None, charges(oxide)))
    assert [sum(LACKS in note for note in found.notes) for found in (without, charged)] == [1, 0]
    assert not np.allclose(without.frequencies, charged.frequencies)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_expansion_along_axes_says_what_lacks():
    oxide, kelvin = bulk("NiO", "wurtzite", a=2.8, c=4.5), np.arange(0.0, 401.0, 100.0)
    options = {"temperatures": kelvin, "strains": (-0.02, 0.0, 0.02, 0.04), "mesh": 10.0, "tolerance": 1e3}
    expansions = [
        axial_expansion(oxide, EMT(), (2, 2, 2), born=born, error_bars=False, **options)
        for born in (None, charges(oxide))
    ]
    assert [sum("without Born charges" in note for note in axial.notes) for axial in expansions] == [1, 0]


def test_commands_name_their_option(tmp_path):
    bulk("NiO", "rocksalt", a=3.6).write(
        tmp_path / "oxide.cif"
    )  # by a toy potential: what is said does not depend on it
    options = ("phonons", "oxide.cif", "-c", "emt", "--no-relax", "--supercell", "2 2 2", "--on-imaginary", "report")
    done = call(tmp_path, *options, "--json", "a.json")
    assert "--born BORN" in " ".join(done.stdout.split()), done.stdout + done.stderr
