"""Energy against volume: the equations of state of Birch and Murnaghan (third order) and of Vinet.

Source: F. Birch, Phys. Rev. 71, 809 (1947), eq. 15; P. Vinet et al., J. Phys. C 19, L467 (1986).
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
    curve, good = _birch_murnaghan(volumes, energies)
    if not np.all(good):
        raise ValueError(
            f"The energy has no minimum between {np.min(volumes):.4g} and {np.max(volumes):.4g} Å³ "
            f"({np.count_nonzero(~good)} of {good.size} curves). Relax the cell first, or widen the volumes."
        )
    return curve


def _birch_murnaghan(volumes: np.ndarray, energies: np.ndarray) -> tuple[BirchMurnaghan, np.ndarray]:
    """The curves, and which of them have their minimum inside the volumes."""
    volumes, energies = np.asarray(volumes, dtype=float), np.asarray(energies, dtype=float)
    if len(volumes) < 5:
        raise ValueError(
            f"An equation of state has four parameters and needs at least five volumes, got {len(volumes)}."
        )
    scale = volumes.mean()
    x = (volumes / scale) ** (-2 / 3) - 1
    rows = energies.reshape(-1, len(volumes))
    offset = rows.mean(axis=1)
    c = np.linalg.lstsq(np.vander(x, 4, increasing=True), (rows - offset[:, None]).T, rcond=None)[0]
    inside = c[2] ** 2 - 3 * c[1] * c[3]
    x0 = -c[1] / (c[2] + np.sqrt(np.where(inside > 0, inside, np.nan)))
    good = (c[2] + 3 * c[3] * x0 > 0) & (x0 >= x.min()) & (x0 <= x.max())
    x0 = np.where(good, x0, 0.0)
    first, second = -2 / 3 * (1 + x0) ** 2.5, 10 / 9 * (1 + x0) ** 4
    curvature, third = 2 * c[2] + 6 * c[3] * x0, 6 * c[3]
    v0 = (1 + x0) ** -1.5
    e_vv = curvature * first**2
    e_vvv = third * first**3 + 3 * curvature * first * second
    shape = energies.shape[:-1]
    energy = offset + c[0] + x0 * (c[1] + x0 * (c[2] + x0 * c[3]))
    curve = BirchMurnaghan(
        volume=(v0 * scale).reshape(shape),
        energy=energy.reshape(shape),
        bulk_modulus=(v0 * e_vv / scale).reshape(shape),
        derivative=(-1 - v0 * e_vvv / e_vv).reshape(shape),
    )
    return curve, good.reshape(shape)


@dataclass(frozen=True)
class Vinet:
    """Vinet curves: volume in Å³, energy in eV, bulk modulus in eV/Å³, its pressure derivative dimensionless.

    Leading axes are those of the energies; NaN where a curve has no minimum inside its volumes.

    Source: P. Vinet et al., J. Phys. C 19, L467 (1986).
    """

    volume: Float[np.ndarray, "*members"]
    energy: Float[np.ndarray, "*members"]
    bulk_modulus: Float[np.ndarray, "*members"]
    derivative: Float[np.ndarray, "*members"]


def fit_vinet(volumes: Float[np.ndarray, " v"], energies: Float[np.ndarray, "*members v"], steps: int = 30) -> Vinet:
    """Fit Vinet's universal curve by least squares (Gauss–Newton from the Birch–Murnaghan curve), all rows at once.

    E = E₀ + c [1 − (1 + s) e^(−s)] with s = a ((V/V₀)^(1/3) − 1), a = 3 (B₀′ − 1)/2, c = 9 B₀ V₀/a².

    Args:
        volumes: at least five cell volumes in Å³.
        energies: energies in eV at these volumes; leading axes (members, temperatures) are fitted one by one.
        steps: Gauss–Newton steps, dimensionless.

    Returns:
        V₀ in Å³, E₀ in eV, B₀ in eV/Å³, B₀′ dimensionless; NaN where there is no minimum inside the volumes.

    Raises:
        ValueError: fewer than five volumes.

    Source: P. Vinet et al., J. Phys. C 19, L467 (1986).
    """
    start, good = _birch_murnaghan(volumes, energies)
    shape, side = good.shape, np.cbrt(np.asarray(volumes, dtype=float))
    rows = np.asarray(energies, dtype=float).reshape(-1, len(side))[good.ravel()]
    v0, e0, b0, b1 = (
        np.asarray(x).reshape(-1)[good.ravel()]
        for x in (start.volume, start.energy, start.bulk_modulus, start.derivative)
    )
    a = 1.5 * (np.maximum(b1, 1.5) - 1)
    p = np.stack([e0, 9 * b0 * v0 / a**2, a, np.cbrt(v0)], axis=-1)
    for _ in range(steps if len(rows) else 0):
        x = side / p[:, 3:] - 1
        s = p[:, 2:3] * x
        slope = p[:, 1:2] * s * np.exp(-s)
        model = p[:, :1] + p[:, 1:2] * (1 - (1 + s) * np.exp(-s))
        jacobian = np.stack(
            [np.ones_like(x), 1 - (1 + s) * np.exp(-s), slope * x, -slope * p[:, 2:3] * side / p[:, 3:] ** 2], axis=-1
        )
        size = np.linalg.norm(jacobian, axis=1, keepdims=True)
        step = np.linalg.pinv(jacobian / size) @ (rows - model)[..., None]
        p = p + (step[..., 0] / size[:, 0])
    minima = np.full((4, good.size), np.nan)
    volume = p[:, 3] ** 3
    modulus = p[:, 1] * p[:, 2] ** 2 / (9 * volume)
    minimum = (modulus > 0) & (volume >= np.min(volumes)) & (volume <= np.max(volumes))
    rows = np.stack([volume, p[:, 0], modulus, 1 + 2 * p[:, 2] / 3])
    minima[:, good.ravel()] = np.where(minimum, rows, np.nan)
    return Vinet(*(x.reshape(shape) for x in minima))
