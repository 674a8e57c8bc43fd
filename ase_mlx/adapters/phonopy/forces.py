"""Forces of displaced supercells from any ASE calculator: batched for ours, kept as they come, checked one by one.

Source: K. Parlinski et al., Phys. Rev. Lett. 78, 4063 (1997).
"""

from collections.abc import Callable, Iterator

import numpy as np
from ase import Atoms
from jaxtyping import Float
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms

from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.ase.job import property_or_none
from ase_mlx.adapters.phonopy.cells import to_ase
from ase_mlx.adapters.phonopy.store import Store
from ase_mlx.models.predict import ATOMS_PER_BATCH, predict

Progress = Callable[[int, int], None]


class ForcesError(RuntimeError):
    """A calculator failed on a supercell, or gave forces that are none.

    Source: ours.
    """


def displacement_forces(
    ph: Phonopy, calculator, members: bool = False, store: Store | None = None, progress: Progress | None = None
) -> Float[np.ndarray, "..."] | None:
    """Forces of the displaced supercells less those at rest, in eV/Å; None where members are asked and there are none.

    Args:
        ph: with displacements, Å.
        calculator: any ASE calculator, eV and Å.
        members: shape (members, displacements, atoms, 3) of the ensemble instead of (displacements, atoms, 3).
        store: finished supercells are taken from it and put there.
        progress: called with the number of supercells done and in all.

    Returns:
        Forces in eV/Å.

    Raises:
        ForcesError: the calculator raised or gave NaN; what was finished stays in the store.

    Source: K. Parlinski et al., Phys. Rev. Lett. 78, 4063 (1997).
    """
    name, store = "forces_members" if members else "forces", store or Store(None, calculator)
    cells = [to_ase(_rest(ph, calculator)), *(to_ase(cell) for cell in ph.supercells_with_displacements)]
    if members and store.fetch(name, cells[0]) is None and property_or_none(calculator, name, cells[0]) is None:
        return None
    found: list[np.ndarray | None] = []
    for cell in cells:
        known = store.fetch(name, cell)
        found.append(None if known is None else known[name])
    missing = [k for k, forces in enumerate(found) if forces is None]
    for k, forces in _evaluate(cells, missing, calculator, name, store):
        found[k] = forces
        store.keep(name, cells[k], {name: forces})
        if progress is not None:
            progress(sum(f is not None for f in found) - 1, len(cells) - 1)
    rest = found[0] if len(cells[0]) == len(ph.supercell) else found[0][..., _unitcell_atoms(ph), :]
    moved = np.stack(found[1:]) - rest
    return np.moveaxis(moved, 1, 0) if members else moved


def _rest(ph: Phonopy, calculator) -> PhonopyAtoms:
    """What tells the forces at rest: the unit cell for our models, which repeat them exactly in a supercell.

    Others get the supercell itself: with k points or grids of its own a cell need not feel what its images feel.
    """
    return ph.unitcell if isinstance(calculator, Calculator) else ph.supercell


def _unitcell_atoms(ph: Phonopy) -> np.ndarray:
    """Index of each supercell atom in the unit cell."""
    return np.array([ph.supercell.u2u_map[atom] for atom in ph.supercell.s2u_map])


def _evaluate(cells, missing, calculator, name: str, store: Store) -> Iterator[tuple[int, np.ndarray]]:
    """Yield number and forces of each missing cell; our models take several at a time."""
    size = max(1, ATOMS_PER_BATCH // len(cells[-1])) if isinstance(calculator, Calculator) else 1
    for start in range(0, len(missing), size):
        batch = missing[start : start + size]
        try:
            values = _batch([cells[k] for k in batch], calculator, name)
        except Exception as error:
            raise ForcesError(_message(batch, len(cells), store, f"{type(error).__name__}: {error}")) from error
        for k, forces in zip(batch, values, strict=True):
            expected = (*forces.shape[:-2], len(cells[k]), 3)
            if forces.shape != expected or not np.isfinite(forces).all():
                said = f"forces of shape {forces.shape}, {np.count_nonzero(~np.isfinite(forces))} of them not finite"
                raise ForcesError(_message([k], len(cells), store, said))
            yield k, forces


def _batch(cells: list[Atoms], calculator, name: str) -> list[np.ndarray]:
    if not isinstance(calculator, Calculator):
        return [np.array(calculator.get_property(name, cell), dtype=float) for cell in cells]
    members = name == "forces_members"
    found = predict(calculator.model, cells, std=members)
    return [np.asarray(p.members["forces"] if members else p["forces"], dtype=float) for p in found]


def _message(numbers: list[int], total: int, store: Store, said: str) -> str:
    which = "the supercell at rest" if numbers == [0] else f"displaced supercell {max(numbers)} of {total - 1}"
    kept = (
        f"What was finished is kept in {str(store.folder)!r}: the same call goes on from there"
        if store.folder
        else "Give folder= to keep what is finished and go on from there"
    )
    return f"The calculator failed on {which}: {said}. {kept}."
