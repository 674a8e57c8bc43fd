"""Entries of arrays in a folder, and text with a checksum: whole, found by content, never used when damaged.

Source: ours.
"""

import hashlib
import io
import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ase_mlx.keep.content import digest
from ase_mlx.reading import parsed_json
from ase_mlx.whole import write_bytes

CHECKSUM = "checksum"
"""Name of the array of an entry that holds the digest of the others and of the key."""


class DamagedWarning(UserWarning):
    """Kept work is damaged; it is computed anew."""


def damaged(path: str | Path, reason: str) -> None:
    """Warn that a file of kept work is not used because it is damaged.

    Source: ours.
    """
    warnings.warn(
        f"got {str(path)!r}, kept work that is damaged ({reason}); it is not used but computed anew",
        DamagedWarning,
        stacklevel=4,
    )


def cache_folder() -> Path:
    """Where work that can be done again is kept: ase-mlx of the user's cache folder.

    Source: the XDG base directory specification.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ase-mlx"


class Entries:
    """A folder of arrays by kind and key, one file each, whole or not at all; without a folder it keeps nothing.

    A key is the `digest` of everything that the arrays depend on.

    Source: ours.
    """

    def __init__(self, folder: str | Path | None):
        """Open or make the folder.

        Raises:
            OSError: it cannot be made.
        """
        self.folder = None if folder is None else Path(folder)
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)

    def fetch(self, kind: str, key: str) -> dict[str, np.ndarray] | None:
        """Give the arrays (in the unit they were kept in), or None where there are none or the file is damaged.

        Source: ours.
        """
        if self.folder is None or not (path := self._path(kind, key)).exists():
            return None
        data = path.read_bytes()
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except Exception as error:  # zipfile, zlib and numpy raise a dozen kinds on damaged archives
            damaged(path, f"no archive of arrays: {type(error).__name__}")
            return None
        if str(arrays.pop(CHECKSUM, "")) != digest(kind, key, arrays):
            damaged(path, "its checksum is another")
            return None
        return arrays

    def keep(self, kind: str, key: str, arrays: dict[str, np.ndarray]) -> None:
        """Keep arrays (any unit) under a key.

        Raises:
            OSError: the folder cannot be written.

        Source: ours.
        """
        if self.folder is None:
            return
        arrays = {name: np.asarray(array) for name, array in arrays.items()}
        stream = io.BytesIO()
        np.savez(stream, **arrays, **{CHECKSUM: np.array(digest(kind, key, arrays))})
        write_bytes(self._path(kind, key), stream.getvalue())

    def _path(self, kind: str, key: str) -> Path:
        return self.folder / f"{kind}-{key[:20]}.npz"


def seal(content: Any) -> str:
    """Write what JSON can hold as text, with a checksum over it.

    Source: ours.
    """
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return json.dumps({"content": content, CHECKSUM: _sha(text)}, indent=1, ensure_ascii=False) + "\n"


def unseal(text: bytes | str) -> Any:
    """Read what `seal` wrote.

    Raises:
        ValueError: it is damaged.

    Source: ours.
    """
    try:
        sealed = parsed_json(text)
        content, checksum = sealed["content"], sealed[CHECKSUM]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"no text with a checksum ({type(error).__name__})") from error
    if _sha(json.dumps(content, sort_keys=True, ensure_ascii=False)) != checksum:
        raise ValueError("its checksum is another")
    return content


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
