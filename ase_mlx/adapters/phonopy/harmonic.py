"""Spectra and thermal functions with error bars, in phonopy's units.

Source: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023).
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from ase.cell import Cell
from jaxtyping import Float
from phonopy import Phonopy
from phonopy.physical_units import get_physical_units

from ase_mlx.adapters.ase.job import spread
from ase_mlx.adapters.phonopy.force_constants import displacement_forces, produce, projector
from ase_mlx.adapters.phonopy.stability import Imaginary, Stability, acoustic_modes, judge, stability
from ase_mlx.phonons.thermal import thermal_functions


@dataclass(frozen=True)
class Harmonic:
    """Spectrum and thermal functions of a crystal; `std` holds the arrays' error bars by name, and lacks those unknown.

    Frequencies in THz, `distances` along the path in 1/Å, `dos` in states/THz, temperatures in K, free energy in
    kJ/mol, entropy and heat capacity in J/(K mol), per primitive cell of `natoms` atoms. The thermal
    functions are None where imaginary modes were only reported.

    Source: ours.
    """

    natoms: int
    stability: Stability
    qpoints: Float[np.ndarray, "q 3"]
    weights: Float[np.ndarray, " q"]
    frequencies: Float[np.ndarray, "q bands"]
    gamma: Float[np.ndarray, " bands"]
    distances: Float[np.ndarray, " path"]
    ticks: tuple[tuple[float, str], ...]
    bands: Float[np.ndarray, "path bands"]
    dos_frequencies: Float[np.ndarray, " grid"]
    dos: Float[np.ndarray, " grid"]
    temperatures: Float[np.ndarray, " t"]
    free_energy: Float[np.ndarray, " t"] | None = None
    entropy: Float[np.ndarray, " t"] | None = None
    heat_capacity: Float[np.ndarray, " t"] | None = None
    std: Mapping[str, np.ndarray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def harmonic(
    ph: Phonopy,
    calculator=None,
    temperatures: Float[np.ndarray, " t"] | None = None,
    mesh: float | tuple[int, int, int] = 60.0,
    imaginary: Imaginary = "raise",
    tolerance: float = 0.05,
    points: int = 200,
) -> Harmonic:
    """Bands, density of states and thermal functions; each with its error bar where the calculator has members.

    The members' force constants come from the displaced supercells that `ph` holds; one call gives all members' forces.

    Args:
        ph: from `phonons`.
        calculator: the one used there, eV and Å, for the error bars.
        temperatures: in K; 0 to 1000 in steps of 10 if not given.
        mesh: three numbers, or a length in Å, of a Γ-centred mesh.
        imaginary: "raise", or "report": a warning, and no thermal functions.
        tolerance: frequencies in THz above minus this pass as noise; those below zero leave the sums, with a note.
        points: of the band path, dimensionless.

    Returns:
        Frequencies in THz; free energy in kJ/mol, entropy and heat capacity in J/(K mol) per primitive cell.

    Raises:
        ImaginaryModesError: as `phonons`.

    Source: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023), section 6; error bars ours.
    """
    temperatures = np.arange(0.0, 1001.0, 10.0) if temperatures is None else np.asarray(temperatures, dtype=float)
    found, q_mesh = stability(ph, mesh), ph.mesh
    judge(found, imaginary, tolerance)
    path = Cell(ph.primitive.cell).bandpath(npoints=points, eps=1e-3)
    distances, ticks, labels = path.get_linear_kpoint_axis()
    grid = np.linspace(0, 1.05 * max(1.0, q_mesh.frequencies.max()), 301)
    stable = found.lowest >= -tolerance
    mean = _spectrum(ph, mesh, path.kpts, grid, temperatures if stable else None)
    members = [_spectrum(member, mesh, path.kpts, grid, None) for member in _members(ph, calculator)]
    std, notes = _error_bars(members, q_mesh, temperatures if stable else None, tolerance)
    if stable and found.weight:
        notes.append(f"Left out of the thermal sums as noise: {found}.")
    return Harmonic(
        natoms=len(ph.primitive),
        stability=found,
        qpoints=q_mesh.qpoints,
        weights=q_mesh.weights.astype(float),
        distances=distances,
        ticks=tuple((float(x), label) for x, label in zip(ticks, labels, strict=True)),
        dos_frequencies=grid,
        temperatures=temperatures,
        std=std,
        notes=tuple(notes),
        **mean,
    )


def _spectrum(ph, mesh, path, grid, temperatures) -> dict[str, np.ndarray]:
    computed = ph.run_mesh(mesh, is_gamma_center=True)
    dos = ph.run_total_dos(freq_min=grid[0], freq_max=grid[-1] + 1e-9, freq_pitch=grid[1] - grid[0])
    spectrum = {
        "frequencies": computed.frequencies.copy(),
        "gamma": ph.run_qpoints([[0, 0, 0]]).frequencies[0].copy(),
        "bands": ph.run_qpoints(path).frequencies.copy(),
        "dos": np.interp(grid, dos.frequency_points, dos.dos),
    }
    if temperatures is None:
        return spectrum
    return spectrum | _thermal(computed.qpoints, computed.weights, computed.frequencies, temperatures)


def _error_bars(members, mesh, temperatures, tolerance: float) -> tuple[dict[str, np.ndarray], list[str]]:
    std = _spread(members, ("frequencies", "gamma", "bands", "dos"))
    if not members or temperatures is None:
        return std, []
    lowest = min(_lowest(mesh.qpoints, member["frequencies"]) for member in members)
    if lowest < -tolerance:
        return std, [f"No error bars on the thermal functions: a member has modes down to {lowest:.3f} THz."]
    sums = [_thermal(mesh.qpoints, mesh.weights, member["frequencies"], temperatures) for member in members]
    return std | _spread(sums, tuple(sums[0])), []


def _spread(members: list[dict], names: tuple[str, ...]) -> dict[str, np.ndarray]:
    return {name: spread(np.stack([member[name] for member in members])) for name in names} if members else {}


def _thermal(qpoints, weights, frequencies, temperatures) -> dict[str, np.ndarray]:
    counted = ~acoustic_modes(qpoints, frequencies) & (frequencies > 0)
    sums = thermal_functions(frequencies, weights, temperatures, counted)
    kilojoule = get_physical_units().EvTokJmol
    return {
        "free_energy": sums.free_energy * kilojoule,
        "entropy": sums.entropy * kilojoule * 1000,
        "heat_capacity": sums.heat_capacity * kilojoule * 1000,
    }


def _members(ph: Phonopy, calculator):
    sets = None if calculator is None else displacement_forces(ph, calculator, "forces_members")
    if sets is None:
        return
    member, project = ph.replicate(), projector(ph)
    member.dataset = copy.deepcopy(ph.dataset)
    for forces in np.moveaxis(sets, 1, 0):
        member.forces = forces
        produce(member, project)
        yield member


def _lowest(qpoints: np.ndarray, frequencies: np.ndarray) -> float:
    return float(frequencies[~acoustic_modes(qpoints, frequencies)].min())
