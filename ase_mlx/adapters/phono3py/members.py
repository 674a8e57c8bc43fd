"""The error bar that a potential gives to a conductivity: its response to what the members' spread does to forces.

Source: Kellner and Ceriotti, arXiv 2402.16621, for the members; the rest is ours.
"""

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase.geometry import find_mic
from jaxtyping import Float
from phono3py import Phono3py
from phonopy import Phonopy

from ase_mlx.adapters.ase import Calculator
from ase_mlx.adapters.ase.job import property_or_none
from ase_mlx.adapters.phono3py.crystal import crystal_of, harmonic_of, mesh_numbers
from ase_mlx.adapters.phono3py.learned import PROBES, TEMPERATURE, derivatives, supercell_of
from ase_mlx.adapters.phono3py.symmetry import symmetric_third
from ase_mlx.adapters.phonopy.forces import DIRECTIONS, displacement_forces
from ase_mlx.adapters.phonopy.labelled import unitcell_of
from ase_mlx.adapters.phonopy.store import Store
from ase_mlx.adapters.phonopy.symmetry import symmetric
from ase_mlx.models.error_bars import widening
from ase_mlx.phonons.compressed import CompressedTensor
from ase_mlx.phonons.force_fit import ForceSample, force_responses
from ase_mlx.phonons.supercell import thermal_displacements
from ase_mlx.phonons.transport import relaxation_times
from ase_mlx.progress import Steps, logged

MESH = 15.0
"""Å: 5×5×5 points for silicon. Conductivities are compared with each other on it, not with experiment."""

NEAREST = 0.12
"""Of the displaced pairs, so many of the nearest, in whole shells, have a third order of their own in the spread."""

STEP = 0.1
"""Of a standard deviation: what force constants are moved by to see how the conductivity responds."""

FEW = 10
"""Of the directions along which a fourth order was learned, so many tell how it changes."""

SHELL = 0.05
"""Å: pairs whose distances differ by less are of one shell."""


def relative_std(
    ph: Phono3py,
    calculator,
    temperatures,
    folder: str | Path | None = None,
    progress: Steps | None = None,
    quartic: CompressedTensor | None = None,
) -> Float[np.ndarray, "t 1"] | None:
    """Standard deviation of the mean diagonal conductivity over its value, dimensionless; None where none is known.

    The response of the conductivity, to first order and in the relaxation-time approximation on a coarse mesh, to what
    each direction of a potential's readout that carries the members' spread, or else each member, adds to the force
    constants of second and third order, at the structure that the mean relaxed. Pairs of atoms that are far apart
    add to the second order alone. A fourth order that was learned follows the forces along some of its directions.
    Beyond the edge of the model's training data the response is widened.

    Args:
        ph: from `third_order`, force constants in eV/Å² and eV/Å³.
        calculator: the one used there, eV and Å.
        temperatures: in K.
        folder: finished supercells are kept there.
        progress: called with the number of supercells, then of conductivities, done and in all.
        quartic: a fourth order learned from the calculator's forces, where its scattering counts.

    Raises:
        ForcesError: the calculator raised or gave NaN.

    Source: ours.
    """
    model = getattr(calculator, "model", None)
    few = isinstance(calculator, Calculator) and hasattr(model, "along_directions") and bool(model.directions.any())
    near = _near(ph)
    name, scale = DIRECTIONS if few else "forces_members", getattr(model, "hessian_scale", 1.0)
    run = {"store": Store(folder, calculator), "progress": progress, "chosen": near}
    changes = displacement_forces(ph, calculator, name, **run)
    if changes is None:
        return None
    changes = scale * (changes if few else changes - changes.mean(axis=0))
    quartics = [None] * len(changes)
    if quartic is not None:
        quartics = _quartics(ph, calculator, quartic, name, scale, {"folder": folder, "progress": progress})
    divisor = 1 if few else len(changes) - 1
    distance = property_or_none(calculator, "distance", unitcell_of(ph))
    factor = widening(distance, np.asarray(ph.forces)[near], changes / np.sqrt(divisor))
    harmonic, numbers = harmonic_of(ph), mesh_numbers(ph, MESH)
    kappas = [_kappa(ph, harmonic, 0.0, 0.0, quartic, numbers, temperatures)]
    progress = progress or logged("conductivities for error bars")
    for change, moved in zip(changes, quartics, strict=True):
        constants = _constants(ph, harmonic, near, STEP * change)
        kappas.append(_kappa(ph, harmonic, *constants, moved, numbers, temperatures))
        progress(len(kappas) - 1, len(changes))
    responses = (np.array(kappas[1:]) / kappas[0] - 1) / STEP
    return factor * np.sqrt(np.square(responses).sum(axis=0) / divisor)[:, None]


def _quartics(
    ph: Phono3py, calculator, quartic: CompressedTensor, name: str, scale: float, run: dict
) -> list[CompressedTensor]:
    """What each direction, or member, makes of a learned fourth order."""
    along, forces = derivatives(ph, calculator, 4, name=name, few=FEW, **run)
    forces = scale * (forces if name == DIRECTIONS else forces - forces.mean(axis=0))
    crystal, cell = crystal_of(ph, third=False), supercell_of(ph)
    probes = thermal_displacements(crystal, cell, TEMPERATURE, PROBES, 1)
    sample = ForceSample(along, forces[0], probes)
    return force_responses(quartic, cell, sample, crystal.reach, forces, STEP)


def _pairs(ph: Phono3py) -> list[tuple[int, int, np.ndarray]]:
    """Of each displaced pair, in phono3py's order: number of the first displacement, second atom, its displacement."""
    firsts = ph.dataset["first_atoms"]
    return [(k, int(b["number"]), np.array(b["displacement"])) for k, a in enumerate(firsts) for b in a["second_atoms"]]


def _near(ph: Phono3py) -> list[int]:
    """Numbers of the displaced supercells of single atoms, and of pairs that are near each other."""
    firsts, pairs, x = ph.dataset["first_atoms"], _pairs(ph), ph.supercell.positions
    apart = [x[second] - x[firsts[first]["number"]] for first, second, _ in pairs]
    lengths = find_mic(np.array(apart), ph.supercell.cell)[1]
    edge = np.sort(lengths)[int(NEAREST * len(lengths))] + SHELL
    return [*range(len(firsts)), *(len(firsts) + np.flatnonzero(lengths < edge)).tolist()]


def _constants(
    ph: Phono3py, harmonic: Phonopy, near: Sequence[int], change: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What a change of the forces of near supercells adds to the force constants of second and third order."""
    singles = [{k: first[k] for k in ("number", "displacement")} for first in ph.dataset["first_atoms"]]
    one = copy.copy(harmonic)  # cells and symmetry are never changed in place; what the setters replace is
    one.dataset = {"natom": len(ph.supercell), "first_atoms": singles}
    one.forces = change[: len(singles)]
    one.produce_force_constants(fc_calculator="traditional", show_drift=False)
    pairs = _pairs(ph)
    forces = np.concatenate([change[: len(singles)], np.empty((len(pairs), *change.shape[1:]))])
    for k, (first, second, moved) in enumerate(pairs, len(singles)):
        forces[k] = change[first] - one.force_constants[:, second] @ moved
    forces[list(near)] = change
    both = copy.copy(ph)
    both.dataset = copy.deepcopy(ph.dataset)
    both.forces = forces
    both.produce_fc3()
    return symmetric(both.fc2, ph.primitive), symmetric_third(both.fc3, ph.primitive)


def _kappa(ph: Phono3py, harmonic: Phonopy, second, third, quartic, numbers, temperatures) -> np.ndarray:
    member, phonons = copy.copy(ph), copy.copy(harmonic)
    member.fc2, member.fc3 = ph.fc2 + second, ph.fc3 + third
    phonons.force_constants = member.fc2
    crystal = crystal_of(member, harmonic=phonons)
    return relaxation_times(crystal, numbers, temperatures, quartic=quartic).kappa[:, :3].mean(axis=1)
