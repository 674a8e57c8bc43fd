"""Thermal functions of harmonic oscillators.

Source: M. Born and K. Huang, Dynamical Theory of Crystal Lattices (1954), chapter II.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Num

from ase_mlx.units import BOLTZMANN, PLANCK


@dataclass(frozen=True)
class Thermal:
    """Thermal functions per cell at constant volume: energy in eV, entropy and heat capacity in eV/K, temperature in K.

    Source: ours.
    """

    temperatures: Float[np.ndarray, " t"]
    free_energy: Float[np.ndarray, "*members t"]
    entropy: Float[np.ndarray, "*members t"]
    heat_capacity: Float[np.ndarray, "*members t"]


def thermal_functions(
    frequencies: Float[np.ndarray, "*members q bands"],
    weights: Num[np.ndarray, " q"],
    temperatures: Float[np.ndarray, " t"],
    counted: Bool[np.ndarray, "*members q bands"] | None = None,
) -> Thermal:
    """Sum the quantum harmonic oscillator's free energy, entropy and heat capacity over the modes of a mesh.

    Args:
        frequencies: ordinary frequencies in THz; imaginary ones as negative numbers, as phonopy writes them.
        weights: weights of the q-points, dimensionless, normalised here.
        temperatures: in K, zero allowed (zero-point energy).
        counted: modes that enter the sums, dimensionless; all of them if not given. Leave out Γ's three acoustic modes.

    Returns:
        Free energy in eV, entropy and heat capacity in eV/K, per cell of `bands` modes.

    Raises:
        ValueError: a counted mode is not positive, or a temperature is negative.

    Source: M. Born and K. Huang, Dynamical Theory of Crystal Lattices (1954), chapter II.
    """
    frequencies = np.asarray(frequencies, dtype=float)
    temperatures = np.asarray(temperatures, dtype=float)
    counted = np.ones(frequencies.shape, dtype=bool) if counted is None else np.broadcast_to(counted, frequencies.shape)
    if np.any(frequencies[counted] <= 0):
        raise ValueError(
            f"Thermal functions need positive frequencies, got {frequencies[counted].min():.4g} THz among the counted "
            "modes. Relax the crystal or follow the unstable mode; leave out only the acoustic modes at Gamma."
        )
    if np.any(temperatures < 0):
        raise ValueError(f"Temperatures must be zero or positive, got {temperatures.min():g} K.")
    share = np.where(counted, (np.asarray(weights, dtype=float) / np.sum(weights))[:, None], 0.0)
    quantum = PLANCK * np.where(counted, frequencies, 1.0)
    sums = [[np.sum(share * part, axis=(-2, -1)) for part in _oscillator(quantum, t)] for t in temperatures]
    free, entropy, capacity = (np.stack(column, axis=-1) for column in zip(*sums, strict=True))
    return Thermal(temperatures, free, entropy, capacity)


def mode_heat_capacity(frequencies: Float[np.ndarray, "*modes"], temperature: float) -> Float[np.ndarray, "*modes"]:
    """Heat capacity of single modes of positive frequencies in THz at a temperature in K, in eV/K.

    Source: M. Born and K. Huang, Dynamical Theory of Crystal Lattices (1954), chapter II.
    """
    return _oscillator(PLANCK * np.asarray(frequencies, dtype=float), temperature)[2]


def debye_temperature(velocities: Float[np.ndarray, "directions 3"], density: float) -> float:
    """Debye's temperature of the velocities of sound: its heat capacity is the crystal's in the limit T → 0.

    Args:
        velocities: of the three acoustic branches in THz Å (100 m/s), along directions of equal solid angle.
        density: atoms per Å³.

    Returns:
        Temperature in K; NaN where a branch is unstable.

    Source: O. L. Anderson, J. Phys. Chem. Solids 24, 909 (1963), eqs. 1 and 2.
    """
    if np.any(velocities <= 0):
        return float("nan")
    mean = np.mean(np.asarray(velocities, dtype=float) ** -3) ** (-1 / 3)
    return float(PLANCK / BOLTZMANN * (3 * density / (4 * np.pi)) ** (1 / 3) * mean)


def _oscillator(quantum: np.ndarray, temperature: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if temperature == 0:
        return quantum / 2, np.zeros_like(quantum), np.zeros_like(quantum)
    x = quantum / (BOLTZMANN * temperature)
    filled = np.exp(-x)
    empty = -np.expm1(-x)
    free = quantum / 2 + BOLTZMANN * temperature * np.log(empty)
    entropy = BOLTZMANN * (x * filled / empty - np.log(empty))
    return free, entropy, BOLTZMANN * x**2 * filled / empty**2
