"""What every command prints alike: tables for people, JSON for programs.

Source: ours.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ase_mlx.whole import write_text

__all__ = ["JsonFile", "print_table", "write_json"]

JsonFile = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Write the result as JSON too; - writes it to standard output."),
]


def write_json(result: Any, path: Path | None) -> bool:
    """Write a result as JSON where `--json` asked for it, whole or not at all.

    Returns:
        Whether standard output is taken (`--json -`), so that the command prints no table.

    Raises:
        OSError: the file cannot be written.

    Source: ours.
    """
    if path is None:
        return False
    text = json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False, default=_plain) + "\n"
    if str(path) == "-":
        sys.stdout.write(text)
        return True
    write_text(path, text)
    return False


def print_table(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows of equal keys as a table: numbers to four digits, to the right.

    Source: ours.
    """
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console = console if console.is_terminal else Console(width=200)
    console.print(title, style="italic", markup=False, highlight=False)
    table = Table()
    for key, value in rows[0].items() if rows else ():
        table.add_column(key, justify="right" if isinstance(value, int | float) else "left", overflow="fold")
    for row in rows:
        table.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()))
    console.print(table)


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"got a {type(value).__name__} in a JSON result; expected numbers, text, lists or mappings of them")
