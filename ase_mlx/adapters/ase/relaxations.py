"""Relaxation of many structures: with a model of ours one step of all of them is one batch.

Source: ours, on ASE's `BFGS`: each structure takes the steps that it would take alone.
"""

import warnings
from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.calculators.abc import GetPropertiesMixin
from ase.calculators.calculator import PropertyNotImplementedError
from ase.optimize import BFGS

from ase_mlx.adapters.ase.calculator import Calculator
from ase_mlx.adapters.ase.relaxation import Cell, Relaxation, Start, Value, finished, movable, prepared, relax
from ase_mlx.adapters.ase.supercells import kind
from ase_mlx.models import Predicts
from ase_mlx.models.predict import predict
from ase_mlx.progress import Steps, logged

FAILURES = (ValueError, ArithmeticError, RuntimeError, PropertyNotImplementedError, np.linalg.LinAlgError)
"""What one structure of many may fail with; a missing file or an interrupt ends the work."""


def relax_all(
    structures: Sequence[Atoms],
    calculator,
    fmax: float,
    steps: int,
    cell: Cell,
    symmetry: bool,
    progress: Steps | None = None,
) -> list[Relaxation]:
    """Relax a list of structures (Å), as `relax` says (eV/Å).

    Raises:
        ValueError: all of them fail; the first one's reason.

    Source: ours.
    """
    report, reasons = progress or logged("structures relaxed"), {}
    done: list[Relaxation | None] = [None] * len(structures)
    if in_batches(calculator):
        _relax_together(structures, calculator, fmax, steps, cell, symmetry, report, done, reasons)
    else:
        for k, atoms in enumerate(structures):
            try:
                done[k] = relax(atoms, calculator, fmax, steps, cell, symmetry, lambda *_: None)
            except FAILURES as error:
                reasons[k] = error
            report(k + 1, len(structures))
    if reasons and len(reasons) == len(structures):
        first = reasons[min(reasons)]
        raise first if len(reasons) == 1 else ValueError(f"none of {len(reasons)} structures relaxed: {first}")
    if reasons:
        places = ", ".join(map(str, sorted(reasons)[:10]))
        warnings.warn(
            f"{len(reasons)} of {len(structures)} structures failed to relax (places {places}); their notes say why",
            stacklevel=6,
        )
    return [_failed(structures[k], reasons[k]) if one is None else one for k, one in enumerate(done)]


def in_batches(calculator) -> bool:
    """Tell whether a calculator is a model of ours that computes many structures together.

    Source: ours.
    """
    return (
        isinstance(calculator, Calculator)
        and isinstance(calculator.model, Predicts)
        and not calculator.blocks
        and not calculator.also
    )


class _Served(GetPropertiesMixin):
    """Results of a batch, handed to one of its structures."""

    ignores_labels = True

    def __init__(self, calculator: Calculator):
        self.implemented_properties = list(calculator.implemented_properties)
        self.values, self.positions = {}, None

    def serve(self, atoms: Atoms, prediction) -> None:
        values = {name: np.array(value) for name, value in prediction.items()}
        values |= {f"{name}_std": np.array(value) for name, value in prediction.std.items()}
        values |= {"free_energy": values["energy"]}
        bad = [name for name in ("energy", "forces", "stress") if not np.isfinite(values.get(name, 0.0)).all()]
        if bad:
            raise FloatingPointError(f"NaN or infinite {', '.join(bad)} from the model")
        self.values, self.positions = values, atoms.get_positions()

    def get_property(self, name, atoms=None, allow_calculation=True):
        if name not in self.values:
            raise PropertyNotImplementedError(f"got a request for {name!r}, which this model does not give here")
        if atoms is not None and not np.array_equal(atoms.positions, self.positions):
            raise RuntimeError("the structure moved after its batch was computed")
        value = self.values[name].copy()
        return value if value.ndim else float(value)


class _Walk:
    """One structure on its way down: what it began as, what computes it, its optimiser."""

    def __init__(self, start: Start, calculator: Calculator):
        self.start, self.served, self.optimiser = start, _Served(calculator), None
        start.work.calc = self.served

    def converged(self, fmax: float, cell: Cell) -> bool:
        """Look at the forces of the batch that was just served."""
        if self.optimiser is None:
            self.optimiser = BFGS(movable(self.start, cell), logfile=None)
        forces = self.optimiser.atoms.get_forces()
        return bool(np.linalg.norm(forces, axis=1).max() < fmax)

    def step(self) -> None:
        self.optimiser.step()
        self.optimiser.nsteps += 1


def _relax_together(structures, calculator, fmax, steps, cell, symmetry, report, done, reasons) -> None:
    walks: dict[int, _Walk] = {}
    for k, atoms in enumerate(structures):
        try:
            walks[k] = _Walk(prepared(atoms, calculator, symmetry), calculator)
        except FAILURES as error:
            reasons[k] = error
    ended: dict[int, tuple[_Walk, bool]] = {}
    while walks:
        served = _serve(walks, calculator, reasons)
        for k, walk in served.items():
            try:
                converged = walk.converged(fmax, cell)
                if not converged and walk.optimiser.nsteps < steps:
                    walk.step()
                    continue
                ended[k] = (walk, converged)
            except FAILURES as error:
                reasons[k] = error
        walks = {k: walk for k, walk in served.items() if k not in ended and k not in reasons}
        report(len(structures) - len(walks), len(structures))
    for k, walk in _serve({k: walk for k, (walk, _) in ended.items()}, calculator, reasons, std=True).items():
        try:
            done[k] = finished(walk.start, cell, fmax, ended[k][1], walk.optimiser.nsteps)
        except FAILURES as error:
            reasons[k] = error


def _serve(walks: dict[int, _Walk], calculator: Calculator, reasons: dict, std: bool = False) -> dict[int, _Walk]:
    """Compute all structures in one call, and each alone where that fails; give those that were computed."""
    served = {}
    try:
        predictions = predict(calculator.model, [walk.start.work for walk in walks.values()], std=std)
    except FAILURES:
        predictions = [None] * len(walks)
    for (k, walk), prediction in zip(walks.items(), predictions, strict=True):
        try:
            prediction = predict(calculator.model, walk.start.work, std=std) if prediction is None else prediction
            walk.served.serve(walk.start.work, prediction)
            served[k] = walk
        except FAILURES as error:
            reasons[k] = error
    return served


def _failed(atoms: Atoms, error: Exception) -> Relaxation:
    try:
        sort = kind(atoms)
    except ValueError:
        sort = "molecule"
    nan = Value(float("nan"), None, "eV")
    note = f"Failed: {error or type(error).__name__}"
    return Relaxation(atoms.copy(), sort, False, 0, nan, float("nan"), None, None, (note,))
