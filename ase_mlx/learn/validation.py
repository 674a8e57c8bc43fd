"""What the frames that calibrate error bars can and cannot say.

Source: ours.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ase_mlx.data.samples import Sample

FEW = 20
"""Frames; with fewer the quantiles that calibrate error bars are themselves uncertain by a third and more."""


def validation_notes(samples: Mapping[str, Sequence[Sample]], frames: Sequence[Any]) -> tuple[str, ...]:
    """Say where few frames calibrate the error bars, or frames of the trajectories that were learned from.

    Args:
        samples: of the parts "train" and "val" (eV, Å).
        frames: all frames as they were read, with `info["part"]` where the user chose the parts.

    Returns:
        Sentences; none where nothing is in doubt.

    Source: ours.
    """
    count, notes = sum(len(s.names) for s in samples["val"]), []
    if count < FEW:
        notes.append(
            f"{count} validation frames calibrate the error bars: with fewer than {FEW} the bars themselves are "
            'uncertain by a third and more; hold out more (data.validation, or info["part"] = "val").'
        )
    if not any("part" in frame.info for frame in frames):
        learned = {_kind(s) for s in samples["train"]}
        same = sum(_kind(s) in learned for s in samples["val"])
        if same:
            notes.append(
                f"{same} of {count} validation frames have the same atoms as training frames, and were drawn at random "
                "from one file: if these are snapshots of one trajectory, the error bars are those of interpolation "
                'and too small elsewhere; mark frames of other runs with info["part"] = "val".'
            )
    return tuple(notes)


def _kind(sample: Sample) -> tuple[int, ...]:
    return tuple(sorted(sample.graph.numbers.tolist()))
