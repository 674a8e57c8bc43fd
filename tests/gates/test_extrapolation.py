"""One word of extrapolation, wherever a number goes out: white tin has a distance score of 8, silicon below 1."""

import json
import warnings

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write
from ase.md.verlet import VelocityVerlet
from typer.testing import CliRunner

import ase_mlx as am
from ase_mlx.adapters.ase import Calculator, elastic
from ase_mlx.adapters.ase.job import equation_of_state, relax
from ase_mlx.adapters.phono3py.force_constants import third_order
from ase_mlx.adapters.phono3py.members import relative_std
from ase_mlx.adapters.phonopy import harmonic, members, phonons
from ase_mlx.adapters.phonopy.members import narrowed
from ase_mlx.cli import app
from ase_mlx.fields.density_files import write_density
from ase_mlx.models.error_bars import widening
from ase_mlx.models.extrapolation import Extrapolation, ExtrapolationWarning, extrapolation, once, see
from ase_mlx.models.large import distances


def white_tin():
    return bulk("Sn", "bct", a=5.83, c=3.18) * (1, 1, 2)


def said(caught):
    return [w for w in caught if issubclass(w.category, ExtrapolationWarning)]


def test_counts_environments_beyond_the_edge():
    seen = extrapolation([0.2, 0.9, 1.5, np.nan])
    assert (seen.environments, seen.outside, seen.share) == (4, 2, 0.5)
    assert seen.matters and "50 %" in str(seen)
    assert seen.as_dict()["largest_distance"] is None
    assert json.loads(json.dumps(seen.as_dict(), allow_nan=False))["share_outside"] == 0.5
    assert extrapolation(None) is None and extrapolation([]) is None
    assert not Extrapolation(100, 1, 1.3).matters  # as many as structures like the training data have
    assert Extrapolation(100, 2, 1.3).matters and Extrapolation(1000, 1, 1.6).matters
    assert extrapolation([0.1]) + extrapolation([3.0, 0.2]) == Extrapolation(3, 1, 3.0)


def test_calls_within_a_call_speak_once():
    @once()
    def inner(distance):
        see([distance])

    @once()
    def outer():
        for distance in (0.5, 3.0, 4.0):
            inner(distance)

    with pytest.warns(ExtrapolationWarning, match="67 % of") as caught:
        outer()
    assert len(caught) == 1
    assert caught[0].message.extrapolation.largest == 4
    with once(speak=False) as environments:
        outer()
    assert environments.seen.environments == 3
    see([5.0])  # outside of any call: nobody listens, nobody is told


def test_calculator_speaks_once_and_predict_once_a_call():
    atoms, calculator = white_tin(), Calculator("sigesn")
    atoms.calc = calculator
    with pytest.warns(ExtrapolationWarning, match="100 % of the atoms' environments") as caught:
        VelocityVerlet(atoms, 0.1).run(3)
    assert len(said(caught)) == 1
    assert atoms.get_potential_energy() == calculator.results["energy"]
    with pytest.warns(ExtrapolationWarning, match="67 %") as caught:
        found = am.predict("sigesn", [white_tin(), bulk("Si")], std=False)
    assert len(said(caught)) == 1
    assert found[0]["distance"].min() > 5 and found[1]["distance"].max() < 1
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")  # its negative values are told as well
        Calculator("sigesn").get_pseudo_density(white_tin(), spacing=0.8)
    assert len(said(caught)) == 1


def test_distances_of_a_structure_of_any_size_are_the_models_own():
    model, atoms = am.load("sigesn"), bulk("Si", cubic=True)
    atoms.rattle(0.05, seed=1)
    assert distances(model, atoms) == pytest.approx(am.predict(model, atoms, std=False)["distance"], rel=1e-5)
    assert distances(am.load("bhnaa"), atoms) is None


def test_jobs_speak_once(tmp_path):
    calculator = Calculator("sigesn", dtype="float64")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        relax(bulk("Si"), calculator)
    assert not said(caught)
    for job in (
        lambda: relax(white_tin(), calculator, steps=3),
        lambda: phonons(white_tin(), calculator, (1, 1, 1), relax=False, on_imaginary="report"),
        lambda: write_density(calculator.model, white_tin(), tmp_path / "x.npy", 0.8),
    ):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            job()
        assert len(said(caught)) == 1


def test_equation_of_state_speaks_once_for_all_volumes():
    with pytest.warns(ExtrapolationWarning) as caught:
        equation_of_state(bulk("Sn", "diamond", a=6.65), Calculator("sigesn", dtype="float64"), points=7)
    assert len(said(caught)) == 1
    assert said(caught)[0].message.extrapolation.environments == 14


def test_commands_speak_once_and_leave_a_key(tmp_path):
    write(tmp_path / "tin.cif", white_tin())
    density = ["density", "tin.cif", "--spacing", "0.8", "--dtype", "float32"]
    phonon = ["phonons", "tin.cif", "-c", "sigesn", "--supercell", "1 1 1", "--no-relax", "--on-imaginary", "report"]
    for (command, source, *rest), out in ((phonon, "phonons"), (density, "x.npy")):
        arguments = [command, str(tmp_path / source), *rest, "-o", str(tmp_path / out)]
        run = CliRunner().invoke(app, [*arguments, "--json", str(tmp_path / "a.json")])
        assert " ".join(run.stdout.split()).count("Extrapolation: 100 % of the atoms' environments") == 1, run.output
        found = json.loads((tmp_path / "a.json").read_text())["extrapolation"]
        assert found["share_outside"] == 1 and found["largest_distance"] > 5


def test_bars_of_second_derivatives_are_widened_beyond_the_edge_alone():
    values, deviations = np.ones((4, 3)), np.full((2, 4, 3), 0.01 / np.sqrt(2))
    for inside in (None, [], [0.1, 0.9]):
        assert widening(inside if inside is None else np.array(inside), values, deviations) == 1
    rising = [widening(np.array([0.2, d]), values, deviations) for d in (0.9, 0.92, 0.95, 1.0, 2.0)]
    assert np.all(np.diff(rising) > 0)
    assert rising[3] == pytest.approx(np.hypot(1, 0.1 / 0.01)) and rising[4] == pytest.approx(
        np.hypot(1, 0.1 * 2**1.5 / 0.01)
    )
    assert widening(np.array([5.0]), values, 0 * deviations) == 1  # members that agree exactly cannot be scaled


def compressed():
    """Aluminium at 81 % of its volume: stable, and beyond the training data."""
    return bulk("Al", a=3.76)


STEADY = {"supercell": (3, 3, 3), "relax": False}


@pytest.mark.filterwarnings("ignore:The supercell is", "ignore:The undisplaced atoms")  # small, and under pressure
def test_phonons_and_thermal_functions_are_widened_beyond_the_edge_and_say_so_once():
    calculator = Calculator("al", dtype="float64")
    with warnings.catch_warnings():
        warnings.simplefilter("error", ExtrapolationWarning)
        ph = phonons(bulk("Al", a=4.045), calculator, **STEADY)
        assert {member.widening for member in members(ph, calculator)} == {1.0}
    with pytest.warns(ExtrapolationWarning, match="of phonons, elastic constants and conductivities") as caught:
        ph = phonons(compressed(), calculator, **STEADY)
    assert len(said(caught)) == 1
    with pytest.warns(ExtrapolationWarning) as caught:
        ensemble = members(ph, calculator)
    assert len(said(caught)) == 1
    near, factor = narrowed(ph, ensemble)
    assert factor == ensemble[0].widening > 2

    def spread(phs):
        return np.sqrt(np.square([one.force_constants - ph.force_constants for one in phs]).sum() / (len(phs) - 1))

    share = 0.1 * calculator.get_property("distance", compressed()).max() ** 1.5
    assert spread(ensemble) == pytest.approx(np.hypot(spread(near), share * np.linalg.norm(ph.force_constants)))
    with pytest.warns(ExtrapolationWarning) as caught:  # elastic constants for the Debye temperature
        wide, narrow = (harmonic(ph, e, np.array([300.0]), mesh=(4, 4, 4)) for e in (ensemble, near))
    assert len(said(caught)) == 2
    for name in ("frequencies", "heat_capacity", "entropy", "free_energy", "zero_point_energy"):
        assert wide.std[name] == pytest.approx(factor * narrow.std[name], rel=1e-9)
    assert wide.std["heat_capacity"][0] > 0.005 * wide.heat_capacity[0]


@pytest.mark.filterwarnings("ignore:The supercell is", "ignore:The undisplaced atoms")  # small, and under pressure
def test_elastic_constants_and_conductivities_are_widened_beyond_the_edge(monkeypatch):
    calculator, temperatures = Calculator("al", dtype="float64"), np.array([300.0])
    alloy, other = bulk("SiSn", "zincblende", a=6.0), Calculator("sigesn", dtype="float64")
    with pytest.warns(ExtrapolationWarning):
        wide = elastic(alloy, other, relax=False)
        ph = third_order(compressed(), calculator, (3, 3, 3), relax=False)
        kappa_std = relative_std(ph, calculator, temperatures)
    monkeypatch.setattr("ase_mlx.models.error_bars.STIFFNESS", 0.0)
    with pytest.warns(ExtrapolationWarning):
        narrow = elastic(alloy, other, relax=False)
    factor = wide.std[0, 0] / narrow.std[0, 0]
    assert factor > 1.5 and wide.std == pytest.approx(factor * narrow.std)
    assert wide.moduli_std.bulk == pytest.approx(factor * narrow.moduli_std.bulk)
    assert wide.debye_temperature_std == pytest.approx(factor * narrow.debye_temperature_std)
    assert wide.members.std(0, ddof=1) == pytest.approx(wide.std)
    assert kappa_std > 1.5 * relative_std(ph, calculator, temperatures)
