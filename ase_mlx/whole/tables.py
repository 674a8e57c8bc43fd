"""Tables and results as CSV and JSON: what is unknown is an empty field, or null.

Source: ours.
"""

import csv
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ase_mlx.whole.files import whole_file, write_text


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]], ends: str = "\n") -> None:
    """Write a table as CSV; None and NaN become empty fields.

    Args:
        path: of the file.
        header: names of the columns.
        rows: numbers or text, written as they are.
        ends: of the lines.

    Raises:
        OSError: the file cannot be written.
    """
    with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream, lineterminator=ends)
        table.writerow(header)
        table.writerows([None if isinstance(x, float) and math.isnan(x) else x for x in row] for row in rows)


def json_text(result: Any, ascii_only: bool = False) -> str:
    """Write a result as JSON: plain numbers, text, lists and mappings; what is no finite number is unknown, null.

    Raises:
        TypeError: something else is in it.
    """
    return json.dumps(_plain(result), indent=2, ensure_ascii=ascii_only, allow_nan=False) + "\n"


def write_json(path: Path, result: Any) -> None:
    """Write a result as a JSON file, whole or not at all.

    Raises:
        OSError: the file cannot be written.
        TypeError: the result holds more than numbers, text, lists and mappings of them.
    """
    write_text(path, json_text(result))


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if value is None or isinstance(value, str | int):
        return value
    raise TypeError(f"got a {type(value).__name__} in a JSON result; expected numbers, text, lists or mappings of them")
