"""Labels that come back from elsewhere: found again among the structures that were asked for, and kept in a journal.

Source: ours.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from ase_mlx.data.io import write_frames
from ase_mlx.data.journal import Journal
from ase_mlx.data.label import Report, complaint, content_key
from ase_mlx.whole import scratch_folder

NEAR = 1e-3
"""Å: how far a code may have rounded places and cells."""

FAILED = "failed"
"""Entry of `info` that says why a structure has no label."""

ELSEWHERE = "elsewhere"


def add_labels(frames: Sequence[Atoms], asked: Mapping[str, Atoms], out: str | Path, identity: str) -> Report:
    """Keep labels (eV, eV/Å, eV/Å³) that another program made of structures (Å) that were asked for.

    A frame with `info["failed"]`, without energy or forces, or with NaN is kept as failed, with the reason.

    Args:
        frames: with labels.
        asked: those waited for, by their content keys.
        out: the extxyz file of labels; its journal lies beside it.
        identity: level of theory, as text; one file holds one.

    Returns:
        Counts; frames kept from an earlier call are counted as such.

    Raises:
        ValueError: a frame that nobody asked for; labels of another level of theory.
        OSError: the file cannot be written.

    Source: ours.
    """
    places = [_place(atoms, asked) for atoms in frames]
    if None in places:
        k = places.index(None)
        raise ValueError(
            f"got frame {k} ({frames[k].get_chemical_formula()}), which is none of the {len(asked)} structures that "
            f"were asked for (within {NEAR:g} Å); give the labelled frames of the file of --ask, unrelaxed"
        )
    report = Report()
    with Journal(Path(out), ELSEWHERE, identity) as journal:
        for atoms, key in zip(frames, places, strict=True):
            if key in journal.done:
                report.kept += 1
                continue
            name = str(asked[key].info.get("config_name", f"frame-{key}"))
            block, reason = _labelled(asked[key], atoms, key, name)
            journal.add(key, name, block, reason, 0.0)
            journal.done |= set() if block is None else {key}
            if block is None:
                report.failed[name] = reason
            else:
                report.done += 1
    return report


def _place(atoms: Atoms, asked: Mapping[str, Atoms]) -> str | None:
    """Key of the structure that a frame is of: by content, or the nearest one."""
    if (key := content_key(atoms)) in asked:
        return key
    off = {}
    for key, other in asked.items():
        if len(other) == len(atoms) and (other.numbers == atoms.numbers).all() and (other.pbc == atoms.pbc).all():
            moved = abs(other.positions - atoms.positions).max(), abs(other.cell.array - atoms.cell.array).max()
            off[key] = float(np.max(moved))
    nearest = min(off, key=off.get, default=None)
    return nearest if nearest is not None and off[nearest] < NEAR else None


def _labelled(asked: Atoms, atoms: Atoms, key: str, name: str) -> tuple[str | None, str]:
    """Text of the structure as it was asked for, with labels; or None and why there are none."""
    if FAILED in atoms.info:
        return None, str(atoms.info[FAILED])
    results = {} if atoms.calc is None else dict(atoms.calc.results)
    labels = {k: results[k] for k in ("energy", "free_energy", "forces", "stress") if k in results}
    if "free_energy" in labels:
        labels["energy"] = labels["free_energy"]
    frame = asked.copy()
    frame.calc = SinglePointCalculator(frame, **labels)
    frame.info |= {"config_name": name, "label_key": key}
    frame.info |= {k: atoms.info[k] for k in ("cpu_s",) if k in atoms.info}
    if reason := complaint(asked, [frame]):
        return None, reason.replace("the teacher gave", "there is")
    with scratch_folder("ase-mlx-returned") as scratch:
        write_frames(scratch / "frame.extxyz", [frame])
        return (scratch / "frame.extxyz").read_text(encoding="utf-8"), ""
