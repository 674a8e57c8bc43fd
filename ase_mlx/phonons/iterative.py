"""The linearised Boltzmann equation beyond relaxation times, solved without a collision matrix.

Source: L. Chaput, Phys. Rev. Lett. 110, 265506 (2013); M. Omini and A. Sparavigna, Physica B 212, 101 (1995).
"""

import numpy as np
from jaxtyping import Float
from scipy.sparse.linalg import LinearOperator, bicgstab

from ase_mlx.compiled import compiled
from ase_mlx.phonons.crystal import Crystal
from ase_mlx.phonons.linewidths import DEGENERATE
from ase_mlx.phonons.transport import LOWEST, Relaxation
from ase_mlx.progress import Steps, logged
from ase_mlx.units import BOLTZMANN, PLANCK, VOIGT, WATTS

TOLERANCE = 1e-8
"""Relative residual of the solution."""

STEPS = 500
"""At most, of the solver."""


def iterative_kappa(
    crystal: Crystal, relaxation: Relaxation, progress: Steps | None = None
) -> tuple[Float[np.ndarray, "t 6"], Float[np.ndarray, "t stars bands 6"]]:
    """Solve the linearised Boltzmann equation on the mesh and with the linewidths of a relaxation-time calculation.

    With f = ψ/(2 sinh(x/2)), deviations n − n₀ = n₀(n₀ + 1) ψ and x = hf/(k_B T), it is Ω f = b: relaxation on the
    diagonal, and 18π/ħ² |Φ|² (δ + δ + δ)/sinh(x″/2) between modes. Vectors of a star follow from one of them.

    Args:
        crystal: force constants and phonons.
        relaxation: its conductivity in the relaxation-time approximation, with `couplings=True`.
        progress: called after each step of the solver, with the temperatures done and in all.

    Returns:
        Conductivity in W/(m K), xx yy zz yz xz xy, and its parts by mode.

    Raises:
        ValueError: there are no couplings in `relaxation`.
        RuntimeError: the solver did not converge.

    Source: L. Chaput, Phys. Rev. Lett. 110, 265506 (2013), eqs. 4 to 8.
    """
    if relaxation.couplings is None:
        raise ValueError("got relaxation times without couplings, expected them; take couplings=True there.")
    system = _System(crystal, relaxation, progress or logged("temperatures of the Boltzmann equation"))
    parts = np.stack([system.solve(k) for k in range(len(relaxation.temperatures))])
    return parts.sum(axis=(1, 2)), parts


class _System:
    def __init__(self, crystal: Crystal, relaxation: Relaxation, progress: Steps) -> None:
        self.relaxation, mesh, self.progress = relaxation, relaxation.mesh, progress
        lattice = crystal.group.lattice
        self.scale = WATTS / (crystal.volume * len(mesh.addresses))
        self.frequencies = crystal.modes(mesh.points, False).frequencies
        reciprocal = np.linalg.inv(lattice).T
        self.turns = np.linalg.inv(reciprocal) @ mesh.reciprocal.transpose(0, 2, 1) @ reciprocal
        self.origin = np.zeros(len(mesh.addresses), dtype=int)
        self.operation = np.zeros(len(mesh.addresses), dtype=int)
        for k, point in enumerate(relaxation.irreducible):
            images = mesh.images[:, point]
            self.origin[images], self.operation[images] = k, np.arange(len(images))
        little = [mesh.images[:, p] == p for p in relaxation.irreducible]
        self.little = np.stack([self.turns[same].mean(axis=0) for same in little])
        f = relaxation.modes.frequencies
        same = np.abs(f[:, :, None] - f[:, None]) < DEGENERATE
        self.shared = same / same.sum(axis=1, keepdims=True)

    def spread(self, vectors: np.ndarray) -> np.ndarray:
        """From irreducible points to all: (stars, bands, 3) to (points, bands, 3)."""
        return np.einsum("qjb,qba->qja", vectors[self.origin], self.turns[self.operation])

    def symmetric(self, vectors: np.ndarray) -> np.ndarray:
        """Keep what the little groups and degeneracy allow."""
        return np.einsum("pij,pjb,pba->pia", self.shared, vectors, self.little)

    def solve(self, at: int) -> np.ndarray:
        """Parts of the conductivity by mode at one temperature, (stars, bands, 6) in W/(m K)."""
        relaxation, temperature = self.relaxation, self.relaxation.temperatures[at]
        x = PLANCK * np.where(self.frequencies > LOWEST, self.frequencies, np.inf) / (BOLTZMANN * temperature)
        with np.errstate(over="ignore"):
            inverse = 1 / np.sinh(x / 2)
        own = np.nan_to_num(inverse[relaxation.irreducible])
        inverse = np.nan_to_num(inverse).ravel()
        frequencies, velocities = relaxation.modes.frequencies, relaxation.modes.velocities
        counted = (frequencies > LOWEST) & (relaxation.gamma[at] > 0)
        diagonal = np.where(counted, 2 * relaxation.gamma[at], 1.0)
        right = self.symmetric((PLANCK * frequencies * own * counted)[..., None] * velocities)

        def off_diagonal(vectors: np.ndarray) -> np.ndarray:
            whole = self.spread(vectors).reshape(-1, 3)
            count = frequencies.shape[1]
            sums = np.stack(
                [_apply(c.bands, c.second, c.third, c.values, whole, inverse, count) for c in relaxation.couplings]
            )
            return self.symmetric(sums) * counted[..., None]

        # the unknown is f times the diagonal's square root: a matrix near unity
        root = np.sqrt(diagonal)[..., None]

        def apply(flat: np.ndarray) -> np.ndarray:
            vectors = flat.reshape(right.shape)
            self.progress(at, len(relaxation.temperatures))
            return (vectors + off_diagonal(vectors / root) / root).ravel()

        size = right.size
        solution, info = bicgstab(
            LinearOperator((size, size), matvec=apply), (right / root).ravel(), x0=(right / root).ravel(),
            rtol=TOLERANCE, maxiter=STEPS,
        )  # fmt: skip
        if info != 0:
            raise RuntimeError(f"The Boltzmann equation did not converge in {STEPS} steps at {temperature:g} K.")
        vectors = solution.reshape(right.shape) / root
        return self._parts(vectors, right, temperature)

    def _parts(self, vectors: np.ndarray, right: np.ndarray, temperature: float) -> np.ndarray:
        turned, pushed = (np.einsum("pjb,oba->opja", v, self.turns) for v in (vectors, right))
        both = [
            np.mean(turned[..., a] * pushed[..., b] + turned[..., b] * pushed[..., a], axis=0) / 2
            for a, b in zip(*VOIGT, strict=True)
        ]
        factor = self.scale * self.relaxation.weights[:, None, None] / (4 * BOLTZMANN * temperature**2) / (2 * np.pi)
        return np.stack(both, axis=-1) * factor


@compiled(fastmath=True)
def _apply(bands, second, third, values, vectors, inverse, count):  # pragma: no cover, compiled
    sums = np.zeros((count, 3))
    for n in range(len(values)):
        a, b = values[n] * inverse[third[n]], values[n] * inverse[second[n]]
        for c in range(3):
            sums[bands[n], c] += a * vectors[second[n], c] + b * vectors[third[n], c]
    return sums
