"""Sampling into a file: thermalised, decorrelated structures to label and to learn from; a second call goes on.

Source: ours.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ase_mlx.adapters.ase.sampled_file import finished, mark, run_marks
from ase_mlx.adapters.ase.sampling import Sampling, sample
from ase_mlx.data.io import write_frames
from ase_mlx.models.extrapolation import extrapolation, once
from ase_mlx.progress import Progress, steps_of
from ase_mlx.whole import sole


@dataclass(frozen=True)
class Sampled:
    """The file of a sampling and its frames (Å, eV), a row for each run, and how far they are from the training data.

    `notes` says which runs were too short, and which frames are worth a DFT calculation.

    Source: ours.
    """

    path: Path
    frames: list[Any]
    runs: list[dict[str, Any]]
    extrapolation: dict[str, Any] | None
    notes: list[str]


def sampling_job(
    atoms, calculator, path: str | Path, settings: Sampling | None = None, progress: Progress | None = None
) -> Sampled:
    """Sample structures by dynamics at constant temperature into an extxyz file, run by run.

    Args:
        atoms: the start, Å; `adapters.ase.sampling.repeated` makes more cells of it.
        calculator: any ASE calculator, eV and Å.
        path: of the file; runs that an earlier call of the same kind wrote there are kept.
        settings: temperatures (K), alloys, strains, times (fs).
        progress: called with "runs", the number done and the number in all.

    Raises:
        ValueError: the file holds structures of another call; a structure without meaning, or one that the calculator
            refuses.
        FloatingPointError: the dynamics blew up.
        OSError: the file cannot be written.

    Source: ours.
    """
    settings, path = settings or Sampling(), Path(path)
    with sole(path):
        marks = run_marks(settings, atoms, calculator)
        return finish_sampling(
            atoms, calculator, path, settings, marks, finished(path, marks, settings.frames), progress
        )


def finish_sampling(
    atoms,
    calculator,
    path: Path,
    settings: Sampling,
    marks: dict[str, str],
    kept: list,
    progress: Progress | None = None,
) -> Sampled:
    """Go on from the whole runs that are kept (Å, eV), as `finished` gives them.

    Raises:
        ValueError, FloatingPointError, OSError: as `sampling_job`.

    Source: ours.
    """
    frames = settings.frames
    with once(speak=False):
        for run in sample(atoms, calculator, settings, len(kept) // frames, steps_of(progress, "runs")):
            kept = kept + mark(run, marks)
            write_frames(path, kept)
    rows, seen = [_row(kept[k : k + frames]) for k in range(0, len(kept), frames)], _extrapolation(kept)
    return Sampled(path, kept, rows, seen and seen.as_dict(), _notes(kept, seen))


def _row(run: list) -> dict[str, Any]:
    info, distances = run[0].info, [a.arrays["distance"].max() for a in run if "distance" in a.arrays]
    row = {"variant": int(info["variant"]), "formula": run[0].get_chemical_formula(), "atoms": len(run[0])}
    row |= {"T, K": float(info["temperature_K"]), "mean T, K": float(info["md_temperature_K"])}
    row |= {"apart, fs": float(info["decorrelation_fs"]), "frames": len(run)}
    return row | ({"distance score": float(max(distances))} if distances else {})


def _extrapolation(frames: list):
    """What the frames' distance scores say; None without scores."""
    distances = [a.arrays["distance"] for a in frames if "distance" in a.arrays]
    return extrapolation(np.concatenate(distances) if distances else None)


def _notes(frames: list, seen) -> list[str]:
    notes = []
    short = sum(bool(a.info.get("correlated")) for a in frames)
    if short:
        notes.append(f"{short} frames are nearer in time than their decorrelation time: let runs last longer (longest)")
    if seen and seen.matters:
        far = sum(bool((a.arrays["distance"] > 1).any()) for a in frames if "distance" in a.arrays)
        notes.append(f"{seen} Label the {far} frames with such environments.")
    return notes
