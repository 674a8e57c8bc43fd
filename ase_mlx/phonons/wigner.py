"""What coherences between phonons of one wave vector add to the conductivity: Wigner's transport equation.

Source: M. Simoncelli, N. Marzari and F. Mauri, Nat. Phys. 15, 809 (2019).
"""

import numpy as np
from jaxtyping import Complex, Float

from ase_mlx.phonons.crystal import Crystal
from ase_mlx.phonons.transport import LOWEST, Relaxation
from ase_mlx.units import VOIGT, WATTS

STEP = 1e-4
"""1/Å, of the dynamical matrix's derivative."""


def coherence_kappa(crystal: Crystal, relaxation: Relaxation) -> Float[np.ndarray, "t 6"]:
    """Conductivity by tunnelling between modes of a wave vector, to be added to `relaxation.kappa`.

    It is the whole sum over pairs of modes less that of each with itself in `relaxation`: what degenerate modes have
    between them does not depend on how they are chosen.

    Args:
        crystal: its phonons.
        relaxation: linewidths on a mesh.

    Returns:
        W/(m K), xx yy zz yz xz xy.

    Source: M. Simoncelli, N. Marzari and F. Mauri, Nat. Phys. 15, 809 (2019), eq. 11.
    """
    velocities = velocity_operator(crystal, relaxation.modes.points)
    f, gamma, turns = relaxation.modes.frequencies, relaxation.gamma, crystal.group.cartesian
    apart = f[:, :, None] - f[:, None]
    safe = np.where(f > LOWEST, f, 1.0)
    each = relaxation.heat_capacity / safe
    capacity = (safe[:, :, None] + safe[:, None]) / 4 * (each[..., :, None] + each[..., None, :])
    width = gamma[..., :, None] + gamma[..., None, :]
    counted = (f > LOWEST)[:, :, None] & (f > LOWEST)[:, None] & (width > 0)
    overlap = np.where(counted, width / np.where(counted, apart**2 + width**2, 1.0), 0.0) / (2 * np.pi)
    tensors = np.einsum("tqij,qaij,qbij->tqab", capacity * overlap, velocities, velocities.conj()).real
    scale = WATTS / (crystal.volume * len(relaxation.mesh.addresses)) * relaxation.weights
    total = np.einsum("q,tqab->tab", scale, tensors)
    even = (turns @ total[:, None] @ turns.transpose(0, 2, 1)).mean(axis=1)
    return np.stack([even[:, a, b] for a, b in zip(*VOIGT, strict=True)], axis=-1) - relaxation.kappa


def velocity_operator(crystal: Crystal, points: Float[np.ndarray, "q 3"]) -> Complex[np.ndarray, "q 3 bands bands"]:
    """Velocities of modes, and between them: ⟨e|∂D/∂k|e'⟩/(f + f') in THz Å, group velocities on the diagonal.

    Args:
        crystal: its phonons.
        points: wave vectors in fractional coordinates, dimensionless.

    Source: M. Simoncelli, N. Marzari and F. Mauri, Nat. Phys. 15, 809 (2019), eq. 6.
    """
    here = crystal.modes(points, False)
    safe = np.where(here.frequencies > LOWEST, here.frequencies, np.inf)
    vectors, operators = here.eigenvectors, []
    for move in STEP * crystal.group.lattice.T:
        ahead, back = (crystal.modes(points + sign * move, False) for sign in (1, -1))
        slope = (_matrices(ahead) - _matrices(back)) / (2 * STEP)
        between = vectors.conj().transpose(0, 2, 1) @ slope @ vectors
        operators.append(between / (safe[:, :, None] + safe[:, None]))
    return np.stack(operators, axis=1)


def _matrices(modes) -> np.ndarray:
    """Dynamical matrices in THz², put together from their modes."""
    squares = np.sign(modes.frequencies) * modes.frequencies**2
    return (modes.eigenvectors * squares[:, None]) @ modes.eigenvectors.conj().transpose(0, 2, 1)
