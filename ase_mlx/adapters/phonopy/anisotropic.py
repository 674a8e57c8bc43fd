"""Thermal expansion along the axes of hexagonal, trigonal, tetragonal and orthorhombic crystals, with error bars.

Source: phonopy's `run_anisotropic_qha` (A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023)).
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase import Atoms
from jaxtyping import Float
from phonopy import run_anisotropic_qha

from ase_mlx.adapters.ase.job import spread
from ase_mlx.adapters.ase.labels import distinguishing
from ase_mlx.adapters.ase.supercells import symmetry_of
from ase_mlx.adapters.choice import settled
from ase_mlx.adapters.phonopy.born import NO_BORN_IN_EXPANSION, may_be_polar
from ase_mlx.adapters.phonopy.cells import Supercell, check_crystal, standardized
from ase_mlx.adapters.phonopy.force_constants import relaxed
from ase_mlx.adapters.phonopy.sampled_cells import (
    SampledCell,
    sample_cell,
    settled_supercell,
    vibrations,
)
from ase_mlx.adapters.phonopy.store import Store
from ase_mlx.models.extrapolation import once
from ase_mlx.progress import Steps, logged

STRAINS = (-0.01, 0.0, 0.01, 0.02, 0.03)
"""Relative changes of each free length."""

DEGREE = 3
"""Total degree of the polynomial of free energy in the lengths."""


@dataclass(frozen=True)
class AxialExpansion:
    """Lattice constants and expansion along a, b, c against temperature; `std` holds error bars by name.

    Temperatures in K, `lengths` of the conventional cell in Å, `axial` (linear) and `expansion` (volumetric) in 1/K,
    `volume` in Å³ per primitive cell.

    Source: ours.
    """

    temperatures: Float[np.ndarray, " t"]
    lengths: Float[np.ndarray, "t 3"]
    axial: Float[np.ndarray, "t 3"]
    volume: Float[np.ndarray, " t"]
    expansion: Float[np.ndarray, " t"]
    members: int
    std: Mapping[str, np.ndarray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@once()
def axial_expansion(
    atoms: Atoms,
    calculator,
    supercell: Supercell = "auto",
    displacement: float = 0.01,
    temperatures: Float[np.ndarray, " t"] | None = None,
    strains: Sequence[float] = STRAINS,
    pressure: float = 0.0,
    *,
    mesh: float = 60.0,
    tolerance: float = 0.05,
    error_bars: bool = True,
    born: str | Path | dict | None = None,
    folder: str | Path | None = None,
    progress: Steps | None = None,
) -> AxialExpansion:
    """Expansion of each lattice constant: the free energy of a grid of cells, minimised at each temperature.

    Args:
        atoms: a hexagonal, trigonal, tetragonal or orthorhombic crystal, Å; relaxed and made conventional first.
        calculator: any ASE calculator, eV and Å, in double precision; with members for error bars.
        supercell: of the conventional cell, as in `phonons`.
        displacement: in Å.
        temperatures: at least three, ascending, in K; 0 to 1000 in steps of 10 if not given. The last is left out.
        strains: relative changes of each free length, dimensionless; all combinations are computed.
        pressure: in GPa.
        mesh: length in Å of the Γ-centred mesh, the same numbers for every cell.
        tolerance: frequencies in THz above minus this pass as noise.
        error_bars: False leaves the members out, which cost as much as all else and more.
        born: Born charges (e) and dielectric tensor, as in `phonons`; those of one volume serve for all.
        folder: finished work is kept there, as in `phonons`.
        progress: called with the number of cells done and in all.

    Returns:
        Lengths and expansions against temperature; temperatures whose minimum leaves the grid are cut, with a note.

    Raises:
        ValueError: a cubic crystal (use `quasi_harmonic`), a monoclinic or triclinic one, or no minimum in the grid.
        ImaginaryModesError, ForcesError: as `phonons`.

    Source: phonopy's `run_anisotropic_qha` (A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023)).
    """
    check_crystal(atoms)
    temperatures = np.arange(0.0, 1011.0, 10.0) if temperatures is None else np.asarray(temperatures, dtype=float)
    store = Store(folder, calculator := settled(calculator, atoms))
    atoms, free = _conventional(relaxed(atoms, calculator, store))
    supercell = settled_supercell(atoms, calculator, supercell, displacement, folder)
    grid, cells, report = list(itertools.product(strains, repeat=len(free))), [], progress or logged("cells")
    for number, point in enumerate(grid):
        stretch = np.ones(3)
        for axes, strain in zip(free, point, strict=True):
            stretch[list(axes)] += strain
        scaled = atoms.copy()
        scaled.set_cell(atoms.cell.array * stretch[:, None], scale_atoms=True)
        scaled = relaxed(scaled, calculator, store, cell="fixed")
        cells.append(sample_cell(scaled, calculator, supercell, displacement, tolerance, folder, error_bars, born))
        report(number + 1, len(grid))
    polar = born is None and may_be_polar(atoms.get_chemical_symbols())
    return _collect(cells, temperatures, pressure, mesh, tolerance, [NO_BORN_IN_EXPANSION] * polar)


def _conventional(atoms: Atoms) -> tuple[Atoms, list[tuple[int, ...]]]:
    """The conventional cell, and its free lengths as groups of axes."""
    dataset = symmetry_of(atoms, labels=True)
    number = 1 if dataset is None else dataset.number
    if number < 16 or number > 194:
        system = "cubic, use quasi_harmonic" if number > 194 else "monoclinic or triclinic"
        blind = symmetry_of(atoms)
        if blind is not None and blind.number != number:
            system += f"; {blind.number} without {', '.join(distinguishing(atoms))}"
        raise ValueError(
            f"Axial expansion needs a hexagonal, trigonal, tetragonal or orthorhombic crystal, got group {number} "
            f"({system})."
        )
    return standardized(atoms, 1e-3), [(0,), (1,), (2,)] if number < 75 else [(0, 1), (2,)]


def _collect(
    cells: list[SampledCell], temperatures, pressure: float, mesh: float, tolerance: float, notes: list[str]
) -> AxialExpansion:
    numbers, phs = cells[len(cells) // 2].ph.run_mesh(mesh, is_gamma_center=True).mesh_numbers, [c.ph for c in cells]

    def run(members, energies):
        thermal = vibrations(members, numbers, temperatures)
        surface = run_anisotropic_qha(
            phs, temperatures, energies, phonon_free_energies=thermal.free_energy.T, pressure=pressure,
            polynomial_degree=DEGREE, lattice_smoothing="none",
        )  # fmt: skip
        return surface, thermal.lowest

    mean, _ = run(phs, np.array([cell.energy for cell in cells]))
    outside = mean.minimum_extrapolated
    last = len(outside) if not outside.any() else int(np.argmax(outside))
    if last < 3:
        raise ValueError("The free energy has no minimum inside the grid of lattice constants; widen the strains.")
    if last < len(outside):
        notes.append(f"Cut above {mean.temperatures[last - 1]:g} K, where the minimum leaves the grid of cells.")
    rows = []
    for k in range(len(cells[0].ensemble)):
        surface, lowest = run([c.ensemble[k] for c in cells], np.array([c.energies[k] for c in cells]))
        if lowest < -tolerance:
            notes.append(f"No error bars: a member has modes down to {lowest:.3f} THz in one of the cells.")
            rows = []
            break
        rows.append(_functions(surface, last))
    functions = _functions(mean, last)
    std = {name: spread(np.stack([row[name] for row in rows])) for name in functions} if rows else {}
    return AxialExpansion(mean.temperatures[:last], members=len(rows), std=std, notes=tuple(notes), **functions)


def _functions(result, last: int) -> dict[str, np.ndarray]:
    return {
        "lengths": result.equilibrium_lattice_parameters[:last],
        "axial": result.axial_thermal_expansions[:last],
        "volume": result.equilibrium_volumes[:last],
        "expansion": result.thermal_expansion[:last],
    }
