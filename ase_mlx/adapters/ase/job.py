"""The main job on one structure: relaxation, equation of state, molecular dynamics, each number with its error bar.

Any ASE calculator serves; one with members (`get_property("energy_members", atoms)`) also gives error bars.

Source: ours, on ASE (A. Hjorth Larsen et al., J. Phys.: Condens. Matter 29, 273002 (2017)).
"""

from dataclasses import dataclass, field

import numpy as np
from ase import Atoms
from jaxtyping import Float

from ase_mlx.adapters.ase.relaxation import (
    Relaxation,
    Value,
    begin,
    forget_last,
    origin_of,
    property_or_none,
    relax,
    snapshot,
    spacegroup_of,
    spread,
)
from ase_mlx.adapters.ase.supercells import kind, symmetry_of
from ase_mlx.models.extrapolation import once
from ase_mlx.phonons.equation_of_state import fit_birch_murnaghan
from ase_mlx.progress import Steps, logged
from ase_mlx.units import EV_PER_A3_IN_GPA

__all__ = [
    "EquationOfState",
    "Relaxation",
    "Value",
    "begin",
    "equation_of_state",
    "forget_last",
    "property_or_none",
    "relax",
    "snapshot",
    "spacegroup_of",
    "spread",
]

ROUGH = 0.01
"""Share of the range of energies by which points may lie off the curve; eight smooth crystals have 0.0002 to 0.0014."""


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
        return Value(float(getattr(fit, name)) * factor, std, unit, origin_of(std))

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
