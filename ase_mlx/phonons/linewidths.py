"""Linewidths of phonons from three-phonon scattering, on the tetrahedra of a mesh.

Source: A. Togo, L. Chaput and I. Tanaka, Phys. Rev. B 91, 094306 (2015).
"""

import numpy as np
from jaxtyping import Float, Int

from ase_mlx.compiled import compiled
from ase_mlx.phonons.tetrahedra import Tetrahedra, delta_weight
from ase_mlx.units import AMU, HBAR

STRENGTH = (HBAR / (4 * np.pi * AMU)) ** 3 / 36
"""|Φ|² in eV² of one triplet, as phono3py counts it, per |element|² in (eV/Å³)² (amu THz)^-3; on a mesh, over its
number of points. Source: A. Togo, L. Chaput and I. Tanaka, Phys. Rev. B 91, 094306 (2015), eq. 41."""

DEGENERATE = 1e-4
"""THz: modes closer than this share what eigenvectors of any choice within their space would give them."""

RATE = 18 * np.pi / (2 * np.pi * HBAR) ** 2
"""Γ in THz per |Φ|² in eV² and δ in 1/THz. Source: as above, eq. 11."""


def linewidths(
    point: int,
    triplets: Int[np.ndarray, "t 2"],
    counts: Int[np.ndarray, " t"],
    strengths: Float[np.ndarray, "t bands bands bands"],
    frequencies: Float[np.ndarray, "q bands"],
    occupations: Float[np.ndarray, "q bands temperatures"],
    cells: Tetrahedra,
    lowest: float,
) -> Float[np.ndarray, "t temperatures bands"]:
    """Half widths at half maximum of the phonons of one point of a mesh, by three-phonon scattering, of each triplet.

    Args:
        point: the point, dimensionless.
        triplets: indices of q₂ and q₃, dimensionless.
        counts: how many pairs each triplet stands for, dimensionless.
        strengths: |element|² of each triplet in (eV/Å³)² (amu THz)^-3.
        frequencies: of all points of the mesh in THz.
        occupations: of all modes at each temperature, dimensionless.
        cells: the tetrahedra of the mesh.
        lowest: modes below this frequency in THz take no part.

    Returns:
        The part of each triplet in Γ in THz; their sum makes the lifetime 1/(4πΓ) in ps.

    Source: A. Togo, L. Chaput and I. Tanaka, Phys. Rev. B 91, 094306 (2015), eq. 11.
    """
    strengths = averaged(strengths, frequencies, triplets)
    second, third = cells.neighbours[triplets[:, 0]], cells.neighbours[triplets[:, 1]][:, cells.opposite]
    parts = _parts(
        frequencies[point], second, third, counts.astype(float), strengths, frequencies, occupations, cells.corners,
        lowest,
    )  # fmt: skip
    return parts.transpose(0, 2, 1) * (RATE * STRENGTH / len(frequencies))


def averaged(
    strengths: Float[np.ndarray, "t bands *others"],
    frequencies: Float[np.ndarray, "q bands"],
    partners: Int[np.ndarray, "t phonons"],
) -> Float[np.ndarray, "t bands *others"]:
    """Average |element|² (any unit) over degenerate modes of all phonons but the first, frequencies in THz.

    Eigenvectors within a degenerate space are anybody's choice, but the weights of its bands differ, since around the
    point they part: without the average the last digit of force constants would move linewidths by a thousandth.

    Source: ours.
    """
    alike = np.abs(np.diff(frequencies[partners], axis=2)) < DEGENERATE
    chosen = np.flatnonzero(alike.any(axis=(1, 2)))
    if not len(chosen):
        return strengths
    f = frequencies[partners[chosen]]
    mean = even_matrices(f).swapaxes(-1, -2).astype(strengths.dtype)
    result, (size, phonons, bands) = strengths.copy(), f.shape
    part = strengths[chosen].reshape(size, -1, bands) @ mean[:, -1].swapaxes(-1, -2)
    for k in range(phonons - 1):
        part = mean[:, k, None] @ part.reshape(size, bands ** (k + 1), bands, -1)
    result[chosen] = part.reshape(size, *strengths.shape[1:])
    return result


def shared(
    values: Float[np.ndarray, "... bands"], frequencies: Float[np.ndarray, " bands"]
) -> Float[np.ndarray, "..."]:
    """Average over degenerate modes (frequencies in THz); the values keep their unit.

    Source: A. Togo, L. Chaput and I. Tanaka, Phys. Rev. B 91, 094306 (2015).
    """
    return values @ even_matrices(frequencies)


def even_matrices(frequencies: Float[np.ndarray, "*q bands"]) -> Float[np.ndarray, "*q bands bands"]:
    """Matrices (dimensionless) that average over degenerate modes, frequencies in THz.

    Source: ours.
    """
    same = np.abs(frequencies[..., :, None] - frequencies[..., None, :]) < DEGENERATE
    return same / same.sum(axis=-2, keepdims=True)


@compiled(fastmath=True, nogil=True)
def _parts(own, second, third, counts, strengths, frequencies, occupations, corners, lowest):  # pragma: no cover
    size, bands, temperatures = len(counts), len(own), occupations.shape[2]
    parts = np.zeros((size, bands, temperatures))
    up, down, far = np.empty(15), np.empty(15), np.empty(15)
    for t in range(size):
        for j in range(bands):
            for k in range(bands):
                here = second[t, 0], third[t, 0]
                if frequencies[here[0], j] <= lowest or frequencies[here[1], k] <= lowest:
                    continue
                highest, least, most = 0.0, 1e300, -1e300
                bottom = 1e300
                for c in range(15):
                    a, b = frequencies[second[t, c], j], frequencies[third[t, c], k]
                    up[c], down[c], far[c] = a + b, b - a, a - b
                    highest, bottom = max(highest, a + b), min(bottom, a + b)
                    least, most = min(least, b - a), max(most, b - a)
                for i in range(bands):
                    f = own[i]
                    if f <= lowest:
                        continue
                    together, apart = 0.0, 0.0
                    if bottom < f < highest:
                        together = delta_weight(up, corners, f)
                    if least < f < most:
                        apart += delta_weight(down, corners, f)
                    if -most < f < -least:
                        apart -= delta_weight(far, corners, f)
                    if together == 0.0 and apart == 0.0:
                        continue
                    weight = counts[t] * strengths[t, i, j, k]
                    for x in range(temperatures):
                        n, m = occupations[here[0], j, x], occupations[here[1], k, x]
                        parts[t, i, x] += weight * ((n + m + 1) * together + (n - m) * apart)
    return parts
