"""How far a compressed tensor moves linewidths and conductivity: exact elements on a random sample say it.

Source: ours; sampling with probability proportional to size, M. Hansen and W. Hurwitz, Ann. Math. Stat. 14, 333 (1943).
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from ase_mlx.phonons.compressed import CompressedTensor
from ase_mlx.phonons.crystal import Crystal
from ase_mlx.phonons.interaction import interaction_of
from ase_mlx.phonons.linewidths import linewidths
from ase_mlx.phonons.modes import occupation
from ase_mlx.phonons.tetrahedra import tetrahedra
from ase_mlx.phonons.transport import LOWEST, Relaxation, shared

SAMPLES = 240
"""Triplets evaluated exactly for each of the two figures."""

LEVEL = 0.95
"""Of the intervals."""


@dataclass(frozen=True)
class Certificate:
    """95 % intervals of the relative errors, dimensionless, that compression makes, as exact elements show them.

    `kappa` is that of the mean diagonal conductivity at `temperature` in K, `linewidth` that of linewidths averaged
    over modes; (low, high) of (compressed − exact)/exact, to first order in the errors. `exact` says that compression
    was left aside for the conductivity, since the interval excludes it.

    Source: ours.
    """

    temperature: float
    samples: int
    kappa: tuple[float, float]
    linewidth: tuple[float, float]
    exact: bool = False

    @property
    def excludes(self) -> bool:
        """Tell whether the compressed conductivity lies outside the interval of the exact one.

        Source: ours.
        """
        low, high = self.kappa
        return not low <= 0 <= high

    def __str__(self) -> str:
        """Say it in one line."""
        (a, b), (c, d) = self.kappa, self.linewidth
        rest = ": kappa was computed without it" if self.exact else ""
        return (
            f"compression changes kappa({self.temperature:g} K) by {100 * a:+.2f} to {100 * b:+.2f} %, linewidths by "
            f"{100 * c:+.2f} to {100 * d:+.2f} % on average (95 %, {self.samples} exact triplets each){rest}"
        )


def certify(
    crystal: Crystal, tensor: CompressedTensor, relaxation: Relaxation, samples: int = SAMPLES, seed: int = 0
) -> Certificate:
    """Compare compressed with exact elements on triplets drawn by their share in conductivity and in linewidths.

    Args:
        crystal: exact force constants and phonons.
        tensor: what was used for `relaxation`.
        relaxation: a conductivity from the tensor.
        samples: exact triplets for each figure, spread evenly over their cumulated shares.
        seed: of the draw.

    Returns:
        The intervals.

    Source: M. Hansen and W. Hurwitz, Ann. Math. Stat. 14, 333 (1943); ours.
    """
    modes = crystal.modes(relaxation.mesh.points, False)
    exact = interaction_of(crystal, relaxation.mesh, modes.legs(crystal.masses, LOWEST))
    cells = tetrahedra(relaxation.mesh, np.linalg.inv(crystal.group.lattice).T)
    occupations = occupation(modes.frequencies, relaxation.temperatures[relaxation.middle][None], LOWEST)
    gamma, heat = relaxation.gamma[relaxation.middle], relaxation.mode_kappa[relaxation.middle, :, :, :3].sum(axis=-1)
    counted = (gamma > 0) & (relaxation.modes.frequencies > LOWEST)
    stars = relaxation.weights[:, None] * counted
    safe = np.where(counted, gamma, 1.0)
    random = np.random.default_rng(seed)
    intervals = []
    for share in (heat / heat.sum() / safe, stars / stars.sum() / safe):
        sizes = [
            parts @ shared(row, f)
            for parts, row, f in zip(relaxation.parts, share, relaxation.modes.frequencies, strict=True)
        ]
        chosen = _spread(np.concatenate(sizes), samples, random)
        start = np.concatenate([[0], np.cumsum([len(s) for s in sizes])])
        errors = []
        for k in range(len(sizes)):
            picked = chosen[(chosen >= start[k]) & (chosen < start[k + 1])] - start[k]
            if not len(picked):
                continue
            point = int(relaxation.irreducible[k])
            triplets, counts = (x[picked] for x in relaxation.mesh.triplets(point))
            strengths = exact.strengths(point, triplets)
            widths = linewidths(point, triplets, counts, strengths, modes.frequencies, occupations, cells, LOWEST)
            parts = widths[:, 0]
            errors += list(parts @ shared(share[k], relaxation.modes.frequencies[k]) / sizes[k][picked] - 1)
        total = sum(s.sum() for s in sizes)
        intervals.append(_interval(total * np.array(errors)))
    (low, high), (less, more) = intervals
    return Certificate(float(relaxation.temperatures[relaxation.middle]), samples, (low, high), (-more, -less))


def _spread(sizes: np.ndarray, samples: int, random: np.random.Generator) -> np.ndarray:
    """Draw with probability proportional to size, at even steps of the cumulated sizes: each stratum gets its share."""
    cumulated = np.cumsum(np.maximum(sizes, 0))
    steps = (np.arange(samples) + random.random(samples)) / samples
    return np.minimum(np.searchsorted(cumulated, steps * cumulated[-1]), len(sizes) - 1)


def _interval(errors: np.ndarray) -> tuple[float, float]:
    mean, half = errors.mean(), stats.t.ppf((1 + LEVEL) / 2, len(errors) - 1) * errors.std(ddof=1) / len(errors) ** 0.5
    return float(mean - half), float(mean + half)
