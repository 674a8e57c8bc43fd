"""What an active learning keeps on the disk: what was asked when and why, labels, models, the learning curve.

Source: ours.
"""

import json
from pathlib import Path
from typing import Any

from ase_mlx.data.io import read_frames, write_frames
from ase_mlx.data.journal import Journal
from ase_mlx.data.labels import labels_of
from ase_mlx.whole import write_text

WORK, STATE, LABELS, ASKED = "work", "state.json", "labels.extxyz", "asked.extxyz"


class State:
    """Rounds of an active learning in a file: in each what was asked for and why, and what was learned.

    Attributes:
        rounds: dictionaries with `keys`, `why`, `seconds` (predicted, s) and, where it was learned from, `learned`.

    Source: ours.
    """

    def __init__(self, folder: Path, identity: dict[str, str]):
        """Go on from the folder, where it is of the same learning.

        Raises:
            ValueError: it is of another one; named is what differs.
        """
        self.folder, self.path, self.identity = folder, folder / STATE, identity
        self.rounds: list[dict[str, Any]] = []
        self.started: dict[str, Any] = {}
        if self.path.is_file():
            state = json.loads(self.path.read_text(encoding="utf-8"))
            before = state.get("identity", {})
            changed = [name for name in before | identity if before.get(name) != identity.get(name)]
            if changed:
                changes = ", ".join(f"{name} ({before.get(name)}, now {identity.get(name)})" for name in changed)
                raise ValueError(
                    f"got the folder {str(folder.parent)!r} of another active learning (differ: {changes}); restore "
                    "these, give another folder, or delete that one"
                )
            self.rounds, self.started = state["rounds"], state["started"]

    def keep(self) -> None:
        """Write it, whole or not at all."""
        state = {"identity": self.identity, "started": self.started, "rounds": self.rounds}
        write_text(self.path, json.dumps(state, indent=1, ensure_ascii=False))

    def round_folder(self, number: int) -> Path:
        """The folder of a round."""
        return self.folder / "rounds" / f"{number:03d}"

    def ask(self, frames: dict[str, Any], why: list[str], seconds: list[float]) -> None:
        """Note what is asked for (Å), why, and how long it should take (s), before anybody is asked."""
        folder = self.round_folder(len(self.rounds))
        folder.mkdir(parents=True, exist_ok=True)
        write_frames(folder / ASKED, list(frames.values()))
        self.rounds.append({"keys": list(frames), "why": why, "seconds": seconds})
        self.keep()

    def asked(self) -> dict[str, Any]:
        """All structures that were asked for (Å), in their order."""
        frames: dict[str, Any] = {}
        for number, line in enumerate(self.rounds):
            frames |= zip(line["keys"], read_frames(self.round_folder(number) / ASKED), strict=True)
        return frames


class Labels:
    """Labels of an active learning by content key (eV, Å), as `label` keeps them; `spent` is seconds of the teacher.

    Attributes:
        done: labelled structures that can be learned from.
        failed: key → why there is no label, or none that can be learned from.

    Source: ours.
    """

    def __init__(self, folder: Path, name: str, identity: str):
        """Read what is there.

        Raises:
            ValueError: labels of another teacher, or damaged ones.
        """
        self.out, journal = folder / LABELS, Journal(folder / LABELS, name, identity)
        journal.look()
        self.done: dict[str, Any] = {}
        self.failed: dict[str, str] = {key: reason for key, (_, reason) in journal.failed.items()}
        self.seconds = dict(journal.seconds)
        for atoms in read_frames(self.out) if self.out.is_file() and self.out.stat().st_size else ():
            key = str(atoms.info.pop("label_key"))
            self.seconds[key] = float(atoms.info.get("cpu_s") or self.seconds.get(key, 0.0))
            try:
                labels_of(atoms, str(atoms.info.get("config_name")))
                self.done[key] = atoms
            except ValueError as error:
                self.failed[key] = str(error)

    @property
    def spent(self) -> float:
        """Seconds of the teacher, those of failures with them."""
        return sum(self.seconds.values())
