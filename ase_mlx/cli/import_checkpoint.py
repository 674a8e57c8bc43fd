"""`ase-mlx import`: open checkpoints of other codes as ordinary model folders.

Source: ours.
"""

from pathlib import Path
from typing import Annotated

import typer

from ase_mlx.cli.exits import reading
from ase_mlx.cli.report import JsonFile, print_table, write_json


def import_checkpoint(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="A checkpoint: Nequix (.nqx), SevenNet (.pth).")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FOLDER", help="Of the model.")] = None,
    list_known: Annotated[
        bool, typer.Option("--list", help="Say where published checkpoints come from, and stop.")
    ] = False,
    json: JsonFile = None,
) -> None:
    """Make a model folder of an open checkpoint: energies, forces, stresses of most elements, without error bars.

    The folder serves wherever a model or calculator is named: `-c FOLDER`, `Calculator("FOLDER")`, `am.load`. Nothing
    in a file is run, and the code that wrote it is not needed. Files are not fetched: `--list` has the addresses.

    Example: `ase-mlx import nequix-oam-1-pft.nqx -o nequix`, then `ase-mlx phonons GaN.cif -c nequix`
    """
    if list_known:
        from ase_mlx.adapters.checkpoints import listed

        rows = listed()
        if not write_json(rows, json):
            for row in rows:
                print("\n".join(f"{key + ':':15}{value}" for key, value in row.items()), end="\n\n")
            print("Download a file, then: ase-mlx import FILE -o FOLDER. The address was taken over, not tried.")
        return
    if file is None or output is None:
        lacking = "FILE" if file is None else "--output"
        raise typer.BadParameter(
            f"got no {'checkpoint' if file is None else 'folder'}, expected `ase-mlx import FILE -o FOLDER`; --list "
            "says where checkpoints come from",
            param_hint=lacking,
        )
    with reading("FILE"):
        from ase_mlx.adapters.checkpoints import import_checkpoint as write_folder

        card = write_folder(file, output)
    if write_json({"folder": str(output), **card}, json):
        return
    known = "known by its sha256" if card["origin"]["known"] else "NOT one of the published files known here"
    rows = [
        {"": "file", "what": f"{file} ({known})"},
        {"": "elements", "what": f"{len(card['elements'])}, {card['elements'][0]} to {card['elements'][-1]}"},
        {"": "training data", "what": card["training_data"]["origin"]},
        {"": "level of theory", "what": card["level_of_theory"]},
        {"": "licence", "what": card["licence"]},
        {"": "error bars", "what": card["error_bars"]},
    ]
    print_table(f"{card['title']} → {output}", rows)
    print(f"Use it: ase-mlx phonons CRYSTAL.cif -c {output}")
