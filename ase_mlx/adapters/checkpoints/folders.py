"""From a checkpoint's file to an ordinary model folder.

Readers of other formats join by the entry-point group `ase_mlx.checkpoints`: the name is the file's ending, such as
`.nqx`, the object a function from a path to a `Model` in evaluation mode.

Source: ours.
"""

import hashlib
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from ase_mlx.learn.cards import CARD, read_card
from ase_mlx.learn.files import load_model, save_model
from ase_mlx.models import Model
from ase_mlx.models.against_dft import LINE
from ase_mlx.models.foundation import NO_BARS
from ase_mlx.pretrained import find
from ase_mlx.quantities import SYMBOLS

from .nequix import read_nequix
from .published import installed, measured, published
from .sevennet import read_sevennet

READERS: dict[str, Callable[[Path], Model]] = {".nqx": read_nequix, ".pth": read_sevennet}
"""Readers of this package by the file's ending."""


def read_checkpoint(path: str | Path) -> Model:
    """Read a checkpoint of another code into a model (eV, Å), float32, in evaluation mode.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a format or an architecture that is not known, a truncated or damaged file.

    Source: ours.
    """
    path = Path(path)
    others = {entry.name: entry for entry in entry_points(group="ase_mlx.checkpoints")}
    if path.suffix in READERS:
        return READERS[path.suffix](path)
    if path.suffix in others:
        return others[path.suffix].load()(path)
    raise ValueError(
        f"got {str(path)!r}, expected a checkpoint that ends in {', '.join((*READERS, *others))}; "
        "`ase-mlx import --list` says where such files come from"
    )


def load_named(name: str | Path) -> Any:
    """Load a model (eV, Å) by its shipped name, folder or imported name, or from the installed package that brings it.

    Raises:
        FileNotFoundError: no such model.
        ValueError: a damaged model file.

    Source: ours.
    """
    try:
        return load_model(find(name))
    except FileNotFoundError:
        if (file := installed(str(name))) is None:
            raise
        return read_checkpoint(file)


def import_checkpoint(path: str | Path, folder: str | Path, title: str = "") -> dict[str, Any]:
    """Write the model of a checkpoint as a folder that `am.load` and `Calculator` take (units: eV, Å).

    Args:
        path: of the file.
        folder: made if it is not there; an earlier import there is replaced, another model is not.
        title: in place of the name by which the file is known.

    Returns:
        The card's lines; `origin.known` says whether the file is one of those of `listed`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: as `read_checkpoint`; or the folder is a file, or holds a model that was not imported.

    Source: ours.
    """
    path, folder = Path(path), Path(folder)
    model = read_checkpoint(path)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"got {str(folder)!r}, which is a file, expected a folder to write; name another one")
    if (folder / CARD).is_file() and "origin" not in read_card(folder):
        raise ValueError(f"got {str(folder)!r}, which holds a model that was not imported; name another folder")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    one = published(digest)
    unknown = "not stated: the file is none of those that `ase-mlx import --list` names"
    card = {
        "title": title or (one.name if one else path.stem),
        "level_of_theory": one.level_of_theory if one else unknown,
        "licence": one.licence if one else unknown,
        "elements": [SYMBOLS[z] for z in model.elements],
        "units": {"length": "Å", "energy": "eV", "forces": "eV/Å", "stress": "eV/Å³, Voigt xx yy zz yz xz xy"},
        "training_data": {"origin": one.training_data if one else unknown},
        "origin": {
            "file": path.name,
            "sha256": digest,
            "known": one is not None,
            "address": one.address if one else "",
            "papers": one.papers if one else "",
        },
        "against_dft": one.against_dft if one else unknown,
        "error_bars": f"none: {NO_BARS}",
        "errors": {},
    }
    if one and (errors := measured(one.name)):
        card[LINE] = errors
    save_model(model, folder, card)
    return card
