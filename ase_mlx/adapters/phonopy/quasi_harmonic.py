"""Thermal expansion and what follows from it, by phonons at several volumes, with error bars.

Source: S. Baroni, P. Giannozzi and E. Isaev, Rev. Mineral. Geochem. 71, 39 (2010).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase import Atoms
from jaxtyping import Float
from phonopy import Phonopy
from phonopy.physical_units import get_physical_units

from ase_mlx.adapters.ase.job import spread
from ase_mlx.adapters.choice import settled
from ase_mlx.adapters.phonopy.born import NO_BORN_IN_EXPANSION, may_be_polar
from ase_mlx.adapters.phonopy.cells import Supercell, check_crystal
from ase_mlx.adapters.phonopy.force_constants import relaxed
from ase_mlx.adapters.phonopy.sampled_cells import (
    SampledCell,
    sample_cell,
    settled_supercell,
    stretched,
    vibrations,
)
from ase_mlx.adapters.phonopy.stability import ImaginaryModesError, OnImaginary
from ase_mlx.adapters.phonopy.store import Store
from ase_mlx.models.extrapolation import once
from ase_mlx.phonons.quasi_harmonic import QuasiHarmonicCurves, quasi_harmonic_curves
from ase_mlx.progress import Steps, logged
from ase_mlx.units import EV_PER_A3_IN_GPA

STRAINS = (-0.03, -0.01, 0.01, 0.03, 0.05, 0.07)
"""Relative changes of volume: a solid expands by some per cent up to its melting point."""


@dataclass(frozen=True)
class QuasiHarmonic:
    """Quasi-harmonic functions of temperature per primitive cell of `natoms` atoms; `std` holds error bars by name.

    Temperatures in K, volume in Å³, volumetric expansion in 1/K, bulk modulus in GPa, Gibbs energy in kJ/mol, entropy
    and heat capacities in J/(K mol), the thermodynamic Grüneisen parameter dimensionless, lengths of the input cell's
    vectors in Å, pressure in GPa. `volumes` in Å³ and `energies` in eV are those computed, `phonons` their phonopy
    objects.

    Source: ours.
    """

    natoms: int
    temperatures: Float[np.ndarray, " t"]
    volume: Float[np.ndarray, " t"]
    expansion: Float[np.ndarray, " t"]
    bulk_modulus: Float[np.ndarray, " t"]
    gibbs_energy: Float[np.ndarray, " t"]
    entropy: Float[np.ndarray, " t"]
    heat_capacity_v: Float[np.ndarray, " t"]
    heat_capacity_p: Float[np.ndarray, " t"]
    gruneisen: Float[np.ndarray, " t"]
    lengths: Float[np.ndarray, "t 3"]
    pressure: float
    volumes: Float[np.ndarray, " v"]
    energies: Float[np.ndarray, " v"]
    phonons: tuple[Phonopy, ...]
    members: int
    std: Mapping[str, np.ndarray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@once()
def quasi_harmonic(
    atoms: Atoms,
    calculator,
    supercell: Supercell = "auto",
    displacement: float = 0.01,
    temperatures: Float[np.ndarray, " t"] | None = None,
    strains: Sequence[float] = STRAINS,
    pressure: float = 0.0,
    *,
    mesh: float = 60.0,
    on_imaginary: OnImaginary = "error",
    tolerance: float = 0.05,
    error_bars: bool = True,
    born: str | Path | dict | None = None,
    folder: str | Path | None = None,
    progress: Steps | None = None,
) -> QuasiHarmonic:
    """Thermal expansion, bulk modulus, C_p and Gibbs energy of a crystal whose shape is relaxed at each volume.

    Args:
        atoms: a crystal, Å; relaxed first.
        calculator: any ASE calculator, eV and Å, in double precision; with members for error bars.
        supercell: as in `phonons`; "auto" is settled at the relaxed volume and kept.
        displacement: in Å.
        temperatures: at least three, ascending, in K; 0 to 1000 in steps of 10 if not given.
        strains: at least five relative changes of volume, dimensionless.
        pressure: in GPa.
        mesh: length in Å of the Γ-centred mesh, the same numbers at every volume.
        on_imaginary: "error", or "report": volumes with imaginary modes are left out, with a note.
        tolerance: frequencies in THz above minus this pass as noise.
        error_bars: False leaves the members out, which cost as much as all else and more.
        born: Born charges (e) and dielectric tensor, as in `phonons`; those of one volume serve for all.
        folder: finished relaxations and supercells are kept there; the same call after a kill goes on from them.
        progress: called with the number of volumes done and in all.

    Returns:
        The functions of temperature; those above the temperature whose volume leaves the range are cut, with a note.

    Raises:
        ValueError, ImaginaryModesError, ForcesError: as `phonons`; fewer than five volumes; no minimum inside them.

    Source: S. Baroni, P. Giannozzi and E. Isaev, Rev. Mineral. Geochem. 71, 39 (2010), section 3.
    """
    check_crystal(atoms)
    temperatures = np.arange(0.0, 1001.0, 10.0) if temperatures is None else np.asarray(temperatures, dtype=float)
    calculator, notes = settled(calculator, atoms), []
    atoms = relaxed(atoms, calculator, store := Store(folder, calculator))
    supercell = settled_supercell(atoms, calculator, supercell, displacement, folder)
    work, points = (calculator, supercell, displacement, tolerance, folder, error_bars, born), []
    report, polar = progress or logged("volumes"), born is None and may_be_polar(atoms.get_chemical_symbols())
    for number, strain in enumerate(_ascending(strains)):
        try:
            points.append(sample_cell(relaxed(stretched(atoms, strain), calculator, store, cell="shape"), *work))
        except ImaginaryModesError as error:
            notes.append(f"Volume of strain {strain:+.3f} left out: {error}")
            if on_imaginary == "error" or len(notes) > len(strains) - 5:
                raise ImaginaryModesError(f"At the volume of strain {strain:+.3f}: {error}") from error
        report(number + 1, len(strains))
    return _collect(points, temperatures, pressure, mesh, tolerance, [*notes, *[NO_BORN_IN_EXPANSION] * polar])


def _ascending(strains: Sequence[float]) -> list[float]:
    if len(strains) < 5:
        raise ValueError(f"Quasi-harmonic curves need at least five volumes, got {len(strains)} strains.")
    return sorted(strains)


def _collect(points: list[SampledCell], temperatures, pressure: float, mesh: float, tolerance: float, notes: list[str]):
    volumes = np.array([point.ph.primitive.volume for point in points])
    energies = np.array([point.energy for point in points])
    numbers = points[len(points) // 2].ph.run_mesh(mesh, is_gamma_center=True).mesh_numbers
    common = (volumes, temperatures, pressure / EV_PER_A3_IN_GPA)
    mean, _ = _curves([p.ph for p in points], energies, numbers, *common)
    inside = np.isfinite(mean.volume) & np.isfinite(mean.expansion)
    if not inside[0] or np.count_nonzero(inside) < 3:
        raise ValueError(
            f"The free energy has no minimum between {volumes.min():.4g} and {volumes.max():.4g} Å³; widen the strains."
        )
    last = len(inside) if inside.all() else int(np.argmin(inside))
    if last < len(inside):
        notes.append(
            f"Cut above {temperatures[last - 1]:g} K: there the volume leaves the range that was computed "
            f"({volumes.min():.4g} to {volumes.max():.4g} Å³); widen the strains."
        )
    ensemble = []
    if points[0].ensemble:
        ensemble, sentences = _ensemble(points, numbers, tolerance, last, *common)
        notes += sentences
    lengths = np.polyfit(volumes, np.array([p.atoms.cell.lengths() for p in points]), 3)
    mean_functions = _functions(mean, lengths, last)
    rows = [_functions(one, lengths, last) for one in ensemble]
    return QuasiHarmonic(
        natoms=len(points[0].ph.primitive),
        temperatures=temperatures[:last],
        pressure=pressure,
        volumes=volumes,
        energies=energies,
        phonons=tuple(p.ph for p in points),
        members=len(rows),
        std={name: spread(np.stack([row[name] for row in rows])) for name in mean_functions} if rows else {},
        notes=tuple(notes),
        **mean_functions,
    )


def _curves(phs, energies, numbers, volumes, temperatures, pressure) -> tuple[QuasiHarmonicCurves, float]:
    """The curves, and the lowest frequency of all volumes."""
    v = vibrations(phs, numbers, temperatures)
    sums = (v.free_energy, v.entropy, v.heat_capacity)
    return quasi_harmonic_curves(volumes, energies, temperatures, *sums, pressure), v.lowest


def _ensemble(points, numbers, tolerance: float, last: int, *common):
    """The members' curves; members that are unstable, or whose volume leaves the range, forbid error bars."""
    curves = []
    for k in range(len(points[0].ensemble)):
        energies = np.array([point.energies[k] for point in points])
        curve, lowest = _curves([point.ensemble[k] for point in points], energies, numbers, *common)
        if lowest < -tolerance:
            return [], [f"No error bars: a member has modes down to {lowest:.3f} THz at one of the volumes."]
        curves.append(curve)
    lost = sum(not np.isfinite(one.volume[:last]).all() for one in curves)
    if lost:
        return [], [f"No error bars: the volume of {lost} members leaves the computed range; widen the strains."]
    return curves, []


def _functions(curves: QuasiHarmonicCurves, lengths: np.ndarray, last: int) -> dict[str, np.ndarray]:
    kilojoule = get_physical_units().EvTokJmol
    return {
        "volume": curves.volume[:last],
        "expansion": curves.expansion[:last],
        "bulk_modulus": curves.bulk_modulus[:last] * EV_PER_A3_IN_GPA,
        "gibbs_energy": curves.gibbs_energy[:last] * kilojoule,
        "entropy": curves.entropy[:last] * kilojoule * 1000,
        "heat_capacity_v": curves.heat_capacity_v[:last] * kilojoule * 1000,
        "heat_capacity_p": curves.heat_capacity_p[:last] * kilojoule * 1000,
        "gruneisen": curves.gruneisen[:last],
        "lengths": np.stack([np.polyval(c, curves.volume[:last]) for c in lengths.T], axis=-1),
    }
