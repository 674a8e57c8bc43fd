import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell, molecule
from scipy.spatial.transform import Rotation

from ase_mlx.data.powder import read_powder
from ase_mlx.descriptors import diffraction
from ase_mlx.descriptors.composition import NAMES as composition_names
from ase_mlx.descriptors.composition import composition_descriptors, fractions_of
from ase_mlx.descriptors.diffraction import (
    BINS,
    BLUR,
    END,
    PATTERN,
    PLACES,
    REDUCED,
    START,
    STEP,
    WAVELENGTH,
    WIDTH,
    bin_pattern,
    describe_patterns,
    powder_patterns,
)
from ase_mlx.descriptors.elements import element_property
from ase_mlx.graph import batch, from_atoms

ANGLES = np.arange(2, 90, 0.02)


def triclinic():
    places = [[0.02, 0.03, 0.05], [0.31, 0.48, 0.22], [0.55, 0.12, 0.71], [0.83, 0.66, 0.44], [0.12, 0.79, 0.63]]
    return Atoms("CaSiO3", scaled_positions=places, cell=[4.1, 5.2, 6.3, 77, 98, 109], pbc=True)


def pattern(atoms):
    return powder_patterns(from_atoms(atoms, 3.0))[0]


def rotated(atoms):
    turn = Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix()
    return Atoms(atoms.numbers, atoms.positions @ turn.T, cell=atoms.cell.array @ turn.T, pbc=True)


CHANGES = {
    "supercell": lambda atoms: atoms * (2, 1, 3),
    "skewed cell": lambda atoms: make_supercell(atoms, [[1, 0, 0], [5, 1, 0], [-7, 4, 1]]),
    "skewed supercell": lambda atoms: make_supercell(atoms, [[1, 2, 0], [0, 1, -3], [1, 0, 1]]),
    "left-handed cell": lambda atoms: make_supercell(atoms, [[0, 1, 0], [1, 0, 0], [0, 0, 1]]),
    "permutation": lambda atoms: atoms[[3, 0, 4, 2, 1]],
    "rotation": rotated,
    "translation": lambda atoms: Atoms(atoms.numbers, atoms.positions + [0.3, -2.1, 9.0], cell=atoms.cell, pbc=True),
    "inversion": lambda atoms: Atoms(atoms.numbers, -atoms.positions, cell=atoms.cell, pbc=True),
}


@pytest.mark.parametrize("change", CHANGES)
def test_pattern_belongs_to_the_crystal(change):
    atoms = triclinic()
    other = CHANGES[change](atoms)
    assert len(other) >= len(atoms)
    np.testing.assert_allclose(pattern(other), pattern(atoms), atol=1e-9)


def test_pattern_sees_a_moved_atom_and_a_strained_cell():
    atoms = triclinic()
    moved = atoms.copy()
    moved.positions[0, 0] += 0.2
    strained = atoms.copy()
    strained.set_cell(atoms.cell.array * 1.01, scale_atoms=True)
    assert np.abs(pattern(moved) - pattern(atoms)).max() > 0.02
    assert np.abs(pattern(strained) - pattern(atoms)).max() > 0.1


def test_pattern_changes_smoothly_with_the_cell():
    atoms = triclinic()
    one = pattern(atoms)
    for strain in (1e-6, 1e-5):
        other = atoms.copy()
        other.set_cell(atoms.cell.array * (1 + strain), scale_atoms=True)
        assert 0 < np.abs(pattern(other) - one).max() < 300 * strain


def test_batch_equals_loop_and_largest_bin_is_one():
    crystals = [triclinic(), bulk("Cu"), bulk("NaCl", "rocksalt", 5.64)]
    together = powder_patterns(batch([from_atoms(atoms, 3.0) for atoms in crystals]))
    assert together.shape == (3, BINS)
    np.testing.assert_array_equal(together, [pattern(atoms) for atoms in crystals])
    np.testing.assert_array_equal(together.max(1), 1)
    assert together.min() >= 0


def test_bragg_angle_of_copper():
    angle = 2 * np.degrees(np.arcsin(WAVELENGTH * np.sqrt(3) / 2 / 3.61))
    assert pattern(bulk("Cu", a=3.61)).argmax() == int((angle - START) / STEP)


def test_a_crystal_without_peaks_in_range_gives_zeros():
    tiny = Atoms("H", cell=[0.9, 0.9, 0.9], pbc=True)
    assert not pattern(tiny).any()
    assert not pattern(tiny * (3, 2, 1)).any()


def test_chunks_do_not_matter(monkeypatch):
    whole = pattern(triclinic())
    monkeypatch.setattr(diffraction, "CHUNK", 17)
    np.testing.assert_allclose(pattern(triclinic()), whole, atol=1e-12)


def test_half_sphere_is_half_of_all():
    reciprocal = np.linalg.inv(triclinic().cell.array).T
    box = np.stack(np.meshgrid(*[np.arange(-9, 10)] * 3, indexing="ij"), -1).reshape(-1, 3)
    inside = box[np.linalg.norm(box @ reciprocal, axis=1) < 0.87]
    half = diffraction._half_sphere(reciprocal, 0.87).astype(int)
    both = {tuple(row) for row in half} | {tuple(-row) for row in half}
    assert len(both) == 2 * len(half) > 100
    assert both | {(0, 0, 0)} == {tuple(row) for row in inside}


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (molecule("H2O", cell=[5, 5, 5], pbc=False), "not periodic in three directions, expected a crystal; only"),
        (Atoms("Cm", cell=[3, 3, 3], pbc=True), r"got atomic numbers \[96\], expected 1 to 94; leave"),
    ],
)
def test_what_has_no_pattern_is_named(atoms, message):
    with pytest.raises(ValueError, match=message):
        pattern(atoms)


def curve(angles=ANGLES, width=WIDTH, wavelength=WAVELENGTH):
    """What a diffractometer would record of silicon and a background."""
    atoms = bulk("Si", "diamond", 5.431)
    there, heights = diffraction._reflections(atoms.cell.array, atoms.positions, atoms.numbers)
    sine = np.sin(np.radians(there / 2))
    heights = heights / (1 + np.cos(2 * np.arcsin(sine)) ** 2) * np.cos(np.arcsin(sine))
    theta = np.arcsin(sine * wavelength / WAVELENGTH)
    heights = heights * (1 + np.cos(2 * theta) ** 2) / np.cos(theta)
    distance = (angles[:, None] - 2 * np.degrees(theta)) / width
    return 250 + np.exp(-4 * np.log(2) * distance**2) @ heights


def test_a_fine_pattern_gives_the_bins_of_the_crystal():
    expected = pattern(bulk("Si", "diamond", 5.431))
    np.testing.assert_allclose(bin_pattern(ANGLES, curve()), expected, rtol=0, atol=5e-4)


@pytest.mark.parametrize("wavelength", [0.70932, 1.78897])
def test_another_wavelength_gives_the_same_bins(wavelength):
    angles = np.arange(1.5, 120, 0.01)
    narrow = bin_pattern(ANGLES, curve(width=0.1))
    other = bin_pattern(angles, curve(angles, 0.1, wavelength), wavelength)
    assert np.abs(other - narrow).max() < 0.15  # peaks keep their width in the angle of the measurement
    peaks = narrow > 0.05
    areas = [x[k - 1 : k + 2].sum() for k in np.flatnonzero(peaks) for x in (other, narrow)]
    ratio = np.array(areas[::2]) / areas[1::2]
    np.testing.assert_allclose(ratio / ratio[0], 1, rtol=0.02)


def test_uneven_steps_units_and_a_part_of_the_range():
    uneven = np.unique(np.concatenate([np.arange(20, 40, 0.011), np.arange(40, 60, 0.03)]))
    ours = bin_pattern(uneven, 1e6 * curve(uneven))
    expected = pattern(bulk("Si", "diamond", 5.431))
    np.testing.assert_allclose(ours[24:87], expected[24:87], atol=1e-3)
    assert np.isnan(ours[:24]).all() and np.isnan(ours[88:]).all()


def test_coarse_steps_keep_the_area():
    coarse = np.arange(4, 90, 0.9)
    line = np.interp(coarse, [0, 40.5, 45, 49.5, 90], [0, 0, 1.0, 0, 0])
    ours = bin_pattern(coarse, line)
    assert np.abs(np.diff(ours)).max() < 0.16
    assert ours.argmax() in (63, 64)
    assert ours.sum() == pytest.approx(np.trapezoid(line, coarse) / STEP / line.max(), rel=0.03)


def numbers_of(patterns, formula="NaCl"):
    fractions = fractions_of(Atoms(formula).numbers, np.zeros(2, dtype=int), 1)
    return describe_patterns(patterns, np.repeat(composition_descriptors(fractions), len(patterns), axis=0))


def test_one_line_is_a_step_at_its_place():
    patterns = np.eye(BINS)[[5, 40, 90]] * [[1.0], [7.0], [0.2]]
    found = numbers_of(patterns)
    places = PLACES[[5, 40, 90]] * np.cbrt(element_property("GSvolume_pa")[[11, 17]].mean())
    edges = REDUCED[:-1]
    far = np.abs(edges - places[:, None]) > 4 * BLUR
    assert found.shape == (3, len(PATTERN)) and far.sum() > 16
    inside = places < REDUCED[-1]
    assert inside.tolist() == [True, True, False]
    np.testing.assert_allclose(found[far], ((edges > places[:, None]) & inside[:, None])[far], atol=1e-4)
    assert not numbers_of(np.zeros((1, BINS))).any()


def test_the_cell_and_what_was_measured_beyond_the_range_do_not_matter():
    """Crystals that differ in size alone; no descriptor of composition but the volume is looked at."""
    small, large = (bulk("Si", "diamond", a) for a in (5.0, 6.0))
    volume = composition_descriptors(fractions_of(small.numbers, np.zeros(2, dtype=int), 1))
    other = volume.copy()
    other[:, composition_names.index("mean GSvolume_pa")] *= 1.2**3
    a, b = describe_patterns(pattern(small)[None], volume), describe_patterns(pattern(large)[None], other)
    np.testing.assert_allclose(a, b, atol=0.08)
    cut = pattern(small)
    cut[:6] = cut[-6:] = np.nan
    np.testing.assert_allclose(describe_patterns(cut[None], volume), a, atol=1e-12)


def test_angles_that_were_not_measured_are_named():
    cut = pattern(bulk("NaCl", "rocksalt", 5.64))
    cut[:40] = np.nan
    with pytest.raises(
        ValueError, match=r"got a pattern from 30 to 85°, expected one from 10\.5 to .*° of 2θ with Cu Kα"
    ):
        numbers_of(cut[None])
    with pytest.raises(ValueError, match="got a pattern from nan to nan°"):
        numbers_of(np.full((1, BINS), np.nan))


AS_MEASURED = {
    "narrow lines": ({"width": 0.15}, 0.0, None),
    "broad lines": ({"width": 1.0}, 0.0, None),
    "noise": ({"width": 0.15}, 0.0, 3e3),
    "background": ({"width": 0.15}, 0.1, None),
    "noise and background": ({"width": 0.15}, 0.1, 3e3),
    "few counts": ({"width": 0.15}, 0.02, 1e3),
}


@pytest.mark.parametrize("how", AS_MEASURED)
def test_a_measured_pattern_has_the_numbers_of_the_computed_one(how):
    shape, background, counts = AS_MEASURED[how]
    seen = curve(**shape) - 250
    seen = seen / seen.max() + background * (1 + 2 * np.exp(-ANGLES / 15) + np.exp(-(((ANGLES - 25) / 9) ** 2)))
    seen = seen if counts is None else np.random.default_rng(0).poisson(counts * seen).astype(float)
    computed = numbers_of(pattern(bulk("Si", "diamond", 5.431))[None], "Si2")
    np.testing.assert_allclose(numbers_of(bin_pattern(ANGLES, seen)[None], "Si2"), computed, atol=0.04)


@pytest.mark.parametrize("wrong", [np.ones((2, 17)), np.full((1, BINS), np.inf)])
def test_what_is_no_pattern_is_named(wrong):
    with pytest.raises(ValueError, match="expected 128 intensities each; take them from `powder_patterns` or"):
        numbers_of(wrong)


GOOD = np.linspace(10, 80, 200)
BAD = {
    "order": (GOOD[::-1], np.cos(GOOD), WAVELENGTH, "got 2θ = 79.6482° after 80°, expected increasing angles; sort"),
    "repeated": (np.repeat(GOOD, 2), np.cos(np.repeat(GOOD, 2)), WAVELENGTH, "expected increasing angles"),
    "finite": (GOOD, np.where(GOOD > 70, np.nan, GOOD), WAVELENGTH, "got 29 points that are not finite, .*; leave"),
    "few": (GOOD[:9], GOOD[:9], WAVELENGTH, "expected two columns of at least 10 points; give the whole"),
    "outside": (GOOD + 80, GOOD, WAVELENGTH, r"got a pattern from 90° to 160° .*, expected .* overlap .*; measure"),
    "wavelength": (GOOD, GOOD, 0.05, "got a pattern from 10° to 80° at 0.05 Å, 0 of 200 points"),
    "no wavelength": (GOOD, GOOD, 0.0, "got a wavelength of 0.0 Å, expected a positive number; Cu"),
    "beyond": (GOOD * 3, GOOD, WAVELENGTH, "got 2θ from 30° to 240°, expected at most 180°; give"),
    "flat": (GOOD, 0 * GOOD + 3, WAVELENGTH, "got intensities in which no line stands out of noise and background"),
    "straight": (GOOD, 3 * GOOD + 3, WAVELENGTH, "in which no line stands out"),
    "smooth": (GOOD, np.exp(-(((GOOD - 40) / 30) ** 2)), WAVELENGTH, "in which no line stands out"),
    "noise": (
        GOOD,
        np.random.default_rng(0).poisson(100, len(GOOD)).astype(float),
        WAVELENGTH,
        "in which no line stands out",
    ),
    "narrow": (40 + GOOD / 1000, np.cos(GOOD), WAVELENGTH, "expected at least 10 points that overlap the range"),
}


@pytest.mark.parametrize("name", BAD)
def test_patterns_that_are_none_are_refused(name):
    *given, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        bin_pattern(*given)


FILES = {
    "space.xy": "  10.0   5.5\n  10.1   7\n  10.2 1e3\n",
    "error.xye": "# from here\n! and there\n; also\n10.0 5.5 0.1\n10.1 7 0.1 # a mark\n\n10.2 1e3 0.1\n",
    "comma.csv": "\ufeff2Theta, Intensity\n10.0,5.5\n10.1, 7\n10.2 ,1e3,\n",
    "quoted.csv": '"angle (deg)","counts"\r\n"10.0","5.5"\r\n"10.1","7"\r\n"10.2","1e3"\r\n',
    "tab.txt": "Sample: silicon\n1.54184\nscan 1 of 2\n10.0\t5.5\n10.1\t7\n10.2\t1e3\n",
    "decimal.csv": "Winkel;Zahl\n10,0;5,5\n10,1;7\n10,2;1e3;\n",
    "decimal.dat": "10,0\t5,5\n10,1\t7\n10,2\t1e3\n",
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_two_columns_are_read(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(FILES[name].encode())
    angle, intensity = read_powder(path)
    np.testing.assert_array_equal(angle, [10.0, 10.1, 10.2])
    np.testing.assert_array_equal(intensity, [5.5, 7, 1000])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "with 0 lines of two numbers, expected two columns, .* text; export"),
        ("# 1 2\nno numbers here\n", "with 0 lines of two numbers"),
        ("1\n2\n3\n", "with 0 lines of two numbers"),
        ("1 2\n3\n", "got '3' in line 2 of .*, expected an angle 2θ and an intensity; put text"),
        ("1 2\n3 4\nend of scan\n", "got 'end of scan' in line 3"),
    ],
)
def test_files_that_hold_no_pattern_are_refused(tmp_path, text, message):
    path = tmp_path / "scan.xy"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_powder(path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="an existing file, a powder pattern of two columns; check the path"):
        read_powder(tmp_path / "none.xy")


def test_range_of_the_bins():
    assert (START, END, BINS) == (5, 85, 128)
    assert abs(STEP * BINS - (END - START)) < 1e-12


@pytest.mark.parametrize("wavelength", [1.5406, WAVELENGTH])
def test_a_scan_from_ten_degrees_is_enough(wavelength):
    angles = np.arange(10, 70, 0.02)
    found = numbers_of(bin_pattern(angles, curve(angles, 0.15, wavelength), wavelength)[None], "Si2")
    computed = numbers_of(pattern(bulk("Si", "diamond", 5.431))[None], "Si2")
    np.testing.assert_allclose(found, computed, atol=0.02)
