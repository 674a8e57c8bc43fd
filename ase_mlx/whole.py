"""Files and folders that are written whole or not at all.

What is written goes into a temporary neighbour of its target (a name that nobody can foretell, made anew, so that no
link is followed), is flushed to the disk and takes the target's place in one step. A process that dies leaves its
neighbour behind; the next one that writes the same target removes it. Two processes that write one target at once
leave what one of them wrote, never a mixture. No existing folder is ever deleted unless the caller knows it as its own.

Source: ours.
"""

import errno
import hashlib
import os
import secrets
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_REMEDY = {
    errno.ENOSPC: "free some space or name another place",
    errno.EDQUOT: "free some space or name another place",
    errno.EACCES: "name a place that you may write to",
    errno.EPERM: "name a place that you may write to",
    errno.EROFS: "name a place that you may write to",
    errno.ENOENT: "the folder went away; make it again",
    errno.ENOTDIR: "a part of this path is a file; name another place",
    errno.EEXIST: "a part of this path is a file; name another place",
    errno.EISDIR: "name a file",
    errno.ENAMETOOLONG: "give it a shorter name",
}


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Lend a temporary path with the target's suffix, whose content becomes the target's when the block ends well.

    The target's folder is made. Where the target is a device or a pipe (/dev/stdout), the content is copied into it.

    Raises:
        OSError: the target is a folder, or cannot be written; what was there before is untouched.

    Source: ours.
    """
    path = Path(path)
    _refuse_folder(path)
    with _sentences(path):
        folder = path.parent if not path.exists() or path.is_file() else Path(os.environ.get("TMPDIR", "/tmp"))
        folder.mkdir(parents=True, exist_ok=True)
        part = _neighbour(folder / path.name)
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        with _sentences(path):
            yield part
            _flush(part)
            if path.exists() and not path.is_file():
                with part.open("rb") as source, path.open("wb") as target:
                    shutil.copyfileobj(source, target)
            else:
                if path.exists():
                    os.chmod(part, path.stat().st_mode & 0o777)
                os.replace(part, path)
                _flush(folder)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write bytes whole or not at all.

    Raises:
        OSError: as `whole_file`.

    Source: ours.
    """
    with whole_file(path) as part:
        part.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    """Write text (UTF-8) whole or not at all.

    Raises:
        OSError: as `whole_file`.

    Source: ours.
    """
    write_bytes(path, text.encode("utf-8"))


@contextmanager
def whole_folder(path: str | Path, ours: Callable[[Path], bool]) -> Iterator[Path]:
    """Lend a temporary folder that takes the target's place when the block ends well.

    `ours` tells whether an existing folder may be replaced: one that we wrote ourselves, with nothing else in it.

    Raises:
        OSError: the target is a file or a folder that is not ours, or cannot be written; what was there is untouched.

    Source: ours.
    """
    path = Path(path)
    _refuse_foreign(path, ours)
    with _sentences(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = _neighbour(path)
        part.mkdir()
    try:
        with _sentences(path):
            yield part
            for file in part.rglob("*"):
                _flush(file)
            _refuse_foreign(path, ours)
            old = _neighbour(path) if path.exists() else None
            if old:
                os.rename(path, old)
            os.rename(part, path)
            _flush(path.parent)
            if old:
                shutil.rmtree(old)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def check_file(path: str | Path, size: int = 0) -> None:
    """Look, before the work, whether a file of this size (bytes) could be written; the folder is made.

    Raises:
        OSError: the path is a folder, its folder cannot be written, or the disk has not that much space.

    Source: ours.
    """
    path = Path(path)
    _refuse_folder(path)
    if path.exists() and not path.is_file():
        return  # a device or a pipe
    check_folder(path.parent, size)


def check_folder(folder: str | Path, size: int = 0) -> None:
    """Look, before the work, whether files of this size (bytes) could be written into a folder; the folder is made.

    Raises:
        OSError: it is a file, cannot be made or written, or the disk has not that much space.

    Source: ours.
    """
    folder = Path(folder)
    with _sentences(folder):
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "it is a file")
        folder.mkdir(parents=True, exist_ok=True)
        probe = _neighbour(folder / "probe")
        os.close(os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        probe.unlink()
        if (free := shutil.disk_usage(folder).free) < size:
            raise OSError(errno.ENOSPC, f"{free / 1e6:.1f} MB are free, {size / 1e6:.1f} MB are needed")


def _refuse_folder(path: Path) -> None:
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, f"got the folder {str(path)!r}, expected the name of a file to write")


def _refuse_foreign(path: Path, ours: Callable[[Path], bool]) -> None:
    if path.is_dir() and not path.is_symlink():
        if any(path.iterdir()) and not ours(path):
            raise FileExistsError(
                errno.EEXIST,
                f"got the folder {str(path)!r}, which holds files that were not written here, expected a new name: "
                "name another one, or remove the folder yourself",
            )
    elif path.exists() or path.is_symlink():
        raise FileExistsError(errno.EEXIST, f"got {str(path)!r}, which exists and is no folder: name another one")


def _neighbour(path: Path) -> Path:
    """A new hidden name beside the target; what dead processes of this machine left there is removed first."""
    host = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
    stem = f".{path.name[:80]}.{hashlib.sha256(path.name.encode()).hexdigest()[:8]}-{host}-"
    for left in path.parent.iterdir():
        if left.name.startswith(stem) and not _lives(left.name[len(stem) :].partition("-")[0]):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() and not left.is_symlink() else left.unlink(True)
    return path.parent / f"{stem}{os.getpid()}-{secrets.token_hex(6)}.part{path.suffix}"


def _lives(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (ValueError, OverflowError, PermissionError):
        return True
    return True


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):  # file systems without fsync on folders
            raise
    finally:
        os.close(descriptor)


@contextmanager
def _sentences(path: Path) -> Iterator[None]:
    """Errors of the operating system on the way to a target name it, its cause and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno is None or str(error.strerror).startswith("could not write"):
            raise
        cause = error.strerror or os.strerror(error.errno)
        remedy = _REMEDY.get(error.errno, "look at the disk")
        raise type(error)(
            error.errno, f"could not write {str(path)!r} ({cause}); {remedy}; what was there is untouched"
        ) from error
