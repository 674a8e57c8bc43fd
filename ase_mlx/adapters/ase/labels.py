"""What is on atoms beside elements and places: masses, charges, moments, tags, own arrays, constraints, `info`.

A label is anything that a calculator may read and that a map from one cell to another must therefore carry: into
supercells, standard cells and back. The same labels tell atoms of one element apart where symmetry is looked for.

Source: ours.
"""

import copy
import warnings
from numbers import Integral, Real

import numpy as np
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress
from jaxtyping import Bool, Float, Int

from ase_mlx.quantities import SCREENED
from ase_mlx.structure import CHARGES

THERMAL = {"heat_capacity": "heat_capacity", "entropy": "entropy", "vibrational_free_energy": "free_energy"}
"""Thermal functions by their names here and in `phonopy.Harmonic`; ASE's `free_energy` is that of the electrons."""

RESULTS = frozenset(
    {"energy_std", "forces_std", "stress_std", "distance", "reasons"}
    | {name for one in (*(q.name for q in SCREENED), *THERMAL) for name in (one, f"{one}_std")}
)
"""What we write beside a structure ourselves; it is stale as soon as an atom moves."""

UNREAD = frozenset({"numbers", "positions", "momenta", "displacement", "spacegroup_kinds", "castep_labels"}) | RESULTS
"""Arrays that tell no atoms apart: places, dynamics, the books of readers and results, as all that is named a force."""

MULTIPLICITIES = frozenset({"spin", "multiplicity", "spin_multiplicity"})
"""Entries of `info` with 2S + 1 of the whole cell, as potentials of molecules read them."""

PER_ATOM = ("FixAtoms", "FixCartesian", "FixedPlane", "FixedLine")
"""Constraints of single atoms in Cartesian directions, which every image of an atom can have."""

SAME = 1e-5
"""Labels that differ by less than this part of the largest of their kind are one."""


def carried(source: Atoms, onto: Atoms, index: Int[np.ndarray, " atoms"], constraints: bool = False) -> Atoms:
    """Put the labels of one structure (Å) on another, whose atom k is an image of atom `index[k]` of the first.

    Masses, initial charges, magnetic moments, momenta, tags and own arrays go with their atoms. `info` is kept, with
    the charge of the cell times the number of cells, and its multiplicity that of parallel spins. Vectors keep their
    Cartesian directions: the cells must not be turned against each other. Results of ours stay behind.

    Args:
        source: with the labels.
        onto: gets them; it is changed.
        index: of the atom in `source` that each atom of `onto` is.
        constraints: also fix the images of atoms that are fixed.

    Returns:
        `onto`.

    Raises:
        ValueError: a constraint between atoms, which has no image, or a multiplicity that is no whole number.

    Source: ours.
    """
    for name, array in source.arrays.items():
        if name not in RESULTS and name not in ("numbers", "positions"):
            onto.arrays[name] = np.array(array[index])
    onto.info = copy.deepcopy({key: value for key, value in source.info.items() if key not in RESULTS})
    for key, value in onto.info.items():
        onto.info[key] = _of_cells(key, value, len(index), len(source))
    if constraints:
        onto.set_constraint([_image(one, source, index) for one in source.constraints])
    return onto


def without_results(atoms: Atoms) -> Atoms:
    """Remove from a structure (Å) what we wrote there ourselves; it is changed.

    Source: ours.
    """
    for key in RESULTS:
        atoms.info.pop(key, None)
        atoms.arrays.pop(key, None)
    return atoms


def reads_labels(calculator) -> bool:
    """Tell whether labels may change what a calculator gives: not where it says `ignores_labels`, as ours do.

    Source: ours.
    """
    return not getattr(calculator, "ignores_labels", False)


def species(atoms: Atoms) -> Int[np.ndarray, " atoms"]:
    """Number the kinds of atoms: by element, and where labels tell atoms of one element apart, by labels too.

    Returns:
        Dimensionless; the atomic numbers where no label tells atoms of one element apart.

    Source: ours.
    """
    columns = [atoms.numbers, *(_classes(array) for _, array in _telling(atoms))]
    _, kinds = np.unique(np.stack(columns), axis=1, return_inverse=True)
    kinds, out = kinds.ravel(), atoms.numbers.astype(int)
    for number in np.unique(atoms.numbers):
        own = atoms.numbers == number
        out[own] += 1000 * np.unique(kinds[own], return_inverse=True)[1].ravel()
    return out


def distinguishing(atoms: Atoms) -> tuple[str, ...]:
    """Name the labels that tell atoms of one element apart, or point along a direction.

    Source: ours.
    """
    names = []
    for name, array in _telling(atoms):
        apart = any(len(np.unique(_classes(array[atoms.numbers == z]))) > 1 for z in np.unique(atoms.numbers))
        if apart or _is_vector(array):
            names.append(name)
    return tuple(names)


def turned(atoms: Atoms) -> bool:
    """Tell whether atoms carry vectors (any unit), which turn with a crystal, beside magnetic moments.

    Source: ours.
    """
    return any(_is_vector(array) for name, array in _telling(atoms) if name != "initial_magmoms")


def may_point(atoms: Atoms) -> bool:
    """Tell whether something on a structure may be a vector or tensor (any unit), which a turn would leave behind.

    Source: ours.
    """
    if any(array.ndim > 1 and array.dtype.kind == "f" for name, array in atoms.arrays.items() if name not in UNREAD):
        return True
    return any(_innermost(value) in (3, 9) for value in atoms.info.values())


def keeping(
    atoms: Atoms, rotations: Int[np.ndarray, "k 3 3"], images: Int[np.ndarray, "k atoms"]
) -> Bool[np.ndarray, " k"]:
    """Mark the operations of a space group that turn every vector on the atoms into that of the image.

    Args:
        atoms: Å; magnetic moments turn as axial vectors, own arrays of three numbers as polar ones.
        rotations: of fractional coordinates.
        images: to which atom each operation brings each atom.

    Returns:
        A mark for each operation.

    Source: ours.
    """
    kept = np.ones(len(rotations), dtype=bool)
    vectors = [(name, array) for name, array in _telling(atoms) if _is_vector(array)]
    for k, (rotation, image) in enumerate(zip(rotations, images, strict=True)):
        turn = atoms.cell.array.T @ rotation @ np.linalg.inv(atoms.cell.array.T)
        for name, array in vectors:
            sign = np.linalg.det(turn) if name == "initial_magmoms" else 1.0
            off = np.abs(sign * array @ turn.T - array[image]).max()
            kept[k] &= bool(off < 1e-3 * np.abs(array).max())
    return kept


def _telling(atoms: Atoms) -> list[tuple[str, np.ndarray]]:
    return [(name, array) for name, array in atoms.arrays.items() if name not in UNREAD and "force" not in name.lower()]


def _innermost(value) -> int:
    """Length of the rows of an array or of nested lists, ragged ones too; 0 of anything else."""
    size = 0
    while isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim):
        size = len(value)
        if not size:
            break
        value = value[0]
    return size


def _is_vector(array: np.ndarray) -> bool:
    return array.ndim == 2 and array.shape[1] == 3 and array.dtype.kind == "f" and bool(np.any(array))


def _classes(array: np.ndarray) -> Int[np.ndarray, " atoms"]:
    """Number the rows of an array by what is in them; floating-point numbers that are as good as equal are one."""
    rows = array.reshape(len(array), -1)
    if rows.dtype.kind not in "biuf":
        return np.unique(rows.astype(str), axis=0, return_inverse=True)[1].ravel()
    values = np.nan_to_num(rows.astype(float), nan=np.inf)
    size = np.abs(values[np.isfinite(values)]).max(initial=0.0)
    steps = np.zeros(values.shape, dtype=int)
    for column, step in zip(values.T, steps.T, strict=True):
        order = np.argsort(column)
        with np.errstate(invalid="ignore"):  # infinity less itself
            step[order[1:]] = np.cumsum(np.diff(column[order]) > SAME * size)
    return np.unique(steps, axis=0, return_inverse=True)[1].ravel()


def _of_cells(key: str, value, atoms: int, before: int):
    """An entry of `info` for so many atoms of as many before: what belongs to the cell grows with it."""
    if atoms == before or isinstance(value, bool) or not isinstance(value, Real):
        return value
    if key in CHARGES:
        total = value * atoms / before
        return int(total) if isinstance(value, Integral) and total == int(total) else total
    if key not in MULTIPLICITIES or value in (0, 1):
        return value
    total = 1 + (value - 1) * atoms / before
    if abs(total - round(total)) > 1e-9:
        raise ValueError(
            f"info[{key!r}] is {value} for {before} atoms, which leaves {total:g} for {atoms}; expected a whole "
            "multiplicity 2S + 1: give it on a cell that is not cut, or take it off"
        )
    warnings.warn(
        f"info[{key!r}] = {value} is taken for the multiplicity 2S + 1 of the cell, its spins for parallel: "
        f"{round(total)} for {atoms} atoms. For another order give the supercell itself, with what holds there.",
        stacklevel=4,
    )
    return round(total)


def _image(constraint, source: Atoms, index: np.ndarray):
    from ase import constraints  # half a second, for those whose atoms have some

    if isinstance(constraint, constraints.FixCom):
        return copy.deepcopy(constraint)
    if not isinstance(constraint, tuple(getattr(constraints, name) for name in PER_ATOM)):
        raise ValueError(
            f"got a constraint {type(constraint).__name__}, which has no image in another cell; expected "
            f"{', '.join(PER_ATOM)}: set it on the supercell itself, or take it off"
        )
    image = copy.deepcopy(constraint)
    image.index = np.flatnonzero(np.isin(index, np.arange(len(source))[constraint.index]))
    return image


def in_voigt(stress: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, " 6"]:
    """Give a stress (any unit) as ASE does, xx yy zz yz xz xy; some calculators give a matrix, as CHGNet's does.

    Source: ours.
    """
    stress = np.asarray(stress)
    return full_3x3_to_voigt_6_stress(stress) if stress.shape == (3, 3) else stress
