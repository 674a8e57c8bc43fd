"""`ase-mlx import`: open checkpoints of other codes as ordinary model folders.

Source: ours.
"""

import difflib
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from ase_mlx.cli.exits import reading
from ase_mlx.cli.output import JsonFile, print_table, write_json


def import_checkpoint(
    source: Annotated[
        str | None,
        typer.Argument(metavar="NAME|FILE", help="A name of --list, or a file: Nequix (.nqx), SevenNet (.pth)."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FOLDER",
            help="Of the model; among your own models, where auto finds it, if not given.",
        ),
    ] = None,
    list_known: Annotated[bool, typer.Option("--list", help="Say which names there are, and stop.")] = False,
    json: JsonFile = None,
) -> None:
    """Make a model of an open checkpoint: energies, forces, stresses of most elements, without error bars.

    A NAME is fetched from its pinned address, or taken from the installed package that brings it, and used only if its
    sha256 is that of the list. Without --out the model goes among your own ($ASE_MLX_MODELS, or ase-mlx/models in
    your data folder): `-c NAME` finds it there, and `-c auto`, which is what commands do without `-c`.

    Nothing in a file is run, and the code that wrote it is not needed.

    Example: `ase-mlx import nequix-oam-1-pft`, then `ase-mlx phonons GaN.cif`
    """
    if list_known:
        from ase_mlx.adapters.checkpoints import listed

        rows = listed()
        if not write_json(rows, json):
            for row in rows:
                print("\n".join(f"{key + ':':15}{value}" for key, value in row.items()), end="\n\n")
            print("Get one: ase-mlx import NAME, or download its file, then: ase-mlx import FILE.")
        return
    if source is None:
        raise typer.BadParameter(
            "got no checkpoint, expected `ase-mlx import NAME` or `ase-mlx import FILE`; --list has the names",
            param_hint="NAME|FILE",
        )
    card, folder = _imported(source, output)
    if write_json({"folder": str(folder), **card}, json):
        return
    published = "known by its sha256" if card["origin"]["known"] else "NOT one of the published files known here"
    rows = [
        {"": "file", "what": f"{card['origin']['file']} ({published})"},
        {"": "elements", "what": f"{len(card['elements'])}, {card['elements'][0]} to {card['elements'][-1]}"},
        {"": "training data", "what": card["training_data"]["origin"]},
        {"": "level of theory", "what": card["level_of_theory"]},
        {"": "licence", "what": card["licence"]},
        {"": "against DFT", "what": card["against_dft"]},
        {"": "error bars", "what": card["error_bars"]},
    ]
    print_table(f"{card['title']} → {folder}", rows)
    how = f"-c {output}" if output else f"(which finds it by itself, or -c {folder.name})"
    print(f"Use it: ase-mlx phonons CRYSTAL.cif {how}")


def _imported(source: str, output: Path | None) -> tuple[dict, Path]:
    """Import a file, or what a name stands for; the card and the folder."""
    from ase_mlx.adapters.checkpoints import fetched
    from ase_mlx.adapters.checkpoints import import_checkpoint as write_folder
    from ase_mlx.adapters.checkpoints.published import CHECKPOINTS, named
    from ase_mlx.pretrained import names, user_folder

    one = None if Path(source).is_file() else named(source)
    with reading("NAME|FILE"):
        if one is None and not Path(source).is_file():
            near = difflib.get_close_matches(source, [checkpoint.name for checkpoint in CHECKPOINTS], n=1)
            hint = f"did you mean {near[0]}?" if near else "--list has the names"
            raise FileNotFoundError(f"got {source!r}, expected a file or a name of a published checkpoint; {hint}")
        folder = output or user_folder() / (one.name if one else Path(source).stem)
        if output is None and folder.name in names():
            raise ValueError(f"got {source!r}, but {folder.name} is the name of a shipped model; name a folder by -o")
    with nullcontext(Path(source)) if one is None else fetched(one) as file, reading("NAME|FILE"):
        return write_folder(file, folder), folder
