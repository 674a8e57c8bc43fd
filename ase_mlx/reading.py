"""Files that are read or refused: one sentence for whatever a library makes of a damaged one, and no floods.

Source: ours.
"""

import bz2
import gzip
import io
import json
import lzma
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

PLENTY = 64 * 2**20
"""Bytes that any packed file may hold."""

RATIO = 200
"""Bytes that a packed file may hold a byte of its own, beyond `PLENTY`: text of numbers packs to a third or a tenth."""

DEEPEST = 500
"""Brackets within brackets of JSON."""

_PACKED: dict[bytes, Callable[[Path], io.BufferedIOBase]] = {
    b"\x1f\x8b": gzip.open,
    b"\xfd7zXZ\x00": lzma.open,
    b"BZh": bz2.open,
}


@contextmanager
def reading(path: str | Path, what: str, remedy: str = "copy it again, or make it anew") -> Iterator[None]:
    """Read a file within this block: whatever goes wrong there ends in a sentence that names it.

    An error of ours (its text begins with "got") passes as it is, with the file's name in front where it lacks it. Any
    other error, also of a kind that is no `Exception` (Rust's panics), becomes a ValueError with the library's reason.

    Args:
        path: the file.
        what: what it should be, as in "a CHGCAR" or "phonopy's yaml".
        remedy: what to do.

    Raises:
        FileNotFoundError: there is no such file.
        PermissionError: it may not be read.
        ValueError: it is damaged, or something else.

    Source: ours.
    """
    path = Path(path)
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "no file of this name" if not path.exists() else "no plain file"
        raise FileNotFoundError(f"got {str(path)!r} ({kind}), expected an existing file, {what}; check the path")
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except PermissionError as error:
        raise PermissionError(f"got {str(path)!r}, which may not be read, expected {what}; change its mode") from error
    except BaseException as error:
        if isinstance(error, ValueError | OSError) and str(error).startswith("got "):
            if path.name in str(error):
                raise
            kind = FileNotFoundError if isinstance(error, FileNotFoundError) else ValueError
            raise kind(f"{path}: {error}") from error
        raise ValueError(f"got {str(path)!r}, which cannot be read as {what} ({reason(error)}); {remedy}") from error


def parsed_json(text: bytes | str, **options: Any) -> Any:
    """Parse JSON; deep nesting is refused before it can end Python, where a library has lifted the limit of recursion.

    Args:
        text: UTF-8.
        options: as of `json.loads`.

    Raises:
        ValueError: no JSON, or nested deeper than `DEEPEST`.

    Source: ours.
    """
    data = np.frombuffer(text.encode(errors="surrogatepass") if isinstance(text, str) else text, dtype=np.uint8)
    opening, closing = np.isin(data, (ord("["), ord("{"))), np.isin(data, (ord("]"), ord("}")))
    depth = int(np.cumsum(opening.astype(np.int64) - closing).max(initial=0))
    if depth > DEEPEST:
        raise ValueError(f"JSON nested {depth} deep, at most {DEEPEST} are read")
    return json.loads(text, **options)


def reason(error: BaseException) -> str:
    """Say in one line why a library refused: its words, with its kind of error in front where they are no sentence.

    Source: ours.
    """
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return "it asks for more memory than there is"
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    if "allow_pickle" in text or "pickled" in text:
        return "it holds no plain array"
    if isinstance(error, KeyError):
        text = f"no {text}"
    return f"{type(error).__name__}: {text[:300]}" if text else speechless(error)


def speechless(error: BaseException) -> str:
    """Say of an error without words of its own its kind and where it is from (a bare `assert` of a library).

    Source: ours.
    """
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return type(error).__name__
    file = Path(frames[-1].filename)
    return f"{type(error).__name__} without a reason, in {file.parent.name}/{file.name}, line {frames[-1].lineno}"


@contextmanager
def unpacked(path: str | Path, plenty: int = PLENTY) -> Iterator[io.BufferedIOBase]:
    """Open a file for its bytes, unpacked where it begins as gzip, xz or bzip2 does, whatever its name.

    Raises:
        ValueError: on the way, where it unpacks to more than `plenty` bytes and `RATIO` times its own size.

    Source: ours.
    """
    path = Path(path)
    with path.open("rb") as stream:
        head = stream.read(6)
    for magic, opened in _PACKED.items():
        if head.startswith(magic):
            with opened(path) as packed, io.BufferedReader(_Bounded(packed, path, plenty)) as stream:
                yield stream
            return
    with path.open("rb") as stream:
        yield stream


class _Bounded(io.RawIOBase):
    """A stream that ends in a sentence where it is a flood."""

    def __init__(self, stream: io.BufferedIOBase, path: Path, plenty: int):
        self.stream, self.path, self.size = stream, path, path.stat().st_size
        self.limit = max(plenty, RATIO * self.size)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.stream.seek(offset, whence)

    def tell(self) -> int:
        return self.stream.tell()

    def readinto(self, buffer) -> int:
        data = self.stream.read(len(buffer))
        buffer[: len(data)] = data
        if self.stream.tell() > self.limit:
            raise ValueError(
                f"got {str(self.path)!r}, {self.size} bytes that unpack to more than {self.limit // 2**20} MiB, "
                "expected a file of numbers; unpack it yourself if you trust it, and give the plain file"
            )
        return len(data)
