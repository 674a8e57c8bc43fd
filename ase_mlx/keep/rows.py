"""A checksum inside Parquet files of kept rows.

Source: ours; the format is Apache Parquet.
"""

import hashlib
import re
from pathlib import Path
from typing import Any

from ase_mlx.whole import write_bytes

_SUM = re.compile(rb"ase_mlx rows sha256:([0-9a-f]{64})")
_EMPTY = b"ase_mlx rows sha256:" + b"0" * 64


def write_rows(table: Any, path: Path) -> None:
    """Write a pyarrow table (any unit) whole or not at all, with a checksum of all bytes in its metadata.

    Raises:
        OSError: it cannot be written.

    Source: ours.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({"checksum": _EMPTY}), sink)
    content = sink.getvalue().to_pybytes()
    at = content.rindex(_EMPTY)
    total = hashlib.sha256(content).hexdigest().encode()
    write_bytes(path, content[: at + len(_EMPTY) - 64] + total + content[at + len(_EMPTY) :])


def check_rows(path: Path) -> None:
    """Compare the checksum of a file of rows with its content; one without, or a folder of them, is read as a whole.

    Raises:
        ValueError: the file is damaged.

    Source: ours.
    """
    import pyarrow.parquet as pq

    checksum = None
    if path.is_file():
        content = path.read_bytes()
        checksum = next(reversed(list(_SUM.finditer(content))), None)
    if checksum is not None:
        empty = content[: checksum.start(1)] + b"0" * 64 + content[checksum.end(1) :]
        if hashlib.sha256(empty).hexdigest().encode() != checksum[1]:
            raise ValueError("its checksum is another")
        return
    try:
        pq.read_table(path, page_checksum_verification=True)
    except Exception as error:  # pyarrow raises its own kinds and those of the system
        raise ValueError(f"no whole table of Parquet: {type(error).__name__}") from error
