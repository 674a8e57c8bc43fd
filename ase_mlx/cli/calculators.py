"""What computes forces, in every command: `-c/--calculator`, looked at before torch is imported.

Source: ours.
"""

import difflib
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Annotated

import typer

__all__ = ["Dispersion", "Name", "check_name", "check_potential", "chosen", "described", "named", "pick", "say"]

Name = Annotated[
    str,
    typer.Option(
        "--calculator",
        "-c",
        help="A shipped or imported model's name or a model's folder, sevennet-0, chgnet, emt, or MODULE:FACTORY of an "
        "ASE calculator; auto: what of these knows the structure best.",
    ),
]

Dispersion = Annotated[
    bool,
    typer.Option(
        "--dispersion",
        help="Add D3(BJ) dispersion for PBE: layered and molecular crystals want it of potentials taught PBE "
        "(pip install 'ase-mlx[dispersion]').",
    ),
]


def check_name(name: str) -> None:
    """Refuse a calculator that is not here or gives no forces, before a structure is read.

    Raises:
        ValueError: no such calculator, or one without forces; with the ways on.

    Source: ours.
    """
    if name == "chgnet":
        if find_spec("chgnet") is None:
            raise ValueError("got chgnet, which is not installed here; pip install chgnet, or name another calculator")
    elif name not in ("auto", "emt") and ":" not in name:
        check_potential(name)


def pick(name: str, atoms) -> tuple:
    """Choose the calculator for a structure (Å), or refuse one that does not know it or gives no forces.

    Returns:
        Its name, and for "auto" the `Choice`, which says why it is this one; None otherwise.

    Raises:
        ValueError: no such calculator, one without forces, or one that does not know all elements; with the ways on.

    Source: ours.
    """
    if name == "auto":
        from ase_mlx.adapters.choice import choose

        choice = choose(atoms)
        return choice.name, choice
    check_name(name)
    symbols = atoms.get_chemical_symbols()
    if name == "emt":
        from ase_mlx.adapters.choice import EMT

        _refuse_unknown(name, symbols, EMT)
    elif name != "chgnet" and ":" not in name:
        _refuse_unknown(name, symbols, check_potential(name).get("elements", symbols))
    return name, None


def check_potential(name: str, others: tuple[str, ...] = ("emt", "chgnet")) -> dict:
    """Read the card of a shipped or imported potential, or of one in a folder (units in the card).

    Args:
        name: of the model.
        others: calculators that the option takes as well.

    Raises:
        ValueError: no such model, with the nearest name; or one that gives no forces.
        FileNotFoundError: as `read_card`.

    Source: ours.
    """
    from ase_mlx.adapters.checkpoints.published import installed
    from ase_mlx.learn.cards import read_card
    from ase_mlx.pretrained import find, names

    try:
        card = read_card(find(name))
    except FileNotFoundError as error:
        if installed(name):
            return {"outputs": ["forces"]}  # it names an element that it lacks by itself
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


def named(name: str, device: str = "cpu", dtype: str = "float64", dispersion: bool = False, **options):
    """Make the ASE calculator (eV, Å) of a name that `pick` gave; ours with these options, others as they are.

    Raises:
        ValueError: a package is not installed, or has no such factory; or a device that is not here.

    Source: ours.
    """
    _check_device(device)
    if dispersion:
        from ase_mlx.adapters.ase import with_dispersion

        return with_dispersion(named(name, device, dtype, **options))
    if name in ("emt", "chgnet") or ":" in name:
        from ase_mlx.adapters.factories import named_calculator

        return named_calculator(name, device)
    from ase_mlx.adapters.ase import Calculator

    return Calculator(name, device=device, dtype=dtype, **options)


def _check_device(device: str) -> None:
    """Refuse a device that this machine's torch does not have."""
    if device == "cpu":
        return
    from ase_mlx.processes import expect_device

    try:
        expect_device(device)
    except ValueError:
        words = f"got --device {device}, which torch does not find here, expected cpu; leave it out"
        raise ValueError(words) from None


def chosen(name: str, atoms, device: str = "cpu", dispersion: bool = False) -> tuple:
    """Make the ASE calculator (eV, Å) for a structure, and say on stderr what was chosen for it and why.

    Returns:
        The calculator, in double precision where it is one of ours, with its `choice`; and its name.

    Raises:
        ValueError: as `pick` and `named`.

    Source: ours.
    """
    name, choice = pick(name, atoms)
    calculator = named(name, device, dispersion=dispersion)
    calculator.choice = choice
    say(choice)
    return calculator, described(name, dispersion)


def described(name: str, dispersion: bool) -> str:
    """Name a calculator with its correction.

    Source: ours.
    """
    return f"{name} + D3(BJ)" if dispersion else name


def say(choice) -> None:
    """Print on stderr, before the work, which calculator was chosen and why; None was not chosen.

    Source: ours.
    """
    if choice is not None:
        print(f"ase-mlx: {choice}", file=sys.stderr, flush=True)


def _refuse_unknown(name: str, symbols: Sequence[str], elements: Sequence[str]) -> None:
    if missing := sorted(set(symbols) - set(elements)):
        from ase_mlx.adapters.choice import ways_on

        listed = " ".join(elements) if len(elements) <= 20 else f"{len(elements)} elements"
        raise ValueError(f"got {', '.join(missing)}, but {name} knows {listed} only. {ways_on(symbols, name)}")
