"""Force constants of any order in compressed form: sums of powers of symmetry-tied mode functions.

Source: Y. Luo et al., arXiv 2503.05913 (the sum of symmetrised products); tying along space-group orbits: ours.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex, Float, Int

from ase_mlx.phonons.orbits import SpaceGroup


@dataclass(frozen=True)
class Orbit:
    """Mode functions about one point, and the operations that carry them to all equivalent places.

    `sites` (cell and atom) and `operations` are dimensionless; `functions` are in (eV/Åⁿ)^(1/n) for order n;
    `signs` are ±1, dimensionless (all 1 for odd orders).

    Source: ours.
    """

    sites: Int[np.ndarray, "sites 4"]
    functions: Float[np.ndarray, "rank sites 3"]
    operations: Int[np.ndarray, " members"]
    signs: Float[np.ndarray, " rank"]


@dataclass(frozen=True)
class CompressedTensor:
    """Φ(l₁b₁α₁, …) = Σ_ξ s_ξ Σ_g Σ_l Π_i A_ξ(g⁻¹(lᵢ − l, bᵢ, αᵢ)): each mode function with all its images.

    Equal factors make the permutation symmetry, the sum over lattice vectors l translation, the sum over operations g
    the space group, and Σ_lb A = 0 the acoustic sum rule: all exact. Products of different factors are sums of such
    powers (polarisation), so that nothing is lost against symmetrised products.

    Source: Y. Luo et al., arXiv 2503.05913, eq. 2; ours.
    """

    order: int
    group: SpaceGroup
    orbits: tuple[Orbit, ...]

    @property
    def rank(self) -> int:
        """Number of products, all images counted.

        Source: ours.
        """
        return sum(len(o.functions) * len(o.operations) for o in self.orbits)

    @property
    def size(self) -> int:
        """Numbers that are stored for the mode functions.

        Source: ours.
        """
        return sum(o.functions.size for o in self.orbits)

    @property
    def signs(self) -> Float[np.ndarray, " rank"]:
        """Sign of each product, dimensionless.

        Source: ours.
        """
        return np.concatenate([np.repeat(o.signs, len(o.operations)) for o in self.orbits])

    def transform(self, points: Float[np.ndarray, "q 3"]) -> Complex[np.ndarray, "q bands rank"]:
        """Fourier-transform the mode functions: Σ_l A(l, b, α) e^(2πi q·(l + x_b)), with the units of `functions`.

        Args:
            points: wave vectors in fractional coordinates, dimensionless.

        Source: Y. Luo et al., arXiv 2503.05913.
        """
        images = [part for orbit in self.orbits for part in self._images(orbit, points)]
        return np.concatenate(images, axis=-1)

    def tables(
        self, points: Float[np.ndarray, "q 3"], amplitudes: Complex[np.ndarray, "q bands bands"]
    ) -> Complex[np.ndarray, "q bands rank"]:
        """Mode functions between phonons: `transform` contracted with `Modes.amplitudes` in 1/√(amu THz).

        Source: Y. Luo et al., arXiv 2503.05913.
        """
        return amplitudes.transpose(0, 2, 1) @ self.transform(points)

    def _images(self, orbit: Orbit, points: np.ndarray) -> list[np.ndarray]:
        """Transforms (q, bands, operations) of each function of an orbit."""
        group, rank = self.group, len(orbit.functions)
        transforms = np.zeros((rank, len(points), 3 * len(group.positions), len(orbit.operations)), dtype=complex)
        for k, operation in enumerate(orbit.operations):
            sites = group.move(int(operation), np.zeros(3, dtype=int), orbit.sites)
            waves = np.exp(2j * np.pi * points @ (sites[:, :3] + group.positions[sites[:, 3]]).T)
            turned = orbit.functions @ group.cartesian[operation].T
            for atom in range(len(group.positions)):
                on_atom = sites[:, 3] == atom
                part = np.tensordot(waves[:, on_atom], turned[:, on_atom], (1, 1))
                transforms[:, :, 3 * atom : 3 * atom + 3, k] = part.transpose(1, 0, 2)
        return list(transforms)


def strengths(
    tables: torch.Tensor, signs: torch.Tensor, point: int, triplets: torch.Tensor, chunk: int = 32
) -> torch.Tensor:
    """|Σ_ξ s_ξ A(q₁) A(q₂) A(q₃)|² for one q₁ and many (q₂, q₃), on the device of the tables.

    Args:
        tables: of all points, (q, bands, rank), in (eV/Å³)^(1/3) (amu THz)^(-1/2).
        signs: of the products, dimensionless.
        point: index of q₁, dimensionless.
        triplets: indices of q₂ and q₃, (t, 2), dimensionless.
        chunk: triplets at a time.

    Returns:
        (t, bands, bands, bands) in (eV/Å³)² (amu THz)^-3.

    Source: Y. Luo et al., arXiv 2503.05913.
    """
    bands, rank = tables.shape[1:]
    first = (tables[point] * signs).T.contiguous()
    squared = torch.empty((len(triplets), bands, bands, bands), dtype=tables.real.dtype, device=tables.device)
    for lo in range(0, len(triplets), chunk):
        pair = triplets[lo : lo + chunk]
        products = tables[pair[:, 0], :, None] * tables[pair[:, 1], None]
        elements = products.reshape(-1, rank) @ first
        squares = elements.real.square() + elements.imag.square()
        squared[lo : lo + chunk] = squares.reshape(-1, bands, bands, bands).permute(0, 3, 1, 2)
    return squared
