"""Electrostatics of periodic densities, by plane waves.

Source: Ihm, Zunger and Cohen, J. Phys. C 12, 4409 (1979).
"""

import numpy as np
from jaxtyping import Float

from ase_mlx.graph.lattice import minimum_image
from ase_mlx.units import COULOMB_EV_A


def _squares(shape: tuple[int, int, int], cell: np.ndarray) -> np.ndarray:
    """|G|² (1/Å²) of a real FFT, infinite at G = 0, whose term a neutralising background takes.

    Of the waves that agree on the grid that of the smallest G counts, whichever vectors span the cell.
    """
    reciprocal = 2 * np.pi * np.linalg.inv(cell).T
    first, second = (np.fft.fftfreq(n, 1 / n) for n in shape[:2])
    index = np.stack(np.meshgrid(first, second, np.arange(shape[2] // 2 + 1), indexing="ij"), -1)
    waves = index.reshape(-1, 3) @ reciprocal
    square = np.square(minimum_image(waves, reciprocal * np.array(shape)[:, None])).sum(-1).reshape(index.shape[:3])
    square[0, 0, 0] = np.inf
    return square


def hartree_potential(
    density: Float[np.ndarray, "n1 n2 n3"], cell: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "n1 n2 n3"]:
    """Potential energy (eV) of an electron in the field of a periodic electron density, its mean set to zero.

    Args:
        density: e/Å³, positive for electrons.
        cell: rows, Å.

    Source: Poisson's equation; V(G) = 4π ρ(G) / G².
    """
    waves = np.fft.rfftn(density, norm="forward") * (4 * np.pi * COULOMB_EV_A / _squares(density.shape, cell))
    return np.fft.irfftn(waves, s=density.shape, axes=(0, 1, 2), norm="forward")


def hartree_energy(density: Float[np.ndarray, "n1 n2 n3"], cell: Float[np.ndarray, "3 3"]) -> float:
    """Electrostatic self-energy (eV) of a periodic density (e/Å³; its mean does not count), cell in Å.

    Source: ½ ∫ ρ V over the cell.
    """
    volume = abs(float(np.linalg.det(cell)))
    return 0.5 * float((density * hartree_potential(density, cell)).mean()) * volume
