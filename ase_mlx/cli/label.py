"""`ase-mlx label`: energies, forces and stresses from a DFT code.

Source: ours.
"""

import sys
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Annotated

import typer

from ase_mlx.cli.exits import reading
from ase_mlx.cli.output import JsonFile, check_output, print_table, write_json
from ase_mlx.cli.run import progress_bar

BYTES = 150
"""That an atom with its labels takes in a file."""


def label(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Structures, in any format of ASE.")],
    teacher: Annotated[str, typer.Option(help="espresso, or MODULE:FACTORY of an ASE calculator.")],
    output: Annotated[Path, typer.Option("--out", "-o", help="Labelled frames; a second call goes on.")],
    config: Annotated[Path | None, typer.Option(help="TOML settings, as in examples/espresso_group4.toml.")] = None,
    pseudo_dir: Annotated[Path | None, typer.Option(help="Pseudopotentials; replaces the config's.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Frames at a time, each on one thread.")] = 1,
    densities: Annotated[Path | None, typer.Option(help="A folder for the densities too, a file a frame.")] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Try again what failed in an earlier call.")] = False,
    json: JsonFile = None,
) -> None:
    """Label structures by DFT: free energy, forces, stress; restartable, parallel over frames.

    Frames appear in the output as they are finished. What did not converge, crashed or took too long stands in
    OUTPUT.journal.jsonl and makes the exit code 1; the others are kept.

    Example: `ase-mlx label new.extxyz --teacher espresso --config espresso.toml -o labelled.extxyz --workers 2`
    """
    from ase_mlx.adapters.espresso_checks import blas_of
    from ase_mlx.adapters.teachers import teacher as named
    from ase_mlx.data.io import read_frames
    from ase_mlx.data.journal import Journal
    from ase_mlx.data.label import label as run
    from ase_mlx.occupancy import check_occupancy

    with reading("FILE"):
        frames = read_frames(file)
        for atoms in frames:
            check_occupancy(atoms)
    with reading("--teacher / --config"):
        chosen = named(teacher, config, pseudo_dir, densities is not None)
    if not output.parent.is_dir():
        raise typer.BadParameter(
            f"got {str(output)!r}, expected a file in an existing folder; make it first", param_hint="--out"
        )
    check_output(output, BYTES * sum(map(len, frames)), "--out", [file])
    with reading("--out"):
        Journal(output, chosen.name, chosen.identity).look()
    if slow := blas_of(chosen):
        print(slow, file=sys.stderr)
    done = count(1)
    with progress_bar(output.name) as tell:
        report = run(
            frames, chosen, output, workers, retry, lambda *_: tell("frames", next(done), len(frames)), densities
        )
    result = {"output": output, "teacher": chosen.name, "frames": len(frames), **asdict(report)}
    if not write_json(result, json):
        counts = {key: value for key, value in result.items() if key != "failed"}
        print_table("Labelled", [{**counts, "failed": len(report.failed)}])
        for name, reason in report.failed.items():
            print(f"{name}: {reason}")
    if report.failed:
        raise typer.Exit(1)
