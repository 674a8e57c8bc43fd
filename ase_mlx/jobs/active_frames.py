"""The structures of an active learning: those that may be asked for, those it knows, those it is judged by.

Source: ours.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ase_mlx.data.io import read_frames
from ase_mlx.data.label import content_key
from ase_mlx.data.labels import labels_of
from ase_mlx.learn.active.settings import ActiveSettings
from ase_mlx.occupancy import check_occupancy
from ase_mlx.reading import reading


@dataclass
class Frames:
    """Structures (Å) by their content keys, in the order of their files.

    Attributes:
        pool: those that may be asked for.
        held: validation and test structures; `part` says which each is.
        known: labelled ones that are learned from all along, with `info["part"]`; a list.
        notes: what was left out.

    Source: ours.
    """

    pool: dict[str, Any]
    held: dict[str, Any]
    part: dict[str, str]
    known: list[Any]
    notes: list[str] = field(default_factory=list)

    @property
    def unlabelled(self) -> dict[str, Any]:
        """Those of `held` that the teacher has to label first."""
        return {key: atoms for key, atoms in self.held.items() if not has_labels(atoms)}

    def elements(self) -> set[int]:
        """List the atomic numbers of all that is asked for or judged by."""
        return {int(z) for atoms in (*self.pool.values(), *self.held.values()) for z in atoms.numbers}


def read_active_frames(settings: ActiveSettings) -> Frames:
    """Read the files of an active learning (Å, eV); the same structure twice counts once.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file without structures, known frames without labels, nothing that sets the error bars.

    Source: ours.
    """
    held: dict[str, Any] = {}
    parts: dict[str, str] = {}
    for part, file in (("val", settings.validation), ("test", settings.test)):
        for k, atoms in enumerate(read_frames(file) if file else ()):
            key = _key(atoms)
            atoms.info.setdefault("config_name", f"{Path(file).name} {k}")
            held.setdefault(key, atoms)
            parts.setdefault(key, part)
    known = _known(settings.known) if settings.known else []
    taken = set(held) | {_key(atoms.copy()) for atoms in known}
    pool: dict[str, Any] = {}
    count = 0
    for file in settings.pool:
        for k, atoms in enumerate(read_frames(file)):
            check_occupancy(atoms)
            atoms.calc, count = None, count + 1
            atoms.info.setdefault("config_name", f"{Path(file).name} {k}")
            if (key := _key(atoms)) not in taken:
                pool.setdefault(key, atoms)
    frames = Frames(pool, held, parts, known)
    if count > len(pool):
        frames.notes.append(
            f"{count - len(pool)} of {count} structures of the pool are there twice, or known, or held out."
        )
    if "val" not in {*parts.values(), *(atoms.info["part"] for atoms in known)}:
        raise ValueError(
            'got no validation structures, expected some that set the error bars: give `validation = "FILE"`, or '
            'frames with info["part"] = "val" in `known`'
        )
    return frames


def _key(atoms: Any) -> str:
    """Content key of a structure, which forgets what another file has it for."""
    atoms.info.pop("part", None)
    return content_key(atoms)


def _known(file: str) -> list[Any]:
    frames = read_frames(file)
    parts = any("part" in atoms.info for atoms in frames)
    with reading(file, "labelled frames", "label them with `ase-mlx label`, or leave them out"):
        for k, atoms in enumerate(frames):
            if not parts:
                atoms.info["part"] = "train"
            labels_of(atoms, str(atoms.info.get("config_name", f"frame {k}")))
    return [atoms for atoms in frames if atoms.info.get("part") in ("train", "val", "test")]


def has_labels(atoms: Any) -> bool:
    """Tell whether a structure has an energy and forces.

    Source: ours.
    """
    return atoms.calc is not None and {"energy", "forces"} <= set(atoms.calc.results)
