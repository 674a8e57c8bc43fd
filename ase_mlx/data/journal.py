"""An extxyz file that grows frame by frame, with a journal beside it; neither is ever left with half a frame.

Source: ours.
"""

import fcntl
import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ase_mlx.reading import parsed_json
from ase_mlx.whole.files import sentences

__all__ = ["Journal"]

KEYS = 2
"""How frames are told apart: 2, by all that is on them."""

_KEY = re.compile(rb"label_key=\"?([0-9a-f]{20})\b")


class Journal:
    """The output of one teacher with one setting: locked while it is open, mended where a kill cut it.

    `OUT.journal.jsonl` has a line with the teacher's identity, then a line per frame: its key, name, state (`done` or
    `failed`), reason, seconds, and of a done one the sha256 of its text. Which frames are done is read from the output
    itself. At most one frame is ever cut off, the last one, where its end is missing; damage anywhere else is refused,
    and files that are none of ours stay as they are.

    Attributes:
        done: keys of the frames in the output.
        failed: key → (name, reason) of what failed and is not in the output.
        seconds: key → wall time that the frame took in all its attempts, seconds.

    Source: ours.
    """

    def __init__(self, out: Path, name: str, identity: str):
        self.out, self.name, self.identity = out, name, identity
        self.path = out.with_name(f"{out.name}.journal.jsonl")
        self.done: set[str] = set()
        self.failed: dict[str, tuple[str, str]] = {}
        self.seconds: dict[str, float] = {}

    def look(self) -> None:
        """Read both files and change nothing.

        Raises:
            ValueError: they come from another teacher, are none of ours, or are damaged.
            BlockingIOError: another process is labelling into the output.

        Source: ours.
        """
        if self.path.exists():
            with self.path.open("rb") as file:
                self._lock_it(file, fcntl.LOCK_SH)
        self._read()

    def __enter__(self):
        self._read()  # a file that is not ours gets no journal beside it
        with sentences(self.path):
            self._lock = self.path.open("a+", encoding="utf-8")
        try:
            self._lock_it(self._lock, fcntl.LOCK_EX)
            ends = self._read()
            with sentences(self.out):
                for path, end in ends.items():
                    if path.exists() and end < path.stat().st_size:
                        os.truncate(path, end)
            if ends[self.path] == 0:
                self._note({"teacher": self.name, "identity": self.identity, "keys": KEYS})
        except BaseException:
            self._lock.close()
            raise
        return self

    def __exit__(self, *_):
        self._lock.close()

    def _lock_it(self, file, kind: int) -> None:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(
                f"got {str(self.out)!r}, into which another process is labelling; wait for it or give another file"
            ) from error

    def add(self, key: str, name: str, block: str | None, reason: str, seconds: float) -> None:
        """Note a frame after `seconds`: append its text (None: it failed) and then its line, each whole or not at all.

        Raises:
            OSError: the disk is full or the file cannot be written; what was there before stays.

        Source: ours.
        """
        if block is None:
            state = {"state": "failed", "reason": reason}
        else:
            _append(self.out, block)
            state = {"state": "done", "sha256": hashlib.sha256(block.encode()).hexdigest()}
        self._note({"key": key, "name": name, **state, "seconds": round(seconds, 2)})

    def _note(self, line: dict[str, Any]) -> None:
        _append(self.path, json.dumps(line, ensure_ascii=False) + "\n")

    def _read(self) -> dict[Path, int]:
        """Read what is done and what failed; give the length of either file up to where a kill cut it."""
        lines, end = self._lines()
        if not lines and self.out.exists() and self.out.stat().st_size:
            raise ValueError(
                f"got {str(self.out)!r}, which exists and has no journal, expected a new file or one that `label` "
                "began; give another output file"
            )
        sums = {line["key"]: line["sha256"] for line in lines if line.get("state") == "done" and "sha256" in line}
        data = self.out.read_bytes() if self.out.exists() else b""
        frames, whole = _frames(data, self.out)
        for frame in frames:
            text = data[frame.start : frame.end]
            if frame.key in sums and hashlib.sha256(text).hexdigest() != sums[frame.key]:
                raise ValueError(
                    f"got {str(self.out)!r}, whose frame at line {frame.line} is not what was written (its sha256 "
                    "is another), expected it unchanged: put the file back from a copy, or remove this frame to have "
                    "it labelled again"
                )
        self.done = {frame.key for frame in frames}
        states = {line["key"]: line for line in lines if "key" in line}
        self.seconds = dict.fromkeys(states, 0.0)
        for line in lines[1:]:
            self.seconds[line["key"]] += float(line.get("seconds", 0.0))
        self.failed = {
            key: (str(line["name"]), str(line["reason"]))
            for key, line in states.items()
            if line["state"] == "failed" and key not in self.done
        }
        return {self.path: end, self.out: whole}

    def _lines(self) -> tuple[list[dict[str, Any]], int]:
        data = self.path.read_bytes() if self.path.exists() else b""
        end = data.rfind(b"\n") + 1
        if not end and data and not b'{"teacher": '.startswith(data[:12]):
            raise ValueError(f"got {str(self.path)!r}, which is no journal of labels; give another output")
        lines = [_entry(text, number, self.path) for number, text in enumerate(data[:end].splitlines())]
        if lines and lines[0]["identity"] != self.identity:
            raise ValueError(
                f"got {str(self.out)!r}, made by another teacher or with other settings, expected one file per "
                f"setting; give another output file. Its settings: {lines[0]['identity']}; now: {self.identity}"
            )
        if lines and lines[0].get("keys") != KEYS:
            raise ValueError(
                f"got {str(self.out)!r}, begun by another version, which told frames apart by less than all that is on "
                "them; keep it, and give another output file for further frames"
            )
        return lines, end


def _entry(text: bytes, number: int, path: Path) -> dict[str, Any]:
    try:
        line = parsed_json(text)
        if number == 0:
            right = isinstance(line["identity"], str)
        else:
            right = line["state"] == "done" or (line["state"] == "failed" and {"name", "reason"} <= line.keys())
            right = right and isinstance(line["key"], str)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        right = False
    if not right:
        what = "is no journal of labels" if number == 0 else f"is damaged at line {number + 1}"
        remedy = "give another output" if number == 0 else "remove that line, or put the file back from a copy"
        raise ValueError(f"got {str(path)!r}, which {what}; {remedy}")
    return line


def _append(path: Path, text: str) -> None:
    before = path.stat().st_size if path.exists() else 0
    try:
        with sentences(path), path.open("ab") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        if path.exists():
            os.truncate(path, before)
        raise


@dataclass(frozen=True)
class _Frame:
    key: str
    line: int
    start: int
    end: int


def _frames(data: bytes, path: Path) -> tuple[list[_Frame], int]:
    """Find the whole frames of extxyz bytes, and where they end: only the last frame may lack its end."""
    frames: list[_Frame] = []
    start, line = 0, 1
    while start < len(data):
        count, comment, end, lines = _ends(data, start)
        head = data[start:count] if count >= 0 else data[start:]
        if not head.strip().isdigit():
            raise ValueError(_damage(path, line, f"{head[:40]!r} where the number of atoms should be"))
        if comment >= 0 and _KEY.search(data, comment, end if end >= 0 else len(data)):
            raise ValueError(
                _damage(path, line, f"a number of atoms ({head[:20].decode().strip()}) that is not theirs")
            )
        if end < 0:
            break
        key = _KEY.search(data, count, comment)
        if key is None:
            raise ValueError(_damage(path, line + 1, "a frame without its label_key"))
        frames.append(_Frame(key[1].decode(), line, start, end))
        start, line = end, line + lines
    return frames, start


def _ends(data: bytes, start: int) -> tuple[int, int, int, int]:
    """Where the line of the count, that of the comment and the frame end (-1: not in the data), and its lines."""
    count = data.find(b"\n", start)
    comment = data.find(b"\n", count + 1) if count >= 0 else -1
    digits = data[start:count].strip() if count >= 0 else b""
    if comment < 0 or not digits.isdigit() or len(digits) > 12:
        return count, comment, -1, 0
    end, atoms = comment, int(digits)
    for _ in range(atoms):
        end = data.find(b"\n", end + 1)
        if end < 0:
            return count, comment, -1, 0
    return count, comment, end + 1, atoms + 2


def _damage(path: Path, line: int, what: str) -> str:
    return (
        f"got {str(path)!r}, which has at line {line} {what}, expected frames of extxyz as `label` wrote them; nothing "
        "was changed: mend that line, put the file back from a copy, or give another output file"
    )
