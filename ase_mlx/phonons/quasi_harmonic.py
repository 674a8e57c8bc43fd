"""Quasi-harmonic thermodynamics: the free energy of every volume, minimised at each temperature.

Source: S. Baroni, P. Giannozzi and E. Isaev, Rev. Mineral. Geochem. 71, 39 (2010).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ase_mlx.phonons.equation_of_state import fit_vinet

DEGREE = 4
"""Of the polynomials in volume that entropy and heat capacity are read from."""


@dataclass(frozen=True)
class QuasiHarmonicCurves:
    """What follows from F(V, T), per cell: volume in Å³, energies in eV, entropy and heat capacities in eV/K.

    The volumetric expansion is in 1/K, the bulk modulus in eV/Å³, the thermodynamic Grüneisen parameter dimensionless.
    NaN where the free energy has no minimum inside the volumes.

    Source: ours.
    """

    temperatures: Float[np.ndarray, " t"]
    volume: Float[np.ndarray, "*members t"]
    gibbs_energy: Float[np.ndarray, "*members t"]
    bulk_modulus: Float[np.ndarray, "*members t"]
    expansion: Float[np.ndarray, "*members t"]
    entropy: Float[np.ndarray, "*members t"]
    heat_capacity_v: Float[np.ndarray, "*members t"]
    heat_capacity_p: Float[np.ndarray, "*members t"]
    gruneisen: Float[np.ndarray, "*members t"]


def quasi_harmonic_curves(
    volumes: Float[np.ndarray, " v"],
    energies: Float[np.ndarray, "*members v"],
    temperatures: Float[np.ndarray, " t"],
    free_energy: Float[np.ndarray, "*members v t"],
    entropy: Float[np.ndarray, "*members v t"],
    heat_capacity: Float[np.ndarray, "*members v t"],
    pressure: float = 0.0,
) -> QuasiHarmonicCurves:
    """Minimise E(V) + F_vib(V, T) + pV by a Vinet curve at each temperature, and follow the minimum.

    The expansion is the central difference of ln V on the given temperatures, one-sided at their ends.

    Args:
        volumes: at least five cell volumes in Å³.
        energies: static energies in eV; leading axes (ensemble members) are treated one by one.
        temperatures: at least three, ascending, in K.
        free_energy: vibrational free energies in eV.
        entropy: vibrational entropies in eV/K.
        heat_capacity: at constant volume, in eV/K.
        pressure: in eV/Å³.

    Returns:
        The curves along temperature.

    Raises:
        ValueError: fewer than five volumes or three temperatures, or temperatures that do not ascend.

    Source: S. Baroni, P. Giannozzi and E. Isaev, Rev. Mineral. Geochem. 71, 39 (2010), section 3.
    """
    temperatures = np.asarray(temperatures, dtype=float)
    if len(temperatures) < 3 or np.any(np.diff(temperatures) <= 0):
        raise ValueError(f"Thermal expansion needs at least three ascending temperatures, got {temperatures} K.")
    static = np.asarray(energies)[..., None] + pressure * np.asarray(volumes)[:, None]
    total = np.swapaxes(static + free_energy, -1, -2)
    fit = fit_vinet(volumes, total)
    expansion = np.gradient(np.log(fit.volume), temperatures, axis=-1)
    (s, slope), (c_v, _) = (_at(volumes, np.swapaxes(v, -1, -2), fit.volume) for v in (entropy, heat_capacity))
    c_p = c_v + temperatures * slope * expansion * fit.volume
    with np.errstate(invalid="ignore", divide="ignore"):
        gruneisen = np.where(c_v > 0, expansion * fit.bulk_modulus * fit.volume / c_v, np.nan)
    return QuasiHarmonicCurves(
        temperatures, fit.volume, fit.energy, fit.bulk_modulus, expansion, s, c_v, c_p, gruneisen
    )


def _at(volumes: np.ndarray, values: np.ndarray, where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Read each row of values along the volumes, and its slope, at its own volume, by a polynomial through all."""
    scale, width = np.mean(volumes), np.ptp(volumes)
    x = (np.asarray(volumes) - scale) / width
    powers = np.vander(x, min(DEGREE, len(x) - 1) + 1)
    c = np.linalg.lstsq(powers, values.reshape(-1, len(x)).T, rcond=None)[0]
    y, degrees = ((where - scale) / width).ravel(), np.arange(len(c) - 1, 0, -1)[:, None]
    return np.polyval(c, y).reshape(where.shape), np.polyval(c[:-1] * degrees, y).reshape(where.shape) / width
