"""Operations × faults: what becomes of work that is cut off, and of what was there before.

    python benchmarks/robustness_operations.py [--quick] [--only NAME...] [--json FILE]

Operations: the commands as a user calls them, small, each beside a run that nothing disturbed. Faults: kill −9 of the
main process at three times; kill −9 of a worker (screen, label); a disk that is full from the beginning, and one that
becomes full at half the time; a folder that cannot be written; two processes on one target at once; no home that can be
written. Where mounting is not allowed, disks that are full are limits on the size of files (ulimit -f) and folders that
cannot be written are another user's.

After each fault the same command is given again, without it. *identical*: it was not even disturbed, or that call ended
with the undisturbed result. *refused*: before that, the disturbed call ended in a sentence that names the place or the
other process. *lost*: anything else: another result, a traceback, a half file under its final name, an older result
that went, processes or hidden files left behind.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from robustness_calls import WORK, Call, Operation, content, inputs, left_behind, operations

FAULTS = ("kill", "kill of a worker", "full disk", "disk fills up", "read-only folder", "two processes", "no home")

SENTENCE = re.compile(r"could not write|another process|which another process|exists|worker that was killed|crash")


@contextmanager
def disk(place: Path, size: str) -> Iterator[Callable[[], None]]:
    """A small disk at this place; gives what makes it large enough."""
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place)], check=True)
    try:
        yield lambda: subprocess.run(["mount", "-o", "remount,size=64m", str(place)], check=True)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@contextmanager
def read_only(place: Path) -> Iterator[Callable[[], None]]:
    """A folder that not even root can write to; gives what makes it writable."""
    place.mkdir(parents=True)
    subprocess.run(["mount", "--bind", str(place), str(place)], check=True)
    subprocess.run(["mount", "-o", "remount,ro,bind", str(place)], check=True)
    try:
        yield lambda: subprocess.run(["mount", "-o", "remount,rw,bind", str(place)], check=True)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


class Trial:
    """One operation under one fault, again and again, with the tally of what became of it."""

    def __init__(self, operation: Operation, folder: Path, expected: dict[str, str], seconds: float):
        self.operation, self.folder, self.expected, self.seconds = operation, folder, expected, seconds
        self.tally = {"tried": 0, "identical": 0, "refused": 0, "lost": 0}
        self.reasons: list[str] = []

    def row(self, fault: str) -> dict:
        return {"operation": self.operation.name, "fault": fault, **self.tally, "reasons": self.reasons}

    def call(self, place: Path, again: bool = False, **environment: str) -> Call:
        return Call(self.operation, self.folder, place, again, **environment)

    def judge(self, place: Path, ended: list[Call], killed: bool = False) -> None:
        """Look at what the disturbed calls left, call again without the fault, compare."""
        self.tally["tried"] += 1
        faults = [f"{len(call.others())} processes left" for call in ended if call.orphans()]
        words = [call.words() for call in ended if call.process.returncode != 0]
        faults += ["traceback" for text in words if "Traceback" in text]
        refused = bool(words) and not killed
        if refused and not all(SENTENCE.search(text) for text in words):
            faults.append(f"no sentence: {words[0][-200:]}")
        growing = self.operation.name in ("label", "sample")  # their files hold whole frames, more and more
        now = content(place, self.operation)
        faults += [f"half {n}" for n, d in now.items() if not growing and self.expected.get(n) != d]
        if now != self.expected:
            call = self.call(place, again=True)
            if call.end():
                faults.append(f"the next call failed: {call.words()[-200:]}")
        now = content(place, self.operation)
        if now != self.expected:
            changed = [n for n in {*now, *self.expected} if now.get(n) != self.expected.get(n)]
            faults.append(f"another result: {', '.join(sorted(changed))}")
        faults += [f"left {name}" for name in left_behind(place)]
        self.tally["lost" if faults else "refused" if refused else "identical"] += 1
        self.reasons += faults


def kill(trial: Trial, place: Path, quick: bool) -> None:
    for k, share in enumerate((0.6,) if quick else (0.4, 0.7, 0.95)):
        here = place / str(k)
        here.mkdir(parents=True)
        call = trial.call(here)
        killed = call.kill(share * trial.seconds)
        trial.judge(here, [call], killed)


def kill_worker(trial: Trial, place: Path, quick: bool) -> None:
    place.mkdir(parents=True)
    call, end = trial.call(place), time.monotonic() + 300
    while call.process.poll() is None and time.monotonic() < end:
        workers = [pid for pid in call.others() if b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes()]
        if workers and time.monotonic() - call.begun > 0.6 * trial.seconds:
            os.kill(workers[-1], signal.SIGKILL)
            break
        time.sleep(0.05)
    call.end()
    trial.judge(place, [call])


def full_disk(trial: Trial, place: Path, quick: bool) -> None:
    with disk(place, "16k") as enlarge:
        call = trial.call(place)
        call.end()
        enlarge()
        trial.judge(place, [call])


def disk_fills_up(trial: Trial, place: Path, quick: bool) -> None:
    with disk(place, "64m"):
        call = trial.call(place)
        try:
            call.process.wait(0.5 * trial.seconds)
        except subprocess.TimeoutExpired:
            subprocess.run(["dd", "if=/dev/zero", f"of={place / 'filler'}", "bs=64k"], capture_output=True, check=False)
        call.end()
        (place / "filler").unlink(missing_ok=True)
        trial.judge(place, [call])


def read_only_folder(trial: Trial, place: Path, quick: bool) -> None:
    with read_only(place) as unlock:
        call = trial.call(place)
        call.end()
        unlock()
        trial.judge(place, [call])


def two_processes(trial: Trial, place: Path, quick: bool) -> None:
    place.mkdir(parents=True)
    both = [trial.call(place), trial.call(place)]
    for call in both:
        call.end()
    if all(call.process.returncode for call in both):
        trial.reasons.append("neither won")
    trial.judge(place, both)


def no_home(trial: Trial, place: Path, quick: bool) -> None:
    place.mkdir(parents=True)
    nowhere = {name: "/proc/nowhere" for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")}
    call = trial.call(place, **nowhere)
    call.end()
    trial.judge(place, [call])


TRIALS = dict(
    zip(FAULTS, (kill, kill_worker, full_disk, disk_fills_up, read_only_folder, two_processes, no_home), strict=True)
)


def rows(quick: bool = False, only: tuple[str, ...] = (), faults: tuple[str, ...] = FAULTS) -> list[dict]:
    """Try every operation under every fault (quick: a kill and a full disk alone) and say what became of it."""
    table = []
    for operation in operations():
        if only and not any(operation.name.startswith(name) for name in only):
            continue
        folder = WORK / operation.name.replace(" ", "-")
        shutil.rmtree(folder, ignore_errors=True)
        inputs(folder)
        (folder / "undisturbed").mkdir()
        for _ in range(2):  # the first call may compile, with other last digits than what is read from numba's cache
            shutil.rmtree(folder / "undisturbed")
            (folder / "undisturbed").mkdir()
            call = Call(operation, folder, folder / "undisturbed")
            if call.end():
                raise RuntimeError(f"{operation.name} failed undisturbed: {call.words()}")
        seconds = time.monotonic() - call.begun
        expected = content(folder / "undisturbed", operation)
        for fault, work in TRIALS.items():
            if fault not in faults or (fault == "kill of a worker" and not operation.workers):
                continue
            if quick and fault not in FAULTS[0:3:2]:
                continue
            trial = Trial(operation, folder, expected, seconds)
            work(trial, folder / fault.replace(" ", "-"), quick)
            table.append(trial.row(fault))
            print_row(table[-1], len(table) == 1)
    return table


def print_row(row: dict, header: bool) -> None:
    if header:
        print(f"\n{'operation':15} {'fault':17} {'tried':>5} {'identical':>9} {'refused':>7} {'lost':>4}")
    counts = f"{row['tried']:5} {row['identical']:9} {row['refused']:7} {row['lost']:4}"
    print(f"{row['operation']:15} {row['fault']:17} {counts}  {'; '.join(row['reasons'])[:300]}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", default=[], help="names of operations, or their beginnings")
    parser.add_argument("--faults", nargs="+", default=FAULTS, choices=FAULTS, help="those alone")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    table = rows(arguments.quick, tuple(arguments.only), tuple(arguments.faults))
    if arguments.json:
        arguments.json.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    tried, lost = (sum(row[key] for row in table) for key in ("tried", "lost"))
    print(f"\n{tried} tried, {lost} lost")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
