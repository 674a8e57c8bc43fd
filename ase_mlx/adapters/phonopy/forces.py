"""Forces of displaced supercells from any ASE calculator: batched for ours, kept as they come, checked one by one.

Source: K. Parlinski et al., Phys. Rev. Lett. 78, 4063 (1997).
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from ase import Atoms
from jaxtyping import Float

from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.ase.job import forget_last, property_or_none
from ase_mlx.adapters.phonopy.consistency import check_force_sets
from ase_mlx.adapters.phonopy.labelled import displaced_of, images, supercell_of, unitcell_of
from ase_mlx.adapters.phonopy.store import Store
from ase_mlx.graph import batch, from_atoms
from ase_mlx.models.predict import ATOMS_PER_BATCH, predict
from ase_mlx.progress import Steps, logged
from ase_mlx.units import EV_PER_A3_IN_GPA

RESIDUAL_FORCE, RESIDUAL_STRESS = 0.02, 0.5
"""eV/Å and GPa: above these the structure is not at a minimum and its harmonic expansion is in doubt."""

AT_REST = "the supercell at rest"

FORCES = "forces of displaced supercells"

DIRECTIONS = "forces_directions"
"""Name of what each direction of the readout adds to forces, and of their files."""


class ResidualWarning(UserWarning):
    """Forces or stress act on the crystal whose phonons are asked for.

    Source: ours.
    """


class ForcesError(RuntimeError):
    """A calculator failed on a supercell, or gave forces that are none.

    Source: ours.
    """


def check_precision(calculator) -> None:
    """Refuse a calculator that says it works in single precision: small displacements (Å) drown in its rounding.

    Raises:
        ValueError: naming what to do.

    Source: ours.
    """
    if str(getattr(calculator, "dtype", "float64")).endswith("float32"):
        raise ValueError(
            "Finite displacements need forces in double precision, got a float32 calculator; "
            'make it with dtype="float64".'
        )


def displacement_forces(
    ph,
    calculator,
    name: str = "forces",
    store: Store | None = None,
    progress: Steps | None = None,
    chosen: Sequence[int] | None = None,
) -> Float[np.ndarray, "..."] | None:
    """Forces of the displaced supercells less those at rest, in eV/Å; None where members are asked and there are none.

    Args:
        ph: phonopy's or phono3py's object with displacements, Å.
        calculator: any ASE calculator, eV and Å.
        name: "forces", shape (displacements, atoms, 3); "forces_members" of the ensemble, members first; `DIRECTIONS`,
            what each direction of the readout of our potentials adds to the forces, directions first.
        store: finished supercells are taken from it and put there.
        progress: called with the number of supercells done and in all.
        chosen: numbers of the displaced supercells that are wanted; all of them if not given.

    Returns:
        Forces in eV/Å.

    Raises:
        ForcesError: the calculator raised or gave NaN; what was finished stays in the store.

    Source: K. Parlinski et al., Phys. Rev. Lett. 78, 4063 (1997).
    """
    store, mean, progress = store or Store(None, calculator), name == "forces", progress or logged("supercells")
    cells = displaced_of(ph)
    cells = cells if chosen is None else [cells[k] for k in chosen]
    if not mean:
        at_rest = _members_at_rest(ph, calculator, store, name)
        if at_rest is None:
            return None
    else:
        at_rest = forces_at_rest(ph, calculator, store)
        progress(0, len(cells))
    collected: list[np.ndarray | None] = []
    for cell in cells:
        kept = store.fetch(name, cell)
        collected.append(None if kept is None else kept[name])
    missing = [k for k, forces in enumerate(collected) if forces is None]
    for k, forces in _evaluate(cells, missing, calculator, name, store):
        collected[k] = forces
        store.keep(name, cells[k], {name: forces})
        progress(sum(f is not None for f in collected), len(cells))
    moved = np.stack(collected) - (
        at_rest if at_rest.shape[-2] == len(ph.supercell) else at_rest[..., images(ph.supercell), :]
    )
    if mean:
        away = np.array([cell.positions for cell in cells]) - ph.supercell.positions
        counts = np.abs(away).max(axis=(1, 2)) > 1e-8  # a pair may bring an atom back to its place
        with refusing_forces():
            check_force_sets(away[counts], moved[counts], FORCES)
    return moved if mean else np.moveaxis(moved, 1, 0)


@contextmanager
def refusing_forces() -> Iterator[None]:
    """Turn what is found wrong with a calculator's forces into `ForcesError`.

    Source: ours.
    """
    try:
        yield
    except ValueError as error:
        raise ForcesError(f"{error} (a calculator's)") from error


def forces_at_rest(ph, calculator, store: Store) -> Float[np.ndarray, "atoms 3"]:
    """Forces of the undisplaced atoms in eV/Å; with a warning where these, or the stress, say that it is no minimum.

    Of our models those of the unit cell, which repeat exactly in a supercell, and of any calculator where symmetry
    makes them zero. Otherwise the supercell itself is calculated: with k points or grids of its own, a calculator need
    not give a cell what its images feel.

    Raises:
        ForcesError: the calculator raised or gave NaN.

    Source: ours.
    """
    cell = _at_rest(ph, calculator)
    kept = store.fetch("rest", cell)
    if kept is None:
        try:
            forget_last(calculator)
            forces = np.array(calculator.get_property("forces", cell), dtype=float)
            stress = property_or_none(calculator, "stress", cell)
        except Exception as error:
            raise ForcesError(_message(AT_REST, store, f"{type(error).__name__}: {error}")) from error
        kept = {"forces": _checked(forces, cell, AT_REST, store)}
        kept["stress"] = np.zeros(6) if stress is None else stress
        store.keep("rest", cell, kept)
    force = np.linalg.norm(kept["forces"], axis=1).max()
    stress = np.abs(kept["stress"]).max() * EV_PER_A3_IN_GPA
    if force > RESIDUAL_FORCE or stress > RESIDUAL_STRESS:
        warnings.warn(
            f"The undisplaced atoms feel up to {force:.3g} eV/Å, the cell up to {stress:.3g} GPa: no minimum, so the "
            "frequencies are those of a crystal held by force. Use relax=True.",
            ResidualWarning,
            stacklevel=6,
        )
    return kept["forces"]


def _members_at_rest(ph, calculator, store: Store, name: str) -> np.ndarray | None:
    cell = _at_rest(ph, calculator)
    kept = store.fetch(name, cell)
    if kept is None:
        along = name == DIRECTIONS
        forces = _batch([cell], calculator, name)[0] if along else property_or_none(calculator, name, cell)
        if forces is None:
            return None
        kept = {name: _checked(forces, cell, AT_REST, store)}
        store.keep(name, cell, kept)
    return kept[name]


def _at_rest(ph, calculator) -> Atoms:
    whole = not isinstance(calculator, Calculator) and not _held_by_symmetry(ph)
    return supercell_of(ph) if whole else unitcell_of(ph)


def _held_by_symmetry(ph) -> bool:
    """Tell whether no atom can feel a force at rest: none of its directions is left alone by all that fixes it."""
    sites = (ph.symmetry.get_site_symmetry(atom) for atom in ph.symmetry.get_independent_atoms())
    return all(np.abs(rotations.mean(axis=0)).max() < 1e-8 for rotations in sites)


def _evaluate(cells, missing, calculator, name: str, store: Store) -> Iterator[tuple[int, np.ndarray]]:
    """Yield number and forces of each missing cell; our models take several at a time.

    Who shares a batch does not depend on what is missing: forces differ in the last digit from batch to batch, and what
    follows from them may differ by more.
    """
    size = max(1, ATOMS_PER_BATCH // len(cells[0])) if isinstance(calculator, Calculator) else 1
    lacking = set(missing)
    if lacking:
        forget_last(calculator)
    for start in range(0, len(cells), size):
        batch = range(start, min(start + size, len(cells)))
        if lacking.isdisjoint(batch):
            continue
        what = f"displaced supercell {max(batch) + 1} of {len(cells)}"
        try:
            values = _batch([cells[k] for k in batch], calculator, name)
        except Exception as error:
            raise ForcesError(_message(what, store, f"{type(error).__name__}: {error}")) from error
        for k, forces in zip(batch, values, strict=True):
            if k in lacking:
                yield k, _checked(forces, cells[k], f"displaced supercell {k + 1} of {len(cells)}", store)


def _batch(cells: list[Atoms], calculator, name: str) -> list[np.ndarray]:
    if not isinstance(calculator, Calculator):
        return [np.array(calculator.get_property(name, cell), dtype=float) for cell in cells]
    if name == DIRECTIONS:
        model, device = calculator.model, calculator.device
        forces = model.along_directions(batch([from_atoms(cell, model.cutoff) for cell in cells]).to(device))
        return np.split(forces.numpy(), np.cumsum([len(cell) for cell in cells])[:-1], axis=1)
    members = name == "forces_members"
    predictions = predict(calculator.model, cells, std=False, members=members)
    return [np.asarray(p.members["forces"] if members else p["forces"], dtype=float) for p in predictions]


def _checked(forces: np.ndarray, cell: Atoms, what: str, store: Store) -> np.ndarray:
    if forces.shape[-2:] != (len(cell), 3) or not np.isfinite(forces).all():
        reason = f"forces of shape {forces.shape}, {np.count_nonzero(~np.isfinite(forces))} of them not finite"
        raise ForcesError(_message(what, store, reason))
    return forces


def _message(what: str, store: Store, reason: str) -> str:
    kept = (
        f"What was finished is kept in {str(store.folder)!r}: the same call goes on from there"
        if store.folder
        else "Give folder= to keep what is finished and go on from there"
    )
    return f"The calculator failed on {what}: {reason}. {kept}."
