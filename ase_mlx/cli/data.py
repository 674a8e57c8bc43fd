"""`ase-mlx data`: labelled frames into shards, and what is in them.

Source: ours.
"""

import errno
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from ase_mlx.cli.exits import reading
from ase_mlx.cli.output import JsonFile, print_table, write_json

EVERY = 5.0
"""Seconds between two lines in a pipe."""

SHOWN = 20
"""Frames that were left out and are printed; JSON has all."""


def data(
    inputs: Annotated[
        list[Path],
        typer.Argument(metavar="IN", help="Labelled structures in any format of ASE, or folders of shards."),
    ],
    output: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FOLDER", help="Of the shards; a second call goes on.")
    ] = None,
    energy: Annotated[str, typer.Option(help="Name of the energy (eV) in the files; ASE's if not given.")] = "",
    forces: Annotated[str, typer.Option(help="Name of the forces (eV/Å) in the files; ASE's if not given.")] = "",
    stress: Annotated[str, typer.Option(help="Name of the stress (eV/Å³) in the files; ASE's if not given.")] = "",
    json: JsonFile = None,
) -> None:
    """Turn labelled structures into a folder of shards, frame by frame, and print what is in it.

    IN is extxyz (also .xz), an ASE database, what `ase-mlx label` wrote, or another folder of shards. Without -o a
    folder is looked at. Frames without labels are left out, named, and make the exit code 1; the others are kept.

    Example: `ase-mlx data silicon.extxyz.xz germanium.db -o frames`
    """
    from ase_mlx.data.shard_writer import write_shards
    from ase_mlx.data.shards import Shards, is_shards

    if output is None:
        if len(inputs) > 1 or not (is_shards(inputs[0]) or inputs[0].is_dir()):
            raise typer.BadParameter(
                f"got {', '.join(map(str, inputs))} and no folder to write into, expected one; add -o FOLDER",
                param_hint="--out",
            )
        with reading("IN"):
            shards = Shards(inputs[0])
    else:
        with reading("IN / --out"), _full_disk() as full, _counts() as count:
            shards = write_shards(inputs, output, energy, forces, stress, count)
        if full:
            raise full[0]
    summary = {"folder": shards.folder, **shards.summary()}
    if not write_json(summary, json):
        _print(summary)
    if output is not None and summary["refused"]:
        raise typer.Exit(1)


@contextmanager
def _full_disk() -> Iterator[list[OSError]]:
    """Take the error of a disk that became full: the call was right, the work failed."""
    full: list[OSError] = []
    try:
        yield full
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        full.append(error)


@contextmanager
def _counts() -> Iterator[Callable[[int, int], None]]:
    """Count frames on a terminal, and in lines in a pipe."""
    from rich.console import Console

    console, last = Console(stderr=True), time.monotonic()
    with console.status("reading") if console.is_terminal else _nothing() as status:

        def count(frames: int, refused: int) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last < (0.2 if status else EVERY):
                return
            last = now
            text = f"{frames} frames written, {refused} left out"
            status.update(text) if status else console.print(text)

        yield count


@contextmanager
def _nothing() -> Iterator[None]:
    yield None


def _print(summary: dict[str, Any]) -> None:
    groups = {"all": summary}
    groups |= {f"part: {name}" if name in ("train", "val", "test") else name: g for name, g in summary["parts"].items()}
    groups |= {f"from {name}": group for name, group in summary["origins"].items()}
    rows = [
        {
            "frames of": name,
            "frames": group["frames"],
            "atoms": group["atoms"],
            "energies, eV/atom": f"{group['lowest_energy']:.3f} … {group['highest_energy']:.3f}",
            "rms force, eV/Å": group["rms_force"],
            "largest, eV/Å": group["largest_force"],
            "with stress": group["with_stress"],
            "largest stress, eV/Å³": group["largest_stress"],
            "Hessian columns": group["hessian_columns"],
        }
        for name, group in groups.items()
    ]
    print_table(str(summary["folder"]), rows)
    print(f"elements: {' '.join(summary['elements'])}")
    print(f"{summary['shards']} shards, {summary['bytes'] / 1e6:.1f} MB")
    refused = summary["refused"]
    for reason in list(refused.values())[:SHOWN]:
        print(f"left out: {reason}")
    if len(refused) > SHOWN:
        print(f"left out: {len(refused) - SHOWN} frames more; --json names them")
