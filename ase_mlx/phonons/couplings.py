"""What couples the phonons of a mesh in the linearised Boltzmann equation.

Source: L. Chaput, Phys. Rev. Lett. 110, 265506 (2013).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from ase_mlx.compiled import compiled
from ase_mlx.phonons.linewidths import RATE, STRENGTH, averaged
from ase_mlx.phonons.tetrahedra import Tetrahedra, delta_weight


@dataclass(frozen=True)
class Couplings:
    """Nonzero couplings of one point: its band, the modes (q₂ j₂), (q₃ j₃) as flat indices, their strength in THz.

    Source: ours.
    """

    bands: Int[np.ndarray, " n"]
    second: Int[np.ndarray, " n"]
    third: Int[np.ndarray, " n"]
    values: Float[np.ndarray, " n"]


def couplings_of(
    point: int,
    triplets: Int[np.ndarray, "t 2"],
    counts: Int[np.ndarray, " t"],
    strengths: Float[np.ndarray, "t bands bands bands"],
    frequencies: Float[np.ndarray, "q bands"],
    cells: Tetrahedra,
    lowest: float,
) -> Couplings:
    """Find the couplings of the phonons of one point of a mesh; all arguments as for `linewidths`.

    Args:
        point: the point, dimensionless.
        triplets: indices of q₂ and q₃, dimensionless.
        counts: how many pairs each triplet stands for, dimensionless.
        strengths: |element|² of each triplet in (eV/Å³)² (amu THz)^-3.
        frequencies: of all points of the mesh in THz.
        cells: the tetrahedra of the mesh.
        lowest: modes below this frequency in THz take no part.

    Source: L. Chaput, Phys. Rev. Lett. 110, 265506 (2013), eq. 5.
    """
    strengths = averaged(strengths, frequencies, triplets)
    second, third = cells.neighbours[triplets[:, 0]], cells.neighbours[triplets[:, 1]][:, cells.opposite]
    bands, left, right, values = _couplings(
        frequencies[point], second, third, counts.astype(float), strengths, frequencies, cells.corners, lowest
    )
    return Couplings(bands, left, right, values * (RATE * STRENGTH / len(frequencies)))


@compiled(fastmath=True, nogil=True)
def _couplings(own, second, third, counts, strengths, frequencies, corners, lowest):  # pragma: no cover, compiled
    """Strength times δ(ω₁ − ω₂ − ω₃) + δ(ω₁ + ω₂ − ω₃) + δ(ω₁ − ω₂ + ω₃), where it is not zero."""
    bands = len(own)
    room, filled = 1024, 0
    band, left, right = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.int32)
    values = np.empty(room)
    up, down, far = np.empty(15), np.empty(15), np.empty(15)
    for t in range(len(counts)):
        for j in range(bands):
            for k in range(bands):
                if frequencies[second[t, 0], j] <= lowest or frequencies[third[t, 0], k] <= lowest:
                    continue
                for c in range(15):
                    a, b = frequencies[second[t, c], j], frequencies[third[t, c], k]
                    up[c], down[c], far[c] = a + b, b - a, a - b
                for i in range(bands):
                    if own[i] <= lowest:
                        continue
                    weight = 0.0
                    if up.min() < own[i] < up.max():
                        weight += delta_weight(up, corners, own[i])
                    if down.min() < own[i] < down.max():
                        weight += delta_weight(down, corners, own[i])
                    if far.min() < own[i] < far.max():
                        weight += delta_weight(far, corners, own[i])
                    if weight == 0.0:
                        continue
                    if filled == room:
                        room *= 2
                        band, left, right = _grown(band, room), _grown(left, room), _grown(right, room)
                        longer = np.empty(room)
                        longer[:filled] = values
                        values = longer
                    band[filled] = i
                    left[filled], right[filled] = second[t, 0] * bands + j, third[t, 0] * bands + k
                    values[filled] = counts[t] * strengths[t, i, j, k] * weight
                    filled += 1
    return band[:filled].copy(), left[:filled].copy(), right[:filled].copy(), values[:filled].copy()


@compiled(nogil=True)
def _grown(array, room):  # pragma: no cover, compiled
    longer = np.empty(room, np.int32)
    longer[: len(array)] = array
    return longer
