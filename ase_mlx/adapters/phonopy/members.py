"""The ensemble's members as phonopy objects: what follows from force constants gets its error bar by doing it again.

Source: ours.
"""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from phonopy import Phonopy

from ase_mlx.adapters.ase.job import property_or_none, spread
from ase_mlx.adapters.phonopy.cells import to_ase
from ase_mlx.adapters.phonopy.consistency import check_phonopy
from ase_mlx.adapters.phonopy.forces import displacement_forces
from ase_mlx.adapters.phonopy.hessian import hessian_force_constants
from ase_mlx.adapters.phonopy.store import Store
from ase_mlx.adapters.phonopy.symmetry import produce, symmetric
from ase_mlx.models.error_bars import widening
from ase_mlx.models.extrapolation import once, see
from ase_mlx.progress import Steps


@once()
def members(
    ph: Phonopy, calculator, folder: str | Path | None = None, progress: Steps | None = None
) -> tuple[Phonopy, ...]:
    """Make the phonons of every ensemble member at the structure that the mean relaxed, each a phonopy object.

    Beyond the edge of a model's training data members are farther from the mean, by `widening` (of their attributes).

    Args:
        ph: from `phonons`, force constants in eV/Å².
        calculator: the one used there, eV and Å.
        folder: finished supercells are kept there, as in `phonons`.
        progress: called with the number of supercells done and in all.

    Returns:
        One `phonopy.Phonopy` a member, cells and symmetry shared with `ph`; none where the calculator has no members.

    Raises:
        ForcesError: as `phonons`.

    Source: Kellner and Ceriotti, arXiv 2402.16621, for the members; force constants as A. Togo, J. Phys. Soc. Jpn. 92,
        012001 (2023), section 3.
    """
    if ph.dataset is None:
        return _from_hessian(ph, calculator)
    sets = displacement_forces(ph, calculator, "forces_members", store=Store(folder, calculator), progress=progress)
    if sets is None:
        return ()
    ensemble = []
    for forces in sets:
        member = copy.copy(ph)  # cells, symmetry and primitive are never changed in place; what the setters replace is
        member.dataset = copy.deepcopy(ph.dataset)
        member.forces = forces
        produce(member)
        ensemble.append(member)
    return _calibrated(ensemble, ph, calculator)


def _from_hessian(ph: Phonopy, calculator) -> tuple[Phonopy, ...]:
    ensemble = []
    for one in hessian_force_constants(ph, calculator, members=True)[1]:
        member = copy.copy(ph)
        member.force_constants = symmetric(one, ph.primitive)
        ensemble.append(member)
    return _calibrated(ensemble, ph, calculator)


def _calibrated(ensemble: list[Phonopy], ph: Phonopy, calculator) -> tuple[Phonopy, ...]:
    """Widen members' distances from the mean as held-out columns of the Hessian, and the distance score, ask."""
    if not ensemble:
        return ()
    scale = getattr(getattr(calculator, "model", None), "hessian_scale", 1.0)
    deviations = scale * np.array([member.force_constants - ph.force_constants for member in ensemble])
    distance = property_or_none(calculator, "distance", to_ase(ph.unitcell))
    see(distance)
    factor = widening(distance, ph.force_constants, deviations / np.sqrt(len(ensemble) - 1))
    for member, deviation in zip(ensemble, deviations, strict=True):
        member.force_constants, member.widening = ph.force_constants + factor * deviation, factor
    return tuple(ensemble)


def narrowed(ph: Phonopy, ensemble: Sequence[Phonopy]) -> tuple[list[Phonopy], float]:
    """Give members (eV/Å²) as near to the mean as within the training data, and by what to multiply their spread.

    Widened members may have imaginary modes; the response to force constants is known from these.

    Source: ours.
    """
    factor, near = getattr(ensemble[0], "widening", 1.0) if ensemble else 1.0, []
    if factor == 1:
        return list(ensemble), 1.0
    for member in ensemble:
        one = copy.copy(member)
        one.force_constants = ph.force_constants + (member.force_constants - ph.force_constants) / factor
        one.widening = 1.0
        near.append(one)
    return near, factor


def propagate(
    function: Callable[[Phonopy], dict[str, np.ndarray]], ph: Phonopy, ensemble: Sequence[Phonopy]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Evaluate a function of force constants (eV/Å²) for the mean and every member.

    Returns:
        The mean's arrays, and the members' standard deviations in the same units (empty without members).

    Raises:
        ValueError: no force constants, infinite ones, or units other than eV and Å.

    Source: ours.
    """
    check_phonopy(ph)
    mean = function(ph)
    rows = [function(member) for member in ensemble]
    if not rows:
        return mean, {}
    return mean, {name: spread(np.stack([row[name] for row in rows])) for name in mean}
