"""Energy against volume: the third-order Birch–Murnaghan equation of state.

Source: F. Birch, Phys. Rev. 71, 809 (1947), eq. 15.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class BirchMurnaghan:
    """Fitted curves: volume in Å³, energy in eV, bulk modulus in eV/Å³, its pressure derivative dimensionless.

    Leading axes are those of the energies.

    Source: F. Birch, Phys. Rev. 71, 809 (1947).
    """

    volume: Float[np.ndarray, "*members"]
    energy: Float[np.ndarray, "*members"]
    bulk_modulus: Float[np.ndarray, "*members"]
    derivative: Float[np.ndarray, "*members"]

    def __call__(self, volumes: Float[np.ndarray, " v"]) -> Float[np.ndarray, "*members v"]:
        """Evaluate the curves: volumes in Å³ give energies in eV.

        Source: F. Birch, Phys. Rev. 71, 809 (1947), eq. 15.
        """
        v0, e0, b0, b1 = (
            np.asarray(x)[..., None] for x in (self.volume, self.energy, self.bulk_modulus, self.derivative)
        )
        strain = (v0 / np.asarray(volumes)) ** (2 / 3) - 1
        return e0 + 9 / 16 * v0 * b0 * strain**2 * (2 + (b1 - 4) * strain)


def fit_birch_murnaghan(volumes: Float[np.ndarray, " v"], energies: Float[np.ndarray, "*members v"]) -> BirchMurnaghan:
    """Fit the third-order Birch–Murnaghan curve, a cubic in V^(-2/3): linear least squares, no start guess.

    Args:
        volumes: at least five cell volumes in Å³.
        energies: energies in eV at these volumes; leading axes (ensemble members) are fitted one by one.

    Returns:
        The curves: V₀ in Å³, E₀ in eV, B₀ in eV/Å³, B₀′ dimensionless.

    Raises:
        ValueError: fewer than five points, or a curve without a minimum inside the volumes.

    Source: F. Birch, Phys. Rev. 71, 809 (1947), eq. 15.
    """
    volumes, energies = np.asarray(volumes, dtype=float), np.asarray(energies, dtype=float)
    if len(volumes) < 5:
        raise ValueError(
            f"A Birch–Murnaghan fit has four parameters and needs at least five volumes, got {len(volumes)}."
        )
    scale = volumes.mean()
    x = (volumes / scale) ** (-2 / 3) - 1
    rows = energies.reshape(-1, len(volumes))
    offset = rows.mean(axis=1)
    c = np.linalg.lstsq(np.vander(x, 4, increasing=True), (rows - offset[:, None]).T, rcond=None)[0]
    inside = c[2] ** 2 - 3 * c[1] * c[3]
    x0 = -c[1] / (c[2] + np.sqrt(np.where(inside > 0, inside, np.nan)))
    good = (c[2] + 3 * c[3] * x0 > 0) & (x0 >= x.min()) & (x0 <= x.max())
    if not np.all(good):
        raise ValueError(
            f"The energy has no minimum between {volumes.min():.4g} and {volumes.max():.4g} Å³ "
            f"({np.count_nonzero(~good)} of {len(good)} curves). Relax the cell first, or widen the volumes."
        )
    first, second = -2 / 3 * (1 + x0) ** 2.5, 10 / 9 * (1 + x0) ** 4
    curvature, third = 2 * c[2] + 6 * c[3] * x0, 6 * c[3]
    v0 = (1 + x0) ** -1.5
    e_vv = curvature * first**2
    e_vvv = third * first**3 + 3 * curvature * first * second
    shape = energies.shape[:-1]
    energy = offset + c[0] + x0 * (c[1] + x0 * (c[2] + x0 * c[3]))
    return BirchMurnaghan(
        volume=(v0 * scale).reshape(shape),
        energy=energy.reshape(shape),
        bulk_modulus=(v0 * e_vv / scale).reshape(shape),
        derivative=(-1 - v0 * e_vvv / e_vv).reshape(shape),
    )
