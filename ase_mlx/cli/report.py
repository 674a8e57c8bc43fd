"""`ase-mlx report`: one interactive page of a folder of results.

Source: ours.
"""

from pathlib import Path
from typing import Annotated

import typer

from ase_mlx.cli import exits
from ase_mlx.cli.output import JsonFile, check_output, write_json

BYTES = 30_000_000
"""That a page may take on the disk."""

Folder = Annotated[
    Path,
    typer.Argument(
        metavar="RESULTS_DIR",
        help="What run, demo, phonons, conductivity, screen, generate or active wrote.",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="FILE.html", help="The page; report.html in the folder if not given."),
]


def report(folder: Folder, out: Out = None, json: JsonFile = None) -> None:
    """Write one page of results, to open in any browser without a network: tables, scatter, crystals, curves.

    It shows what was asked, numbers with their error bars, and where each may be wrong; rows can be sorted and
    filtered, any two columns drawn against each other, crystals looked at in three dimensions. The commands that it is
    for write it themselves, as report.html.

    Example: `ase-mlx report silicon -o silicon.html`
    """
    from ase_mlx.jobs.report import REPORT, report_job

    check_output(out or folder / REPORT, BYTES) if folder.is_dir() else None
    with exits.reading("RESULTS_DIR"):
        page = report_job(folder, out)
    if not write_json(vars(page), json):
        left = f", {page.rows} rows, {page.crystals} crystals, {page.curves} curves, {page.size_bytes / 1e6:.1f} MB"
        print(f"results of {page.kind}{left}\nwritten to {page.path}")
