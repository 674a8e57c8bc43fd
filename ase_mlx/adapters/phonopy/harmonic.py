"""Spectra and thermal functions with error bars, in phonopy's units.

Source: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from ase.cell import Cell
from jaxtyping import Float
from phonopy import Phonopy
from phonopy.physical_units import get_physical_units

from ase_mlx.adapters.ase.job import spread
from ase_mlx.adapters.phonopy.stability import OnImaginary, Stability, acoustic_modes, judge, stability
from ase_mlx.phonons.thermal import BOLTZMANN, PLANCK, debye_temperature, thermal_functions

VELOCITY_Q = 0.005
"""1/Å: length of the wave vectors whose slope is the velocity of sound."""


@dataclass(frozen=True)
class Harmonic:
    """Spectrum and thermal functions of a crystal; `std` holds the arrays' error bars by name, and lacks those unknown.

    Frequencies in THz, `distances` along the path in 1/Å, `dos` in states/THz, temperatures in K, free and zero-point
    energy in kJ/mol, entropy and heat capacity in J/(K mol), per primitive cell of `natoms` atoms. Debye temperatures
    in K: of the velocities of sound (the limit of low temperature), and of the parabola fitted to the `dos`.
    What needs stable modes is None where imaginary ones were only reported. `members` counts the ensemble behind the
    error bars, `displacement` is that of the force constants in Å (None without displacements).

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
    members: int
    displacement: float | None
    debye_temperature: float | None = None
    debye_temperature_dos: float | None = None
    zero_point_energy: float | None = None
    free_energy: Float[np.ndarray, " t"] | None = None
    entropy: Float[np.ndarray, " t"] | None = None
    heat_capacity: Float[np.ndarray, " t"] | None = None
    std: Mapping[str, np.ndarray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def harmonic(
    ph: Phonopy,
    ensemble: Sequence[Phonopy] = (),
    temperatures: Float[np.ndarray, " t"] | None = None,
    mesh: float | tuple[int, int, int] = 60.0,
    on_imaginary: OnImaginary = "error",
    tolerance: float = 0.05,
    points: int = 200,
) -> Harmonic:
    """Bands, density of states and thermal functions; each with its error bar where there are members.

    Args:
        ph: from `phonons`.
        ensemble: from `members`, for the error bars; force constants in eV/Å².
        temperatures: in K; 0 to 1000 in steps of 10 if not given.
        mesh: three numbers, or a length in Å, of a Γ-centred mesh.
        on_imaginary: "error", or "report": a warning, and no thermal functions.
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
    judge(found, on_imaginary, tolerance)
    path = Cell(ph.primitive.cell).bandpath(npoints=points, eps=1e-3)
    distances, ticks, labels = path.get_linear_kpoint_axis()
    grid = np.linspace(0, 1.05 * max(1.0, q_mesh.frequencies.max()), 301)
    stable = found.lowest >= -tolerance
    mean = _spectrum(ph, mesh, path.kpts, grid, temperatures if stable else None)
    members = [_spectrum(member, mesh, path.kpts, grid, None) for member in ensemble]
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
        members=len(members),
        displacement=_displacement(ph),
        std=std,
        notes=tuple(notes),
        **mean,
    )


def _spectrum(ph, mesh, path, grid, temperatures) -> dict[str, np.ndarray]:
    computed = ph.run_mesh(mesh, is_gamma_center=True)
    dos = ph.run_total_dos(freq_min=grid[0], freq_max=grid[-1] + 1e-9, freq_pitch=grid[1] - grid[0])
    dos.run_debye_frequency()
    spectrum = {
        "frequencies": computed.frequencies.copy(),
        "gamma": ph.run_qpoints([[0, 0, 0]]).frequencies[0].copy(),
        "bands": ph.run_qpoints(path).frequencies.copy(),
        "dos": np.interp(grid, dos.frequency_points, dos.dos),
        "debye_temperature": debye_temperature(_velocities(ph), len(ph.primitive) / ph.primitive.volume),
        "debye_temperature_dos": float(dos.debye_frequency) * PLANCK / BOLTZMANN,
    }
    if temperatures is None:
        return spectrum
    return spectrum | _thermal(computed.qpoints, computed.weights, computed.frequencies, temperatures)


def _velocities(ph: Phonopy) -> np.ndarray:
    """Velocities of sound (directions, 3) in THz Å on a half sphere, equal weights."""
    height = (np.arange(12) + 0.5) / 12
    angle = 2 * np.pi * (np.arange(24) + 0.5) / 24
    ring = np.sqrt(1 - height**2)[:, None]
    directions = [ring * np.cos(angle), ring * np.sin(angle), np.broadcast_to(height[:, None], (12, 24))]
    waves = VELOCITY_Q * np.stack(directions, axis=-1).reshape(-1, 3)
    return np.sort(ph.run_qpoints(waves @ ph.primitive.cell.T).frequencies, axis=1)[:, :3] / VELOCITY_Q


def _displacement(ph: Phonopy) -> float | None:
    if ph.dataset is None:
        return None
    if "first_atoms" in ph.dataset:
        return float(np.linalg.norm(ph.dataset["first_atoms"][0]["displacement"]))
    return float(np.linalg.norm(ph.dataset["displacements"][0], axis=1).max())


def _error_bars(members, mesh, temperatures, tolerance: float) -> tuple[dict[str, np.ndarray], list[str]]:
    std = _spread(members, ("frequencies", "gamma", "bands", "dos", "debye_temperature", "debye_temperature_dos"))
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
    sums = thermal_functions(frequencies, weights, np.append(temperatures, 0.0), counted)
    kilojoule = get_physical_units().EvTokJmol
    return {
        "free_energy": sums.free_energy[:-1] * kilojoule,
        "entropy": sums.entropy[:-1] * kilojoule * 1000,
        "heat_capacity": sums.heat_capacity[:-1] * kilojoule * 1000,
        "zero_point_energy": sums.free_energy[-1] * kilojoule,
    }


def _lowest(qpoints: np.ndarray, frequencies: np.ndarray) -> float:
    return float(frequencies[~acoustic_modes(qpoints, frequencies)].min())
