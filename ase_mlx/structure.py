"""A structure with all that is on its atoms, without a host: what graphs are made from and generators return.

Source: ours.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

from ase_mlx.occupancy import check_occupancy
from ase_mlx.quantities import SYMBOLS

FARTHEST = 1e7
"""Å; of an atom from the origin, and of a cell vector: beyond it float64 leaves no digits of a picometre."""


CHARGES = ("charge", "total_charge", "net_charge", "tot_charge")
"""Entries of `info` that hold the charge of the whole structure (e)."""


@runtime_checkable
class AtomsLike(Protocol):
    """What a graph reads of a structure: the four attributes of `ase.Atoms` (lengths in Å).

    Source: ours.
    """

    positions: np.ndarray
    numbers: np.ndarray
    cell: np.ndarray
    pbc: np.ndarray


@dataclass(frozen=True, eq=False)
class Structure:
    """Atoms in a cell and the labels that travel with them; arrays and mappings are read-only copies.

    Attributes:
        numbers: atomic numbers.
        positions: Å.
        cell: row vectors, Å; zero along open axes of molecules, wires and slabs.
        pbc: periodic axes.
        masses: amu; None where they are the elements'.
        charges: initial charges of the atoms, in units of e.
        magnetic_moments: initial ones in units of the Bohr magneton, one number or one vector an atom.
        momenta: √(eV amu), ASE's unit.
        tags: whole numbers.
        arrays: own arrays by name, one row an atom, in units of their own.
        info: of the whole structure, in units of its own; `info["occupancy"]` holds the shares of sites that several
            atoms share, where a reader left them.
        constraints: each a mapping with "name" and "kwargs", as `todict` of ASE's constraints gives it.
        corner: where the cell begins, Å.

    Source: ours.
    """

    numbers: Int[np.ndarray, " atoms"]
    positions: Float[np.ndarray, "atoms 3"]
    cell: Float[np.ndarray, "3 3"] = field(default_factory=lambda: np.zeros((3, 3)))
    pbc: Bool[np.ndarray, " 3"] = field(default_factory=lambda: np.zeros(3, dtype=bool))
    masses: Float[np.ndarray, " atoms"] | None = None
    charges: Float[np.ndarray, " atoms"] | None = None
    magnetic_moments: Float[np.ndarray, " atoms"] | Float[np.ndarray, "atoms 3"] | None = None
    momenta: Float[np.ndarray, "atoms 3"] | None = None
    tags: Int[np.ndarray, " atoms"] | None = None
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    info: Mapping[str, Any] = field(default_factory=dict)
    constraints: tuple[Mapping[str, Any], ...] = ()
    corner: Float[np.ndarray, " 3"] = field(default_factory=lambda: np.zeros(3))

    def __post_init__(self):
        """Refuse what is no structure, and copy what is."""
        positions, numbers, cell, pbc = _physical(self)
        own = {"positions": positions, "numbers": numbers, "cell": cell, "pbc": pbc}
        own["corner"] = _label("corner", self.corner, (3,))
        for name, axes in (
            ("masses", ((),)),
            ("charges", ((),)),
            ("magnetic_moments", ((), (3,))),
            ("momenta", ((3,),)),
        ):
            if getattr(self, name) is not None:
                own[name] = _label(name, getattr(self, name), *((len(numbers), *axis) for axis in axes))
        if self.tags is not None:
            own["tags"] = _label("tags", self.tags, (len(numbers),), kinds="iu")
        for name, array in self.arrays.items():
            if len(np.shape(array)) == 0 or len(array) != len(numbers):
                raise ValueError(
                    f"got an array {name!r} of shape {np.shape(array)} for {len(numbers)} atoms, expected one row an "
                    "atom; put what belongs to the whole structure into info"
                )
        own["arrays"] = MappingProxyType({name: _kept(np.asarray(array)) for name, array in self.arrays.items()})
        own["info"] = MappingProxyType(copy.deepcopy(dict(self.info)))
        own["constraints"] = tuple(MappingProxyType(copy.deepcopy(dict(one))) for one in self.constraints)
        for name, value in own.items():
            object.__setattr__(self, name, _kept(value) if isinstance(value, np.ndarray) else value)

    def __len__(self) -> int:
        """Count the atoms."""
        return len(self.numbers)

    def __repr__(self) -> str:
        """Say how many of which atoms there are, and what is periodic."""
        symbols, counts = np.unique(self.numbers, return_counts=True)
        formula = "".join(f"{SYMBOLS[z]}{n if n > 1 else ''}" for z, n in zip(symbols, counts, strict=True))
        return f"Structure({formula}, pbc={self.pbc.tolist()})"

    def __reduce__(self):
        """Pickle and copy: read-only views of mappings can do neither."""
        plain = [getattr(self, one.name) for one in fields(self)]
        plain[-2] = tuple(dict(one) for one in self.constraints)
        return Structure, tuple(dict(value) if isinstance(value, Mapping) else value for value in plain)

    @property
    def volume(self) -> float:
        """Volume of the cell in Å³; zero where a lattice vector is missing."""
        return float(abs(np.linalg.det(self.cell)))


def net_charge(atoms: Any, charge: float | None = None) -> float:
    """Give the charge of a whole structure in units of e: `charge`, or what `info` says where that is None, or 0.

    Raises:
        ValueError: `info` names a charge that is no number, or two that differ.

    Source: ours.
    """
    if charge is not None:
        return float(charge)
    values = {name: (getattr(atoms, "info", None) or {}).get(name) for name in CHARGES}
    values = {name: value for name, value in values.items() if value is not None}
    try:
        charges = {float(value) for value in values.values()}
    except (TypeError, ValueError) as error:
        raise ValueError(f"got {values} in info, expected a number of e; mend it, or give charge=") from error
    if len(charges) > 1:
        raise ValueError(f"got {values} in info, expected one charge; take the wrong one off, or give charge=")
    return charges.pop() if charges else 0.0


def expect_atoms(atoms: Any) -> None:
    """Refuse what is not of ASE's kind (positions in Å), such as the name of a file.

    Raises:
        TypeError: saying what it is, and how atoms are made of it.

    Source: ours.
    """
    if not hasattr(atoms, "positions"):
        raise TypeError(
            f"got a {type(atoms).__name__}, {str(atoms)[:40]!r}, expected ase.Atoms; read a file by ase.io.read, turn "
            "a Structure of pymatgen by its to_ase_atoms()"
        )


def check(atoms: AtomsLike) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Read positions (Å), numbers, cell (Å) and pbc, refusing what has no physical meaning.

    Raises:
        ValueError: no atoms, partial occupancy, non-finite positions or cell, or a periodic direction without volume.

    Source: ours.
    """
    check_occupancy(atoms)
    if isinstance(atoms, Structure):  # which was looked at when it was made, and does not change
        return atoms.positions, atoms.numbers, atoms.cell, atoms.pbc
    return _physical(atoms)


def _physical(atoms: AtomsLike) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    positions, cell = (_reals(getattr(atoms, name), name) for name in ("positions", "cell"))
    numbers, pbc = _whole(atoms.numbers), np.broadcast_to(np.asarray(atoms.pbc, dtype=bool), (3,)).copy()
    if len(numbers) == 0:
        raise ValueError("got a structure without atoms, expected at least one; check how it was read or built")
    if positions.shape != (len(numbers), 3) or cell.size not in (3, 9):
        raise ValueError(
            f"got positions of shape {positions.shape}, a cell of shape {cell.shape} and {len(numbers)} numbers, "
            "expected (atoms, 3), (3, 3) and one number an atom"
        )
    cell = np.diag(cell.ravel()) if cell.size == 3 else cell.reshape(3, 3)
    bad = np.flatnonzero(~np.isfinite(positions).all(axis=1))
    if bad.size:
        raise ValueError(
            f"got NaN or infinite positions of atoms {bad[:5].tolist()}{' …' if bad.size > 5 else ''}, expected finite "
            "numbers in Å; the run that made them probably diverged: start from the last good frame"
        )
    if not np.isfinite(cell).all():
        raise ValueError("got a cell with NaN or infinite vectors, expected finite numbers in Å; set atoms.cell anew")
    largest = float(max(np.abs(positions).max(), np.abs(cell).max()))
    if largest > FARTHEST:
        raise ValueError(
            f"got {largest:.1e} Å in positions or cell, expected atoms within {FARTHEST:.0e} Å of the origin; "
            "wrap them into the cell, or mend what is too large"
        )
    periodic = cell[pbc]
    spanned = np.sqrt(max(np.linalg.det(periodic @ periodic.T), 0.0)) if pbc.any() else 1.0
    scale = float(np.prod(np.linalg.norm(periodic, axis=1))) if pbc.any() else 1.0
    if pbc.any() and spanned <= 1e-8 * max(scale, 1e-8):
        raise ValueError(
            f"got pbc={pbc.tolist()} with periodic cell vectors that are zero or parallel ({periodic.tolist()} Å), "
            "expected independent vectors; pass pbc=False for a molecule or set atoms.cell"
        )
    return positions, numbers, cell, pbc


def _reals(values, name: str) -> np.ndarray:
    """Any array of numbers (Å) as float64 in one piece: other bytes' order, strides and precision are the same data."""
    try:
        return np.ascontiguousarray(np.asarray(values), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"got {name} that are no numbers ({error}), expected real numbers in Å") from error


def _whole(values) -> np.ndarray:
    """Atomic numbers as int64, refusing what is none."""
    numbers = np.asarray(values)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iuf" or not np.isfinite(numbers).all():
        raise ValueError(f"got atomic numbers of shape {numbers.shape} and type {numbers.dtype}, expected whole ones")
    if len(numbers) and ((numbers < 0) | (numbers >= len(SYMBOLS)) | (numbers % 1 != 0)).any():
        raise ValueError(f"got atomic numbers {numbers[:5].tolist()} …, expected whole ones up to {len(SYMBOLS) - 1}")
    return np.ascontiguousarray(numbers, dtype=np.int64)


def _label(name: str, values: Any, *shapes: tuple[int, ...], kinds: str = "iuf") -> np.ndarray:
    """One label of all atoms as an array, refusing another shape and what is no number."""
    array = np.asarray(values)
    if array.shape not in shapes or array.dtype.kind not in kinds:
        expected = " or ".join(map(str, shapes))
        raise ValueError(
            f"got {name} of shape {array.shape} and type {array.dtype}, expected numbers of shape {expected}; leave "
            "out what is not known"
        )
    return array


def _kept(array: np.ndarray) -> np.ndarray:
    """A read-only copy."""
    own = array.copy()
    own.flags.writeable = False
    return own
