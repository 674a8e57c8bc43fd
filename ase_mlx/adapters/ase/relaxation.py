"""Relaxation of structures: positions and cells to the nearest minimum of energy, the space group kept.

Any ASE calculator serves; one with members (`get_property("energy_members", atoms)`) also gives error bars.

Source: ours, on ASE (A. Hjorth Larsen et al., J. Phys.: Condens. Matter 29, 273002 (2017)).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixCom, FixSymmetry
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS

from ase_mlx.adapters.ase.imposed_symmetry import CellFilter, hidden_forces, impose_symmetry
from ase_mlx.adapters.ase.labels import in_voigt, without_results
from ase_mlx.adapters.ase.supercells import Kind, kind, symmetry_of
from ase_mlx.models.extrapolation import once, see
from ase_mlx.progress import Steps, logged
from ase_mlx.structure import expect_atoms
from ase_mlx.units import EV_PER_A3_IN_GPA

Cell = Literal["free", "shape", "fixed"]


@dataclass(frozen=True)
class Value:
    """One number with its standard deviation in the same unit; `std` is None, never zero, where it is unknown.

    `origin` says what the std stands for: "members" of the model, or "sampling" in time.

    Source: ours.
    """

    value: float
    std: float | None
    unit: str
    origin: str | None = None


@dataclass(frozen=True)
class Relaxation:
    """A relaxed structure: energy in eV, largest force in eV/Å, largest stress in GPa (None without a bulk cell).

    Source: ours.
    """

    atoms: Atoms
    kind: Kind
    converged: bool
    steps: int
    energy: Value
    largest_force: float
    largest_stress: float | None
    spacegroup: str | None
    notes: tuple[str, ...] = ()


def property_or_none(calculator, name: str, atoms: Atoms) -> np.ndarray | None:
    """Ask a calculator for a property in its own unit; None where it has none, as ordinary calculators for members.

    Source: ours.
    """
    try:
        value = calculator.get_property(name, atoms)
    except (PropertyNotImplementedError, NotImplementedError):
        return None
    return None if value is None else in_voigt(value) if name == "stress" else np.asarray(value)


def forget_last(calculator) -> None:
    """Make an ASE calculator forget its last structure before another one is begun (nothing here has a unit).

    ASE takes a structure that differs in tags, masses, info or arrays of its own alone for the last one, and gives a
    cation the numbers of its neutral twin.

    Source: ours.
    """
    if callable(getattr(calculator, "reset", None)):
        calculator.reset()


def begin(atoms: Atoms, calculator) -> None:
    """Give a structure (Å) a calculator that has forgotten the last one.

    Source: ours.
    """
    forget_last(calculator)
    atoms.calc = calculator


def spread(members: np.ndarray | None) -> np.ndarray | None:
    """Standard deviation over the first axis, in the members' unit; None without members.

    Source: ours.
    """
    return None if members is None else np.asarray(np.std(members, axis=0, ddof=1))


def snapshot(atoms: Atoms, calculator) -> Atoms:
    """Copy atoms (Å) with energy (eV), forces (eV/Å), stress (eV/Å³) and, where the model gives them, their error bars.

    Labels are kept; what another calculation of ours left there is not.

    Source: ours.
    """
    frame = without_results(atoms.copy())
    frame.set_constraint([c for c in frame.constraints if not isinstance(c, FixCom | FixSymmetry)])
    results = {name: calculator.get_property(name, atoms) for name in ("energy", "forces")}
    if kind(atoms) == "crystal":
        stress = property_or_none(calculator, "stress", atoms)
        results |= {} if stress is None else {"stress": stress}
    frame.calc = SinglePointCalculator(frame, **results)
    energy_std = property_or_none(calculator, "energy_std", atoms)
    if energy_std is not None:
        frame.info["energy_std"] = float(energy_std)
    for name in ("forces_std", "distance"):
        value = property_or_none(calculator, name, atoms)
        if value is not None:
            frame.arrays[name] = value
    return frame


@once()
def relax(
    atoms: Atoms | Sequence[Atoms],
    calculator,
    fmax: float = 1e-3,
    steps: int = 500,
    cell: Cell = "free",
    symmetry: bool = True,
    progress: Steps | None = None,
) -> Relaxation | list[Relaxation]:
    """Bring a structure to the nearest minimum of energy: positions, and a crystal's cell; the space group is kept.

    The space group is that of the crystal with its labels: atoms of one element with other moments, charges, tags or
    own arrays are not equivalent, unless the calculator says `ignores_labels`, as ours do. The largest stress is the
    true one, whatever symmetry or constraints make of it.

    Of a list, models of ours compute one step of all structures in one batch, other calculators one structure after
    the other. A structure that fails does not end the others: it comes back as it was, not converged, with an energy
    that is NaN and the reason in its notes.

    Args:
        atoms: the start, in Å, or a list of them; it is not changed. Its constraints stay in force, its labels stay on
            it.
        calculator: any ASE calculator, eV and Å.
        fmax: largest force in eV/Å (of cell degrees of freedom: the same per strain, ASE's convention).
        steps: most steps, dimensionless.
        cell: of a crystal: "free", its "shape" alone at constant volume, or "fixed".
        symmetry: keep a crystal's space group, found within 0.01 Å.
        progress: called with the step and the most steps; of a list, with the structures done and all.

    Returns:
        The relaxed structure (Å, eV, eV/Å), with notes on what was left out and why; of a list, one of each. It is not
        converged where forces above `fmax` are left that only the imposed symmetry hides.

    Raises:
        ValueError: no atoms, positions that are not finite, a cell without volume, or no stress to relax it by; of a
            list, only where all of them fail.
        TypeError: the name of a file.

    Source: ours; the cell filter is ASE's `FrechetCellFilter`.
    """
    if not isinstance(atoms, Atoms):
        if isinstance(atoms, str):
            expect_atoms(atoms)
        from ase_mlx.adapters.ase.relaxations import relax_all  # which needs the calculator, and torch with it

        return relax_all(list(atoms), calculator, fmax, steps, cell, symmetry, progress)
    start = prepared(atoms, calculator, symmetry)
    begin(start.work, calculator)
    moved = movable(start, cell)
    optimiser = BFGS(moved, logfile=None)
    report = progress or logged("steps of a relaxation, at most")
    optimiser.attach(lambda: report(optimiser.nsteps, steps))
    converged = bool(optimiser.run(fmax=fmax, steps=steps))
    return finished(start, cell, fmax, converged, optimiser.nsteps)


@dataclass
class Start:
    """A structure that is being relaxed: as it was, a working copy (Å) with its symmetry imposed, what is to be noted.

    Source: ours.
    """

    atoms: Atoms
    work: Atoms
    kind: Kind
    notes: list[str]

    def free(self, cell: Cell) -> bool:
        """Tell whether the cell moves."""
        return self.kind == "crystal" and cell != "fixed"


def prepared(structure: Atoms, calculator, symmetry: bool) -> Start:
    """Copy a structure (Å) for a relaxation, and impose its space group where that is asked for.

    Raises:
        ValueError: no atoms, positions that are not finite, a cell without volume.

    Source: ours.
    """
    sort, notes, work = kind(structure), [], without_results(structure.copy())
    if sort == "crystal" and symmetry and not work.constraints:
        notes += impose_symmetry(work, calculator)
    elif sort == "crystal" and symmetry:
        notes.append("Symmetry not imposed: the structure brings its own constraints.")
    notes += [f"Cell not relaxed, no stress reported: a {sort} has no bulk volume."] if sort != "crystal" else []
    return Start(structure, work, sort, notes)


def movable(start: Start, cell: Cell) -> Atoms | FrechetCellFilter:
    """What an optimiser moves: the positions (Å), or positions and cell.

    Raises:
        ValueError: the cell is to move, and the calculator gives no stress.

    Source: ours; the filter is ASE's `FrechetCellFilter`.
    """
    return _with_cell(start.work, cell == "shape") if start.free(cell) else start.work


def finished(start: Start, cell: Cell, fmax: float, converged: bool, steps: int) -> Relaxation:
    """Describe a structure at the end of its relaxation to `fmax` (eV/Å), its own constraints on it again.

    Source: ours.
    """
    work, atoms, notes = start.work, start.atoms, list(start.notes)
    hidden = hidden_forces(work, not start.free(cell), cell == "shape") if work.constraints else 0.0
    work.set_constraint(atoms.copy().constraints)
    if hidden > fmax and not atoms.constraints:
        converged = False
        notes.append(f"Not converged: {hidden:.3g} eV/Å that break the imposed symmetry are left; use symmetry=False.")
    elif not converged:
        left = np.linalg.norm(work.get_forces(), axis=1).max()
        notes.append(f"Not converged: {left:.3g} eV/Å left after {steps} steps.")
    return _relaxation(work, start.kind, converged, steps, notes)


def _with_cell(work: Atoms, constant_volume: bool) -> FrechetCellFilter:
    work.get_forces()  # needed anyway; raises in the calculator's own words where this structure is what it cannot
    if property_or_none(work.calc, "stress", work) is None:
        raise ValueError(
            f"got a {type(work.calc).__name__}, which gives no stress, and a crystal's cell is relaxed by it; take a "
            'calculator with a stress, or keep the cell: cell="fixed" here, relax=False in what follows'
        )
    return CellFilter(work, constant_volume=constant_volume)


def _relaxation(work: Atoms, sort: Kind, converged: bool, steps: int, notes: list[str]) -> Relaxation:
    std = property_or_none(work.calc, "energy_std", work)
    stress = property_or_none(work.calc, "stress", work) if sort == "crystal" else None
    largest = float(np.linalg.norm(work.get_forces(), axis=1).max())
    done = snapshot(work, work.calc)
    done.set_constraint(work.constraints)
    see(done.arrays.get("distance"))
    return Relaxation(
        atoms=done,
        kind=sort,
        converged=converged,
        steps=steps,
        energy=Value(float(work.get_potential_energy()), None if std is None else float(std), "eV", origin_of(std)),
        largest_force=largest,
        largest_stress=None if stress is None else float(np.abs(stress).max()) * EV_PER_A3_IN_GPA,
        spacegroup=spacegroup_of(done) if sort == "crystal" else None,
        notes=tuple(notes),
    )


def spacegroup_of(atoms: Atoms) -> str | None:
    """Name a crystal's space group, found within 0.01 Å; None where there is none.

    Source: spglib (A. Togo and I. Tanaka, arXiv:1808.01590).
    """
    dataset = symmetry_of(atoms, 1e-2)
    return None if dataset is None else f"{dataset.international} ({dataset.number})"


def origin_of(std) -> str | None:
    """Say what an error bar (any unit) stands for: the members' spread, or nothing where there is none.

    Source: ours.
    """
    return None if std is None else "members"
