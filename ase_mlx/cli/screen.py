"""`ase-mlx screen`: anomalies among many crystals, ranked, with reasons and suggestions.

Source: ours.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ase_mlx.cli import exits
from ase_mlx.cli.output import JsonFile, named_after, print_table, sole_output, write_json
from ase_mlx.cli.run import progress_bar

Mode = Annotated[
    Literal["novelty", "supervised_tail", "residual"],
    typer.Option(
        "--mode",
        help="novelty: strange structures; supervised_tail: formation energies low for their anion; residual: reported "
        "formation energies that look wrong.",
    ),
]


Source = Annotated[
    Path,
    typer.Argument(
        metavar="INPUT",
        exists=True,
        help="parquet, csv, extxyz, an ASE database, or a folder of parquet parts or of structure files.",
    ),
]
Out = Annotated[
    Path | None, typer.Option("--out", "-o", metavar="FOLDER", help="Where the results go; NAME-screen if not given.")
]
Name = Annotated[str, typer.Option("--model", "-m", help="A shipped name or a trained model's folder.")]
Reported = Annotated[
    str | None, typer.Option("--reported", metavar="COLUMN", help="Formation energies in eV/atom, for residual.")
]
Engine = Annotated[Literal["local", "spark"], typer.Option("--engine", help="This machine, or Apache Spark.")]
Master = Annotated[str, typer.Option("--master", help="Of Spark: local[*] or spark://host:port.")]
Processes = Annotated[int, typer.Option("--workers", min=1, help="Of the local engine: processes.")]
Suggest = Annotated[int, typer.Option("--suggest", min=0, help="How many crystals to propose to look at next.")]


def screen(
    source: Source,
    out: Out = None,
    model: Name = "bhnaa",
    mode: Mode = "novelty",
    reported: Reported = None,
    engine: Engine = "local",
    master: Master = "local[*]",
    processes: Processes = 2,
    suggest: Suggest = 20,
    json: JsonFile = None,
) -> None:
    """Screen crystals for anomalies; the same command goes on after a kill, without losing or repeating a row.

    Writes results.parquet (every row of the input with its rank, score and its spread, probability, formation energy,
    hull distance, the descriptors that make it strange, or the reason why it has none), suggestions.csv, figures and
    report.html, to look at.

    Example: `ase-mlx screen crystals.parquet --mode residual --reported formation_energy_per_atom -o screened`
    """
    from ase_mlx.data.tables import open_table
    from ase_mlx.jobs.screening import finish_screening
    from ase_mlx.pretrained import find
    from ase_mlx.screen import Screening, open_job

    with exits.reading("INPUT"):
        table = open_table(source)
    with exits.reading("--mode / --reported"):
        wanted = Screening(mode, reported)
    with exits.reading("--model"):
        folder = find(model)
    with exits.reading("INPUT / --model / --out"):
        out = out or named_after(source, "screen")
        job = open_job(table, folder, wanted, out)
    with sole_output(out):
        pass
    with progress_bar(source.name) as tell:
        result = vars(finish_screening(job, engine, master, processes, suggest, tell))
    if not write_json(result, json):
        print_table(f"{source.name}: {mode}, {result['rows']} rows, {result['anomalies']} flagged", result["top"])
        for note in result["notes"]:
            print(note)
        print(f"written to {out}: {', '.join(result['files'])}")
