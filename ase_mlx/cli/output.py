"""What every command prints alike: tables for people, JSON for programs.

Source: ours.
"""

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from ase_mlx.cli import exits
from ase_mlx.whole import check_file, sole, whole_results, write_text
from ase_mlx.whole.tables import json_text

__all__ = [
    "JsonFile",
    "check_output",
    "named_after",
    "print_table",
    "results_folder",
    "sole_output",
    "stem",
    "write_json",
]


def _check_json(path: Path | None) -> Path | None:
    if path is not None and str(path) != "-":
        check_output(path, 100_000, "--json")
        with exits.reading("--json"):
            if path.is_file() and path.stat().st_size and path.read_bytes()[:1] not in (b"{", b"["):
                raise ValueError(f"got {str(path)!r}, which exists and is no JSON; name another file")
    return path


JsonFile = Annotated[
    Path | None,
    typer.Option(
        "--json",
        metavar="FILE",
        help="Write the result as JSON too; - writes it to standard output.",
        callback=_check_json,
    ),
]


def named_after(source: Path, what: str) -> Path:
    """Name an output after its input where the user named none: silicon.cif and "run" give silicon-run.

    Source: ours.
    """
    return Path(f"{stem(source)}-{what}")


def stem(source: Path) -> str:
    """Name a structure by its file: Si.v2 of Si.v2.extxyz.xz, POSCAR.Si of itself.

    Source: ours.
    """
    name = Path(source.name)
    name = name.with_suffix("") if name.suffix in (".xz", ".gz", ".bz2") else name
    return name.name if name.stem in ("POSCAR", "CONTCAR", "CHGCAR") else name.stem


def check_output(path: Path, size: int, option: str = "--out", inputs: Sequence[Path] = ()) -> None:
    """Look, before the work, whether a file of this size (bytes) could be written, and is none of the inputs.

    Raises:
        typer.BadParameter: it could not, or it is one.

    Source: ours.
    """
    with exits.reading(option):
        check_file(path, size)
        if any(path.exists() and path.samefile(source) for source in inputs):
            raise ValueError(f"got {str(path)!r}, which is the input, expected another file for the output")


@contextmanager
def sole_output(path: Path) -> Iterator[None]:
    """Keep other processes out of an output while the block runs.

    Raises:
        typer.BadParameter: another one is writing it.

    Source: ours.
    """
    with ExitStack() as stack:
        with exits.reading("--out"):
            stack.enter_context(sole(path))
        yield


@contextmanager
def results_folder(folder: Path, names: Collection[str], size: int, folders: Collection[str] = ()) -> Iterator[Path]:
    """Lend `whole_results` to a command; a folder that cannot hold them (bytes) is a wrong call, before the work.

    Raises:
        typer.BadParameter: the folder cannot be written, holds foreign files of these names, or is in use.

    Source: ours.
    """
    with ExitStack() as stack:
        with exits.reading("--out"):
            part = stack.enter_context(whole_results(folder, names, size, folders))
        yield part


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
    stdout = str(path) == "-"
    ascii_only = stdout and not (sys.stdout.encoding or "").lower().startswith("utf")
    text = json_text(result, ascii_only)
    if stdout:
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
