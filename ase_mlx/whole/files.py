"""Files and folders that take their place in one step.

Source: ours.
"""

import errno
import hashlib
import os
import re
import secrets
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISREG

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
    errno.EFBIG: "this process may not write files of that size (ulimit -f): raise the limit or name another place",
    errno.ENOTEMPTY: "another process wrote it at this moment; look at its result",
    errno.ELOOP: "it is a loop of links; name another place",
}

_PROBED = 1 << 24
"""Bytes that are taken from the disk for a moment, to see quotas and limits that the count of free space hides."""

_STAGED = re.compile(r"/\.results\.[0-9a-f]{8}-[0-9a-f]{8}-\d+-[0-9a-f]{12}\.part")
"""Between a folder and the name that a result will have in it."""


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
    with sentences(path):
        folder = Path(tempfile.gettempdir()) if _device(path) else path.parent
        folder.mkdir(parents=True, exist_ok=True)
        part = neighbour(folder / path.name)
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        with sentences(path):
            yield part
            flush(part)
            _take_place(part, path)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _take_place(part: Path, path: Path) -> None:
    if _device(path):
        with part.open("rb") as source, path.open("wb") as target:
            shutil.copyfileobj(source, target)
    else:
        if path.exists():
            os.chmod(part, path.stat().st_mode & 0o777)
        os.replace(part, path)
        flush(path.parent)


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


def write_together(contents: Mapping[Path, bytes]) -> None:
    """Write files that belong together: all are on the disk before the first one takes its place.

    Raises:
        OSError: as `whole_file`; the old files are untouched.

    Source: ours.
    """
    parts: dict[Path, Path] = {}
    try:
        for path, data in contents.items():
            _refuse_folder(path)
            with sentences(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                parts[path] = neighbour(path)
                with open(parts[path], "xb") as stream:
                    stream.write(data)
                flush(parts[path])
        for path, part in parts.items():
            with sentences(path):
                _take_place(part, path)
    finally:
        for part in parts.values():
            with suppress(OSError):
                part.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: str | Path, ours: Callable[[Path], bool]) -> Iterator[Path]:
    """Lend a temporary folder that takes the target's place when the block ends well.

    `ours` tells whether an existing folder may be replaced: one that we wrote ourselves, with nothing else in it.

    Raises:
        OSError: the target is a file or a folder that is not ours, or cannot be written; what was there is untouched.

    Source: ours.
    """
    path = Path(path)
    check_replaceable(path, ours)
    with sentences(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = neighbour(path)
        part.mkdir()
    try:
        with sentences(path):
            yield part
            for file in part.rglob("*"):
                flush(file)
            check_replaceable(path, ours)
            old = neighbour(path) if path.exists() else None
            if old:
                os.rename(path, old)
            os.rename(part, path)
            flush(path.parent)
            if old:
                shutil.rmtree(old)
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def scratch_folder(name: str) -> Iterator[Path]:
    """Lend an empty folder among the temporary ones of the system; what dead processes left there is removed first.

    Raises:
        OSError: there is no place for it.

    Source: ours.
    """
    with sentences(Path(tempfile.gettempdir())):
        part = neighbour(Path(tempfile.gettempdir()) / name)
        part.mkdir(mode=0o700)
    try:
        yield part
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
    if not _device(path):
        _check(path, path.parent, size)


def check_folder(folder: str | Path, size: int = 0) -> None:
    """Look, before the work, whether files of this size (bytes) could be written into a folder; the folder is made.

    Raises:
        OSError: it is a file, cannot be made or written, or the disk has not that much space.

    Source: ours.
    """
    _check(Path(folder), Path(folder), size)


def check_replaceable(path: Path, ours: Callable[[Path], bool]) -> None:
    """Look, before the work, whether a folder of ours could take this place.

    Raises:
        FileExistsError: a file, a link or a folder that `ours` does not know is there.

    Source: ours.
    """
    if path.is_dir() and not path.is_symlink():
        if any(path.iterdir()) and not ours(path):
            raise FileExistsError(
                errno.EEXIST,
                f"got the folder {str(path)!r}, which holds files that were not written here, expected a new name: "
                "name another one, or remove the folder yourself",
            )
    elif path.exists() or path.is_symlink():
        raise FileExistsError(errno.EEXIST, f"got {str(path)!r}, which exists and is no folder: name another one")


def _check(target: Path, folder: Path, size: int) -> None:
    with sentences(target):
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "its folder is a file" if folder != target else "it is a file")
        folder.mkdir(parents=True, exist_ok=True)
        if (free := shutil.disk_usage(folder).free) < size:
            raise OSError(errno.ENOSPC, f"{free / 1e6:.1f} MB are free, {size / 1e6:.1f} MB are needed")
        probe = neighbour(folder / "probe")
        descriptor = os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        try:
            if size > 0 and hasattr(os, "posix_fallocate"):  # macOS has none
                os.posix_fallocate(descriptor, 0, min(size, _PROBED))
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENODEV):  # file systems that cannot do it
                raise
        finally:
            os.close(descriptor)
            probe.unlink()


def _device(path: Path) -> bool:
    """Whether this is no place for a file, but something to write into: a device, a pipe, /dev/stdout."""
    inside = path.parts[:2] in (("/", "dev"), ("/", "proc")) and path.parts[:3] != ("/", "dev", "shm")
    return path.exists() and (inside or not S_ISREG(path.stat().st_mode))


def _refuse_folder(path: Path) -> None:
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, f"got the folder {str(path)!r}, expected the name of a file to write")


def neighbour(path: Path) -> Path:
    """Give a new hidden name beside the target; what dead processes of this machine left there is removed first.

    Source: ours.
    """
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


def flush(path: Path) -> None:
    """Bring a file or a folder's list of names to the disk.

    Source: ours.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):  # file systems without fsync on folders
            raise
    finally:
        os.close(descriptor)


@contextmanager
def sentences(path: Path) -> Iterator[None]:
    """Let errors of the operating system on the way to a target name it, its cause and what to do.

    Raises:
        OSError: of the kind that came, in a sentence.

    Source: ours.
    """
    path = Path(_STAGED.sub("", str(path)))
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
