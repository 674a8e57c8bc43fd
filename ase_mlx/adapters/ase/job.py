"""The main job on one structure: relaxation, equation of state, molecular dynamics, each number with its error bar.

Any ASE calculator serves; one with members (`get_property("energy_members", atoms)`) also gives error bars.

Source: ours, on ASE (A. Hjorth Larsen et al., J. Phys.: Condens. Matter 29, 273002 (2017)).
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixCom, FixSymmetry
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from jaxtyping import Float

from ase_mlx.adapters.ase.imposed_symmetry import hidden_forces, impose_symmetry
from ase_mlx.adapters.ase.labels import without_results
from ase_mlx.adapters.ase.supercells import Kind, kind, symmetry_of
from ase_mlx.models.extrapolation import once, see
from ase_mlx.phonons.equation_of_state import fit_birch_murnaghan
from ase_mlx.progress import Steps, logged
from ase_mlx.units import EV_PER_A3_IN_GPA

ROUGH = 0.01
"""Share of the range of energies by which points may lie off the curve; eight smooth crystals have 0.0002 to 0.0014."""


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


@dataclass(frozen=True)
class EquationOfState:
    """Energies in eV at cell volumes in Å³, and the Birch–Murnaghan curve through them.

    `curve_energies` are relative to the minimum; a std array is None where the calculator has no members.

    Source: F. Birch, Phys. Rev. 71, 809 (1947).
    """

    natoms: int
    volumes: Float[np.ndarray, " v"]
    energies: Float[np.ndarray, " v"]
    energies_std: Float[np.ndarray, " v"] | None
    volume: Value
    lattice_constant: Value | None
    bulk_modulus: Value
    derivative: Value
    curve_volumes: Float[np.ndarray, " c"]
    curve_energies: Float[np.ndarray, " c"]
    curve_std: Float[np.ndarray, " c"] | None
    notes: tuple[str, ...] = field(default=())


def property_or_none(calculator, name: str, atoms: Atoms) -> np.ndarray | None:
    """Ask a calculator for a property in its own unit; None where it has none, as ordinary calculators for members.

    Source: ours.
    """
    try:
        value = calculator.get_property(name, atoms)
    except (PropertyNotImplementedError, NotImplementedError):
        return None
    return None if value is None else np.asarray(value)


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
    atoms: Atoms,
    calculator,
    fmax: float = 1e-3,
    steps: int = 500,
    cell: Literal["free", "shape", "fixed"] = "free",
    symmetry: bool = True,
    progress: Steps | None = None,
) -> Relaxation:
    """Bring a structure to the nearest minimum of energy: positions, and a crystal's cell; the space group is kept.

    The space group is that of the crystal with its labels: atoms of one element with other moments, charges, tags or
    own arrays are not equivalent, unless the calculator says `ignores_labels`, as ours do. The largest stress is the
    true one, whatever symmetry or constraints make of it.

    Args:
        atoms: the start, in Å; it is not changed. Its constraints stay in force, its labels stay on it.
        calculator: any ASE calculator, eV and Å.
        fmax: largest force in eV/Å (of cell degrees of freedom: the same per strain, ASE's convention).
        steps: most steps, dimensionless.
        cell: of a crystal: "free", its "shape" alone at constant volume, or "fixed".
        symmetry: keep a crystal's space group, found within 0.01 Å.
        progress: called with the step and the most steps.

    Returns:
        The relaxed structure (Å, eV, eV/Å), with notes on what was left out and why. It is not converged where forces
        above `fmax` are left that only the imposed symmetry hides.

    Raises:
        ValueError: no atoms, positions that are not finite, a cell without volume, or no stress to relax it by.

    Source: ours; the cell filter is ASE's `FrechetCellFilter`.
    """
    sort, notes, work = kind(atoms), [], without_results(atoms.copy())
    if sort == "crystal" and symmetry and not work.constraints:
        notes += impose_symmetry(work, calculator)
    elif sort == "crystal" and symmetry:
        notes.append("Symmetry not imposed: the structure brings its own constraints.")
    begin(work, calculator)
    notes += [f"Cell not relaxed, no stress reported: a {sort} has no bulk volume."] if sort != "crystal" else []
    free = sort == "crystal" and cell != "fixed"
    moved = _with_cell(work, cell == "shape") if free else work
    optimiser = BFGS(moved, logfile=None)
    report = progress or logged("steps of a relaxation, at most")
    optimiser.attach(lambda: report(optimiser.nsteps, steps))
    converged = bool(optimiser.run(fmax=fmax, steps=steps))
    hidden = hidden_forces(work, not free, cell == "shape") if work.constraints else 0.0
    work.set_constraint(atoms.copy().constraints)
    if hidden > fmax and not atoms.constraints:
        converged = False
        notes.append(f"Not converged: {hidden:.3g} eV/Å that break the imposed symmetry are left; use symmetry=False.")
    elif not converged:
        left = np.linalg.norm(work.get_forces(), axis=1).max()
        notes.append(f"Not converged: {left:.3g} eV/Å left after {optimiser.nsteps} steps.")
    return _relaxation(work, sort, converged, optimiser.nsteps, notes)


def _with_cell(work: Atoms, constant_volume: bool) -> FrechetCellFilter:
    work.get_forces()  # needed anyway; raises in the calculator's own words where this structure is what it cannot
    if property_or_none(work.calc, "stress", work) is None:
        raise ValueError(
            f"got a {type(work.calc).__name__}, which gives no stress, and a crystal's cell is relaxed by it; take a "
            'calculator with a stress, or keep the cell: cell="fixed" here, relax=False in what follows'
        )
    return FrechetCellFilter(work, constant_volume=constant_volume)


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
        energy=Value(float(work.get_potential_energy()), None if std is None else float(std), "eV", _origin(std)),
        largest_force=largest,
        largest_stress=None if stress is None else float(np.abs(stress).max()) * EV_PER_A3_IN_GPA,
        spacegroup=spacegroup_of(done) if sort == "crystal" else None,
        notes=tuple(notes),
    )


@once()
def equation_of_state(
    atoms: Atoms,
    calculator,
    strain: float = 0.09,
    points: int = 9,
    fmax: float = 1e-3,
    progress: Steps | None = None,
) -> EquationOfState:
    """Energy against volume of a crystal at zero temperature, all else relaxed, with a curve for each member.

    Args:
        atoms: the relaxed crystal, Å.
        calculator: any ASE calculator, eV and Å.
        strain: largest relative change of volume, dimensionless.
        points: number of volumes, dimensionless.
        fmax: largest force in eV/Å at each volume.
        progress: called with the volume's number and `points`.

    Returns:
        V₀ in Å³, the lattice constant in Å (None unless cubic), B₀ in GPa, B₀′, the curve in eV, and their std.

    Raises:
        ValueError: not a crystal, or no minimum inside the volumes.

    Source: F. Birch, Phys. Rev. 71, 809 (1947).
    """
    sort = kind(atoms)
    if sort != "crystal":
        raise ValueError(f"An equation of state needs a crystal periodic in three directions, got a {sort}.")
    volumes, energies, members, notes = [], [], [], []
    report = progress or logged("volumes")
    for number, factor in enumerate(np.linspace(1 - strain, 1 + strain, points)):
        scaled = atoms.copy()
        scaled.set_cell(atoms.cell * factor ** (1 / 3), scale_atoms=True)
        relaxed = relax(scaled, calculator, fmax=fmax, cell="shape")
        notes += [f"Volume {factor:.3f}: {note}" for note in relaxed.notes]
        volumes.append(relaxed.atoms.get_volume())
        energies.append(relaxed.energy.value)
        members.append(property_or_none(calculator, "energy_members", relaxed.atoms))
        report(number + 1, points)
    volumes, energies = np.array(volumes), np.array(energies)
    ensemble = None if members[0] is None else np.stack(members, axis=1)
    return _equation_of_state(atoms, volumes, energies, ensemble, tuple(notes))


def _equation_of_state(atoms, volumes, energies, ensemble, notes) -> EquationOfState:
    fit = fit_birch_murnaghan(volumes, energies)
    grid = np.linspace(volumes.min(), volumes.max(), 101)
    off = float(np.abs(energies - fit(volumes)).max())
    if off > ROUGH * np.ptp(energies):
        notes = (
            *notes,
            f"The energies are no smooth curve: they lie up to {1000 * off / len(atoms):.2g} meV/atom off the fit. The "
            "structure changes from volume to volume; volume, bulk modulus and their error bars mean little.",
        )
    fits = None
    if ensemble is not None:
        try:
            fits = fit_birch_murnaghan(volumes, ensemble)
        except ValueError as error:
            notes = (*notes, f"No error bars, for want of a curve for each member: {error}")

    def quantity(name: str, unit: str, factor: float = 1.0) -> Value:
        std = None if fits is None else float(spread(getattr(fits, name))) * factor
        return Value(float(getattr(fit, name)) * factor, std, unit, _origin(std))

    volume = quantity("volume", "Å³")
    return EquationOfState(
        natoms=len(atoms),
        volumes=volumes,
        energies=energies,
        energies_std=spread(ensemble),
        volume=volume,
        lattice_constant=_lattice_constant(atoms, volume),
        bulk_modulus=quantity("bulk_modulus", "GPa", EV_PER_A3_IN_GPA),
        derivative=quantity("derivative", "1"),
        curve_volumes=grid,
        curve_energies=fit(grid) - float(fit.energy),
        curve_std=None if fits is None else spread(fits(grid) - fits.energy[:, None]),
        notes=notes,
    )


def _lattice_constant(atoms: Atoms, volume: Value) -> Value | None:
    dataset = symmetry_of(atoms, 1e-2)
    if dataset is None or dataset.number < 195:
        return None
    cells = len(atoms) / len(dataset.std_types)
    a = (volume.value / cells) ** (1 / 3)
    std = None if volume.std is None else a / 3 * volume.std / volume.value
    return Value(a, std, "Å", volume.origin)


def spacegroup_of(atoms: Atoms) -> str | None:
    """Name a crystal's space group, found within 0.01 Å; None where there is none.

    Source: spglib (A. Togo and I. Tanaka, arXiv:1808.01590).
    """
    dataset = symmetry_of(atoms, 1e-2)
    return None if dataset is None else f"{dataset.international} ({dataset.number})"


def _origin(std) -> str | None:
    return None if std is None else "members"
