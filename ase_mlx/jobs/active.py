"""Active learning of a potential: choose structures, have them labelled, learn, choose again; killed, it goes on.

Source: ours.
"""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from itertools import count as counted
from pathlib import Path
from typing import Any

from ase_mlx.adapters.espresso_checks import blas_of
from ase_mlx.adapters.teachers import teacher
from ase_mlx.data.label import Report, label
from ase_mlx.data.returned import ELSEWHERE, add_labels
from ase_mlx.figures.learning_curve import draw_learning_curve
from ase_mlx.jobs.active_frames import read_active_frames
from ase_mlx.jobs.active_rounds import Rounds, identity_of
from ase_mlx.jobs.active_state import LABELS, WORK, Labels, State
from ase_mlx.jobs.report import add_report
from ase_mlx.learn.active.settings import ActiveSettings, read_settings
from ase_mlx.progress import Progress
from ase_mlx.whole import check_folder, sole
from ase_mlx.whole.tables import write_csv, write_json

REPORT, CURVE, FIGURE = "report.json", "learning_curve.csv", "learning_curve.png"

IN_A_ROW = 5
"""Structures that fail one after the other, none labelled between, with which a loop ends."""

SPACE = 20_000_000
"""Bytes that have to be free before anything is computed."""


@dataclass
class Learned:
    """What became of an active learning: the folder of its model, a line a round (units in the names), why it ended.

    `core_hours` is hours of the teacher, failures with them; `failed` maps structures to reasons.

    Source: ours.
    """

    folder: Path
    rounds: list[dict[str, Any]]
    ended: str
    core_hours: float
    failed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class ActiveLearning:
    """An active learning in a folder: `ask` for structures and `tell` their labels, or `run` with a teacher.

    To be used as a context, which keeps other processes out of the folder.

    Source: ours.
    """

    def __init__(self, settings: ActiveSettings | str | Path, folder: str | Path, progress: Progress | None = None):
        """Read settings (of a TOML file, where a path is given) and structures; nothing is computed.

        Raises:
            FileNotFoundError: a file or model is missing.
            ValueError: wrong settings, no structures, a folder of another active learning.
            OSError: the folder cannot be written.
        """
        self.settings = settings if isinstance(settings, ActiveSettings) else read_settings(settings)
        self.folder, self.progress, chosen = Path(folder), progress, self.settings.teacher
        self.teacher = (
            None if chosen is None else teacher(chosen.name, chosen.config or None, chosen.pseudo_dir or None)
        )
        self.frames = read_active_frames(self.settings)
        if self.teacher is not None and (slow := blas_of(self.teacher)):
            self.frames.notes.append(slow)
        self.identity = identity_of(self.settings, self.frames, self.journal)
        check_folder(self.folder, SPACE)
        self.work, self.stack, self.ended = self.folder / WORK, ExitStack(), ""
        self.work.mkdir(exist_ok=True)
        self._begin()

    def _begin(self) -> None:
        self.state = State(self.work, self.identity)
        self.rounds = Rounds(self.settings, self.frames, self.state, self.folder, self.teacher, self.progress)

    def __enter__(self) -> "ActiveLearning":
        """Keep other processes out.

        Raises:
            BlockingIOError: another process is at work in the folder.
        """
        self.stack.enter_context(sole(self.work))
        self._begin()  # as the process before left it
        return self

    def __exit__(self, *_: Any) -> None:
        """Let others in."""
        self.stack.close()

    @property
    def journal(self) -> tuple[str, str]:
        """Name and identity of who labels, as a journal of labels knows them."""
        if self.teacher is not None:
            return self.teacher.name, self.teacher.identity
        return ELSEWHERE, json.dumps({"level_of_theory": self.settings.data.get("level_of_theory", "not stated")})

    def labels(self) -> Labels:
        """Read the labels so far (eV, Å)."""
        return Labels(self.work, *self.journal)

    def waiting(self, labels: Labels) -> dict[str, Any]:
        """Structures (Å) that were asked for, or are held out, and have neither label nor failure."""
        candidates = self.frames.unlabelled | self.state.asked()
        return {key: atoms for key, atoms in candidates.items() if key not in labels.done and key not in labels.failed}

    def ask(self, count: int | None = None) -> list[Any]:
        """Give the structures (Å) whose labels are waited for; where there are none, learn, and choose a round of them.

        Args:
            count: how many to choose; the settings' `batch` where it is None.

        Returns:
            None where the learning has ended, and `ended` says why.

        Raises:
            RuntimeError: the teacher fails on everything.
        """
        labels = self.labels()
        if not (frames := self.waiting(labels)):
            self._expect_success(labels)
            if self.rounds.learn(labels):
                self.report()
            self.ended = self.rounds.ended(labels) or self.rounds.choose(labels, count)
            frames = {} if self.ended else self.waiting(labels)
        return list(frames.values())

    def tell(self, frames: Sequence[Any]) -> Report:
        """Take labels (eV, eV/Å, eV/Å³) of structures (Å) that were asked for, from elsewhere; failures too.

        Raises:
            ValueError: the settings name a teacher, or a structure was not asked for.
            OSError: the folder cannot be written.
        """
        if self.teacher is not None:
            raise ValueError(
                f"got labels for a learning whose teacher is {self.teacher.name!r}, expected them from there; leave "
                "[teacher] out of the settings to label elsewhere"
            )
        return add_labels(frames, self.frames.unlabelled | self.state.asked(), self.work / LABELS, self.journal[1])

    def run(self, retry: bool = False) -> Learned:
        """Choose, label, learn until the pool, the budget or the predicted error says that it is enough.

        Args:
            retry: whether to try again first what failed in earlier calls.

        Raises:
            ValueError: the settings name no teacher.
            RuntimeError: the teacher fails on everything.
            OSError: the folder cannot be written, or the disk is full; the same call goes on later.
        """
        if self.teacher is None:
            raise ValueError("got no [teacher], expected one; add it, or use --ask and --tell to label elsewhere")
        if retry and (failed := self.labels().failed):
            candidates = self.frames.unlabelled | self.state.asked()
            self._label([candidates[key] for key in failed if key in candidates], retry=True)
        while frames := self.ask():
            self._label(frames)
            if len(self.waiting(self.labels())) == len(frames):
                raise RuntimeError(f"got no answer for any of {len(frames)} structures; look at {self.work / LABELS}")
        return self.finish()

    def finish(self) -> Learned:
        """Train from random weights on all labels, where the settings ask for it, and report."""
        self.rounds.last(self.labels())
        return self.report()

    def _label(self, frames: list[Any], retry: bool = False) -> None:
        number, progress = counted(1), self.progress

        def after_frame(*_: str) -> None:
            progress(f"labels, round {len(self.state.rounds)}", next(number), len(frames))

        if frames:
            workers = self.settings.teacher.workers
            label(frames, self.teacher, self.work / LABELS, workers, retry, after_frame if progress else None)

    def _expect_success(self, labels: Labels) -> None:
        """End where a teacher fails on everything that it was asked last."""
        keys = [key for line in self.state.rounds for key in line["keys"]]
        last = next((k for k, key in enumerate(reversed(keys)) if key in labels.done), len(keys))
        if last >= IN_A_ROW:
            reasons = "; ".join(sorted({labels.failed[key] for key in keys[-last:]})[:3])
            raise RuntimeError(
                f"got no label of the last {last} structures: {reasons}; mend the teacher, and go on with --retry"
            )

    def report(self) -> Learned:
        """Write the report, the learning curve and its picture."""
        labels, asked = self.labels(), self.frames.unlabelled | self.state.asked()
        names = {key: str(atoms.info.get("config_name", key)) for key, atoms in asked.items()}
        failed = {names[key]: reason for key, reason in labels.failed.items() if key in names}
        lines, hours = self.rounds.lines(), labels.spent / 3600
        done = Learned(self.folder, lines, self.ended, hours, failed, self.frames.notes)
        columns = list(dict.fromkeys(name for line in lines for name, v in line.items() if not isinstance(v, dict)))
        write_csv(self.folder / CURVE, columns, [[line.get(name) for name in columns] for line in lines])
        draw_learning_curve(self.folder / FIGURE, lines)
        settings = {"command": "active", **asdict(self.settings)}
        write_json(self.folder / REPORT, {**vars(done), "folder": str(self.folder), "settings": settings})
        add_report(self.folder, [], done.notes)
        return done


def active(
    settings: ActiveSettings | str | Path,
    folder: str | Path,
    progress: Progress | None = None,
    retry: bool = False,
) -> Learned:
    """Teach a potential by structures that it chooses from a pool, labelled by a teacher; the same call goes on.

    Args:
        settings: a TOML file (docs/active.md), or what is in it.
        folder: becomes a model folder, with `report.json` and `learning_curve.csv`; what a second call goes on from is
            in its `work`.
        progress: called with stage, number done and number in all.
        retry: whether to try again what failed in earlier calls.

    Returns:
        A line a round (units in the names), failures, hours of the teacher, and why it ended.

    Raises:
        FileNotFoundError: a file, model or program is missing.
        ValueError: wrong settings, no structures, a folder of another active learning.
        BlockingIOError: another process is at work in the folder.
        RuntimeError: the teacher fails on everything.
        OSError: the folder cannot be written.

    Source: ours.
    """
    with ActiveLearning(settings, folder, progress) as learning:
        return learning.run(retry)
