"""An extxyz file that grows frame by frame, with a journal beside it; neither is ever left with half a frame.

Source: ours.
"""

import fcntl
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["Journal"]


class Journal:
    """The output of one teacher with one setting: locked while it is open, mended where a kill cut it.

    `OUT.journal.jsonl` has a line with the teacher's identity, then a line per frame: its key, name, state (`done` or
    `failed`), reason, seconds. Which frames are done is read from the output itself.

    Attributes:
        done: keys of the frames in the output.
        failed: key → (name, reason) of what failed and is not in the output.

    Source: ours.
    """

    def __init__(self, out: Path, name: str, identity: str):
        self.out, self.name, self.identity = out, name, identity
        self.path = out.with_name(f"{out.name}.journal.jsonl")
        self.done: set[str] = set()
        self.failed: dict[str, tuple[str, str]] = {}

    def __enter__(self):
        self._lock = self.path.open("a+", encoding="utf-8")
        try:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise BlockingIOError(
                    f"got {str(self.out)!r}, into which another process is labelling; wait for it or give another file"
                ) from error
            lines = self._read_lines()
            self._read_output(lines)
        except BaseException:
            self._lock.close()
            raise
        return self

    def __exit__(self, *_):
        self._lock.close()

    def add(self, key: str, name: str, block: str | None, reason: str, seconds: float) -> None:
        """Note a frame after `seconds`: append its text (None: it failed) and then its line, each whole or not at all.

        Raises:
            OSError: the disk is full or the file cannot be written; what was there before stays.

        Source: ours.
        """
        if block is not None:
            _append(self.out, block)
        state = {"state": "failed", "reason": reason} if block is None else {"state": "done"}
        self._note({"key": key, "name": name, **state, "seconds": round(seconds, 2)})

    def _note(self, line: dict[str, Any]) -> None:
        _append(self.path, json.dumps(line, ensure_ascii=False) + "\n")

    def _read_lines(self) -> list[dict[str, Any]]:
        data = self.path.read_bytes()
        end = data.rfind(b"\n") + 1
        if end < len(data):
            os.truncate(self.path, end)
        try:
            lines = [json.loads(line) for line in data[:end].splitlines()]
        except ValueError as error:
            raise ValueError(f"got {str(self.path)!r}, which is no journal of labels; give another output") from error
        identity = lines[0].get("identity") if lines else None
        if identity is None and self.out.exists() and self.out.stat().st_size:
            raise ValueError(
                f"got {str(self.out)!r}, which exists and has no journal, expected a new file or one that `label` "
                "began; give another output file"
            )
        if identity is None:
            self._note({"teacher": self.name, "identity": self.identity})
        elif identity != self.identity:
            raise ValueError(
                f"got {str(self.out)!r}, made by another teacher or with other settings, expected one file per "
                f"setting; give another output file. Its settings: {identity}; now: {self.identity}"
            )
        return lines

    def _read_output(self, lines: list[dict[str, Any]]) -> None:
        whole = 0
        data = self.out.read_bytes() if self.out.exists() else b""
        for comment, end in _blocks(data, self.out):
            whole = end
            if key := re.search(rb"label_key=\"?([0-9a-f]{20})", comment):
                self.done.add(key[1].decode())
        if whole < len(data):
            os.truncate(self.out, whole)
        for line in lines:
            if line.get("state") == "failed" and line["key"] not in self.done:
                self.failed[line["key"]] = (line["name"], line["reason"])


def _append(path: Path, text: str) -> None:
    before = path.stat().st_size if path.exists() else 0
    try:
        with path.open("ab") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        if path.exists():
            os.truncate(path, before)
        raise


def _blocks(data: bytes, path: Path) -> Iterator[tuple[bytes, int]]:
    """Walk through the whole frames of extxyz bytes: comment line and end offset of each."""
    start = 0
    while (first := data.find(b"\n", start)) >= 0:
        if not data[start:first].strip().isdigit():
            raise ValueError(f"got {str(path)!r}, which is no extxyz file at byte {start}; give another output file")
        comment_end = end = data.find(b"\n", first + 1)
        for _ in range(int(data[start:first])):
            end = data.find(b"\n", end + 1) if end >= 0 else -1
        if end < 0:
            return
        yield data[first + 1 : comment_end], end + 1
        start = end + 1
