"""What is said of the frames that calibrate error bars."""

from tiny import labelled

from ase_mlx.data.samples import sample
from ase_mlx.learn.validation import FEW, validation_notes


def samples(frames):
    return [sample(atoms, 4.0, str(k)) for k, atoms in enumerate(frames)]


def test_few_frames_of_the_same_trajectory_are_told():
    frames = labelled(8)
    few, drawn = validation_notes({"train": samples(frames[:6]), "val": samples(frames[6:])}, frames)
    assert few.startswith("2 validation frames calibrate the error bars") and str(FEW) in few
    assert drawn.startswith("2 of 2 validation frames have the same atoms as training frames")


def test_frames_that_the_user_chose_are_only_counted():
    frames = labelled(8)
    for atoms in frames:
        atoms.info["part"] = "val"
    parts = {"train": samples(frames[:4]), "val": samples(frames) * 3}
    assert validation_notes(parts, frames) == ()


def test_other_crystals_are_no_trajectory():
    frames = labelled(30)
    others = [atoms * (1, 1, 2) for atoms in frames]
    for atoms, one in zip(others, frames, strict=True):
        atoms.calc = one.calc.__class__(
            atoms, energy=2 * one.get_potential_energy(), forces=[*one.get_forces(), *one.get_forces()],
            stress=one.get_stress(),
        )  # fmt: skip
    assert validation_notes({"train": samples(others), "val": samples(frames)}, frames + others) == ()
