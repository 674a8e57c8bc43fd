"""The file of sampled structures: which run its frames belong to, and whether they are what was written.

Source: ours.
"""

from dataclasses import asdict
from pathlib import Path

import numpy as np
from ase import Atoms

from ase_mlx.adapters.ase.sampling import Sampling
from ase_mlx.adapters.identity import identity
from ase_mlx.data.io import read_frames
from ase_mlx.keep import damaged, digest

SETTINGS, CALCULATOR, SUM = "sampling", "sampled_with", "sampled_sum"
"""Info of a frame: digests of settings and start, of the calculator, and of the frame itself."""


def run_marks(settings: Sampling, atoms: Atoms, calculator) -> dict[str, str]:
    """Tell by what a file knows its run: settings and all that is on the start (Å), and the calculator.

    Ask before the run: the calculator is to be as it was made.

    Source: ours.
    """
    start = {name: np.round(a, 6) if a.dtype.kind == "f" else a for name, a in atoms.arrays.items()}
    constraints = [constraint.todict() for constraint in atoms.constraints]
    cell = np.round(atoms.cell.array, 6)
    where = digest(asdict(settings), start, cell, atoms.pbc, atoms.info, constraints)
    return {SETTINGS: f"s{where[:16]}", CALCULATOR: f"c{identity(calculator).lasting[:16]}"}


def mark(frames: list[Atoms], marks: dict[str, str]) -> list[Atoms]:
    """Note on frames (Å, eV) which run they belong to, and a checksum.

    Source: ours.
    """
    for frame in frames:
        frame.info |= marks
        frame.info[SUM] = _checksum(frame)
    return frames


def finished(out: Path, marks: dict[str, str], frames: int) -> list[Atoms]:
    """Read the whole runs of `frames` frames (Å, eV) that an earlier call with these marks wrote, up to a damaged one.

    Raises:
        ValueError: the file holds structures of another call, or cannot be read.

    Source: ours.
    """
    if not out.exists():
        return []
    written = read_frames(out)
    whats = {SETTINGS: "with other settings or from another start", CALCULATOR: "with another calculator"}
    for name, what in whats.items():
        if any(atoms.info.get(name) != marks[name] for atoms in written):
            raise ValueError(
                f"got {str(out)!r}, which holds structures of another call, {what}; expected none or those of this "
                "one: choose another file with -o, or remove it"
            )
    for k, atoms in enumerate(written):
        if atoms.info.get(SUM) != _checksum(atoms):
            damaged(out, f"frame {k + 1} is not what was written")
            written = written[:k]
            break
    return written[: len(written) // frames * frames]


def _checksum(frame: Atoms) -> str:
    """Of what dynamics and calculator gave, in the eight decimals of extxyz."""
    results = frame.calc.results if frame.calc is not None else {}
    reals = [frame.positions, frame.cell.array, results.get("energy", 0.0), results.get("forces", [])]
    text = " ".join(f"{x:.8f}" for array in reals for x in np.ravel(array))
    return f"d{digest(text.replace('-0.00000000', '0.00000000'), frame.numbers.tolist())[:16]}"
