"""Labels under any name are the same labels; the right values are those of ASE's EMT, stress by finite differences."""

import ase.io
import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.calculators.fd import calculate_numerical_stress
from tiny import labelled

from ase_mlx.data.io import read_frames
from ase_mlx.data.labels import labels_of, named_labels
from ase_mlx.data.samples import sample
from ase_mlx.learn.recipes.potential import LabelledData, PotentialRecipe, PotentialTraining

SIZES = {"channels": 4, "latent": 4, "members": 0, "layers": 1, "cutoff": 4.0}


def plain(frame, **labels):
    atoms = frame.copy()
    for name, values in labels.items():
        (atoms.arrays if np.shape(values)[:1] == (len(atoms),) and np.ndim(values) == 2 else atoms.info)[name] = values
    return atoms


def write(path, frames):
    ase.io.write(path, frames, format="extxyz")
    return read_frames(path)


def test_names_of_others_are_listed_and_taken(tmp_path):
    known = labelled(3)
    given = [
        plain(a, REF_energy=a.get_potential_energy(), REF_forces=a.get_forces(), REF_stress=a.get_stress())
        for a in known
    ]
    frames = write(tmp_path / "a.extxyz", given)
    with pytest.raises(ValueError, match="without energy and forces.*REF_energy.*REF_forces") as caught:
        labels_of(frames[0], "frame 0")
    assert 'say so in [data]: energy = "REF_energy", forces = "REF_forces"' in str(caught.value)
    for frame, right in zip(named_labels(frames, "REF_energy", "REF_forces", "REF_stress"), known, strict=True):
        energy, forces, stress = labels_of(frame, "frame")
        np.testing.assert_allclose(energy, right.get_potential_energy(), atol=1e-7)
        np.testing.assert_allclose(forces, right.get_forces(), atol=1e-7)
        np.testing.assert_allclose(stress, right.get_stress(), atol=1e-7)
    with pytest.raises(ValueError, match="frame 0 without 'dft_energy'.*REF_energy"):
        named_labels(frames, "dft_energy")


def test_training_reads_them_by_the_names_in_its_file(tmp_path):
    known = labelled(8)
    write(tmp_path / "a.extxyz", [plain(a, e=a.get_potential_energy(), f=a.get_forces()) for a in known])
    ase.io.write(tmp_path / "b.extxyz", known, format="extxyz")
    data = LabelledData(str(tmp_path / "a.extxyz"), energy="e", forces="f")
    samples = PotentialRecipe(PotentialTraining(data, SIZES)).samples
    right = PotentialRecipe(PotentialTraining(LabelledData(str(tmp_path / "b.extxyz")), SIZES)).samples
    for one, other in zip(samples["train"], right["train"], strict=True):
        for name in ("energy", "forces"):
            np.testing.assert_allclose(one.targets[name], other.targets[name], atol=1e-7)


def test_a_virial_is_minus_the_volume_times_the_stress(tmp_path):
    atoms = labelled(1)[0]
    right = calculate_numerical_stress(_with_emt(atoms), 1e-4)
    v = right[[0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(3, 3)
    given = plain(atoms, virial=-v * atoms.cell.volume)
    ase.io.write(tmp_path / "a.extxyz", given, format="extxyz")
    (frame,) = named_labels(read_frames(tmp_path / "a.extxyz"))
    frame.calc = labelled(1)[0].calc
    frame.calc.results.pop("stress")
    np.testing.assert_allclose(labels_of(frame, "frame")[2], right, atol=1e-6)
    found = sample(frame, 4.0, "frame")
    assert found.weight["stress"] == 1
    np.testing.assert_allclose(found.targets["stress"][0], atoms.get_stress(), atol=1e-5)


def _with_emt(atoms):
    fresh = atoms.copy()
    fresh.calc = EMT()
    return fresh


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("forces", 1e30, "forces of 1.0e.30"),
        ("forces", 2e3, "forces of 2.0e.03"),
        ("forces", np.nan, "NaN or infinite labels"),
        ("stress", 1e5, "stress of 1.0e.05"),
        ("energy", "\x1f", "energy = .* expected numbers"),
        ("energy", np.inf, "NaN or infinite labels"),
        ("energy", [1.0, 2.0], "energy of shape"),
        ("forces", [0.0, 0.0], "forces of shape"),
        ("stress", [1.0, 2.0], "stress of shape"),
    ],
)
def test_labels_that_cannot_be_are_refused(name, value, said):
    atoms = labelled(1)[0]
    results = atoms.calc.results
    if np.ndim(results[name]) and not np.ndim(value):
        results[name] = results[name].copy()
        results[name].flat[1] = value
    else:
        results[name] = value
    with pytest.raises(ValueError, match=f"{said}.*frame 7|frame 7.*{said}|{said}"):
        sample(atoms, 4.0, "frame 7")


@pytest.mark.parametrize("value", ["x", np.nan, -1.0, None])
def test_weights_that_are_none_are_refused(value):
    atoms = labelled(1)[0]
    atoms.info["energy_weight"] = value
    with pytest.raises(ValueError, match="energy_weight"):
        sample(atoms, 4.0, "frame 7")


def test_the_file_is_named_where_training_refuses_a_frame(tmp_path):
    frames = labelled(8)
    for atoms in frames[:7]:
        atoms.calc.results["forces"] = atoms.calc.results["forces"] + 1e30
    ase.io.write(tmp_path / "a.extxyz", frames, format="extxyz")
    with pytest.raises(ValueError, match=r"a\.extxyz.*forces of 1.0e\+30 in alloy"):
        PotentialRecipe(PotentialTraining(LabelledData(str(tmp_path / "a.extxyz")), SIZES))
