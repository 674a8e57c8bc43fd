"""Phonons at a set of wave vectors, as arrays.

Source: ours.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex, Float

from ase_mlx.units import BOLTZMANN, PLANCK


@dataclass(frozen=True)
class Modes:
    """Phonons of a crystal at wave vectors in fractional coordinates (dimensionless).

    Frequencies in THz, imaginary ones negative; eigenvectors (columns) dimensionless, with the phase of the atoms'
    positions, as phonopy has them; group velocities ∂ω/∂k in THz Å (1 THz Å = 100 m/s), or none where not asked for.

    Source: ours.
    """

    points: Float[np.ndarray, "q 3"]
    frequencies: Float[np.ndarray, "q bands"]
    eigenvectors: Complex[np.ndarray, "q bands bands"]
    velocities: Float[np.ndarray, "q bands 3"] | None = None

    def amplitudes(self, masses: Float[np.ndarray, " atoms"], lowest: float) -> Complex[np.ndarray, "q bands bands"]:
        """Displacements of unit quanta, e/√(m f), in 1/√(amu THz), zero for modes below `lowest` in THz.

        Args:
            masses: in amu.
            lowest: in THz.

        Source: ours.
        """
        counted = self.frequencies > lowest
        scale = np.where(counted, self.frequencies, np.inf) ** -0.5
        return self.eigenvectors * np.repeat(masses, 3)[:, None] ** -0.5 * scale[:, None, :]


def occupation(
    frequencies: Float[np.ndarray, "*modes"], temperatures: Float[np.ndarray, " t"], lowest: float
) -> Float[np.ndarray, "*modes t"]:
    """Bose–Einstein occupation of modes in THz at temperatures in K, dimensionless; zero below `lowest` in THz, at 0 K.

    Source: M. Born and K. Huang, Dynamical Theory of Crystal Lattices (1954), chapter II.
    """
    warm = np.where(temperatures > 0, temperatures, np.nan)
    counted = np.where(frequencies > lowest, frequencies, np.nan)[..., None]
    with np.errstate(over="ignore"):
        numbers = 1 / np.expm1(PLANCK * counted / (BOLTZMANN * warm))
    return np.nan_to_num(numbers, nan=0.0)
