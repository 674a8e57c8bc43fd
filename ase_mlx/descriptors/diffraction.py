"""Powder X-ray diffraction patterns, computed from crystals or measured, and the numbers that describe them.

Atoms scatter as at rest and without absorption; a pattern holds the share of the intensity that falls into each bin of
2θ, so peaks move smoothly from bin to bin. Every crystal gives one pattern, however its cell is chosen.

Networks see how the intensity is spread over the reduced scattering vector, 1/d times the cube root of the volume that
an atom has in the elements, so that crystals that differ in size alone have lines at about the same places.

Source: ours; kinematic scattering after M. De Graef and M. E. McHenry, Structure of Materials (2012), ch. 11 and 12;
form factors by `elements.scattering`; background of measured patterns after S.-J. Baek et al., Analyst 140, 250 (2015).
"""

import numpy as np
from jaxtyping import Float
from scipy.linalg import solveh_banded
from scipy.special import erf, expit

from ase_mlx.descriptors import composition
from ase_mlx.descriptors.elements import LAST, scattering
from ase_mlx.graph import Graph

BINS = 128
WAVELENGTH = 1.54184
"""Å; Cu Kα, the mean of its two lines."""

START, END = 5.0, 85.0
"""Degrees of 2θ, where the first bin begins and the last one ends."""

STEP = (END - START) / BINS
WIDTH = STEP
"""Degrees of 2θ; the full width of a peak at half its height."""

REACH = 2
"""Bins on each side of its own that a peak is spread over; what lies beyond is a millionth of it."""

DARK = 1e-9
"""Reflections below this share of what the atoms scatter in phase are absent: rounding errors, in supercells."""

CHUNK = 2**18
"""Phases (reflections times atoms) that are held at once, for the processor's cache."""

FEWEST = 10
"""Points that a measured pattern has to have within the range."""

PLACES = 2 * np.sin(np.radians(START + STEP * (np.arange(BINS) + 0.5)) / 2) / WAVELENGTH
"""1/Å; the scattering vectors 1/d in the middle of the bins."""

REDUCED = np.linspace(0.2, 1.6, 9)
"""Reduced scattering vectors (dimensionless); beyond the last nothing counts, and 70° show it of most crystals."""

BLUR = 0.05
"""Reduced scattering vectors over which a line passes a place: more than lines are broad or a zero is off."""

LATEST = 10.5
"""Degrees; patterns that begin later are refused. One crystal in thirty has 5 % of its intensity before 10°."""

PATTERN = tuple(f"intensity below {limit:.2f}" for limit in REDUCED[:-1])
"""Descriptors of a pattern. How broad lines are changes them little."""

FINE = 8
"""Steps of a bin in which the background is looked for."""

ROUNDS = 50
"""Of weighing the points anew in the search for the background: it settles in twenty."""

QUIET = 1e-3
"""Noise is at least this share of the highest line: without any, a background that bends would lie above itself."""

CLEAR = 8.0
"""Times the noise (of bins below the background) that the strongest bin has to have: noise alone has 4, at most 9."""

STIFF = 3e4
"""Price of the background's curvature, squared, a step: it bends within some degrees, lines do not lift it."""


def powder_patterns(graph: Graph) -> Float[np.ndarray, "crystals bins"]:
    """Compute the powder diffraction patterns of crystals with Cu Kα.

    Args:
        graph: crystals (Å).

    Returns:
        Intensities (dimensionless, the largest bin is 1) in `BINS` bins of 2θ from `START` to `END` (degrees); zeros
        where no peak is in this range.

    Raises:
        ValueError: not periodic in three directions, a cell without a volume, or an element beyond plutonium.

    Source: see the module; Lorentz and polarisation factors without a monochromator, ibid.
    """
    cells, numbers = graph.cell.numpy().astype(float), graph.numbers.numpy()
    if not bool(graph.pbc.all()) or not (graph.volume.numpy() > 0).all():
        raise ValueError(
            "got a structure that is not periodic in three directions, expected a crystal; "
            "only crystals have a powder pattern, so leave molecules, wires and slabs out"
        )
    if len(numbers) and (numbers.max() > LAST or numbers.min() < 1):
        wrong = sorted(set(numbers[(numbers > LAST) | (numbers < 1)].tolist()))
        raise ValueError(f"got atomic numbers {wrong}, expected 1 to {LAST}; leave these crystals out")
    positions = graph.positions.numpy().astype(float)
    first = np.concatenate([[0], np.cumsum(graph.n_atoms.numpy())])
    patterns = np.zeros((len(cells), BINS))
    for k, cell in enumerate(cells):
        part = slice(first[k], first[k + 1])
        patterns[k] = _spread(*_reflections(cell, positions[part], numbers[part]))
    return _normalized(patterns)


def _reflections(cell: np.ndarray, positions: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Angles 2θ (degrees) and intensities of one of each pair of reflections hkl and -h-k-l, within reach of a bin."""
    low, high = (2 * np.sin(np.radians((START - REACH * STEP, END + REACH * STEP)) / 2)) / WAVELENGTH
    reciprocal = np.linalg.inv(cell).T
    hkl = _half_sphere(reciprocal, high)
    length = np.linalg.norm(hkl @ reciprocal, axis=1)
    inside = (length > low) & (length < high)
    hkl, s2 = hkl[inside], (length[inside] / 2) ** 2
    elements, kind = np.unique(numbers, return_inverse=True)
    a, b = np.moveaxis(scattering()[elements], -1, 0)
    factors = elements - 41.78214 * s2[:, None] * (a * np.exp(-b * s2[:, None, None])).sum(2)
    turns = 2 * np.pi * np.linalg.solve(cell.T, positions.T)
    members = (kind[:, None] == np.arange(len(elements))).astype(float)
    squares = np.empty(len(hkl))
    rows = max(1, CHUNK // len(numbers))
    for begin in range(0, len(hkl), rows):
        now = slice(begin, begin + rows)
        phases = hkl[now] @ turns
        squares[now] = ((np.cos(phases) @ members) * factors[now]).sum(1) ** 2
        squares[now] += ((np.sin(phases) @ members) * factors[now]).sum(1) ** 2
    bright = squares > DARK * (factors @ members.sum(0)) ** 2
    theta = np.arcsin(WAVELENGTH * np.sqrt(s2[bright]))
    polarized = (1 + np.cos(2 * theta) ** 2) / (np.sin(theta) ** 2 * np.cos(theta))
    return np.degrees(2 * theta), squares[bright] * polarized


def _half_sphere(reciprocal: np.ndarray, radius: float) -> np.ndarray:
    """All hkl within a radius (1/Å), one of each pair ±hkl: l, then k, then h between bounds that skewed cells keep."""
    r = np.linalg.qr(reciprocal.T)[1]
    r *= np.sign(np.diag(r))[:, None]
    l = np.arange(np.floor(radius / r[2, 2]) + 1)
    left = np.maximum(radius**2 - (r[2, 2] * l) ** 2, 0)
    of, k = _between(-r[1, 2] * l / r[1, 1], np.sqrt(left) / r[1, 1])
    l, left = l[of], np.maximum(left[of] - (r[1, 1] * k + r[1, 2] * l[of]) ** 2, 0)
    of, h = _between(-(r[0, 1] * k + r[0, 2] * l) / r[0, 0], np.sqrt(left) / r[0, 0])
    k, l = k[of], l[of]
    half = (l > 0) | ((l == 0) & ((k > 0) | ((k == 0) & (h > 0))))
    return np.stack([h, k, l], 1)[half]


def _between(center: np.ndarray, half: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers in each interval, one after the other, and which interval each belongs to."""
    low = np.ceil(center - half - 1e-9)
    counts = np.maximum(np.floor(center + half + 1e-9) - low + 1, 0).astype(int)
    of = np.repeat(np.arange(len(low)), counts)
    return of, low[of] + np.arange(len(of)) - (np.cumsum(counts) - counts)[of]


def _spread(two_theta: np.ndarray, intensity: np.ndarray) -> np.ndarray:
    """Share Gaussian peaks out among the bins."""
    nearest = np.floor((two_theta - START) / STEP).astype(int)
    edges = nearest[:, None] + np.arange(-REACH, REACH + 2)
    deviations = (START + STEP * edges - two_theta[:, None]) * (2 * np.sqrt(np.log(2)) / WIDTH)
    shares = np.diff(erf(deviations), axis=1) / 2 * intensity[:, None]
    bins = edges[:, :-1]
    there = (bins >= 0) & (bins < BINS)
    return np.bincount(bins[there], shares[there], BINS)


def _normalized(patterns: np.ndarray) -> np.ndarray:
    largest = patterns.max(-1, keepdims=True, initial=0)
    return patterns / np.where(largest > 0, largest, 1)


def describe_patterns(
    patterns: Float[np.ndarray, "crystals bins"],
    compositions: Float[np.ndarray, "crystals m"],
    limits: Float[np.ndarray, " edges"] = REDUCED,
) -> Float[np.ndarray, "crystals n"]:
    """Describe powder patterns, with the compositions that they are patterns of.

    Args:
        patterns: as `powder_patterns` and `bin_pattern` give them (dimensionless); NaN where nothing was measured:
            nothing lies there, if that is before `LATEST`.
        compositions: as `composition_descriptors` gives them (their units).
        limits: reduced scattering vectors (dimensionless), increasing.

    Returns:
        Of the intensity below the last limit the shares below the others, in the order of `PATTERN`, dimensionless;
        zeros where there is none.

    Raises:
        ValueError: patterns of another length, or that were not measured from `LATEST` to the last limit.

    Source: ours.
    """
    if patterns.ndim != 2 or patterns.shape[1] != BINS or np.isinf(patterns).any():
        raise ValueError(
            f"got patterns of shape {patterns.shape}, or with infinite numbers, expected {BINS} intensities each; take "
            "them from `powder_patterns` or `bin_pattern`"
        )
    volume = compositions[:, composition.NAMES.index("mean GSvolume_pa")]
    reduced = PLACES * np.cbrt(volume)[:, None]
    needed = (reduced < limits[-1] + BLUR) & (np.arange(BINS) >= (LATEST - START) / STEP)
    for k in np.flatnonzero((needed & np.isnan(patterns)).any(1))[:1]:
        measured, last = np.flatnonzero(~np.isnan(patterns[k])), START + STEP * (np.flatnonzero(needed[k])[-1] + 1)
        first, end = (START + STEP * (measured[[0, -1]] + [0, 1])) if len(measured) else (np.nan, np.nan)
        raise ValueError(
            f"got a pattern from {first:g} to {end:g}°, expected one from {LATEST:g} to {last:g}° of 2θ with Cu Kα for "
            "this composition; measure there, or do without the pattern"
        )
    passed = 0.5 + 0.5 * erf((limits[:, None] - reduced[:, None]) / (np.sqrt(2) * BLUR))
    below = (passed * np.nan_to_num(patterns)[:, None]).sum(2)
    return np.where(below[:, -1:] > 0, below[:, :-1] / np.where(below[:, -1:] > 0, below[:, -1:], 1), 0.0)


def bin_pattern(
    two_theta: Float[np.ndarray, " points"], intensity: Float[np.ndarray, " points"], wavelength: float = WAVELENGTH
) -> Float[np.ndarray, " bins"]:
    """Bring a measured pattern into the bins of `powder_patterns`, as if taken with Cu Kα.

    A smooth background under the noise is found and taken away; where lines overlap everywhere, some of them with it.
    Peaks keep their own width; noise around nothing stays, as negative numbers too, so that sums are not biased.

    Args:
        two_theta: angles of 2θ in degrees, increasing, in any steps.
        intensity: what was measured there, in any unit.
        wavelength: of the measurement in Å; angles go over by sin θ/λ, intensities by the polarisation factor.

    Returns:
        Intensities (dimensionless, the largest bin is 1); NaN in bins that were not measured as a whole.

    Raises:
        ValueError: angles that do not increase, fewer than ten points or no whole bin within the range, numbers that
            are not finite, a wavelength that is not positive, or a pattern without a line above noise and background.

    Source: ours; the Lorentz factor goes over by itself, as its change and that of dθ cancel.
    """
    angle, counts = np.asarray(two_theta, dtype=float), np.asarray(intensity, dtype=float)
    _check(angle, counts, wavelength)
    ratio = np.sin(np.radians(angle / 2)) * WAVELENGTH / wavelength
    ours = np.where(np.abs(ratio) < 1, 2 * np.degrees(np.arcsin(np.clip(ratio, -1, 1))), np.inf)
    seen = (ours >= START - STEP) & (ours <= END + STEP)
    edges = START + STEP / FINE * np.arange(BINS * FINE + 1)
    first, last = (ours[seen][0], ours[seen][-1]) if seen.any() else (np.inf, -np.inf)
    bins = (edges[:-1:FINE] > first - 1e-6) & (edges[FINE::FINE] < last + 1e-6)
    if seen.sum() < FEWEST or not bins.any():
        what = f"{angle[0]:g}° to {angle[-1]:g}° at {wavelength:g} Å, {seen.sum()} of {len(angle)} points in the range"
        raise ValueError(
            f"got a pattern from {what}, expected at least {FEWEST} points that overlap the range from {START:g}° to "
            f"{END:g}° at {WAVELENGTH} Å; measure there, and check that angles are 2θ in degrees and the wavelength"
        )
    angle, ours, counts = angle[seen], ours[seen], counts[seen] - counts[seen].min()
    counts = counts * (1 + np.cos(np.radians(ours)) ** 2) / (1 + np.cos(np.radians(angle)) ** 2)
    fine = np.union1d(ours, np.clip(edges, first, last))
    height = np.interp(fine, ours, counts)
    area = np.concatenate([[0], np.cumsum(np.diff(fine) * (height[1:] + height[:-1]) / 2)])
    whole = np.repeat(bins, FINE)
    steps = np.diff(np.interp(edges, fine, area))[whole]
    lines = (steps - _background(steps)).reshape(-1, FINE).sum(1)
    noise = np.sqrt(np.mean(lines[lines < 0] ** 2)) if (lines < 0).any() else 0.0
    if not lines.max() > CLEAR * max(noise, QUIET * steps.max()):
        raise ValueError(
            "got intensities in which no line stands out of noise and background, expected lines; check that the "
            "second column is the intensity, or measure longer"
        )
    pattern = np.full(BINS, np.nan)
    pattern[bins] = lines / lines.max()
    return pattern


def _background(counts: np.ndarray) -> np.ndarray:
    """The smooth curve amid the noise: what is above it by more than the noise below it hardly weighs (arPLS)."""
    count = len(counts)
    bands = np.zeros((3, count))  # of the second differences' square
    for row, stencil in ((2, (1.0, 4.0, 1.0)), (1, (-2.0, -2.0)), (0, (1.0,))):
        for k, value in enumerate(stencil):
            bands[row, 2 - row + k : count - len(stencil) + 1 + k] += STIFF * value
    weights = np.ones(count)
    for _ in range(ROUNDS):
        smooth = solveh_banded(np.vstack([bands[:2], bands[2] + weights]), weights * counts)
        off = counts - smooth
        under = off[off <= 0]
        noise = max(under.std(), QUIET * counts.max(), 1e-300)
        weights = expit(-2 * (off - 2 * noise + under.mean()) / noise)
    return smooth


def _check(angle: np.ndarray, counts: np.ndarray, wavelength: float) -> None:
    if not (np.isfinite(wavelength) and wavelength > 0):
        raise ValueError(f"got a wavelength of {wavelength} Å, expected a positive number; Cu Kα has {WAVELENGTH} Å")
    if angle.ndim != 1 or angle.shape != counts.shape or len(angle) < FEWEST:
        raise ValueError(
            f"got {angle.shape} angles and {counts.shape} intensities, expected two columns of at least {FEWEST} "
            "points; give the whole measured curve, not a list of peaks"
        )
    if bad := int((~np.isfinite(angle) | ~np.isfinite(counts)).sum()):
        raise ValueError(f"got {bad} points that are not finite, expected finite numbers alone; leave these points out")
    if (wrong := np.flatnonzero(np.diff(angle) <= 0)).size:
        k = int(wrong[0])
        raise ValueError(
            f"got 2θ = {angle[k + 1]:g}° after {angle[k]:g}°, expected increasing angles; sort the points by angle, "
            "and give one scan at a time"
        )
    if angle[0] < -180 or angle[-1] > 180:
        raise ValueError(f"got 2θ from {angle[0]:g}° to {angle[-1]:g}°, expected at most 180°; give 2θ in degrees")
