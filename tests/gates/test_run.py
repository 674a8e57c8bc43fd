import csv
import json
import warnings

import numpy as np
import pytest
import typer
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.io import read
from ase.spacegroup import crystal
from ensemble_emt import EnsembleEMT
from typer.testing import CliRunner

from ase_mlx.adapters.ase import elastic
from ase_mlx.adapters.ase.dynamics import dynamics
from ase_mlx.adapters.ase.job import Value, equation_of_state, relax, spacegroup_of
from ase_mlx.adapters.ase.supercells import kind, supercell_matrix
from ase_mlx.cli import app
from ase_mlx.cli.output import write_json
from ase_mlx.cli.run import finish, write_joint
from ase_mlx.jobs.main import main_job
from ase_mlx.jobs.outcome import Outcome, reference_of, summary, write_table
from ase_mlx.models.extrapolation import ExtrapolationWarning

PNG = b"\x89PNG\r\n"


def png_shape(path):
    data = path.read_bytes()
    assert data.startswith(PNG)
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def test_relaxation_finds_the_minimum_and_keeps_the_space_group():
    atoms = bulk("Cu", cubic=True, a=3.8)
    relaxed = relax(atoms, EMT(), fmax=1e-4)
    assert relaxed.converged
    assert relaxed.spacegroup == "Fm-3m (225)"
    assert relaxed.largest_stress < 0.01
    np.testing.assert_allclose(relaxed.atoms.cell.lengths(), 3.5898, atol=1e-3)
    np.testing.assert_allclose(atoms.cell.lengths(), 3.8)
    assert relaxed.energy.std is None


def test_relaxation_says_when_it_did_not_converge():
    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    atoms.rattle(0.1, seed=0)
    relaxed = relax(atoms, EMT(), fmax=1e-6, steps=3)
    assert not relaxed.converged
    assert "after 3 steps" in relaxed.notes[-1]


def test_only_crystals_relax_their_cell():
    slab = fcc111("Al", (2, 2, 3), vacuum=8)
    slab.set_constraint(FixAtoms([0, 1]))
    relaxed = relax(slab, EMT(), fmax=0.05)
    assert relaxed.largest_stress is None
    assert "a slab has no bulk volume" in relaxed.notes[0]
    np.testing.assert_allclose(relaxed.atoms.cell.array, slab.cell.array)
    np.testing.assert_allclose(relaxed.atoms.positions[:2], slab.positions[:2])


@pytest.mark.parametrize(
    ("atoms", "expected"),
    [
        (bulk("Al"), "crystal"),
        (fcc111("Al", (1, 1, 3), vacuum=8), "slab"),
        (fcc111("Al", (1, 1, 3), vacuum=8, periodic=True), "slab"),
        (Atoms("Al", cell=[3, 12, 12], pbc=True), "wire"),
        (Atoms("Al", cell=[3, 0, 0], pbc=[True, False, False]), "wire"),
        (Atoms("Al", cell=[12, 12, 12], pbc=True), "molecule"),
        (molecule("N2"), "molecule"),
    ],
)
def test_kinds(atoms, expected):
    assert kind(atoms) == expected


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (Atoms(), "no atoms"),
        (Atoms("Al", positions=[[np.nan, 0, 0]]), r"atoms \[0\] are not finite"),
        (Atoms("Al", cell=[1, 1, 0], pbc=True), "volume of 0"),
        (Atoms("Al", cell=[0, 1, 1], pbc=[True, False, False]), "Cell vector 0 is periodic but has no length"),
    ],
)
def test_broken_structures_are_refused(atoms, message):
    with pytest.raises(ValueError, match=message):
        kind(atoms)


def test_supercells_of_primitive_and_conventional_cells_are_alike():
    for atoms in (bulk("Si"), bulk("Si", cubic=True)):
        assert len(atoms) * abs(np.linalg.det(supercell_matrix(atoms))) == pytest.approx(64)


def test_equation_of_state_agrees_with_ase():
    from ase.eos import EquationOfState
    from ase.units import GPa

    atoms = relax(bulk("Cu"), EMT(), fmax=1e-5).atoms
    eos = equation_of_state(atoms, EMT())
    volume, energy, modulus = EquationOfState(eos.volumes, eos.energies, eos="birchmurnaghan").fit()
    assert eos.volume.value == pytest.approx(volume, rel=1e-4)
    assert eos.bulk_modulus.value == pytest.approx(modulus / GPa, rel=2e-3)
    assert eos.lattice_constant.value == pytest.approx((4 * volume) ** (1 / 3), rel=1e-4)
    assert eos.bulk_modulus.std is None
    assert eos.curve_std is None


def test_equation_of_state_relaxes_the_shape_of_a_hexagonal_cell():
    atoms = relax(bulk("Ti", "hcp", a=2.8, c=4.4), _TitaniumAsCopper(), fmax=1e-4).atoms
    eos = equation_of_state(atoms, _TitaniumAsCopper(), fmax=1e-4)
    assert eos.lattice_constant is None
    assert eos.volume.value == pytest.approx(atoms.get_volume(), rel=2e-3)


class _TitaniumAsCopper(EMT):
    def calculate(self, atoms=None, *args, **kwargs):
        copper = atoms.copy()
        copper.numbers[:] = 29
        super().calculate(copper, *args, **kwargs)
        self.atoms = atoms.copy()


def test_energies_off_the_curve_are_said():
    class Kinked(EMT):
        """Another structure's energy above a volume, as where a relaxation jumps."""

        def calculate(self, atoms=None, properties=("energy",), system_changes=()):
            super().calculate(atoms, properties, system_changes)
            if atoms.get_volume() > 12:
                self.results["energy"] = self.results["free_energy"] = self.results["energy"] - 0.01

    atoms = relax(bulk("Cu"), EMT(), fmax=1e-5).atoms
    assert not equation_of_state(atoms, EMT()).notes
    assert "no smooth curve: they lie up to" in equation_of_state(atoms, Kinked()).notes[-1]


def test_equation_of_state_members_have_known_error_bars():
    strengths, scales = np.array([0.9, 1.0, 1.2]), np.array([0.998, 1.0, 1.003])
    calculator = EnsembleEMT(strengths, scales)
    atoms = relax(bulk("Cu"), EMT(), fmax=1e-5).atoms
    eos = equation_of_state(atoms, calculator)
    a, modulus = eos.lattice_constant.value, eos.bulk_modulus.value
    assert eos.lattice_constant.std == pytest.approx(np.std(a / scales, ddof=1), rel=0.05)
    assert eos.bulk_modulus.std == pytest.approx(np.std(modulus * strengths * scales**3, ddof=1), rel=0.05)
    assert eos.bulk_modulus.origin == "members"
    assert eos.curve_std.min() >= 0


def test_dynamics_holds_the_temperature_and_conserves_energy():
    atoms = relax(bulk("Cu", cubic=True), EMT()).atoms
    run = dynamics(atoms, EMT(), temperature=400, steps=400, length=7, seed=3)
    assert run.natoms == 32
    assert len(run.times) == 401
    assert abs(run.temperature.value - 400) < 90
    assert abs(run.drift.value) < 5
    assert 0.001 < run.displacement.value < 0.1
    assert run.largest_distance is None
    assert run.sampled_forces_std is None
    step = int(run.thermostat_end / run.timestep)
    assert np.ptp(run.energies[step:]) / run.natoms < 1e-3
    assert run.temperatures[:5].max() < 1.3 * 2 * 400


def test_dynamics_repeats_with_its_seed():
    runs = [dynamics(bulk("Cu", cubic=True), EMT(), steps=50, length=3, seed=seed) for seed in (3, 3, 4)]
    np.testing.assert_array_equal(runs[0].energies, runs[1].energies)
    assert np.abs(runs[0].energies - runs[2].energies).max() > 1e-3


def test_dynamics_that_blows_up_says_so():
    class Exploding(EMT):
        def calculate(self, *args, **kwargs):
            super().calculate(*args, **kwargs)
            self.results["energy"] = np.nan

    with pytest.raises(FloatingPointError, match="blew up at step 0"):
        dynamics(bulk("Cu", cubic=True), Exploding(), steps=50, length=3)


@pytest.mark.slow
def test_a_crystal_gets_every_number_file_and_figure(tmp_path):
    calculator = EnsembleEMT((0.95, 1.1), (0.999, 1.001))
    told = []
    outcome = main_job(
        bulk("Al", cubic=True), calculator, tmp_path, "aluminium", steps=60, progress=lambda *args: told.append(args)
    )
    assert not outcome.failed
    assert not outcome.skipped
    result = json.loads((tmp_path / "results.json").read_text())
    rows = {row["quantity"]: row for row in result["quantities"]}
    assert rows["lattice constant"]["dft"] == 4.045
    assert "this project's data" in rows["lattice constant"]["dft_source"]
    assert rows["heat capacity C_V (300 K)"]["value"] == pytest.approx(23.27, abs=0.1)
    assert rows["heat capacity C_V (300 K)"]["experiment"] is None  # what is measured is C_p
    assert rows["entropy (300 K)"]["unit"] == "J/(K mol atom)"
    known = elastic(relax(bulk("Al", cubic=True), EMT(), fmax=1e-3).atoms, calculator, relax=False)
    assert rows["elastic constant C11"]["value"] == pytest.approx(known.tensor[0, 0], rel=1e-6)
    assert rows["elastic constant C11"]["dft"] is None  # this DFT has no elastic constants
    assert rows["Debye temperature (T → 0)"]["value"] == pytest.approx(known.debye_temperature, rel=1e-6)
    np.testing.assert_allclose(result["elastic"]["tensor_GPa"], known.tensor)
    bulk_modulus = rows["bulk modulus"]["value"]  # of a curve over 18 % of volume, not of the minimum alone
    assert rows["bulk modulus (Hill)"]["value"] == pytest.approx(bulk_modulus, rel=0.05)
    assert "energies (not of the stress)" in rows["bulk modulus"]["dft_source"]
    for name in ("energy", "lattice constant", "bulk modulus", "highest frequency", "heat capacity C_V (300 K)"):
        assert rows[name]["std"] > 0
        assert rows[name]["std_from"] == "members"
    with (tmp_path / "results.csv").open() as stream:
        table = list(csv.DictReader(stream))
    assert [row["quantity"] for row in table] == list(rows)
    assert float(table[1]["value"]) == rows["lattice constant"]["value"]
    for name in ("equation_of_state", "elastic", "phonons", "thermal", "dynamics", "summary"):
        assert min(png_shape(tmp_path / f"{name}.png")) > 400
    frames = read(tmp_path / "trajectory.extxyz", ":")
    assert frames[0].info["stage"] == "relaxed"
    assert frames[-1].arrays["forces_std"].shape == (108, 3)
    assert frames[-1].get_forces().shape == (108, 3)
    assert {stage for stage, _, _ in told} == {"relaxation", "equation of state", "dynamics"}


def test_a_slab_says_what_it_leaves_out(tmp_path):
    outcome = main_job(fcc111("Al", (2, 2, 3), vacuum=8), EMT(), tmp_path, "slab", steps=60)
    assert not outcome.failed
    assert set(outcome.skipped) == {
        *("cell relaxation", "equation of state", "elastic constants", "anomaly score", "phonons")
    }
    assert "this is a slab" in outcome.skipped["phonons"]
    assert (tmp_path / "dynamics.png").exists()
    assert not (tmp_path / "summary.png").exists()


@pytest.mark.slow
def test_a_crystal_without_symmetry_is_not_sent_on_a_day_of_phonons(tmp_path):
    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    atoms.numbers[np.random.default_rng(0).choice(32, 12, replace=False)] = 28
    outcome = main_job(atoms, EMT(), tmp_path, "alloy", steps=50)
    assert "displaced supercells" in outcome.skipped["phonons"]
    assert not outcome.failed


def test_imaginary_modes_are_named_and_give_no_thermal_functions(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outcome = main_job(bulk("Cu", "sc", a=2.4), EMT(), tmp_path, "simple cubic", steps=60)
    assert "lowest -" in outcome.failed["thermal functions"]
    names = [row["quantity"] for row in outcome.quantities]
    assert "highest frequency" in names
    assert not any("heat capacity" in name for name in names)
    assert (tmp_path / "phonons.png").exists()


def test_one_bad_structure_never_loses_the_others(tmp_path, capsys):
    good = main_job(bulk("Al"), EMT(), tmp_path / "good", "good", steps=60)
    bad = main_job(bulk("Si"), EMT(), tmp_path / "bad", "bad", steps=60)
    lost = Outcome("lost", failed={"reading": "no such format"})
    write_joint([good, bad, lost], tmp_path)
    with pytest.raises(typer.Exit) as end:
        finish([good, bad, lost], tmp_path, None)
    assert end.value.exit_code == 1
    said = capsys.readouterr()
    assert "bad: relaxation failed: No EMT-potential for Si" in said.err
    assert "lost: reading failed: no such format" in said.err
    assert "bulk modulus" in said.out
    with (tmp_path / "results.csv").open() as stream:
        assert {row["structure"] for row in csv.DictReader(stream)} == {"good"}
    assert len(json.loads((tmp_path / "results.json").read_text())) == 3
    assert json.loads((tmp_path / "bad" / "results.json").read_text())["failed"]


def test_what_is_unknown_is_absent_and_json_is_written_all_the_same(tmp_path):
    outcome = Outcome("odd")
    outcome.add("value", Value(np.nan, 0.1, "K", "members"))
    outcome.add("limit", Value(np.inf, None, "K"))
    outcome.add("bar", Value(300.0, np.nan, "K", "members"))
    outcome.conclude({})
    assert [(row["quantity"], row["std"], row["std_from"]) for row in outcome.quantities] == [("bar", None, None)]
    write_json(summary(outcome), tmp_path / "results.json")
    write_table(tmp_path / "results.csv", outcome.quantities)
    assert "nan" not in (tmp_path / "results.csv").read_text().lower()
    assert json.loads((tmp_path / "results.json").read_text())["quantities"][0]["std"] is None


def test_references_are_those_of_the_same_structure():
    assert reference_of(bulk("Si"), "Fd-3m (227)")["quantities"]["lattice constant"]["dft"] == 5.47
    assert reference_of(bulk("Si", cubic=True) * (2, 1, 1), "Fd-3m (227)")
    pyrochlore = crystal("Si", [(0.125, 0.125, 0.125)], spacegroup=227, setting=1, cellpar=[6.2] * 3 + [90] * 3)
    assert spacegroup_of(pyrochlore) == "Fd-3m (227)"
    assert len(pyrochlore) == 16
    assert reference_of(pyrochlore, "Fd-3m (227)") == {}
    assert reference_of(bulk("GeSi", "zincblende", a=5.6), "F-43m (216)")["formula"] == "GeSi"
    assert reference_of(bulk("Al", "bcc", a=3.2), "Im-3m (229)") == {}


def run_command(*arguments):
    return CliRunner().invoke(app, ["run", *map(str, arguments)])


@pytest.mark.slow
def test_command_on_a_file_with_the_shipped_model(tmp_path):
    bulk("Si").write(tmp_path / "silicon.cif")
    done = run_command(tmp_path / "silicon.cif", "-o", tmp_path / "out", "--json", "-", "--steps", "60")
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["model"] == "sigesn"
    rows = {row["quantity"]: row for row in result["quantities"]}
    assert rows["lattice constant"]["value"] == pytest.approx(5.47, abs=0.03)
    assert rows["lattice constant"]["dft"] == 5.47
    assert all(row["std"] is None or row["std"] > 0 for row in rows.values())
    assert rows["heat capacity C_V (300 K)"]["value"] == pytest.approx(20.0, abs=0.5)
    assert rows["density amid the bond"]["value"] == pytest.approx(0.56, abs=0.02)
    assert {"summary.png", "density.png", "phonopy_params.yaml", "trajectory.extxyz"} <= set(result["files"])
    assert all((tmp_path / "out" / name).exists() for name in result["files"])


def test_command_goes_on_after_a_bad_file_and_refuses_a_wrong_call(tmp_path):
    bulk("He", "fcc", a=4.2).write(tmp_path / "helium.cif")
    (tmp_path / "broken.cif").write_text("no crystal\n")
    done = run_command(tmp_path / "helium.cif", tmp_path / "broken.cif", "-o", tmp_path / "out", "--steps", "60")
    assert done.exit_code == 1
    assert "helium: reading failed: got He; no model that is here knows all of these" in done.stderr
    assert "broken: reading failed" in done.stderr
    for arguments in ((tmp_path / "lost.cif",), (tmp_path / "helium.cif", "-m", "no-such-model"), ("--steps", "1")):
        assert run_command(*arguments).exit_code == 2
    assert run_command(tmp_path / "broken.cif").exit_code == 2


def test_dynamics_says_when_it_leaves_the_training_data():
    class Far(EnsembleEMT):
        def get_property(self, name, atoms=None, allow_calculation=True):
            far = np.linspace(0, 1.25, len(atoms)) if name == "distance" else None
            return super().get_property(name, atoms, allow_calculation) if far is None else far

    with pytest.warns(ExtrapolationWarning, match="25 % of the atoms' environments"):
        run = dynamics(bulk("Cu", cubic=True), Far((0.9, 1.1)), steps=50, length=3, samples=2)
    assert run.largest_distance.value == 1.25
    assert run.outside == pytest.approx(0.25)
    inside = dynamics(bulk("Cu", cubic=True), EnsembleEMT((0.9, 1.1)), steps=50, length=3, samples=2)
    assert inside.outside == 0


def test_a_calculator_without_stress_relaxes_atoms_alone():
    class NoStress(EMT):
        implemented_properties = ["energy", "free_energy", "energies", "forces"]

        def calculate(self, atoms=None, properties=("energy",), system_changes=()):
            super().calculate(atoms, properties, system_changes)
            self.results.pop("stress", None)

    start = bulk("Cu", cubic=True)
    start.positions[0] += [0.05, 0.02, 0.0]
    with pytest.raises(ValueError, match='NoStress, which gives no stress.*cell="fixed".*relax=False'):
        relax(start, NoStress())
    fixed = relax(start, NoStress(), cell="fixed", symmetry=False)
    assert fixed.converged and fixed.largest_stress is None
    assert fixed.largest_force < 1e-3
    assert fixed.energy.value == pytest.approx(relax(start, EMT(), cell="fixed", symmetry=False).energy.value)
