"""Labels of many structures: batches of a model of ours, one structure after the other of any other calculator.

Source: ours.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from ase_mlx.adapters.ase.relaxation import forget_last, property_or_none
from ase_mlx.adapters.ase.relaxations import FAILURES, in_batches
from ase_mlx.data.io import read_frames, write_frames
from ase_mlx.data.label import content_key
from ase_mlx.keep import digest
from ase_mlx.models.extrapolation import once
from ase_mlx.models.predict import predict

CHUNK = 24
"""Frames that are labelled between two looks at the clock, and kept together."""

LARGEST = 60.0
"""eV/Å: a frame with a larger force has come apart, and teaches nothing of the crystal."""


def label_frames(
    frames: Sequence[Atoms],
    calculator,
    folder: Path,
    late: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[Atoms], dict[int, str]]:
    """Label frames (Å) with energy (eV), forces (eV/Å), stress (eV/Å³); finished chunks are kept in a folder.

    Args:
        frames: without labels; their `info` and arrays are kept.
        calculator: any ASE calculator.
        folder: of the finished chunks; a second call with the same frames reads them.
        late: asked after each chunk whether to leave the rest.
        progress: called with the frames done and all.

    Returns:
        The labelled frames, and the reason of each that was not, by its place.

    Source: ours.
    """
    folder.mkdir(parents=True, exist_ok=True)
    labelled: list[Atoms] = []
    reasons: dict[int, str] = {}
    for start in range(0, len(frames), CHUNK):
        chunk = list(frames[start : start + CHUNK])
        path = folder / f"{digest([content_key(atoms) for atoms in chunk])[:16]}.extxyz"
        if path.exists():
            done = read_frames(path)
        elif start and late():
            reasons |= dict.fromkeys(range(start, len(frames)), "no time was left")
            break
        else:
            done = _label(chunk, calculator, start, reasons)
            if done:
                write_frames(path, done)
                done = read_frames(path)  # what a later call gets, to the last digit
        labelled += done
        progress(min(start + CHUNK, len(frames)), len(frames))
    return labelled, reasons


def _label(chunk: list[Atoms], calculator, start: int, reasons: dict[int, str]) -> list[Atoms]:
    results: list[dict | Exception] = []
    if in_batches(calculator):
        try:
            with once(speak=False):
                results = [dict(p) for p in predict(calculator.model, chunk, std=False)]
        except FAILURES:
            results = []
    results = results or [_alone(atoms, calculator) for atoms in chunk]
    done = []
    for k, (atoms, result) in enumerate(zip(chunk, results, strict=True)):
        reason = str(result) if isinstance(result, Exception) else _complaint(result)
        if reason:
            reasons[start + k] = reason
            continue
        frame = atoms.copy()
        values = {name: np.array(result[name]) for name in ("forces", "stress") if result.get(name) is not None}
        frame.calc = SinglePointCalculator(frame, energy=float(result["energy"]), **values)
        done.append(frame)
    return done


def _alone(atoms: Atoms, calculator) -> dict | Exception:
    try:
        forget_last(calculator)
        return {name: property_or_none(calculator, name, atoms) for name in ("energy", "forces", "stress")}
    except FAILURES as error:
        return error


def _complaint(result: dict) -> str:
    for name in ("energy", "forces"):
        if result.get(name) is None:
            return f"the teacher gave no {name}"
    bad = [name for name in ("energy", "forces", "stress") if not np.isfinite(result.get(name, 0.0)).all()]
    if bad:
        return f"NaN or infinite {', '.join(bad)} from the teacher"
    largest = np.linalg.norm(result["forces"], axis=1).max()
    return f"a force of {largest:.3g} eV/Å: the structure has come apart" if largest > LARGEST else ""
