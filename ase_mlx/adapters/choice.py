"""What computes a structure where nobody names it: a model that knows it, or else a potential of most elements.

Source: ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ase_mlx.adapters.checkpoints.published import CHECKPOINTS, installed
from ase_mlx.adapters.factories import named_calculator
from ase_mlx.learn.cards import CARD, read_card
from ase_mlx.pretrained import find, load, names, user_names

EMT = ("Al", "Cu", "Ag", "Au", "Ni", "Pd", "Pt", "H", "C", "N", "O")
"""Elements of ASE's effective-medium potential, a toy for tests."""

BEST = f"`ase-mlx import {CHECKPOINTS[0].name}`"
"""What serves most structures best."""

GENERAL = "universal"
"""The shipped potential of most elements: less accurate than those of other packages, and always here."""

FEW = 12
"""Elements that are named; more are counted."""

WHEEL = "sevennet-0"
"""The potential that is taken from an installed package."""


@dataclass(frozen=True)
class Choice:
    """The name of a calculator, as `-c` takes it, and why it was chosen.

    Source: ours.
    """

    name: str
    reason: str

    def __str__(self) -> str:
        """Say it."""
        return f"Calculator (auto): {self.name}, {self.reason}"


def choose(atoms: Any, others: bool = True) -> Choice:
    """Choose what computes a structure (Å): a model with a distance score that finds it like its training data.

    Where there is none, a potential that was imported, one of an installed package, then the shipped one of most
    elements, and last a model outside its data.

    Args:
        atoms: as ASE has them.
        others: calculators that are no model of ours, too.

    Raises:
        ValueError: no atoms, or nothing that knows all of the elements; with what to import or install.

    Source: ours.
    """
    symbols = sorted(set(atoms.get_chemical_symbols()))
    if not symbols:
        raise ValueError("got a structure without atoms, expected at least one")
    scores: dict[str, float] = {}
    unscored: list[str] = []
    potentials = _potentials(symbols)
    for name in potentials:
        if name == GENERAL:
            continue
        seen = _extrapolation(name, atoms)
        if seen is None:
            unscored.append(name)
        elif not seen.matters:
            origin = "which ships with ase_mlx" if name in names() else "of your own models"
            return Choice(name, f"{origin}: the structure is like its training data ({_edge(seen.largest)}).")
        else:
            scores[name] = seen.largest
    why = f"no model of few elements knows {' '.join(symbols)}."
    if scores:
        data = " and ".join(f"{name} ({_edge(score)})" for name, score in scores.items())
        why = f"the structure is beyond the training data of {data}."
    if unscored:
        return Choice(unscored[0], f"of your own models: {why}")
    if installed(WHEEL) and set(symbols) <= _elements(WHEEL):
        return Choice(WHEEL, f"of the installed package sevenn: {why} Better: {BEST}.")
    if others and find_spec("chgnet"):
        return Choice("chgnet", f"which is installed: {why} More accurate: {BEST}.")
    if GENERAL in potentials:
        seen = _extrapolation(GENERAL, atoms)
        if not seen.matters or not scores or seen.largest < min(scores.values()):
            beyond = f" ({_edge(seen.largest)})" if seen.matters else ""
            return Choice(GENERAL, f"which ships with ase_mlx and knows most elements{beyond}: {why} Better: {BEST}.")
    if scores:
        name = min(scores, key=scores.__getitem__)
        return Choice(name, f"for want of another one: {why} Better: {BEST}.")
    models = "; ".join(f"{name}: {_covered(_card(name)['elements'])}" for name in names() if _is_potential(name))
    lacking = f"got {', '.join(symbols)}; no model that is here knows all of these ({models})"
    raise ValueError(f"{lacking}. {ways_on(symbols)}")


def ways_on(symbols: Sequence[str], tried: str = "") -> str:
    """Say what may compute these elements where a calculator that was tried does not.

    Source: ours.
    """
    toy = ", -c emt (ASE's toy potential)" if set(symbols) <= set(EMT) and tried != "emt" else ""
    chgnet = "-c chgnet" if find_spec("chgnet") else "-c chgnet (pip install chgnet)"
    return (
        f"Get an open potential of 89 elements once, then no name is needed: {BEST}, or pip install sevenn. Or name "
        f"another calculator: {chgnet}{toy}, -c FOLDER of a model trained on these elements (`ase-mlx train`), or -c "
        "MODULE:FACTORY of any ASE calculator."
    )


def settled(calculator: Any, atoms: Any) -> Any:
    """Give the ASE calculator (eV, Å) of a name, of the choice for a structure where it is "auto", or as it is.

    Its `choice` says why, where it was chosen here.

    Raises:
        ValueError, FileNotFoundError: as `choose` and `named_calculator`.

    Source: ours.
    """
    if isinstance(calculator, str | Path):
        choice = choose(atoms) if str(calculator) == "auto" else None
        chosen = named_calculator(str(calculator) if choice is None else choice.name)
        chosen.choice = choice
        return chosen
    if hasattr(calculator, "choose_for"):
        calculator.choose_for(atoms)
    return calculator


def _potentials(symbols: Sequence[str]) -> list[str]:
    """Potentials that know the elements: shipped, then the user's own, imported ones in the order of the list."""
    order = {one.name: place for place, one in enumerate(CHECKPOINTS)}
    own = sorted(user_names(), key=lambda name: (order.get(name, len(order)), name))
    return [
        name
        for name in dict.fromkeys((*names(), *own))
        if _is_potential(name) and set(symbols) <= set(_card(name)["elements"])
    ]


def _covered(elements: Sequence[str]) -> str:
    return " ".join(elements) if len(elements) <= FEW else f"{len(elements)} elements"


def _card(name: str) -> dict[str, Any]:
    return read_card(find(name))


def _is_potential(name: str) -> bool:
    return "forces" in _card(name)["outputs"]


def _extrapolation(name: str, atoms: Any):
    """How far a structure is from a model's training data; None where the model cannot tell."""
    if "origin" in _card(name):
        return None
    from ase_mlx.models.extrapolation import extrapolation
    from ase_mlx.models.large import distances

    folder = find(name)
    return extrapolation(distances(_loaded(folder, (folder / CARD).stat().st_mtime_ns), atoms))


@lru_cache(maxsize=8)
def _loaded(folder: Path, written: int):
    return load(folder)


@lru_cache(maxsize=2)
def _elements(name: str) -> frozenset[str]:
    from ase_mlx.adapters.checkpoints import read_checkpoint
    from ase_mlx.quantities import SYMBOLS

    return frozenset(SYMBOLS[z] for z in read_checkpoint(installed(name)).elements)


def _edge(score: float) -> str:
    return f"distance score up to {score:.2g}, 1 = edge"
