"""`Structure` as `ase.Atoms` and back; what is on the atoms stays on them, to the bit.

Source: ours.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import ase.constraints
import numpy as np
from ase import Atoms
from ase.constraints import dict2constraint

from ase_mlx.structure import Structure

LABELS = {
    "masses": "masses",
    "charges": "initial_charges",
    "magnetic_moments": "initial_magmoms",
    "momenta": "momenta",
    "tags": "tags",
}
"""Labels of a `Structure` and the names of ASE's arrays."""


def as_structure(atoms: Atoms) -> Structure:
    """Take a structure (Å, amu, e) with all its labels from ASE; a calculator and its results stay behind.

    Raises:
        ValueError: a structure without physical meaning, or a constraint that cannot be written down.

    Source: ours.
    """
    own = {name: array for name, array in atoms.arrays.items() if name not in ("numbers", "positions")}
    labels = {label: own.pop(name) for label, name in LABELS.items() if name in own}
    return Structure(
        atoms.numbers, atoms.positions, np.asarray(atoms.cell), atoms.pbc, **labels, arrays=own, info=atoms.info,
        constraints=tuple(_written(one) for one in atoms.constraints), corner=atoms.get_celldisp().ravel(),
    )  # fmt: skip


def as_atoms(structure: Structure) -> Atoms:
    """Give a structure (Å, amu, e) with all its labels to ASE.

    Raises:
        ValueError: a constraint that ASE does not know.

    Source: ours.
    """
    one = structure
    atoms = Atoms(one.numbers, one.positions, cell=one.cell, pbc=one.pbc, celldisp=one.corner.reshape(3, 1))
    for label, name in LABELS.items():
        if getattr(one, label) is not None:
            atoms.set_array(name, getattr(one, label))
    for name, array in one.arrays.items():
        atoms.set_array(name, array)
    atoms.info = copy.deepcopy(dict(one.info))
    atoms.set_constraint([dict2constraint(_each(dict(c), Structure, as_atoms)) for c in one.constraints])
    return atoms


def with_atoms(value: Any) -> Any:
    """Turn every `Structure` (Å) among values, lists, tuples and mappings into `ase.Atoms`; the rest stays as it is.

    Source: ours.
    """
    return _each(value, Structure, as_atoms)


def with_structures(value: Any) -> Any:
    """Turn every `ase.Atoms` (Å) among values, lists, tuples and mappings into a `Structure`; the rest stays as it is.

    Source: ours.
    """
    return _each(value, Atoms, as_structure)


def _each(value: Any, kind: type, change: Callable) -> Any:
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, Mapping):
        return {name: _each(one, kind, change) for name, one in value.items()}
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return type(value)(_each(one, kind, change) for one in value)
    return value


def _written(constraint: Any) -> dict[str, Any]:
    """A constraint as ASE writes it to files."""
    try:
        written = constraint.todict()
    except (AttributeError, NotImplementedError):
        written = {}
    if written.get("name") not in ase.constraints.__all__:
        raise ValueError(
            f"got a constraint {type(constraint).__name__}, which ASE cannot write to a file and read again, expected "
            f"one of {', '.join(name for name in ase.constraints.__all__ if name.startswith('Fix'))} …; take it off "
            "(atoms.set_constraint()) and set it again on what comes back"
        )
    return with_structures(written)
