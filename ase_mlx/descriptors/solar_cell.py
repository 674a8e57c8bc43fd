"""The largest efficiency of a solar cell of one junction, from its band gap alone.

Source: W. Shockley and H. J. Queisser, J. Appl. Phys. 32, 510 (1961), with the sun's spectrum on the ground.
"""

import functools
from pathlib import Path

import numpy as np
from jaxtyping import Float

from ase_mlx.units import BOLTZMANN, EV_IN_JOULE, LIGHT, PLANCK

SPECTRUM = Path(__file__).with_name("am15g.npz")
"""ASTM G173-03, global: wavelength (nm), power (W/m² nm); of `data/README.md`."""

CELL = 298.15
"""K: of the cell, as in standard tests."""

NODES = 24
"""Of the integral over a gap's distribution."""


@functools.cache
def _sun() -> tuple[np.ndarray, np.ndarray, float]:
    """Photon energies (eV, ascending), flux of all photons above each (1/(Å² ps)), power of all (eV/(Å² ps))."""
    with np.load(SPECTRUM) as stored:
        wavelength, power = (stored[name].astype(float) for name in ("wavelength", "power"))
    power *= 1e-32 / EV_IN_JOULE  # W/m² in eV/(Å² ps), for each nm
    energy = PLANCK * LIGHT / (10 * wavelength)
    photons = power / energy
    above = np.concatenate([[0.0], np.cumsum(0.5 * np.diff(wavelength) * (photons[1:] + photons[:-1]))])
    return energy[::-1], above[::-1], float(np.trapezoid(power, wavelength))


def efficiency_limit(gap: Float[np.ndarray, "..."] | float) -> Float[np.ndarray, "..."]:
    """Give the share of the sun's power that a cell of one junction can turn into electricity (dimensionless).

    All photons above the gap are absorbed, the cell shines into the half space before it and loses nothing else; its
    voltage is the one of largest power. Zero where the gap is.

    Args:
        gap: band gaps, eV.

    Raises:
        ValueError: a negative gap, or one that is no number.

    Source: see the module; AM1.5G spectrum, cell at 298.15 K.
    """
    gaps = np.asarray(gap, dtype=float)
    if not np.all(np.isfinite(gaps) & (gaps >= 0)):
        raise ValueError(f"got gaps from {np.min(gaps)} to {np.max(gaps)} eV, expected numbers from 0")
    energy, above, power = _sun()
    current = np.interp(gaps, energy, above)
    heat = BOLTZMANN * CELL
    # photons of a black body into the half space, Boltzmann's limit of Planck's law
    dark = 2 * np.pi / (PLANCK**3 * LIGHT**2) * heat * (gaps**2 + 2 * heat * gaps + 2 * heat**2) * np.exp(-gaps / heat)
    voltage = np.zeros_like(gaps)
    for _ in range(50):  # of largest power: (1 + V/kT) e^(V/kT) = 1 + sun/dark
        voltage = heat * (np.log1p(current / dark) - np.log1p(voltage / heat))
    best = voltage * (current - dark * np.expm1(voltage / heat)) / power
    return np.where(gaps > 0, np.clip(best, 0.0, 1.0), 0.0)


def expected_limit(
    gap: Float[np.ndarray, " n"], std: Float[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Give mean and standard deviation of the limit (dimensionless) where gaps have bars.

    Args:
        gap: mean band gaps, eV.
        std: their standard deviations, eV; what lies below zero is a metal.

    Source: Gauss's rule for normal distributions.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    drawn = np.maximum(np.asarray(gap)[..., None] + np.asarray(std)[..., None] * nodes, 0.0)
    limits, share = efficiency_limit(drawn), weights / weights.sum()
    mean = limits @ share
    return mean, np.sqrt(np.maximum(np.square(limits) @ share - mean**2, 0.0))
