"""`ase-mlx evaluate`: errors and calibration of a model on labelled frames.

Source: ours.
"""

from pathlib import Path
from typing import Annotated

import typer

from ase_mlx.cli import exits
from ase_mlx.cli.calculators import check_potential
from ase_mlx.cli.doubts import doubts
from ase_mlx.cli.report import JsonFile, named_after, results_folder, write_json
from ase_mlx.cli.train import print_errors


def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A shipped name or a trained model's folder.")],
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA.extxyz", exists=True, dir_okay=False, help="Frames with energy, forces and maybe stress."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FOLDER", help="Where the plots go; DATA-evaluation if not given."),
    ] = None,
    part: Annotated[
        str, typer.Option("--part", help='Only frames with this info["part"]; "all" takes every frame.')
    ] = "all",
    json: JsonFile = None,
) -> None:
    """Print errors per quantity and element and the calibration of error bars; draw parity and reliability plots.

    Example: `ase-mlx evaluate sigesn frames.extxyz --json errors.json`
    """
    with exits.reading("MODEL"):
        check_potential(model, ())
    from ase_mlx.cli.parity import FILES, write_plots
    from ase_mlx.data.io import read_frames
    from ase_mlx.data.samples import elements_of, name_of, sample, symbols
    from ase_mlx.learn.metrics import collect, errors
    from ase_mlx.pretrained import load

    with exits.reading("MODEL"):
        loaded = load(model)
    with exits.reading("DATA.extxyz"):
        frames = [a for a in read_frames(data) if part in ("all", str(a.info.get("part")))]
        if not frames:
            raise ValueError(f"got no frame of part {part!r} in {data}, expected at least one; try --part all")
        known, found = symbols(loaded.elements), symbols(elements_of(frames))
        if foreign := [s for s in found if s not in known]:
            raise ValueError(
                f"got {', '.join(foreign)} in {data}, but {model} knows {', '.join(known)} only; choose another model "
                "or leave these frames out"
            )
        samples = [sample(a, loaded.cutoff, name_of(a, k)) for k, a in enumerate(frames)]
    out = out or named_after(data, "evaluation")
    with results_folder(out, FILES, 1_000_000) as plots:
        with doubts() as raised:
            rows = collect(loaded, samples)
        table = errors(rows)
        files = write_plots(rows, table, plots)
    result = {"model": model, "data": str(data), "frames": len(frames), "errors": table, "plots": files}
    if not write_json(result | {"extrapolation": raised.extrapolation}, json):
        print_errors(table, f"{model} on {len(frames)} frames of {data.name}")
        for sentence in raised.sentences:
            print(sentence)
        print("wrote " + ", ".join(str(out / f) for f in files))
