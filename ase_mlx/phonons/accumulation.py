"""How much of a conductivity is carried up to a mean free path or a frequency.

Source: F. Yang and C. Dames, Phys. Rev. B 87, 035437 (2013).
"""

import numpy as np
from jaxtyping import Float

from ase_mlx.phonons.transport import Relaxation


def accumulated(
    found: Relaxation, temperature: float, by: str
) -> tuple[Float[np.ndarray, " modes"], Float[np.ndarray, " modes"]]:
    """Sum the mean diagonal conductivity of modes in ascending order of mean free path or frequency.

    Args:
        found: a conductivity by modes.
        temperature: in K, one of those of `found`.
        by: "mean free path" or "frequency".

    Returns:
        The ascending mean free paths in Å or frequencies in THz, and the sums in W/(m K).

    Raises:
        ValueError: another temperature, or another word.

    Source: F. Yang and C. Dames, Phys. Rev. B 87, 035437 (2013), eq. 1.
    """
    at = np.flatnonzero(np.isclose(found.temperatures, temperature))
    if not len(at):
        raise ValueError(f"temperature: got {temperature:g} K, expected one of {found.temperatures.tolist()}.")
    if by == "frequency":
        axis = found.modes.frequencies
    elif by == "mean free path":
        axis = mean_free_paths(found)[at[0]]
    else:
        raise ValueError(f'by: got "{by}", expected "mean free path" or "frequency".')
    shares = found.mode_kappa[at[0], :, :, :3].mean(axis=-1).ravel()
    order = np.argsort(axis.ravel())
    return axis.ravel()[order], np.cumsum(shares[order])


def mean_free_paths(found: Relaxation) -> Float[np.ndarray, "t stars bands"]:
    """Speed times lifetime, |v|/(4πΓ), in Å; zero where there is no linewidth.

    Source: A. Togo, L. Chaput and I. Tanaka, Phys. Rev. B 91, 094306 (2015).
    """
    speeds = np.linalg.norm(found.modes.velocities, axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(found.gamma > 0, speeds / (4 * np.pi * found.gamma), 0.0)
