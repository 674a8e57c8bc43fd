"""The free energy of oscillators whose frequencies depend on volume and temperature, and its derivatives.

Source: M. Born and K. Huang, Dynamical Theory of Crystal Lattices (1954), chapter II; derivatives by hand are ours.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ase_mlx.units import BOLTZMANN, PLANCK

COLDEST = 0.1
"""K, below which nothing moves."""


@dataclass(frozen=True)
class Jet:
    """A function of z = ln V and T, and its derivatives: first and second. Energies in eV, temperatures in K.

    Source: ours.
    """

    value: Tensor
    by_z: Tensor
    by_t: Tensor
    by_zz: Tensor
    by_zt: Tensor
    by_tt: Tensor


def vinet(
    strain: Float[Tensor, " points"], volume: Tensor, bulk_modulus: Tensor, derivative: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Give Vinet's energy above its minimum, and its first and second derivative by the strain.

    Args:
        strain: ln(V/V₀), dimensionless.
        volume: V₀, Å³.
        bulk_modulus: eV/Å³.
        derivative: B₀′, dimensionless.

    Returns:
        Energies, eV.

    Source: P. Vinet et al., J. Phys. C 19, L467 (1986).
    """
    a, side = 1.5 * (derivative - 1), torch.exp(strain / 3)
    s, scale = a * (side - 1), 9 * bulk_modulus * volume / a**2
    falling = torch.exp(-s)
    by, twice = a * side / 3, a * side / 9
    energy = scale * (1 - (1 + s) * falling)
    return energy, scale * s * falling * by, scale * falling * ((1 - s) * by**2 + s * twice)


def oscillators(
    logs: Float[Tensor, "points modes"],
    by_z: Float[Tensor, "points modes"],
    by_zz: Float[Tensor, "points modes"],
    by_t: Float[Tensor, " points"],
    by_tt: Float[Tensor, " points"],
    temperature: Float[Tensor, " points"],
    shares: Float[Tensor, " modes"],
) -> Jet:
    """Sum the free energies of oscillators.

    With u the energy of one and c its heat capacity at constant frequency, ∂f/∂ln ω = u, ∂²f/∂(ln ω)² = u − T c and
    ∂²f/∂T∂ln ω = c. The entropy is zero at 0 K, and the heat capacity k_B for each at high temperature, wherever
    frequencies stop to change with temperature at both ends.

    Args:
        logs: ln(ω/THz), dimensionless.
        by_z: their derivatives by ln V, dimensionless.
        by_zz: second ones, dimensionless.
        by_t: their derivative by temperature, that of all, 1/K.
        by_tt: the second one, 1/K².
        temperature: K.
        shares: weights, dimensionless.

    Source: M. Born and K. Huang, Dynamical Theory of Crystal Lattices (1954), chapter II.
    """
    quantum, t = PLANCK * torch.exp(logs), temperature.clamp(min=COLDEST)[:, None]
    y = (quantum / (BOLTZMANN * t)).clamp(max=600.0)
    filled, empty = torch.exp(-y), -torch.expm1(-y)
    number = filled / empty
    energy = quantum * (0.5 + number)
    capacity = BOLTZMANN * y**2 * number / empty
    entropy = BOLTZMANN * (y * number - torch.log(empty))
    first, second = by_t[:, None], by_tt[:, None]
    stiff = energy - t * capacity
    parts = (
        0.5 * quantum + BOLTZMANN * t * torch.log(empty),
        energy * by_z,
        energy * first - entropy,
        stiff * by_z**2 + energy * by_zz,
        (capacity + stiff * first) * by_z,
        stiff * first**2 + energy * second + 2 * capacity * first - capacity / t,
    )
    return Jet(*(part @ shares for part in parts))


def settling(temperature: Float[Tensor, " points"], scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Give T²/(T² + T₀²) and its derivatives: flat at both ends, so that the laws of both ends hold.

    Args:
        temperature: K.
        scale: T₀, K.

    Returns:
        A dimensionless number, 1/K, 1/K².

    Source: ours.
    """
    t2, s2 = temperature**2, scale**2
    total = t2 + s2
    return t2 / total, 2 * temperature * s2 / total**2, 2 * s2 * (s2 - 3 * t2) / total**3
