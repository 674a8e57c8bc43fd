"""How much of a conductivity is carried up to a mean free path or a frequency.

Source: F. Yang and C. Dames, Phys. Rev. B 87, 035437 (2013).
"""

import numpy as np
from jaxtyping import Float

from ase_mlx.phonons.linewidths import shared
from ase_mlx.phonons.transport import Relaxation


def accumulated(
    relaxation: Relaxation, temperature: float, by: str
) -> tuple[Float[np.ndarray, " modes"], Float[np.ndarray, " modes"]]:
    """Sum the mean diagonal conductivity of modes in ascending order of mean free path or frequency.

    Args:
        relaxation: a conductivity by modes.
        temperature: in K, one of those of `relaxation`.
        by: "mean free path" or "frequency".

    Returns:
        The ascending mean free paths in Å or frequencies in THz, and the sums in W/(m K).

    Raises:
        ValueError: another temperature, or another word.

    Source: F. Yang and C. Dames, Phys. Rev. B 87, 035437 (2013), eq. 1.
    """
    at = np.flatnonzero(np.isclose(relaxation.temperatures, temperature))
    if not len(at):
        raise ValueError(f"temperature: got {temperature:g} K, expected one of {relaxation.temperatures.tolist()}.")
    if by == "frequency":
        axis = relaxation.modes.frequencies
    elif by == "mean free path":
        axis = mean_free_paths(relaxation)[at[0]]
    else:
        raise ValueError(f'by: got "{by}", expected "mean free path" or "frequency".')
    shares = relaxation.mode_kappa[at[0], :, :, :3].mean(axis=-1).ravel()
    order = np.argsort(axis.ravel())
    return axis.ravel()[order], np.cumsum(shares[order])


def normal_and_umklapp(
    relaxation: Relaxation, lattice: Float[np.ndarray, "3 3"]
) -> tuple[Float[np.ndarray, "stars bands"], Float[np.ndarray, "stars bands"]]:
    """Split the linewidths of three-phonon scattering in THz, at the temperature of index `middle`.

    Args:
        relaxation: linewidths on a mesh.
        lattice: row vectors of the primitive cell in Å.

    Returns:
        The parts of normal and of Umklapp processes in Γ in THz.

    Source: R. Peierls, Ann. Phys. 395, 1055 (1929).
    """
    split = []
    for k, point in enumerate(relaxation.irreducible):
        normal = relaxation.mesh.is_normal(int(point), relaxation.mesh.triplets(int(point))[0], lattice)
        parts = (relaxation.parts[k][normal].sum(axis=0), relaxation.parts[k][~normal].sum(axis=0))
        split.append([shared(part, relaxation.modes.frequencies[k]) for part in parts])
    both = np.array(split)
    return both[:, 0], both[:, 1]


def mean_free_paths(relaxation: Relaxation) -> Float[np.ndarray, "t stars bands"]:
    """Speed times lifetime, |v|/(4πΓ), in Å; zero where there is no linewidth.

    Source: A. Togo, L. Chaput and I. Tanaka, Phys. Rev. B 91, 094306 (2015).
    """
    speeds = np.linalg.norm(relaxation.modes.velocities, axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(relaxation.gamma > 0, speeds / (4 * np.pi * relaxation.gamma), 0.0)
