"""What computes forces, in every command: `-c/--calculator`, looked at before torch is imported.

Source: ours.
"""

import difflib
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Annotated

import typer

__all__ = ["Name", "check_potential", "named", "pick"]

Name = Annotated[
    str,
    typer.Option(
        "--calculator",
        "-c",
        help="A shipped model's name or a model's folder, chgnet, emt, or MODULE:FACTORY of an ASE calculator; "
        "auto: the shipped model with the elements.",
    ),
]

EMT = ("Al", "Cu", "Ag", "Au", "Ni", "Pd", "Pt", "H", "C", "N", "O")
"""Elements of ASE's effective-medium potential, a toy for tests."""


def pick(name: str, symbols: Sequence[str]) -> str:
    """Choose the calculator for these elements, or refuse one that does not know them or gives no forces.

    Args:
        name: as the option has it.
        symbols: of the structure; none where it is not known yet.

    Raises:
        ValueError: no such calculator, one without forces, or one that does not know all elements; with the ways on.
        FileNotFoundError: a model's folder that is none.

    Source: ours.
    """
    if name == "auto":
        from ase_mlx.pretrained import covering

        return covering(symbols, _ways_on(symbols))
    if name == "emt":
        _refuse_unknown(name, symbols, EMT)
    elif name == "chgnet":
        if find_spec("chgnet") is None:
            raise ValueError("got chgnet, which is not installed here; pip install chgnet, or name another calculator")
    elif ":" not in name:
        card = check_potential(name)
        _refuse_unknown(name, symbols, card["elements"])
    return name


def check_potential(name: str, others: tuple[str, ...] = ("emt", "chgnet")) -> dict:
    """Read the card of a shipped potential, or of one in a folder (units in the card).

    Args:
        name: of the model.
        others: calculators that the option takes as well.

    Raises:
        ValueError: no such model, with the nearest name; or one that gives no forces.
        FileNotFoundError: as `read_card`.

    Source: ours.
    """
    from ase_mlx.learn.cards import read_card
    from ase_mlx.pretrained import find, names

    try:
        card = read_card(find(name))
    except FileNotFoundError as error:
        near = difflib.get_close_matches(name, (*names(), *others), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        more = f", {', '.join(others)}, or MODULE:FACTORY of an ASE calculator" if others else ""
        raise ValueError(
            f"got {name!r}, expected a shipped model ({', '.join(names())}), a folder of `ase-mlx train` or `ase-mlx "
            f"import`{more}{hint}"
        ) from error
    if "forces" not in card["outputs"]:
        kind = "density" if "density" in card["outputs"] else "crystals"
        command = "density --model" if kind == "density" else "screen --model"
        raise ValueError(
            f"got {name!r}, a model of {kind} (`ase-mlx {command} {name}`), which is no potential: it gives "
            f"{', '.join(card['outputs'])}, no forces"
        )
    return card


def named(name: str, device: str = "cpu", dtype: str = "float64", **options):
    """Make the ASE calculator (eV, Å) that `pick` chose; ours with these options, others as they are.

    Raises:
        ValueError: the package is not installed, or has no such factory.

    Source: ours.
    """
    if name in ("emt", "chgnet") or ":" in name:
        from ase_mlx.adapters.factories import named_calculator

        return named_calculator(name, device)
    from ase_mlx.adapters.ase import Calculator

    return Calculator(name, device=device, dtype=dtype, **options)


def _refuse_unknown(name: str, symbols: Sequence[str], elements: Sequence[str]) -> None:
    if missing := sorted(set(symbols) - set(elements)):
        raise ValueError(
            f"got {', '.join(missing)}, but {name} knows {' '.join(elements)} only. {_ways_on(symbols, name)}"
        )


def _ways_on(symbols: Sequence[str], tried: str = "") -> str:
    toy = "-c emt (ASE's toy potential), " if set(symbols) <= set(EMT) and tried != "emt" else ""
    installed = "" if find_spec("chgnet") else "; pip install chgnet"
    return (
        f"Name another calculator: -c chgnet (most elements{installed}), {toy}-c MODULE:FACTORY of any ASE calculator, "
        "or -c FOLDER of a model trained on these elements (`ase-mlx train`) or of an open potential of most elements "
        "(`ase-mlx import --list`)."
    )
