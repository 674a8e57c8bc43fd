"""`ase-mlx evaluate`: errors and calibration of a model of any kind on data with known values.

Source: ours.
"""

from pathlib import Path
from typing import Annotated

import typer

from ase_mlx.cli import exits
from ase_mlx.cli.output import JsonFile, named_after, results_folder, write_json
from ase_mlx.cli.train import print_errors
from ase_mlx.jobs.doubts import doubts


def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A shipped name or a trained model's folder.")],
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            exists=True,
            help="Frames with energy, forces, maybe stress; a folder of shards; densities (.npz); a table (.parquet).",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FOLDER", help="Where the plots go; DATA-evaluation if not given."),
    ] = None,
    part: Annotated[
        str, typer.Option("--part", help='Only data of this part (info["part"], column part); "all" takes all.')
    ] = "all",
    json: JsonFile = None,
) -> None:
    """Print errors per quantity and the calibration of error bars; draw parity and reliability plots.

    Example: `ase-mlx evaluate sigesn frames.extxyz --json errors.json`
    """
    from ase_mlx.pretrained import find

    with exits.reading("MODEL"):
        folder = find(model)
    from ase_mlx.figures.parity import FILES, write_plots
    from ase_mlx.learn.cards import read_card
    from ase_mlx.learn.files import load_model
    from ase_mlx.learn.metrics import errors
    from ase_mlx.learn.recipe import evaluating

    with exits.reading("MODEL"):
        loaded = load_model(folder)
        kind = str(read_card(folder)["kind"])
    out = out or named_after(data, "evaluation")
    with exits.reading("DATA"):
        recipe = evaluating(loaded, kind, data)
        samples = recipe.read(loaded, data, part)
    with results_folder(out, FILES, 1_000_000) as plots:
        with doubts(exits.in_options) as raised:
            residuals = recipe.residuals(loaded, samples)
        table = errors(residuals)
        files = write_plots(residuals, table, plots)
    result = {"model": model, "data": str(data), "part": part, "frames": len(samples), "errors": table, "plots": files}
    if not write_json(result | {"extrapolation": raised.extrapolation}, json):
        print_errors(
            table, f"{model} on {len(samples)} structures of {data.name}" + ("" if part == "all" else f", part {part}")
        )
        for sentence in raised.sentences:
            print(sentence)
        print("wrote " + ", ".join(str(out / f) for f in files))
