"""Folders that hold the results of one call, and claims that keep other processes out.

Source: ours.
"""

import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from ase_mlx.whole.files import check_folder, flush, neighbour, sentences, write_text

MANIFEST = ".ase-mlx-results.json"
"""Names the files of a folder of results that the last call wrote."""


@contextmanager
def whole_results(
    folder: str | Path, names: Collection[str], size: int = 0, folders: Collection[str] = ()
) -> Iterator[Path]:
    """Lend a temporary folder whose files become the results in `folder`, those of an earlier call go, at the end.

    Nothing else in the folder is touched. One process at a time writes into it.

    Args:
        folder: of the results; made if missing.
        names: of all files that the call may write, relative to it.
        size: bytes that they may take.
        folders: inside it, that hold results of the call too, each written by a call of this function of its own.

    Raises:
        OSError: the folder cannot be written, or holds a file of one of these names that no earlier call wrote; what
            was there is untouched.
        BlockingIOError: another process is writing into it.

    Source: ours.
    """
    folder = Path(folder)
    new = not os.path.lexists(folder)
    try:
        with _results(folder, names, size, folders) as part:
            yield part
    except BaseException:
        if new:
            with suppress(OSError):
                folder.rmdir()  # where nothing is kept for the next call
        raise


@contextmanager
def _results(folder: Path, names: Collection[str], size: int, folders: Collection[str]) -> Iterator[Path]:
    check_folder(folder, size)
    with sole(folder):
        earlier = _read(folder)
        taken = [name for name in sorted(set(names) - earlier.files) if os.path.lexists(folder / name)]
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
            if folders:
                _note(folder, _Manifest(earlier.files, earlier.folders | set(folders)))
            yield part
            with sentences(folder):
                _publish(part, folder, earlier, set(folders))
        finally:
            shutil.rmtree(part, ignore_errors=True)


class _Manifest(NamedTuple):
    files: set[str]
    folders: set[str]


def _read(folder: Path) -> _Manifest:
    """What the last call wrote; names that lead out of the folder are none of ours."""
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        lists = [[Path(name) for name in content[key]] for key in _Manifest._fields]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return _Manifest(set(), set())
    return _Manifest(*({str(p) for p in paths if len(p.parts) == 1 and p.name not in ("", "..")} for paths in lists))


def _note(folder: Path, manifest: _Manifest) -> None:
    text = json.dumps({key: sorted(names) for key, names in manifest._asdict().items()}, indent=1)
    write_text(folder / MANIFEST, text + "\n")


def _publish(part: Path, folder: Path, earlier: _Manifest, folders: set[str]) -> None:
    new = {path.name for path in part.iterdir()}
    for name in new:
        flush(part / name)
    _note(folder, _Manifest(earlier.files | new, earlier.folders | folders))  # so that a kill leaves nothing unknown
    _remove(folder, earlier.files)
    for name in earlier.folders - folders:
        if (folder / name).is_dir() and not (folder / name).is_symlink():
            _remove(folder / name, {*_read(folder / name).files, MANIFEST})
            with suppress(OSError):
                (folder / name).rmdir()
    for name in sorted(new):
        os.replace(part / name, folder / name)
    if new or folders:
        _note(folder, _Manifest(new, folders))
    else:
        _remove(folder, {MANIFEST})


def _remove(folder: Path, names: Collection[str]) -> None:
    for name in names:
        with suppress(FileNotFoundError):
            (folder / name).unlink()


@contextmanager
def sole(path: str | Path, patience: float = 0.0) -> Iterator[None]:
    """Let no other process write the same file or folder while the block runs; the end of a process ends its claim.

    `patience` (seconds) is waited for another process to end its own.

    Raises:
        BlockingIOError: another process is writing it.
        OSError: its folder cannot be written.

    Source: ours.
    """
    path = Path(path)
    lock = path if path.is_dir() else path.with_name(f".{path.name}.lock")
    end = time.monotonic() + patience
    with sentences(path):
        while (descriptor := _locked(lock)) is None and time.monotonic() < end:
            time.sleep(0.1)
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
