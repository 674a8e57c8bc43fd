"""Folders that hold the results of one call, and claims that keep other processes out.

Source: ours.
"""

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ase_mlx.whole.files import check_folder, flush, neighbour, sentences, write_text

MANIFEST = ".ase-mlx-results.json"
"""Names the files of a folder of results that the last call wrote."""


@contextmanager
def whole_results(folder: str | Path, names: Collection[str], size: int = 0) -> Iterator[Path]:
    """Lend a temporary folder whose files become the results in `folder`, those of an earlier call go, at the end.

    Nothing else in the folder is touched. One process at a time writes into it.

    Args:
        folder: of the results; made if missing.
        names: of all files that the call may write, relative to it.
        size: bytes that they may take.

    Raises:
        OSError: the folder cannot be written, or holds a file of one of these names that no earlier call wrote; what
            was there is untouched.
        BlockingIOError: another process is writing into it.

    Source: ours.
    """
    folder = Path(folder)
    check_folder(folder, size)
    with sole(folder):
        earlier = _earlier(folder)
        taken = [name for name in sorted(set(names) - earlier) if os.path.lexists(folder / name)]
        if taken:
            raise FileExistsError(
                errno.EEXIST,
                f"got the folder {str(folder)!r}, which holds {', '.join(taken)} that no earlier call wrote, expected "
                "a folder without files of these names: name another one, or move them away",
            )
        with sentences(folder):
            part = neighbour(folder / "results")
            part.mkdir()
        try:
            yield part
            with sentences(folder):
                _publish(part, folder, earlier)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _earlier(folder: Path) -> set[str]:
    """The files of the last call, as the manifest tells; names that lead out of the folder are none of ours."""
    try:
        names = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        names = [name for name in names if not Path(name).is_absolute() and ".." not in Path(name).parts]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return set()
    inside = folder.resolve()
    return {name for name in names if (folder / name).parent.resolve().is_relative_to(inside)}


def _publish(part: Path, folder: Path, earlier: set[str]) -> None:
    files = [path for path in sorted(part.rglob("*")) if path.is_file()]
    new = {str(path.relative_to(part)) for path in files}
    for path in files:
        flush(path)
    _note(folder, earlier | new)  # a kill from here on leaves no file that the next call does not know
    for name in sorted(earlier):
        with suppress(FileNotFoundError):
            (folder / name).unlink()
        for parent in (folder / name).relative_to(folder).parents:
            with suppress(OSError):
                if parent.parts:
                    (folder / parent).rmdir()
    for name in sorted(new):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(part / name, folder / name)
    _note(folder, new)


def _note(folder: Path, names: set[str]) -> None:
    write_text(folder / MANIFEST, json.dumps({"files": sorted(names)}, indent=1) + "\n")


@contextmanager
def sole(path: str | Path) -> Iterator[None]:
    """Let no other process write the same file or folder while the block runs; the end of a process ends its claim.

    Raises:
        BlockingIOError: another process is writing it.
        OSError: its folder cannot be written.

    Source: ours.
    """
    path = Path(path)
    lock = path if path.is_dir() else path.with_name(f".{path.name}.lock")
    with sentences(path):
        descriptor = _locked(lock)
    if descriptor is None:
        raise BlockingIOError(
            errno.EWOULDBLOCK, f"got {str(path)!r}, into which another process is writing; wait for it or name another"
        )
    try:
        yield
    finally:
        if lock != path:
            lock.unlink(missing_ok=True)
        os.close(descriptor)


def _locked(lock: Path) -> int | None:
    """An open file or folder that nobody else has locked, or None."""
    while True:
        flags = os.O_RDONLY if lock.is_dir() else os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        descriptor = os.open(lock, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:
            return descriptor  # a file system without locks
        try:
            if os.path.samestat(os.fstat(descriptor), os.stat(lock)):
                return descriptor
        except FileNotFoundError:
            pass
        os.close(descriptor)  # its last holder removed it between our two steps
