"""One page of a folder of results, to look at without a network: tables, scatter, crystals, curves, what may be wrong.

Source: ours; crystals are drawn by 3Dmol.js (N. Rego and D. Koes, Bioinformatics 31, 1322 (2015), BSD-3-Clause).
"""

import logging
from dataclasses import dataclass
from pathlib import Path

from ase_mlx.jobs.report.content import MOST_CRYSTALS, Content
from ase_mlx.jobs.report.page import page
from ase_mlx.whole import write_bytes

__all__ = ["MOST_CRYSTALS", "REPORT", "Reported", "add_report", "content_of", "report_job"]

LOG = logging.getLogger(__name__)

REPORT = "report.html"
"""Name of the page that commands write beside their results."""

MARKS = {
    "report.json": ("active", "ase_mlx.jobs.report.of_active"),
    "candidates.csv": ("generate", "ase_mlx.jobs.report.of_generation"),
    "results.parquet": ("screen", "ase_mlx.jobs.report.of_screening"),
    "kappa.hdf5": ("conductivity", "ase_mlx.jobs.report.of_conductivity"),
    "results.json": ("run or phonons", "ase_mlx.jobs.report.of_structures"),
}
"""File by which results are known → the command that writes it, and the module that reads its folder."""


@dataclass(frozen=True)
class Reported:
    """What a page holds: of which command's results, rows of its tables, crystals, curves, and notes on it.

    Source: ours.
    """

    path: Path
    kind: str
    rows: int
    crystals: int
    curves: int
    notes: list[dict[str, str]]
    size_bytes: int


def report_job(folder: str | Path, out: str | Path | None = None) -> Reported:
    """Write the page of a folder of results of `run`, `phonons`, `conductivity`, `screen`, `generate` or `active`.

    Args:
        folder: of the results; it is only read.
        out: the page; `report.html` in the folder if not given.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: nothing in it that a command of this package wrote, or a damaged file.
        OSError: the page cannot be written.

    Source: ours.
    """
    folder = Path(folder)
    path = folder / REPORT if out is None else Path(out)
    return _written(content_of(folder), path)


def content_of(folder: str | Path, beside: Path | None = None) -> Content:
    """Read what a page shows of a folder of results, in the units of its files.

    Args:
        folder: of the results.
        beside: where the folders of several structures lie; the folder itself if not given.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: nothing in it that a command of this package wrote, or a damaged file.

    Source: ours.
    """
    from importlib import import_module

    folder = Path(folder)
    if not folder.is_dir():
        what = "a file" if folder.exists() else "no such folder"
        raise FileNotFoundError(
            f"got {str(folder)!r} ({what}), expected the folder that a command wrote its results to"
        )
    for mark, (_, module) in MARKS.items():
        if (folder / mark).is_file():
            return import_module(module).read(folder, beside or folder)
    present = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    shown = ", ".join(present[:8]) + (f" and {len(present) - 8} more" if len(present) > 8 else "")
    expected = "; ".join(f"{mark} ({command})" for mark, (command, _) in MARKS.items())
    raise ValueError(
        f"got {str(folder)!r}, which holds {shown or 'nothing'}, expected results of one of these commands, known by "
        f"a file: {expected}; name the folder that -o named"
    )


def add_report(folder: Path, files: list[str], notes: list[str], beside: Path | None = None) -> None:
    """Write the page into a folder of results, and its name to `files`; results stand without it, and `notes` say why.

    Source: ours.
    """
    try:
        _written(content_of(folder, beside), folder / REPORT)
    except Exception as error:  # of whatever a file makes a reader do
        LOG.debug("no report", exc_info=True)
        notes.append(f"No {REPORT}: {type(error).__name__}: {error}")
    else:
        files.append(REPORT)


def _written(content: Content, path: Path) -> Reported:
    text = page(content).encode("utf-8")
    write_bytes(path, text)
    rows = sum(table.rows for table in content.tables)
    curves = sum(len(subject.curves) for subject in content.subjects)
    return Reported(path, content.kind, rows, len(content.crystals), curves, content.notes, len(text))
