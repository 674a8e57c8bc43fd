"""Elastic constants as arrays: symmetry, relaxed ions, moduli, stability, velocities of sound.

Tensors are 6×6 matrices in Voigt's order xx yy zz yz xz xy, the strain of shear in engineering convention (γ = 2 ε),
any number of them along leading axes.

Source: J. F. Nye, Physical Properties of Crystals (1985), chapter VIII; D. C. Wallace, Thermodynamics of Crystals
    (1972).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ase_mlx.phonons.thermal import debye_temperature
from ase_mlx.units import VELOCITY, VOIGT

PAIRS = tuple(zip(*VOIGT, strict=True))
"""Voigt's order: the pair of axes of each component."""

SPHERE = (32, 64)
"""Heights and angles of the directions over which velocities are averaged: Debye temperatures to 0.01 %."""

Tensor = Float[np.ndarray, "*members 6 6"]
Each = float | Float[np.ndarray, " members"]


@dataclass(frozen=True)
class Moduli:
    """Moduli of a polycrystal without texture, in GPa; Poisson's ratio and the universal anisotropy are dimensionless.

    `bulk`, `shear`, `young` and `poisson` are Hill's: the mean of the bounds by Voigt (equal strain) and Reuss (equal
    stress).

    Source: R. Hill, Proc. Phys. Soc. A 65, 349 (1952); S. I. Ranganathan and M. Ostoja-Starzewski, Phys. Rev. Lett.
        101, 055504 (2008), eq. 10.
    """

    bulk_voigt: Each
    bulk_reuss: Each
    bulk: Each
    shear_voigt: Each
    shear_reuss: Each
    shear: Each
    young: Each
    poisson: Each
    anisotropy: Each


def strain_matrix(component: int, size: float) -> Float[np.ndarray, "3 3"]:
    """Symmetric strain of one Voigt component (engineering convention) of a dimensionless size.

    Source: J. F. Nye, Physical Properties of Crystals (1985), chapter VIII.
    """
    i, j = PAIRS[component]
    strain = np.zeros((3, 3))
    strain[i, j] += size / 2
    strain[j, i] += size / 2
    return strain


def full_tensor(tensor: Tensor) -> Float[np.ndarray, "*members 3 3 3 3"]:
    """Write a stiffness (any unit) with four indices.

    Source: J. F. Nye, Physical Properties of Crystals (1985), chapter VIII.
    """
    index = np.empty((3, 3), dtype=int)
    for k, (i, j) in enumerate(PAIRS):
        index[i, j] = index[j, i] = k
    return tensor[..., index[:, :, None, None], index[None, None]]


def symmetrised(tensor: Tensor, rotations: Float[np.ndarray, "operations 3 3"]) -> Tensor:
    """Project a stiffness (any unit) onto those that a point group leaves alone and that equal their transpose.

    Args:
        tensor: stiffness, any unit.
        rotations: the group's orthogonal matrices, dimensionless, which turn column vectors.

    Returns:
        The mean over the group, in the same unit.

    Source: J. F. Nye, Physical Properties of Crystals (1985), chapter VIII.
    """
    whole = full_tensor((tensor + np.swapaxes(tensor, -1, -2)) / 2)
    turned = [np.einsum("ai,bj,ck,dl,...ijkl->...abcd", r, r, r, r, whole, optimize=True) for r in rotations]
    i, j = np.array(VOIGT)
    return np.mean(turned, axis=0)[..., i[:, None], j[:, None], i[None], j[None]]


def relaxed_ions(
    clamped: Tensor,
    coupling: Float[np.ndarray, "*members atoms 3 6"],
    hessian: Float[np.ndarray, "*members atoms 3 atoms 3"],
    volume: float,
) -> tuple[Tensor, Float[np.ndarray, "*members modes"]]:
    """Let the ions follow the strain: subtract what they give way from the stiffness with clamped ions.

    Args:
        clamped: stress over strain with the atoms' scaled positions held, eV/Å³.
        coupling: forces over strain, likewise, eV/Å.
        hessian: second derivatives of the cell's energy by its atoms' positions (Γ), eV/Å².
        volume: of the cell, Å³.

    Returns:
        The stiffness in eV/Å³, and the Hessian's eigenvalues without the three of translation, ascending, in eV/Å².

    Source: D. C. Wallace, Thermodynamics of Crystals (1972), section 7; X. Wu, D. Vanderbilt and D. R. Hamann,
        Phys. Rev. B 72, 035105 (2005), eq. 35.
    """
    atoms = hessian.shape[-2]
    if atoms == 1:
        return clamped, np.empty((*clamped.shape[:-2], 0))
    matrix = hessian.reshape(*hessian.shape[:-4], 3 * atoms, 3 * atoms)
    relative = np.kron(np.linalg.qr(np.column_stack([np.ones(atoms), np.eye(atoms)[:, 1:]]))[0][:, 1:], np.eye(3))
    values, modes = np.linalg.eigh(relative.T @ ((matrix + np.swapaxes(matrix, -1, -2)) / 2) @ relative)
    along = np.swapaxes(modes, -1, -2) @ relative.T @ coupling.reshape(*coupling.shape[:-3], 3 * atoms, 6)
    return clamped - np.swapaxes(along, -1, -2) @ (along / values[..., None]) / volume, values


def moduli(tensor: Tensor) -> Moduli:
    """Bounds and means of a polycrystal's moduli, from a stiffness in GPa that is positive definite.

    Source: R. Hill, Proc. Phys. Soc. A 65, 349 (1952).
    """

    def bulk_and_shear(diagonal, off, shear):
        return (diagonal + 2 * off) / 9, (diagonal - off + 3 * shear) / 15

    def sums(matrix):
        diagonal = np.trace(matrix[..., :3, :3], axis1=-2, axis2=-1)
        off = matrix[..., 0, 1] + matrix[..., 0, 2] + matrix[..., 1, 2]
        return diagonal, off, np.trace(matrix[..., 3:, 3:], axis1=-2, axis2=-1)

    bulk_voigt, shear_voigt = bulk_and_shear(*sums(tensor))
    diagonal, off, shear = sums(np.linalg.inv(tensor))
    bulk_reuss, shear_reuss = 1 / (diagonal + 2 * off), 15 / (4 * (diagonal - off) + 3 * shear)
    bulk, hill = (bulk_voigt + bulk_reuss) / 2, (shear_voigt + shear_reuss) / 2
    return Moduli(
        bulk_voigt=bulk_voigt,
        bulk_reuss=bulk_reuss,
        bulk=bulk,
        shear_voigt=shear_voigt,
        shear_reuss=shear_reuss,
        shear=hill,
        young=9 * bulk * hill / (3 * bulk + hill),
        poisson=(3 * bulk - 2 * hill) / (6 * bulk + 2 * hill),
        anisotropy=5 * shear_voigt / shear_reuss + bulk_voigt / bulk_reuss - 6,
    )


def young_modulus(
    tensor: Tensor, directions: Float[np.ndarray, "directions 3"]
) -> Float[np.ndarray, "*members directions"]:
    """Young's modulus of a single crystal pulled along each (dimensionless) direction, from a stiffness in GPa; in GPa.

    Source: J. F. Nye, Physical Properties of Crystals (1985), chapter VIII.
    """
    unit = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
    stress = np.stack([unit[:, i] * unit[:, j] for i, j in PAIRS], axis=-1)
    return 1 / np.einsum("di,...ij,dj->...d", stress, np.linalg.inv(tensor), stress)


def stiffness_eigenvalues(tensor: Tensor) -> Float[np.ndarray, "*members 6"]:
    """Stiffnesses in GPa of the six strains that cause no other stress, ascending; all positive in a stable crystal.

    They do not depend on the axes, unlike those of Voigt's matrix: shear components are scaled by √2 (Kelvin).

    Source: F. Mouhat and F.-X. Coudert, Phys. Rev. B 90, 224104 (2014), for the criterion.
    """
    scale = np.sqrt([1, 1, 1, 2, 2, 2])
    return np.linalg.eigvalsh(tensor * np.outer(scale, scale))


def sound_velocities(
    tensor: Tensor, density: float, directions: Float[np.ndarray, "directions 3"]
) -> Float[np.ndarray, "*members directions 3"]:
    """Velocities of the three sound waves along each direction, ascending; Christoffel's equation.

    Args:
        tensor: stiffness in GPa.
        density: of mass, amu/Å³.
        directions: of any length, dimensionless.

    Returns:
        Velocities in km/s (10 THz Å); negative where a wave is unstable.

    Source: D. C. Wallace, Thermodynamics of Crystals (1972), section 3.
    """
    unit = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
    christoffel = np.einsum("...ijkl,dj,dl->...dik", full_tensor(tensor), unit, unit, optimize=True)
    values = np.linalg.eigvalsh(christoffel) / density
    return VELOCITY * np.sign(values) * np.sqrt(np.abs(values))


def elastic_debye_temperature(tensor: Float[np.ndarray, "6 6"], density: float, atoms: float) -> float:
    """Debye's temperature of the sound waves of a stiffness: the limit T → 0 of the crystal's heat capacity.

    Args:
        tensor: stiffness in GPa.
        density: of mass, amu/Å³.
        atoms: per Å³.

    Returns:
        Temperature in K; NaN where a wave is unstable.

    Source: O. L. Anderson, J. Phys. Chem. Solids 24, 909 (1963), eqs. 1 and 2, the mean over all directions.
    """
    rings, steps = SPHERE
    height = (np.arange(rings) + 0.5) / rings
    angle = 2 * np.pi * (np.arange(steps) + 0.5) / steps
    ring = np.sqrt(1 - height**2)[:, None]
    parts = [ring * np.cos(angle), ring * np.sin(angle), np.broadcast_to(height[:, None], SPHERE)]
    directions = np.stack(parts, axis=-1).reshape(-1, 3)
    return debye_temperature(10 * sound_velocities(tensor, density, directions), atoms)  # km/s to THz Å
