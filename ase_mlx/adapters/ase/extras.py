"""What a calculator of ours gives beside ASE's own properties, put on the atoms for files and databases.

Source: ours.
"""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.outputs import all_outputs

from ase_mlx.adapters.ase.labels import THERMAL
from ase_mlx.models.against_dft import MEASURED
from ase_mlx.models.foundation import NO_BARS, Foundation
from ase_mlx.models.prediction import NOT_MEASURED
from ase_mlx.quantities import SYMBOLS

AGAINST_DFT = "_std_dft"
"""End of the names of error bars against DFT rather than against labels that are not DFT."""

UNSAVED = ("features",)
"""Extras that are asked for by name only: too long for a file."""


def depth(name: str) -> int:
    """How much of a model a name needs: 0 its mean, 1 also standard deviations, 2 all members.

    Source: ours.
    """
    if name.endswith("_members"):
        return 1 if name == "energy_members" else 2  # energies of members come with the bars
    return int(name.endswith(("_std", AGAINST_DFT)))


def of(name: str) -> str:
    """Name the quantity whose error bar an extra is, else the extra itself.

    Source: ours.
    """
    return name.removesuffix(AGAINST_DFT).removesuffix("_std")


def bars_against_dft(model: Any) -> list[str]:
    """List the extras of a model whose labels' errors against DFT are known.

    Source: ours.
    """
    return [f"{name}{AGAINST_DFT}" for name in MEASURED] if getattr(model, "against_dft", None) else []


def save_extras(
    calculator, atoms: Atoms, prefix: str, names: Sequence[str] | None, conditions: Mapping[str, Any]
) -> dict[str, float | str]:
    """Copy extras (units: those of the models' outputs) into `atoms.info` and `atoms.arrays`.

    Args:
        calculator: of ours (no unit).
        atoms: Å; changed.
        prefix: put before each name.
        names: what is wanted, with its error bar; all but members, features and thermal functions where None.
        conditions: of thermal functions.

    Returns:
        Numbers (their units) and words of the whole structure.

    Raises:
        PropertyNotImplementedError: one of `names` is none that the models give for this structure.

    Source: ours.
    """
    thermal = [name for name in calculator.extras if name.removesuffix("_std") in THERMAL]
    if names is None:
        extras = [n for n in calculator.extras if n not in (*UNSAVED, *thermal) and not n.endswith("_members")]
    else:
        extras = [n for name in names for n in (name, f"{name}_std", f"{name}{AGAINST_DFT}")]
    per_atom = {q.name for one in (calculator, *calculator.also) for q in one.model.outputs if q.per == "atom"}
    saved: dict[str, float | str] = {}
    for name in extras:
        try:
            value = calculator.get_property(name, atoms, **(conditions if name in thermal else {}))
        except PropertyNotImplementedError:
            if names is not None and name in names:
                raise
            continue
        if of(name) in per_atom:
            atoms.set_array(prefix + name, np.asarray(value))
            continue
        atoms.info[prefix + name] = value = ", ".join(value) if isinstance(value, tuple) else value
        saved |= {prefix + name: value} if isinstance(value, float | str) else {}
    return saved


def refusal(calculator, name: str) -> str:
    """Say why a calculator of ours does not give what is asked for, what its model gives, and the nearest of it.

    Source: ours.
    """
    names = (*calculator.implemented_properties, *calculator.extras)
    if name.endswith(("_std", "_members")) and isinstance(calculator.model, Foundation):
        return f"got a request for {name!r} of {calculator.name!r}, which has no error bars: {NO_BARS}"
    if name.endswith(AGAINST_DFT) and name not in names:
        return f"got a request for {name!r} of {calculator.name!r}: {NOT_MEASURED}"
    if name in all_outputs:
        return f"got a request for {name!r}, which {calculator.name!r} does not give; it gives {', '.join(names)}"
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"got a request for {name!r}, expected one of {', '.join(names)}{hint}"


def described(calculator) -> str:
    """Say which model a calculator of ours has, what it gives and how (the skin in Å).

    Source: ours.
    """
    if calculator.model is None:
        return "Calculator(auto: the model that knows the first structure)"
    elements = " ".join(SYMBOLS[z] for z in calculator.model.elements[:12])
    more = f" and {len(calculator.model.elements) - 12} more" if len(calculator.model.elements) > 12 else ""
    outputs = ", ".join(q.name for q in calculator.model.outputs if q.name not in UNSAVED)
    skin = f", skin={calculator.skin:g} Å" if calculator.skin else ""
    also = f", also {', '.join(one.name for one in calculator.also)}" if calculator.also else ""
    how = f"{calculator.dtype} on {calculator.device}{skin}{also}"
    return f"Calculator({calculator.name}: {outputs} of {elements}{more}; {how})"
