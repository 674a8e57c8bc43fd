"""Other ways to force constants, what is derived from them, and what is refused or flagged."""

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import phonopy
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.spacegroup import crystal
from ensemble_emt import EnsembleEMT

from ase_mlx.adapters.ase import Calculator, elastic
from ase_mlx.adapters.ase.job import relax
from ase_mlx.adapters.phonopy import (
    ImaginaryModesError,
    ImaginaryModesWarning,
    change,
    force_constants,
    group_velocities,
    harmonic,
    load_phonons,
    members,
    phonons,
    projected_dos,
    save_phonons,
    spectrum,
    stability,
    thermal_displacements,
)
from ase_mlx.adapters.phonopy.cells import to_ase, to_phonopy
from ase_mlx.adapters.phonopy.symmetry import FastPhonopy, produce

REFERENCE = Path(__file__).parents[1] / "reference" / "data"


@pytest.fixture(scope="module")
def silicon():
    calculator = Calculator("sigesn", dtype="float64")
    atoms = relax(bulk("Si", cubic=True), calculator, fmax=1e-4).atoms
    ph = phonons(atoms, calculator, (2, 2, 2), relax=False)
    return atoms, calculator, ph, members(ph, calculator)


@pytest.fixture(scope="module")
def copper():
    return phonons(bulk("Cu"), EMT(), (4, 4, 4))


def test_random_displacements_give_the_same_force_constants(copper):
    random = phonons(bulk("Cu"), EMT(), (4, 4, 4), method="random")
    assert "displacements" in random.dataset
    assert np.abs(random.force_constants - copper.force_constants).max() < 3e-3 * np.abs(copper.force_constants).max()


@pytest.mark.slow
def test_the_hessian_route_gives_the_same_phonons_and_error_bars(silicon):
    atoms, calculator, ph, ensemble = silicon
    exact = phonons(atoms, calculator, (2, 2, 2), relax=False, method="hessian")
    assert exact.dataset is None
    assert np.abs(exact.force_constants - ph.force_constants).max() < 1e-3
    t = np.array([300.0])
    one, other = (harmonic(p, e, t, mesh=20.0) for p, e in ((ph, ensemble), (exact, members(exact, calculator))))
    np.testing.assert_allclose(one.frequencies, other.frequencies, atol=5e-3)
    np.testing.assert_allclose(one.std["heat_capacity"], other.std["heat_capacity"], rtol=0.02)
    assert one.displacement == pytest.approx(0.01)
    assert other.displacement is None
    assert one.members == other.members == 16


def test_batched_forces_are_those_of_the_calculator(silicon):
    atoms, calculator, ph, _ = silicon
    moved = ph.supercells_with_displacements[0]
    cell = atoms.repeat(2)
    cell.positions[:] = moved.positions[_match(moved.positions, cell)]
    single = calculator.get_property("forces", cell)[np.argsort(_match(moved.positions, cell))]
    rest = calculator.get_property("forces", atoms.repeat(2))
    assert np.abs(rest).max() < 1e-9
    np.testing.assert_allclose(single, ph.forces[0], atol=1e-9)


def _match(positions, cell):
    """Which of phonopy's atoms each of ASE's is."""
    difference = cell.positions[:, None] - positions
    difference -= np.rint(difference @ np.linalg.inv(cell.cell.array)) @ cell.cell.array
    return np.linalg.norm(difference, axis=2).argmin(axis=1)


def test_born_charges_split_the_optical_modes():
    calculator = Calculator("sigesn", dtype="float64")
    atoms = relax(bulk("SiGe", "zincblende", a=5.59), calculator, fmax=1e-4).atoms
    charges = np.array([0.6, -0.6])[:, None, None] * np.eye(3)
    born = {"born": charges, "dielectric": 12 * np.eye(3), "factor": 14.4}
    with pytest.warns(UserWarning, match="less than twice the potential's cutoff of 5 Å"):
        plain, polar = (phonons(atoms, calculator, (2, 2, 2), relax=False, born=b) for b in (None, born))
    near = [1e-4, 0, 1e-4]
    without, with_charges = (ph.run_qpoints([near]).frequencies[0, 3:] for ph in (plain, polar))
    assert np.ptp(without) < 1e-3
    np.testing.assert_allclose(with_charges[:2], without[:2], atol=1e-3)
    assert with_charges[2] > without[2] + 0.05


def test_following_an_imaginary_mode_ends_at_a_stable_crystal_of_lower_energy():
    bcc = bulk("Cu", "bcc", a=2.87)
    with pytest.raises(ImaginaryModesError, match='on_imaginary="follow"'):
        phonons(bcc, EMT(), (4, 4, 4))
    with pytest.warns(
        ImaginaryModesWarning, match=r"Im-3m \(229\) became P6_3/mmc \(194\), 2 atoms, 3.* meV/atom lower"
    ):
        ph = phonons(bcc, EMT(), (4, 4, 4), on_imaginary="follow")
    assert stability(ph).lowest > 0
    assert len(ph.unitcell) == 2


def test_a_supercell_is_enlarged_until_the_frequencies_stand(monkeypatch):
    calls = []
    ph = phonons(bulk("Cu"), EMT(), progress=lambda done, total: calls.append((done, total)))
    heights = 1 / np.linalg.norm(np.linalg.inv(ph.supercell.cell), axis=0)
    assert heights.min() > 15
    assert calls == 2 * [(0, 1), (1, 1)]  # 108 and 500 atoms, at rest and displaced
    assert change(phonons(bulk("Cu"), EMT(), 10.0), ph) < 0.15
    monkeypatch.setattr(force_constants, "MOST_ATOMS", 200)
    with pytest.warns(UserWarning, match="108 atoms was not checked against a larger one, which has 500"):
        phonons(bulk("Cu"), EMT())


@pytest.mark.parametrize(
    ("masses", "message"),
    [([0.0, 0.0], "positive numbers"), ([np.nan, 27], "positive numbers")],
)
def test_masses_without_meaning_are_refused(masses, message):
    atoms = bulk("Al", cubic=True).repeat((1, 1, 1))[:2]
    atoms.set_masses(masses)
    with pytest.raises(ValueError, match=message):
        phonons(atoms, EMT(), (2, 2, 2))


def test_a_mass_of_another_element_is_flagged():
    atoms = bulk("Cu")
    atoms.set_masses([1.0])
    with pytest.warns(UserWarning, match="mass of Cu is 1 amu, the element's is 63.55"):
        phonons(atoms, EMT(), (3, 3, 3))


def test_projected_densities_of_states_sum_to_the_total(silicon):
    _, _, ph, ensemble = silicon
    found = projected_dos(ph, ensemble[:3], mesh=30.0)
    step = found.axis[1] - found.axis[0]
    np.testing.assert_allclose(found.value.sum(axis=1) * step, [3, 3], rtol=0.02)
    assert found.std.shape == found.value.shape


def test_displacements_are_isotropic_and_classical_when_hot(silicon):
    _, _, ph, ensemble = silicon
    found = thermal_displacements(ph, ensemble[:3], (0.0, 300.0, 3000.0, 6000.0), mesh=25.0)
    u = found.value[:, 0]
    np.testing.assert_allclose(u, u[:, :1, :1] * np.eye(3), atol=1e-8)
    assert u[3, 0, 0] == pytest.approx(2 * u[2, 0, 0], rel=0.01)
    assert 0 < u[0, 0, 0] < u[1, 0, 0]
    assert found.std[1, 0, 0, 0] > 0


def test_group_velocities_are_slopes(silicon):
    _, _, ph, ensemble = silicon
    q, step = np.array([0.2, 0.05, 0.11]), 1e-4
    found = group_velocities(ph, q[None], ensemble[:3])
    reciprocal = np.linalg.inv(ph.primitive.cell)
    for axis in range(3):
        shift = step * np.eye(3)[axis] @ np.linalg.inv(reciprocal.T)
        ahead, behind = ph.run_qpoints([q + shift, q - shift]).frequencies
        np.testing.assert_allclose(found.value[0, :, axis], 0.1 * (ahead - behind) / (2 * step), atol=2e-3)
    assert found.std.shape == found.value.shape


def test_debye_temperatures(copper):
    result = harmonic(copper, temperatures=np.array([15.0, 300.0]), mesh=250.0)
    classical = 12 / 5 * np.pi**4 * 8.314462 * (15.0 / result.debye_temperature) ** 3
    assert result.heat_capacity[0] == pytest.approx(classical, rel=0.08)
    assert 0.7 < spectrum(copper).debye_temperature / result.debye_temperature < 1.3
    assert result.debye_temperature == result.elastic.debye_temperature


def test_a_file_of_force_constants_has_no_debye_temperature_unless_elastic_constants_are_brought(copper, tmp_path):
    back = load_phonons(save_phonons(copper, tmp_path / "phonopy_params.yaml"))
    alone = harmonic(back, temperatures=np.array([300.0]))
    assert alone.debye_temperature is None
    assert "needs elastic constants" in alone.notes[-1]
    constants = elastic(to_ase(copper.unitcell), EMT(), relax=False)
    beside = harmonic(back, temperatures=np.array([300.0]), elastic=constants)
    assert beside.debye_temperature == constants.debye_temperature


def test_saved_phonons_come_back_and_phonopys_own_command_reads_them(copper, tmp_path):
    path = save_phonons(copper, tmp_path / "phonopy_params.yaml")
    back = load_phonons(path)
    np.testing.assert_allclose(
        back.run_qpoints([[0.3, 0.1, 0.2]]).frequencies, copper.run_qpoints([[0.3, 0.1, 0.2]]).frequencies, atol=1e-6
    )
    command = [
        Path(sys.executable).parent / "phonopy",
        path.name,
        "--mesh",
        "9",
        "9",
        "9",
        "--gc",
        "-t",
        "--cutoff-freq",
        "0.01",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    line = next(row for row in done.stdout.splitlines() if row.split()[:1] == ["300.000"])
    ours = harmonic(copper, temperatures=np.array([300.0]), mesh=(9, 9, 9))
    assert float(line.split()[3]) == pytest.approx(ours.heat_capacity[0], rel=2e-4)


def test_a_file_of_phonopy_2_is_flagged(tmp_path):
    text = (REFERENCE / "phonopy-al-abacus" / "phonopy_disp.yaml").read_text()
    (tmp_path / "phonopy_disp.yaml").write_text(text)
    (tmp_path / "FORCE_SETS").write_text((REFERENCE / "phonopy-al-abacus" / "FORCE_SETS").read_text())
    with pytest.warns(UserWarning, match="written by phonopy 2.15.1"):
        ph = load_phonons(tmp_path / "phonopy_disp.yaml")
    assert ph.force_constants is not None


def test_missing_forces_and_foreign_files_are_refused(copper, tmp_path):
    save_phonons(copper, tmp_path / "whole.yaml")
    bare = copper.replicate()
    bare.generate_displacements(distance=0.01)
    bare.save(tmp_path / "bare.yaml")
    with pytest.raises(ValueError, match="1 displacements, of which 1 have no finite forces"):
        load_phonons(tmp_path / "bare.yaml")
    (tmp_path / "other.yaml").write_text("a: 1\n")
    with pytest.raises(ValueError, match="expected the yaml that Phonopy.save writes"):
        load_phonons(tmp_path / "other.yaml")
    with pytest.raises(FileNotFoundError, match="expected an existing"):
        load_phonons(tmp_path / "none.yaml")
    assert phonopy.load(tmp_path / "whole.yaml", log_level=0).force_constants is not None


def test_members_of_an_ordinary_calculator_are_none(copper):
    assert members(copper, EMT()) == ()
    assert len(members(copper, EnsembleEMT([0.9, 1.1]))) == 2


@pytest.mark.parametrize("lattice", ["diamond", "hcp", "triclinic"])
def test_symmetric_force_constants_are_those_of_symfcs_projector(lattice):
    cells = {"diamond": bulk("Si", cubic=True), "hcp": bulk("Cu", "hcp", a=2.55, c=4.2)}
    cells["triclinic"] = Atoms("Si2GeSn", cell=[[4.1, 0, 0], [0.5, 4.6, 0], [0.3, 0.7, 4.9]], pbc=True)
    cells["triclinic"].set_scaled_positions([[0, 0, 0], [0.5, 0.5, 0.1], [0.1, 0.6, 0.5], [0.6, 0.2, 0.6]])
    ph = phonopy.Phonopy(to_phonopy(cells[lattice]), 2 * np.eye(3, dtype=int), primitive_matrix="P")
    ph.generate_displacements()
    noise = np.random.default_rng(0).normal(
        scale=0.1, size=(len(ph.supercells_with_displacements), len(ph.supercell), 3)
    )
    ph.forces = noise
    produce(ph)
    ours = ph.force_constants.copy()
    ph.produce_force_constants(fc_calculator="traditional", show_drift=False)
    ph.symmetrize_force_constants(use_symfc_projector=True)
    assert np.abs(ours).max() > 1
    np.testing.assert_allclose(ours, ph.force_constants[ph.primitive.p2s_map], atol=1e-11)


@pytest.mark.parametrize(
    "shape", [(2, 2, 2), (3, 3, 1), [[-1, 1, 1], [1, -1, 1], [1, 1, -1]], [[2, 1, 0], [0, 2, 0], [0, 0, 2]]]
)
@pytest.mark.parametrize("name", ["diamond", "hcp", "rutile"])
def test_permutations_of_the_supercells_symmetry_are_phonopys(name, shape):
    cells = {"diamond": bulk("Si"), "hcp": bulk("Cu", "hcp", a=2.55, c=4.2)}
    cells["rutile"] = crystal(
        "TiO", [(0, 0, 0), (0.305, 0.305, 0)], spacegroup=136, cellpar=[4.59, 4.59, 2.96, 90, 90, 90]
    )
    given = to_phonopy(cells[name]), np.diag(shape) if np.ndim(shape) == 1 else np.array(shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of supercells that are less symmetric than the crystal
        ours, theirs = (make(*given, primitive_matrix="P").symmetry for make in (FastPhonopy, phonopy.Phonopy))
    assert len(theirs.atomic_permutations) >= 4
    np.testing.assert_array_equal(ours.atomic_permutations, theirs.atomic_permutations)
    np.testing.assert_array_equal(ours.get_map_operations(), theirs.get_map_operations())
    np.testing.assert_array_equal(ours.get_site_symmetry(1), theirs.get_site_symmetry(1))
    same_operations(ours, theirs)


def same_operations(ours, theirs):
    np.testing.assert_array_equal(ours.pointgroup_operations, theirs.pointgroup_operations)
    np.testing.assert_array_equal(ours.reciprocal_operations, theirs.reciprocal_operations)
    for name in ("rotations", "translations"):
        np.testing.assert_array_equal(ours.symmetry_operations[name], theirs.symmetry_operations[name])
    assert ours.pointgroup_symbol == theirs.pointgroup_symbol


@pytest.mark.parametrize("spin", [0.0, 1.0])
def test_operations_of_magnets_and_of_no_symmetry_are_phonopys(spin):
    iron = to_phonopy(bulk("Fe", cubic=True))
    iron.magnetic_moments = [spin, -spin]
    for symmetry in (True, False):
        make = {"supercell_matrix": 2 * np.eye(3, dtype=int), "primitive_matrix": "P", "is_symmetry": symmetry}
        same_operations(*(kind(iron, **make).symmetry for kind in (FastPhonopy, phonopy.Phonopy)))
