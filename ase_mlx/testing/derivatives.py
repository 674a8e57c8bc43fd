"""The laws that tie forces, stress, per-atom values, ensemble members and error bars to the energy.

Finite differences go along random directions, by the five-point stencil with its error of fourth order in the step.

Source: ours.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from ase_mlx.models import Model
from ase_mlx.structure import Structure
from ase_mlx.units import VOIGT

from .laws import Trial, evaluate, virial

_STENCIL = np.array([1.0, -8.0, 8.0, -1.0]) / 12
_STEPS = np.array([-2.0, -1.0, 1.0, 2.0])


def slopes(
    model: Model,
    crystals: tuple[Structure, ...],
    change: Callable[[Structure, float], Structure],
    step: float,
    members: bool = False,
) -> Float[np.ndarray, "*members structures"]:
    """Differentiate the energies (eV) of structures, or of every member, by the argument of `change`.

    Args:
        model: the model.
        crystals: structures, Å.
        change: moves a structure by a length in Å, or strains it (dimensionless).
        step: of the stencil, Å, or dimensionless for a strain.
        members: differentiate the energies of the ensemble's members.

    Returns:
        eV/Å, or eV for a strain.

    Source: Fornberg, Math. Comput. 51, 699 (1988), table 1, fourth order.
    """
    moved = tuple(change(c, float(h)) for h in step * _STEPS for c in crystals)
    p = evaluate(model, moved, members=members)
    energies = p.members["energy"] if members else p["energy"]
    by_step = energies.reshape(*energies.shape[:-1], 4, len(crystals))
    return np.tensordot(by_step, _STENCIL, axes=(-2, 0)) / step


def _walks(trial: Trial, count: int) -> list[np.ndarray]:
    """Random directions of all atoms, one unit a component."""
    random = np.random.default_rng(13)
    return [random.standard_normal(trial.reference["forces"].shape) for _ in range(count)]


def _walk(crystals: tuple[Structure, ...], direction: np.ndarray) -> Callable[[Structure, float], Structure]:
    start = np.cumsum([0] + [len(c.numbers) for c in crystals])
    steps = {id(c): direction[a:b] for c, a, b in zip(crystals, start, start[1:], strict=False)}
    return lambda c, h: replace(c, positions=c.positions + h * steps[id(c)])


def _along(crystals: tuple[Structure, ...], per_atom: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Project forces on a direction, structure by structure; leading axes stay."""
    start = np.cumsum([0] + [len(c.numbers) for c in crystals])[:-1]
    return np.add.reduceat((per_atom * direction).sum(-1), start, axis=-1)


def forces(model: Model, geometry: str) -> None:
    """Forces are the derivative of the energy: F = −∂E/∂x (eV/Å).

    Raises:
        LawBroken: they are not.

    Source: Newton's second law of a conservative system.
    """
    trial = Trial("forces", model, geometry)
    for direction in _walks(trial, 2):
        slope = slopes(model, trial.crystals, _walk(trial.crystals, direction), trial.tolerance.step)
        expected = _along(trial.crystals, trial.reference["forces"], direction)
        trial.equal("−∂E/∂x against F", -slope, expected, trial.tolerance.derivative)


def _strain(size: int) -> Callable[[Structure, float], Structure]:
    strain = np.zeros((3, 3))
    a, b = VOIGT[0][size], VOIGT[1][size]
    strain[a, b] += 0.5
    strain[b, a] += 0.5

    def change(c: Structure, h: float) -> Structure:
        deform = np.eye(3) + h * strain
        return replace(c, positions=c.positions @ deform, cell=c.cell @ deform)

    return change


def stress(model: Model, geometry: str) -> None:
    """Stress is the derivative of the energy by strain over the true volume, σ = (1/V) ∂E/∂ε; none without a volume.

    Compared as virial per atom in eV.

    Raises:
        LawBroken: it is not, or there is a stress without a volume or none with one.

    Source: Nielsen and Martin, Phys. Rev. B 32, 3780 (1985).
    """
    trial = Trial("stress", model, geometry)
    has_volume = all(c.volume > 0 for c in trial.crystals)
    for name in ("stress", "stresses"):
        if any(q.name == name for q in model.outputs):
            trial.equal(f"whether there is a {name}", float(name in trial.reference), float(has_volume), 0.0)
    if "stress" not in trial.reference:
        return
    expected = virial(trial.reference["stress"], trial.crystals)
    n_atoms = np.array([len(c.numbers) for c in trial.crystals])
    for k in range(6):
        slope = slopes(model, trial.crystals, _strain(k), trial.tolerance.step / 3) / n_atoms
        trial.equal("∂E/∂ε against σ V", slope, expected[:, k], trial.tolerance.derivative)


def sums(model: Model, geometry: str) -> None:
    """Per-atom energies sum to the energy (eV), per-atom stresses to the stress (compared as virials per atom, eV).

    Raises:
        LawBroken: they do not.

    Source: ASE's definition of `energies` and `stresses`.
    """
    trial = Trial("sums", model, geometry)
    start = np.cumsum([0] + [len(c.numbers) for c in trial.crystals])[:-1]
    p = trial.reference
    if "energies" in p:
        trial.equal("the sum of energies", np.add.reduceat(p["energies"], start), p["energy"])
    if "stresses" in p:
        total = virial(np.add.reduceat(p["stresses"], start, axis=0), trial.crystals)
        trial.equal("the sum of stresses", total, virial(p["stress"], trial.crystals))


def members(model: Model, geometry: str) -> None:
    """Members average to the prediction, and their forces are the derivatives of their energies (eV, eV/Å).

    Raises:
        LawBroken: they do not.

    Source: ours: only then do members carry an error bar into phonons and conductivities.
    """
    trial = Trial("members", model, geometry)
    p = evaluate(model, trial.crystals, members=True)
    for name in trial.reference:
        trial.equal(f"{name} asked with error bars", p[name], trial.reference[name])
    for name, values in p.members.items():
        mean = values.mean(0)
        if name == "stress":
            mean, middle = virial(mean, trial.crystals), virial(p[name], trial.crystals)
        else:
            middle = p[name]
        trial.equal(f"the members' mean {name}", mean, middle, trial.tolerance.mean)
    if "energy" not in p.members or "forces" not in p.members:
        return
    for direction in _walks(trial, 1):
        change = _walk(trial.crystals, direction)
        slope = slopes(model, trial.crystals, change, trial.tolerance.step, members=True)
        expected = _along(trial.crystals, p.members["forces"], direction)
        trial.equal("a member's −∂E/∂x against F", -slope, expected, trial.tolerance.derivative)


def error_bars(model: Model, geometry: str) -> None:
    """Standard deviations are absent when unknown, else finite, and not zero throughout (eV, eV/Å, eV/Å³).

    Single components may be zero where symmetry leaves no doubt, and so may all forces on a lone atom.

    Raises:
        LawBroken: one is negative, NaN, zero throughout, of another shape, or given for what is not predicted.

    Source: ours: a zero error bar is a lie.
    """
    trial = Trial("error bars", model, geometry)
    p = evaluate(model, trial.crystals, std=True)
    lone = all(len(c.numbers) == 1 for c in trial.crystals)
    for name, value in p.std.items():
        trial.equal(f"whether {name} has a value beside its std", float(name in p), 1.0, 0.0)
        trial.equal(f"the shape of std of {name}", value.shape, p[name].shape, 0.0)
        bad = int((~np.isfinite(value) | (value < 0)).sum())
        trial.equal(f"how many std of {name} are negative or no numbers", bad, 0, 0.0)
        empty = not value.any() and not (lone and name == "forces")
        trial.equal(f"whether the std of {name} are zero throughout", float(empty), 0.0, 0.0)
