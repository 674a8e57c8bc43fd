import numpy as np
import pytest
import torch
from ase.calculators.singlepoint import SinglePointCalculator
from tiny import labelled

from ase_mlx.data.io import read_frames, write_frames
from ase_mlx.data.samples import Sample, elements_of, name_of, reference_energies, sample, split, symbols


def relabelled(atoms, **changes):
    results = {k: v for k, v in (dict(atoms.calc.results) | changes).items() if v is not None}
    copy = atoms.copy()
    copy.calc = SinglePointCalculator(copy, **results)
    return copy


@pytest.fixture
def frames():
    return labelled(6)


def test_a_sample_holds_the_labels(frames):
    s = sample(frames[0], 4.0, "one")
    assert float(s.targets["energy"]) == frames[0].calc.results["energy"]
    assert s.targets["forces"].numpy() == pytest.approx(frames[0].calc.results["forces"])
    assert s.targets["stress"].numpy()[0] == pytest.approx(frames[0].calc.results["stress"])
    assert {k: float(v) for k, v in s.weight.items()} == {"energy": 1, "forces": 1, "stress": 1, "hessian": 0}
    assert {t.dtype for t in s.targets.values()} == {torch.float64}


def test_free_energy_is_preferred(frames):
    assert float(sample(relabelled(frames[0], free_energy=-5.0), 4.0, "one").targets["energy"]) == -5.0


def test_full_stress_becomes_voigt(frames):
    full = np.array([[1.0, 6, 5], [6, 2, 4], [5, 4, 3]])
    atoms = frames[0].copy()
    atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=np.zeros((4, 3)))
    atoms.calc.results["stress"] = full
    assert sample(atoms, 4.0, "one").targets["stress"].tolist() == [[1, 2, 3, 4, 5, 6]]


def test_weights_of_info_and_missing_stress(frames):
    frames[0].info["energy_weight"] = 0
    without = relabelled(frames[1], stress=None)
    assert float(sample(frames[0], 4.0, "a").weight["energy"]) == 0
    assert float(sample(without, 4.0, "b").weight["stress"]) == 0
    flat = relabelled(frames[2])
    flat.set_cell(np.diag([5.0, 5.0, 0.0]))
    flat.pbc = [True, True, False]
    flat.calc.atoms = flat.copy()
    assert float(sample(flat, 4.0, "c").weight["stress"]) == 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"forces": None}, "got odd without forces.*ase-mlx label"),
        ({"energy": None}, "got odd without energy"),
        ({"energy": None, "forces": None}, "without energy and forces"),
        ({"forces": np.full((4, 3), np.nan)}, "NaN or infinite labels in odd"),
        ({"energy": np.inf}, "NaN or infinite labels in odd"),
    ],
)
def test_missing_and_broken_labels_are_refused(frames, changes, said):
    with pytest.raises(ValueError, match=said):
        sample(relabelled(frames[0], **changes), 4.0, "odd")


def test_a_frame_without_any_label_is_refused(frames):
    with pytest.raises(ValueError, match="without energy and forces"):
        sample(frames[0].copy(), 4.0, "bare")


def test_joined_samples_keep_order(frames):
    parts = [sample(a, 4.0, name_of(a, k)) for k, a in enumerate(frames[:3])]
    joined = Sample.join(parts)
    assert joined.names == ("alloy 0", "alloy 1", "alloy 2")
    assert joined.targets["forces"].shape == (12, 3)
    assert joined.targets["stress"][2].tolist() == parts[2].targets["stress"][0].tolist()


def test_reference_energies_of_a_linear_set(frames):
    fitted = [relabelled(a, energy=-3.0 * np.sum(a.numbers == 13) - 7.0 * np.sum(a.numbers == 79)) for a in frames]
    fitted[0] = fitted[0][fitted[0].numbers == 13]
    fitted[0].calc = SinglePointCalculator(fitted[0], energy=-9.0)
    assert reference_energies(fitted, (13, 79)) == pytest.approx((-3.0, -7.0))


def test_weightless_energies_do_not_count(frames):
    wrong = relabelled(frames[1], energy=1e4)
    wrong.info["energy_weight"] = 0
    assert reference_energies([*frames, wrong], (13, 79)) == pytest.approx(reference_energies(frames, (13, 79)))


@pytest.mark.parametrize("factor", [1 / 13.6057, 1 / 27.2114, 23.0605])
def test_mixed_units_are_found_and_named(frames, factor):
    offset = [relabelled(a, energy=a.calc.results["energy"] - 400.0) for a in frames]
    odd = relabelled(offset[2], energy=factor * offset[2].calc.results["energy"])
    odd.info["config_name"] = "the odd one"
    with pytest.raises(ValueError, match="1 of 7 frames.*the odd one.*convert the units"):
        reference_energies([*offset, odd], (13, 79))


def test_split_by_part(frames):
    for k, part in enumerate(["train", "val", "test", "train", "reference", "train"]):
        frames[k].info["part"] = part
    assert split(frames) == {"train": [0, 3, 5], "val": [1], "test": [2]}


def test_random_split_depends_on_the_seed_alone():
    frames = labelled(20)
    parts = split(frames, seed=3, validation=0.25)
    assert len(parts["val"]) == 5
    assert sorted(parts["train"] + parts["val"]) == list(range(20))
    assert parts == split(frames, seed=3, validation=0.25) != split(frames, seed=4, validation=0.25)
    assert parts["test"] == []


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_frames_are_refused(count):
    with pytest.raises(ValueError, match=f"got {count - 1} training and 1 validation frames.*add frames"):
        split(labelled(count))


def test_parts_without_validation_are_refused(frames):
    for atoms in frames:
        atoms.info["part"] = "train"
    with pytest.raises(ValueError, match="6 training and 0 validation"):
        split(frames)


def test_elements_and_their_names(frames):
    assert elements_of(frames) == (13, 79)
    assert symbols((13, 79)) == ("Al", "Au")


@pytest.mark.parametrize("name", ["frames.extxyz", "frames.extxyz.xz"])
def test_files_round_trip(frames, tmp_path, name):
    write_frames(tmp_path / name, frames)
    back = read_frames(tmp_path / name)
    assert len(back) == 6
    for a, b in zip(frames, back, strict=True):
        assert b.positions == pytest.approx(a.positions, abs=1e-7)
        assert b.calc.results["forces"] == pytest.approx(a.calc.results["forces"], abs=1e-7)
        assert b.info["config_name"] == a.info["config_name"]


@pytest.mark.parametrize(
    ("name", "content", "error", "said"),
    [
        ("nowhere.extxyz", None, FileNotFoundError, "expected an existing file"),
        ("frames.extxyz", b"not a frame\n", ValueError, "where frame 0 should begin"),
        ("frames.extxyz", b"", ValueError, "without a single frame|cannot be read"),
        ("frames.extxyz.xz", b"not packed", ValueError, "cannot be read"),
        ("frames.unknown", b"4\n", ValueError, "cannot be read"),
    ],
)
def test_unreadable_files_are_named(tmp_path, name, content, error, said):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=said):
        read_frames(tmp_path / name)
