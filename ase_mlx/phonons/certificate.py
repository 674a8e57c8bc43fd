"""A conductivity from tensors, corrected by the exact elements of some processes, with the interval of what is left.

Deviations of linewidths are sums over triplets, and quartets. The largest are taken for sure, one is drawn from each
stratum of the rest, and what their exact parts differ from the tensor's goes into each mode's 1/linewidth.

Source: ours; M. Hansen and W. Hurwitz, Ann. Math. Stat. 14, 333 (1943), for draws by size; K. M. Wolter, Introduction
to Variance Estimation (2007), chapter 8, for successive differences.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from ase_mlx.phonons.crystal import Crystal
from ase_mlx.phonons.fourth_order import FoldedQuartic
from ase_mlx.phonons.interaction import interaction_of
from ase_mlx.phonons.linewidths import linewidths, shared
from ase_mlx.phonons.modes import occupation
from ase_mlx.phonons.tetrahedra import tetrahedra
from ase_mlx.phonons.transport import LOWEST, Relaxation
from ase_mlx.progress import Steps, logged

SAMPLES = 1000
"""Processes evaluated exactly at first."""

WIDTH = 0.01
"""Half of the 95 % interval over the conductivity: more processes are drawn where it is wider."""

MOST = 0.5
"""Of all processes: beyond, all elements of the mesh are computed faster."""

DEVIATE = 1.96
"""Half of a 95 % interval over the standard error."""

ENOUGH, TOGETHER = 8, 16
"""Draws that a mode needs for a deviation of its own, and that others have together who share one."""

LEAST = 0.1
"""Of a linewidth from the tensor: no exact one is taken to be smaller."""


@dataclass(frozen=True)
class Certificate:
    """What the exact elements of `triplets` triplets and `quartets` quartets make of a conductivity from tensors.

    `compressed` is what the tensor gives, `corrected` the estimate of the exact conductivity, `std` its standard
    error, all in W/(m K), xx yy zz yz xz xy, at `temperatures` in K. `half_widths` are half 95 % intervals of the mean
    of xx, yy and zz, relative, at each temperature. `linewidth_errors` bound (at 95 %) how far each linewidth of the
    tensor is off, relative, NaN where too few processes speak of it; `ratios` are what the mode's part in the
    conductivity is multiplied by, dimensionless. `exact` says that all elements are exact in the end; what is left of
    the intervals then is the draw of quartets on large meshes.

    Source: ours.
    """

    temperatures: Float[np.ndarray, " t"]
    compressed: Float[np.ndarray, "t 6"]
    corrected: Float[np.ndarray, "t 6"]
    std: Float[np.ndarray, "t 6"]
    half_widths: Float[np.ndarray, " t"]
    linewidth_errors: Float[np.ndarray, "t stars bands"]
    ratios: Float[np.ndarray, "t stars bands"]
    triplets: int
    exact: bool = False
    quartets: int = 0

    @property
    def changes(self) -> Float[np.ndarray, " t"]:
        """What the tensor alone changes in the mean of xx, yy and zz: compressed over corrected, less one.

        Source: ours.
        """
        return self.compressed[:, :3].sum(axis=1) / self.corrected[:, :3].sum(axis=1) - 1

    def superseded(self, exact: Relaxation) -> "Certificate":
        """Give the certificate of an exact conductivity (W/(m K)) that takes this one's place.

        Source: ours.
        """
        modes = np.zeros_like(exact.gamma)
        half = DEVIATE * _drawn(exact) / exact.kappa[:, :3].sum(axis=1)
        return replace(
            self, corrected=exact.kappa, std=exact.drawn_std, half_widths=half, linewidth_errors=modes,
            ratios=modes + 1, exact=True,
        )  # fmt: skip

    def __str__(self) -> str:
        """Say it in one line, at the temperature where the tensor changes most."""
        at = int(np.argmax(np.abs(self.changes)))
        width = 100 * self.half_widths.max()
        change = f"the tensor alone changes kappa({self.temperatures[at]:g} K) by {100 * self.changes[at]:+.2f} %"
        if self.exact:
            return f"{change}; kappa is exact" + (f" to {width:.2g} % (95 %)" if width else "")
        counts = {"triplets": self.triplets, "quartets": self.quartets}
        processes = " and ".join(f"{count} exact {name}" for name, count in counts.items() if count)
        return f"{change}; corrected by {processes}, kappa is certain to {width:.2g} % (95 %)"


def certify(
    crystal: Crystal,
    relaxation: Relaxation,
    samples: int = SAMPLES,
    width: float = WIDTH,
    seed: int = 0,
    progress: Steps | None = None,
    orders: Sequence[int] = (3,),
) -> Certificate:
    """Correct a conductivity from tensors by exact elements of triplets and quartets that count in it.

    Args:
        crystal: exact force constants in eV/Å³, and eV/Å⁴, and phonons.
        relaxation: a conductivity from tensors, in W/(m K).
        samples: draws at first, dimensionless.
        width: half 95 % interval, relative, above which more are drawn, up to `MOST` of all.
        seed: of the draws.
        progress: called with the wave vectors whose processes are done and in all, anew where more are drawn.
        orders: of the force constants that tensors stood for, dimensionless.

    Returns:
        The corrected conductivity with its interval, at all temperatures of `relaxation`.

    Source: ours.
    """
    draws = _Draws(crystal, relaxation, orders, progress or logged("wave vectors of a certificate"))
    most = max(samples, int(MOST * draws.count))
    while True:
        certificate = draws.certificate(samples, seed)
        wider = draws.half.max() / width  # the draw of quartets on a large mesh apart: exact elements do not help there
        if wider <= 1 or samples == most:
            return certificate
        samples = min(most, int(np.ceil(samples * np.clip(1.3 * wider**2, 2, 4))))


class _Triplets:
    """Three-phonon scattering of a conductivity: parts of linewidths in THz, and what exact elements change in them."""

    def __init__(self, crystal: Crystal, relaxation: Relaxation) -> None:
        self.relaxation, mesh = relaxation, relaxation.mesh
        modes = crystal.modes(mesh.points, False)
        self.exact = interaction_of(crystal, mesh, modes.amplitudes(crystal.masses, LOWEST))
        self.frequencies, self.cells = modes.frequencies, tetrahedra(mesh, np.linalg.inv(crystal.group.lattice).T)
        self.occupations = occupation(modes.frequencies, relaxation.temperatures, LOWEST)
        self.parts = [shared(p, f) for p, f in zip(relaxation.parts, relaxation.modes.frequencies, strict=True)]

    def changes(self, star: int, chosen: np.ndarray) -> np.ndarray:
        """Of some of the triplets of a star, (triplets, temperatures, bands)."""
        point = int(self.relaxation.irreducible[star])
        triplets, counts = (x[chosen] for x in self.relaxation.mesh.triplets(point))
        exact, compressed = (
            linewidths(
                point, triplets, counts, interaction.strengths(point, triplets), self.frequencies, self.occupations,
                self.cells, LOWEST,
            )
            for interaction in (self.exact, self.relaxation.interaction)
        )  # fmt: skip
        return shared(exact - compressed, self.frequencies[point])


class _Quartets:
    """The same of four-phonon scattering; of quartets that were drawn, those."""

    def __init__(self, crystal: Crystal, relaxation: Relaxation) -> None:
        self.relaxation, self.four, mesh = relaxation, relaxation.four, relaxation.mesh
        amplitudes = crystal.modes(mesh.points, False).amplitudes(crystal.masses, LOWEST)
        self.exact, self.parts = FoldedQuartic(crystal.fourth, mesh, amplitudes), self.four.parts

    def changes(self, star: int, chosen: np.ndarray) -> np.ndarray:
        """Of some of the quartets of a star, (quartets, temperatures, bands)."""
        point = int(self.relaxation.irreducible[star])
        quartets, counts = (x[chosen] for x in self.four.quartets[star])
        exact, compressed = (
            self.four.scattering(point, quartets, counts, squares) for squares in (self.exact, self.four.squares)
        )
        return exact - compressed


KINDS = {3: _Triplets, 4: _Quartets}


class _Draws:
    """Processes of a conductivity by their share in it, and their deviations."""

    def __init__(self, crystal: Crystal, relaxation: Relaxation, orders: Sequence[int], progress: Steps) -> None:
        self.relaxation, self.progress = relaxation, progress
        self.kinds = [KINDS[order](crystal, relaxation) for order in orders]
        self.orders, stars = np.array(orders), len(relaxation.irreducible)
        self.counted = relaxation.gamma > 0
        self.gamma = np.where(self.counted, relaxation.gamma, 1.0)
        heat = relaxation.mode_kappa[relaxation.middle, ..., :3].sum(axis=-1)
        share = np.where(self.counted[relaxation.middle], heat / heat.sum() / self.gamma[relaxation.middle], 0.0)
        parts = [p * s for kind in self.kinds for p, s in zip(kind.parts, share, strict=True)]
        # processes of one kind at one point are together
        self.group = np.repeat(np.arange(len(parts)), [len(p) for p in parts])
        self.kind, self.star = np.divmod(self.group, stars)
        self.place = np.concatenate([np.arange(len(p)) for p in parts])
        self.parts = np.maximum(np.concatenate(parts), 0.0)
        self.sizes = self.parts.sum(axis=1)
        self.count = np.count_nonzero(self.sizes)
        # neighbours in this order are alike: the kind and the point, the band that counts most, the size
        self.order = np.lexsort((self.sizes, self.parts.argmax(axis=1), self.group))
        # small ones are drawn more often than by size: a poor tensor may have missed what they are
        mean = np.bincount(self.group, self.sizes) / np.maximum(np.bincount(self.group), 1)
        self.chances = (self.sizes**0.75 * mean[self.group] ** 0.25)[self.order]

    def certificate(self, samples: int, seed: int) -> Certificate:
        """Draw, evaluate, correct."""
        index, weights, sure = _draw(self.chances, samples, np.random.default_rng(seed))
        index = self.order[index]
        distinct, back = np.unique(index, return_inverse=True)
        deviations = self._deviations(distinct)[back] * weights[:, None, None]
        numbers = [int(np.count_nonzero(self.orders[self.kind[distinct]] == order)) for order in (3, 4)]
        return self._corrected(index, deviations, sure, numbers)

    def _deviations(self, chosen: np.ndarray) -> np.ndarray:
        """What exact elements of processes change in the linewidths, relative, (processes, temperatures, bands)."""
        deviations = np.empty((len(chosen), *self.gamma[:, 0].shape))
        groups = np.unique(self.group[chosen])
        for done, group in enumerate(groups, 1):
            here = np.flatnonzero(self.group[chosen] == group)
            kind, star = divmod(int(group), self.gamma.shape[1])
            deviations[here] = self.kinds[kind].changes(star, self.place[chosen[here]]) / self.gamma[:, star]
            self.progress(done, len(groups))
        return deviations

    def _corrected(self, index: np.ndarray, deviations: np.ndarray, sure: int, numbers: list[int]) -> Certificate:
        relaxation, star, kappa = self.relaxation, self.star[index], self.relaxation.mode_kappa
        moved, spread = (np.zeros((len(relaxation.irreducible), *deviations.shape[1:])) for _ in range(2))
        np.add.at(moved, star, deviations)
        np.add.at(spread, star[sure:], deviations[sure:] ** 2)
        moved, spread = moved.transpose(1, 0, 2), spread.transpose(1, 0, 2)
        group, own = self._groups(index, sure)
        heat = np.maximum(kappa[..., :3].sum(axis=-1), 0.0) * self.counted
        whole = _sums(group, heat)
        whole = np.where(whole > 0, whole, 1.0)
        width = np.maximum(1 + _sums(group, heat * moved) / whole, LEAST)
        # 1/x of an estimate is too large by its variance over x³
        ratios = 1 / width - np.minimum(_sums(group, heat**2 * spread) / whole**2, 0.25) / width**3
        slopes = kappa / width[..., None] ** 2
        values = np.einsum("dtb,dtbc->dtc", deviations[sure:], slopes[:, star[sure:]].transpose(1, 0, 2, 3))
        corrected = (ratios[..., None] * kappa).sum(axis=(1, 2))
        errors, total = _error(values[..., :3].sum(axis=-1)), corrected[:, :3].sum(axis=1)
        self.half = DEVIATE * errors / total
        half = DEVIATE * np.hypot(errors, _drawn(relaxation)) / total
        bound = np.where(own & self.counted, np.abs(moved) + DEVIATE * np.sqrt(spread), np.nan)
        return Certificate(
            relaxation.temperatures, relaxation.kappa, corrected, np.hypot(_error(values), relaxation.drawn_std), half,
            bound, ratios, numbers[0], bool(sure == len(index) == self.count), numbers[1],
        )  # fmt: skip

    def _groups(self, index: np.ndarray, sure: int) -> tuple[np.ndarray, np.ndarray]:
        """Which modes share a deviation, (stars, bands): neighbours in a band that have few draws; and which do not.

        A mode has its own where enough triplets were drawn, or all.
        """
        draws, covered, whole = (np.zeros(self.gamma.shape[1:]) for _ in range(3))
        np.add.at(draws, self.star[index], self.parts[index] / np.maximum(self.sizes[index], 1e-300)[:, None])
        np.add.at(covered, self.star[index[:sure]], self.parts[index[:sure]])
        np.add.at(whole, self.star, self.parts)
        own = (draws >= ENOUGH) | ((whole > 0) & (covered > (1 - 1e-9) * whole))
        frequencies = self.relaxation.modes.frequencies
        order = np.lexsort((frequencies.ravel(), np.broadcast_to(np.arange(draws.shape[1]), draws.shape).ravel()))
        rest = order[~own.ravel()[order]]
        group, reached = np.zeros(draws.size, dtype=int), np.cumsum(draws.ravel()[rest])
        if len(rest):
            group[rest] = np.minimum(reached // TOGETHER, max(reached[-1] // TOGETHER - 1, 0))
        group[own.ravel()] = group.max() + 1 + np.arange(np.count_nonzero(own))
        return group.reshape(draws.shape), own


def _drawn(relaxation: Relaxation) -> np.ndarray:
    """Standard error by the draw of quartets of the sum of xx, yy and zz in W/(m K)."""
    return relaxation.drawn[..., :3].sum(axis=-1).std(axis=0, ddof=1) / np.sqrt(len(relaxation.drawn))


def _sums(group: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Sums over the modes of each group, (temperatures, stars, bands), given to each of its modes."""
    return np.stack([np.bincount(group.ravel(), row.ravel())[group] for row in values])


def _draw(chances: np.ndarray, samples: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, int]:
    """Indices, weights, and how many come first that are taken for sure; then one of each stratum of equal chance."""
    sure = np.zeros(len(chances), dtype=bool)
    while (left := samples - np.count_nonzero(sure)) > 0:
        rest = np.where(sure, 0.0, chances)
        larger = (rest > 0) & (rest * left >= rest.sum())
        if not larger.any():
            break
        sure |= larger
    certain, rest = np.flatnonzero(sure), np.where(sure, 0.0, chances)
    if left <= 0 or not rest.any():
        return certain, np.ones(len(certain)), len(certain)
    cumulated = np.cumsum(rest)
    steps = (np.arange(left) + random.random(left)) / left * cumulated[-1]
    drawn = np.minimum(np.searchsorted(cumulated, steps, side="right"), np.flatnonzero(rest)[-1])
    weights = cumulated[-1] / left / rest[drawn]
    return np.append(certain, drawn), np.append(np.ones(len(certain)), weights), len(certain)


def _error(values: np.ndarray) -> np.ndarray:
    """Standard error of the sum of one draw of each stratum, by differences of neighbours along the first axis."""
    size = len(values)
    if size < 2:
        return np.abs(values).sum(axis=0)
    return np.sqrt(size / (2 * (size - 1)) * np.sum(np.diff(values, axis=0) ** 2, axis=0))
