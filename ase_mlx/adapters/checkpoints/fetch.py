"""Published checkpoints from their pinned addresses: nothing is used that does not have the sha256 of the list.

Source: ours.
"""

import hashlib
import http.client
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .published import Published, installed

LARGEST = 64 * 2**20
"""Bytes: twenty times the largest of the list that has an address."""

PATIENCE = 60.0
"""Seconds without a byte after which a server is given up."""

PIECE = 2**16


@contextmanager
def fetched(one: Published) -> Iterator[Path]:
    """Lend the file of a published checkpoint: from the installed package that brings it, or from its address.

    Raises:
        FileNotFoundError: it has no address of its own, and its package is not installed.
        OSError: no network, no answer, or another answer than the file; with what to do.

    Source: ours.
    """
    if (file := installed(one.name)) is not None:
        yield file
        return
    if not one.address.startswith(("https://", "http://")):
        raise FileNotFoundError(
            f"got {one.name}, whose file comes with a package that is not installed: {one.address}; pip install "
            "sevenn, or give the file itself"
        )
    with tempfile.TemporaryDirectory(prefix="ase-mlx-") as folder:
        file = Path(folder) / one.address.rsplit("/", 1)[-1]
        by_hand = f"download it where there is a network, then `ase-mlx import {file.name}`"
        try:
            size = _download(one.address, file)
        except (OSError, http.client.HTTPException) as error:
            why = str(error) if hasattr(error, "code") else getattr(error, "reason", error)
            raise OSError(f"got no {one.name} from {one.address} ({why}); {by_hand}") from error
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        if digest != one.sha256:
            raise OSError(
                f"got {size} bytes with sha256 {digest} from {one.address}, expected {one.sha256}: this is not the "
                "file of the list, or a part of it; nothing was imported. Try again, and do not use what is there now "
                "if it stays so"
            )
        yield file


def _download(address: str, file: Path) -> int:
    """Write what is at an address to a file; its length in bytes."""
    with urllib.request.urlopen(address, timeout=PATIENCE) as answer, file.open("wb") as out:
        size = 0
        while piece := answer.read(PIECE):
            size += len(piece)
            if size > LARGEST:
                raise OSError(f"the answer is longer than {LARGEST} bytes")
            out.write(piece)
    return size
