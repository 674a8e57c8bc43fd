import numpy as np
import phonopy
import pytest
from ase import Atoms
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT
from ase.phonons import Phonons
from ensemble_emt import EnsembleEMT
from phonopy.harmonic.force_constants import compact_fc_to_full_fc

from ase_mlx.adapters.ase.job import relax
from ase_mlx.adapters.phonopy import (
    ImaginaryModesError,
    ImaginaryModesWarning,
    ResidualWarning,
    Stability,
    harmonic,
    judge,
    members,
    phonons,
    spectrum,
    stability,
)

GAS_CONSTANT = 8.3144598


@pytest.fixture(scope="module")
def copper():
    atoms = relax(bulk("Cu"), EMT(), fmax=1e-5).atoms
    return phonons(atoms, EMT(), supercell=(4, 4, 4), relax=False)


def test_frequencies_agree_with_ase_on_the_same_supercell(copper, tmp_path):
    atoms = relax(bulk("Cu"), EMT(), fmax=1e-5).atoms
    peer = Phonons(atoms, EMT(), supercell=(4, 4, 4), delta=0.01, name=str(tmp_path / "phonon"))
    peer.run()
    peer.read(method="standard", acoustic=True, symmetrize=5)
    commensurate = np.array([[0.5, 0.5, 0], [0.25, 0.25, 0.5], [0.5, 0.25, 0.75], [0.25, 0, 0]])
    theirs = peer.band_structure(commensurate, verbose=False) / 4.135667662e-3
    ours = copper.run_qpoints(commensurate).frequencies
    np.testing.assert_allclose(np.sort(ours), np.sort(theirs), atol=0.02)


def test_acoustic_sum_rule_and_permutation_symmetry_are_exact(copper):
    constants = compact_fc_to_full_fc(copper.primitive, copper.force_constants)
    assert constants.dtype == np.float64
    assert np.abs(constants.sum(axis=1)).max() < 1e-12
    np.testing.assert_allclose(constants, constants.transpose(1, 0, 3, 2), atol=1e-12)
    assert np.abs(copper.run_qpoints([[0, 0, 0]]).frequencies).max() < 1e-5


def test_thermal_functions_are_phonopys_and_reach_dulong_petit(copper):
    result = harmonic(copper, temperatures=np.array([0.0, 300.0, 20_000.0]))
    theirs = copper.run_thermal_properties(temperatures=result.temperatures, exclude_gamma_acoustic=True)
    np.testing.assert_allclose(result.free_energy, theirs.free_energy, rtol=1e-4)
    np.testing.assert_allclose(result.entropy, theirs.entropy, rtol=1e-5)
    np.testing.assert_allclose(result.heat_capacity, theirs.heat_capacity, rtol=1e-5, atol=1e-9)
    modes = 3 * (1 - 1 / result.weights.sum())
    assert result.heat_capacity[-1] == pytest.approx(modes * GAS_CONSTANT, rel=1e-4)
    lines = spectrum(copper)
    assert lines.dos.sum() * np.diff(lines.dos_frequencies)[0] == pytest.approx(3, rel=0.01)
    assert not result.std


def test_a_length_makes_the_same_supercell_and_bands_of_any_cell():
    primitive, cubic = (phonons(bulk("Al", cubic=cubic), EMT(), supercell=10.0) for cubic in (False, True))
    assert len(primitive.supercell) == len(cubic.supercell) == 108
    np.testing.assert_allclose(stability(primitive, (6, 6, 6)).lowest, stability(cubic, (6, 6, 6)).lowest, atol=1e-3)
    for ph in (primitive, cubic):
        heights = 1 / np.linalg.norm(np.linalg.inv(ph.supercell.cell), axis=0)
        assert heights.min() > 10


def test_masses_are_kept():
    light, heavy = bulk("Al"), bulk("Al")
    heavy.set_masses(1.21 * light.get_masses())
    top = [phonons(atoms, EMT(), (3, 3, 3)).run_qpoints([[0.5, 0.5, 0]]).frequencies.max() for atoms in (light, heavy)]
    assert top[0] == pytest.approx(1.1 * top[1], rel=1e-6)


def test_imaginary_modes_raise_with_frequency_place_and_weight():
    strained = bulk("Al", a=4.6)
    with (
        pytest.warns(ResidualWarning, match="up to .* GPa: no minimum"),
        pytest.raises(ImaginaryModesError, match=r"lowest -\d.* THz at q = .* % of the modes below zero"),
    ):
        phonons(strained, EMT(), (3, 3, 3), relax=False)
    with pytest.warns(ImaginaryModesWarning, match="below zero"), pytest.warns(ResidualWarning):
        ph = phonons(strained, EMT(), (3, 3, 3), relax=False, on_imaginary="report")
    with pytest.raises(ImaginaryModesError):
        harmonic(ph)
    with pytest.warns(ImaginaryModesWarning):
        result = harmonic(ph, on_imaginary="report")
    assert result.heat_capacity is None
    assert result.free_energy is None
    assert result.stability.lowest < -0.05
    assert 0 < result.stability.weight <= 1
    assert result.stability.exact < -0.05
    assert not result.stability.is_interpolation()


def test_modes_that_only_interpolation_makes_imaginary_are_told_apart():
    found = Stability(lowest=-0.3, qpoint=(0.05, 0.05, 0.0), weight=0.001, exact=3.1)
    assert found.is_interpolation()
    with pytest.raises(ImaginaryModesError, match="exact frequencies the lowest is 3.100 THz.* larger supercell"):
        judge(found)
    judge(found, tolerance=0.5)


def test_exact_frequencies_are_those_of_the_supercells_own_waves(copper):
    fitting = np.array([[h, k, l] for h in range(4) for k in range(4) for l in range(4) if h or k or l]) / 4
    assert stability(copper).exact == pytest.approx(copper.run_qpoints(fitting).frequencies.min(), abs=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_the_supercell_at_rest_is_calculated_only_where_symmetry_leaves_forces():
    seen = []

    class Counting(EMT):
        def calculate(self, atoms, *args, **kwargs):
            seen.append(len(atoms))
            super().calculate(atoms, *args, **kwargs)

    phonons(bulk("Cu"), Counting(), (3, 3, 3), relax=False)
    assert sorted(seen) == [1, 27]
    seen.clear()
    free = bulk("Cu", "hcp", a=2.55, c=4.2) * (2, 1, 1)
    free.positions[0] += [0.0, 0.0, 0.01]
    phonons(free, Counting(), (1, 2, 2), relax=False, on_imaginary="report")
    assert set(seen) == {16} and len(seen) > 2


def test_members_give_error_bars_with_known_size():
    strengths = np.array([0.9, 1.0, 1.1, 1.25])
    calculator = EnsembleEMT(strengths)
    ph = phonons(bulk("Cu"), calculator, (3, 3, 3))
    calculator.member_calls = 0
    ensemble = members(ph, calculator)
    assert calculator.member_calls == 1 + len(ph.supercells_with_displacements)  # at rest, and displaced
    result = harmonic(ph, ensemble, temperatures=np.array([300.0]))
    expected = np.std(np.sqrt(strengths), ddof=1)
    away = result.frequencies > 0.1
    np.testing.assert_allclose(result.std["frequencies"][away] / result.frequencies[away], expected, rtol=1e-5)
    stiff, soft = (
        harmonic(phonons(bulk("Cu"), _Scaled(factor), (3, 3, 3)), temperatures=np.array([300.0]))
        for factor in (1.25, 0.9)
    )
    assert 0 < result.std["heat_capacity"][0] < soft.heat_capacity[0] - stiff.heat_capacity[0]
    assert 0 < result.std["free_energy"][0] < stiff.free_energy[0] - soft.free_energy[0]


class _Scaled(EMT):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        self.results = {name: self.factor * value for name, value in self.results.items()}


def test_a_forced_crystal_is_flagged_and_its_forces_subtracted():
    atoms = relax(bulk("Cu", cubic=True), EMT()).atoms
    atoms.positions[0] += [0.06, 0, 0]
    with pytest.warns(UserWarning, match="no minimum"):
        ph = phonons(atoms, EMT(), (2, 2, 2), relax=False, on_imaginary="report", tolerance=100.0)
    still = phonons(relax(bulk("Cu", cubic=True), EMT()).atoms, EMT(), (2, 2, 2), relax=False)
    assert np.abs(ph.force_constants[0, 0] / still.force_constants[0, 0][0, 0]).max() < 1.3


def test_the_yaml_of_phonopy_brings_everything_back(copper, tmp_path):
    copper.save(tmp_path / "phonopy.yaml", settings={"force_constants": True})
    back = phonopy.load(tmp_path / "phonopy.yaml", log_level=0)
    q = [[0.3, 0.1, 0.2]]
    np.testing.assert_allclose(back.run_qpoints(q).frequencies, copper.run_qpoints(q).frequencies, atol=1e-4)


@pytest.mark.parametrize(
    ("atoms", "options", "message"),
    [
        (fcc111("Al", (2, 2, 3), vacuum=8), {}, "periodic in three directions, got a slab"),
        (Atoms(), {}, "no atoms"),
        (bulk("Al"), {"supercell": (2, 2)}, "three integers"),
        (bulk("Al"), {"supercell": "big"}, "got .big.*three integers"),
    ],
)
def test_wrong_calls_are_refused(atoms, options, message):
    with pytest.raises(ValueError, match=message):
        phonons(atoms, EMT(), **options)


def test_single_precision_is_refused():
    calculator = EMT()
    calculator.dtype = "float32"
    with pytest.raises(ValueError, match='make it with dtype="float64"'):
        phonons(bulk("Al"), calculator)
