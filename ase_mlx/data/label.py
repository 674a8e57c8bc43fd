"""Labelling structures with a slow teacher: parallel over frames, restartable, no half frame in the file.

Source: ours.
"""

import json
import os
import queue
import shutil
import signal
import subprocess
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_properties

from ase_mlx.data.io import read_frames, write_frames
from ase_mlx.data.journal import Journal
from ase_mlx.keep import digest
from ase_mlx.occupancy import check_occupancy
from ase_mlx.whole import scratch_folder, whole_file

__all__ = ["Process", "Report", "Teacher", "complaint", "content_key", "label", "label_one"]

BUILDERS = ("spacegroup", "adsorbate_info")
"""Info that ASE's own readers and builders leave: it follows from the structure, and is left out without a word."""

HELD = ("FixAtoms", "FixCartesian")
"""Constraints that an extxyz file holds."""

FRAME, LABELLED, DENSITY, FAILURE = "frame.extxyz", "labelled.extxyz", "density.npz", "failure.txt"

NO_TEACHER = "the teacher cannot be made: "
"""Beginning of a failure that is none of the frame's: the work ends with it, and nothing is noted."""


@dataclass(frozen=True)
class Teacher:
    """What computes labels, as a command that serves one frame after another.

    The command reads folder names, one a line, from standard input. In each it finds `frame.extxyz`, leaves
    `labelled.extxyz` (eV, eV/Å, eV/Å³), where it was asked for one `density.npz` (e/Å³), or `failure.txt`, and answers
    with a line.

    Attributes:
        name: what calls it, as in `espresso`.
        command: program and arguments.
        identity: everything that decides the numbers, as text; one output file holds one identity.
        timeout: seconds that one frame may take.

    Source: ours.
    """

    name: str
    command: tuple[str, ...]
    identity: str
    timeout: float = 7200.0


@dataclass
class Report:
    """What became of the frames of one call.

    Attributes:
        done: labelled now.
        kept: in the file from an earlier call.
        duplicates: the same structure again in the input; labelled once.
        failed: name → reason.
        seconds: wall time in seconds.

    Source: ours.
    """

    done: int = 0
    kept: int = 0
    duplicates: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


def content_key(atoms: Atoms) -> str:
    """Hash all that is on a structure, as an extxyz file holds it (Å, to eight decimals), but its name and old labels.

    Source: ours.
    """
    bare = _bare(atoms)
    info = {name: _plain(value) for name, value in bare.info.items() if name not in ("config_name", "label_key")}
    arrays = {name: _plain(array) for name, array in bare.arrays.items()}
    constraints = [constraint.todict() for constraint in atoms.constraints]
    return digest(arrays, _plain(atoms.cell.array), _plain(atoms.pbc), info, constraints)[:20]


def _plain(value: Any) -> Any:
    """Numbers as real ones to eight decimals: a file gives back other types than went in."""
    array = value if isinstance(value, dict | str) else np.array(value, dtype=None if np.ndim(value) else float)
    if isinstance(array, np.ndarray):
        return np.round(array.astype(float), 8) + 0.0 if array.dtype.kind in "biuf" else array.tolist()
    return array


def _bare(atoms: Atoms) -> Atoms:
    """The structure with all that is on it, without labels of earlier calls and what no extxyz file can hold."""
    bare = atoms.copy()
    bare.calc = None
    for name in set(bare.arrays) & set(all_properties):
        del bare.arrays[name]
    bare.info = {name: value for name, value in atoms.info.items() if _can_hold(value) and name not in all_properties}
    return bare


def _can_hold(value: Any) -> bool:
    """Whether an extxyz file can hold a value of info."""
    if isinstance(value, str | int | float | np.ndarray | np.generic):
        return True
    try:
        return value is not None and bool(json.dumps(value))
    except (TypeError, ValueError, RecursionError):
        return False


def _warn_of_lost_info(frames: Sequence[Atoms]) -> None:
    items = [item for atoms in frames for item in atoms.info.items() if item[0] not in BUILDERS]
    kinds = {name: type(value).__name__ for name, value in items if not _can_hold(value)}
    if kinds:
        warnings.warn(
            f"got {', '.join(f'info[{name!r}] of type {kind}' for name, kind in kinds.items())}, which no extxyz file "
            "can hold: the teacher does not see it, and it is not in the output",
            stacklevel=3,
        )


def _lost(atoms: Atoms, read: Atoms) -> list[str]:
    """Name what is on a structure and did not come through an extxyz file."""
    lost = [f"constraints of kind {type(c).__name__}" for c in atoms.constraints if type(c).__name__ not in HELD]
    for name, array in atoms.arrays.items():
        other = read.arrays.get(name)
        same = other is not None and other.shape == array.shape
        if same and array.dtype.kind == "f":
            same = bool(np.abs(array - other).max(initial=0) <= 1e-8)
        elif same:
            same = bool((array == other).all())
        lost += [] if same else [f"the array {name!r}"]
    return lost + [f"info[{name!r}]" for name in atoms.info if name not in read.info]


def label(
    frames: Sequence[Atoms],
    teacher: Teacher,
    out: str | Path,
    workers: int = 1,
    retry: bool = False,
    progress: Callable[[str, str], None] | None = None,
    densities: str | Path | None = None,
) -> Report:
    """Append labelled frames to the extxyz file `out` as they are finished, and say in a journal what failed.

    A frame is known by its content, so a second call goes on where the first one ended, however that was. Labels:
    energy and free_energy (both the force-consistent one, eV), forces (eV/Å), stress (eV/Å³).

    Args:
        frames: the structures, in Å; their `info` is kept.
        teacher: what labels them.
        out: the file to append to; the journal lies beside it, as `OUT.journal.jsonl`.
        workers: how many frames at a time, each on one thread.
        retry: whether to try again what failed in an earlier call.
        progress: called with the name and "done" or "failed" after each frame.
        densities: a folder for the densities (e/Å³) of a teacher that leaves them, one file a frame, named by its
            `label_key`; a frame labelled without one is computed again.

    Raises:
        ValueError: no frames; partial occupancy; fewer than one worker; `out` comes from another teacher or is no file
            of this function.
        BlockingIOError: another process is labelling into `out`.
        OSError: `out` cannot be written.

    Source: ours.
    """
    if not frames or workers < 1:
        raise ValueError(f"got {len(frames)} frames and {workers} workers, expected at least one of each")
    for atoms in frames:
        check_occupancy(atoms)
    start = time.monotonic()
    report = Report()
    _warn_of_lost_info(frames)
    folder = None if densities is None else Path(densities)
    with Journal(Path(out), teacher.name, teacher.identity) as journal:
        todo: dict[str, Atoms] = {}
        for key, atoms in {content_key(atoms): atoms for atoms in reversed(frames)}.items():
            if key in journal.done and (folder is None or (folder / f"{key}.npz").is_file()):
                report.kept += 1
            elif key in journal.failed and not retry:
                name, reason = journal.failed[key]
                report.failed[name] = reason
            else:
                todo[key] = atoms
        report.duplicates = len(frames) - report.kept - len(report.failed) - len(todo)
        if folder is not None:
            folder.mkdir(exist_ok=True)
        _Run(teacher, journal, report, progress, todo, folder).work(workers)
    report.seconds = time.monotonic() - start
    return report


class _Run:
    """Worker threads that feed one process of the teacher each; all stop on the first error of our own."""

    def __init__(self, teacher, journal, report, progress, todo: dict[str, Atoms], densities: Path | None):
        self.teacher, self.journal, self.report, self.progress = teacher, journal, report, progress
        self.densities = densities
        self.queue: queue.SimpleQueue[tuple[str, Atoms]] = queue.SimpleQueue()
        for item in reversed(todo.items()):
            self.queue.put(item)
        self.stop = threading.Event()
        self.lock = threading.Lock()
        self.errors: list[BaseException] = []

    def work(self, workers: int) -> None:
        processes = [Process(self.teacher) for _ in range(min(workers, self.queue.qsize()))]
        threads = [threading.Thread(target=self._serve, args=(process,), daemon=True) for process in processes]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.2)
                    if self.errors:
                        raise self.errors[0]
        finally:
            self.stop.set()
            for process in processes:
                process.end()
        if self.errors:
            raise self.errors[0]

    def _serve(self, process: "Process") -> None:
        try:
            with scratch_folder("ase-mlx-label") as scratch:
                while not self.stop.is_set():
                    try:
                        key, atoms = self.queue.get_nowait()
                    except queue.Empty:
                        return
                    self._one(process, scratch / key, key, atoms)
        except BaseException as error:
            self.errors.append(error)

    def _one(self, process: "Process", folder: Path, key: str, atoms: Atoms) -> None:
        began = time.monotonic()
        name = str(atoms.info.get("config_name", f"frame-{key}"))
        block, reason = label_one(process, folder, key, name, atoms, self.densities)
        if reason.startswith(NO_TEACHER):
            raise ValueError(f"got teacher {self.teacher.name!r}: {reason}")
        with self.lock:
            if self.stop.is_set():
                return
            if key not in self.journal.done:
                self.journal.add(key, name, block, reason, time.monotonic() - began)
            if block is None:
                self.report.failed[name] = reason
            else:
                self.report.done += 1
            if self.progress is not None:
                self.progress(name, "failed" if block is None else "done")


def label_one(
    process: "Process", folder: Path, key: str, name: str, atoms: Atoms, densities: Path | None = None
) -> tuple[str | None, str]:
    """Label one frame (Å) in its own folder: its text as extxyz (eV, eV/Å, eV/Å³) and "", or None and why not.

    The density (e/Å³) goes into the folder `densities` before the text is given.

    Source: ours.
    """
    folder.mkdir()
    try:
        bare = _bare(atoms)
        bare.info |= {"config_name": name, "label_key": key}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the file cannot hold is refused below, with the frame's name
            write_frames(folder / FRAME, [bare])
        if lost := _lost(bare, read_frames(folder / FRAME)[0]):
            return None, f"{', '.join(lost)} cannot be held by an extxyz file, expected it without: take it off first"
        if reason := process.label(folder):
            return None, reason
        if (folder / FAILURE).exists():
            return None, (folder / FAILURE).read_text(encoding="utf-8").strip()
        if reason := complaint(read_frames(folder / FRAME)[0], read_frames(folder / LABELLED)):
            return None, reason
        if densities is not None:
            with whole_file(densities / f"{key}.npz") as part:
                shutil.copyfile(folder / DENSITY, part)
        return (folder / LABELLED).read_text(encoding="utf-8"), ""
    except (FileNotFoundError, ValueError) as error:
        return None, f"{type(error).__name__}: {error}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def complaint(asked: Atoms, labelled: list[Atoms]) -> str:
    """Say what is wrong with a teacher's answer (eV, Å), or nothing.

    Source: ours.
    """
    if len(labelled) != 1:
        return f"the teacher gave {len(labelled)} frames for one"
    atoms = labelled[0]
    if len(atoms) != len(asked) or (atoms.numbers != asked.numbers).any():
        return f"the teacher gave {atoms.get_chemical_formula()} for {asked.get_chemical_formula()}"
    moved = max(abs(atoms.positions - asked.positions).max(), abs(atoms.cell.array - asked.cell.array).max())
    if moved > 1e-6:
        return f"the teacher moved the atoms or the cell by {moved:.2g} Å"
    if lost := _lost(asked, atoms):
        return f"the teacher lost {', '.join(lost)}"
    results = atoms.calc.results if atoms.calc is not None else {}
    for quantity in ("energy", "forces"):
        if quantity not in results:
            return f"the teacher gave no {quantity}"
    bad = [quantity for quantity, value in results.items() if not np.isfinite(value).all()]
    return f"NaN or infinite {', '.join(bad)} from the teacher" if bad else ""


class Process:
    """One running teacher: started when needed, and again after it died or was killed for being late (seconds).

    Source: ours.
    """

    def __init__(self, teacher: Teacher):
        self.teacher = teacher
        self.process: subprocess.Popen | None = None

    def label(self, folder: Path) -> str:
        """Have one folder labelled; give the reason of a failure, or nothing."""
        process = self.process or self._start()
        late = threading.Event()
        timer = threading.Timer(self.teacher.timeout, lambda: (late.set(), _kill(process)))
        timer.start()
        try:
            process.stdin.write(f"{folder}\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except (OSError, ValueError):
            answer = ""
        finally:
            timer.cancel()
        if answer:
            return ""
        code = self.end()
        if late.is_set():
            return f"timeout: not done after {self.teacher.timeout:g} s"
        return f"crash: the teacher's process ended with code {code}"

    def _start(self) -> subprocess.Popen:
        one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        pipe, environment = subprocess.PIPE, {**os.environ, **one_thread}
        self.process = subprocess.Popen(
            self.teacher.command, stdin=pipe, stdout=pipe, env=environment, text=True, start_new_session=True
        )
        return self.process

    def end(self) -> int | None:
        """Kill it with all its children, and give the exit code that it had before."""
        process, self.process = self.process, None
        if process is None:
            return None
        try:
            code = process.wait(0.5 if process.poll() is None else 0)
        except subprocess.TimeoutExpired:
            code = None
        _kill(process)
        code = process.wait() if code is None else code
        for stream in (process.stdin, process.stdout):
            try:
                stream.close()
            except OSError:
                pass
        return code


def _kill(process: subprocess.Popen) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
