"""Thermalised structures to learn from: variants of a structure, followed by NVT dynamics, decorrelated snapshots.

A variant has its own random occupation of sites, vacancies and strain; each is thermalised at each temperature. The
time between snapshots follows from the run itself: twice the integrated autocorrelation time of the potential energy
and of the mean square displacement, whichever is longer.

Source: ours; thermalisation as a source of training structures as in arXiv 2308.13096; the window of the
autocorrelation time is that of Sokal (Monte Carlo Methods in Statistical Mechanics, 1996).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms, units
from ase.data import atomic_masses, atomic_numbers
from ase.md.langevin import Langevin
from jaxtyping import Float

from ase_mlx.adapters.ase.dynamics import heat
from ase_mlx.adapters.ase.job import begin, relax, snapshot
from ase_mlx.adapters.ase.labels import without_results
from ase_mlx.adapters.ase.supercells import kind
from ase_mlx.adapters.ase.supercells import repeated as repeated_cell
from ase_mlx.occupancy import WHOLE, check_occupancy, partial_sites
from ase_mlx.progress import Steps, logged

__all__ = ["Sampling", "autocorrelation_time", "random_variant", "sample"]

OF_A_DATA_SET = {"part", "config_name", "label_key", "energy_weight", "stress_weight", "sampling"}
"""Entries of `info` that say what a frame is to a training, a labelling or an earlier sampling."""

RECORD = 5
"""Steps between recorded energies and positions."""


@dataclass(frozen=True)
class Sampling:
    """What to sample: temperatures in K, times in fs, all else dimensionless.

    `variants` structures are made, each with `alloy` (element: share of the sites; others stay), `substitutions`
    (element: number of atoms), `vacancies` (number), a random strain of standard deviation `strain` and a volume change
    of up to ±`volume`; `relax` brings cell and atoms to rest first, where the occupation was changed. Each runs at each
    temperature: `equilibration` fs, then until `frames` snapshots are decorrelated, at most `longest` fs.

    Source: ours.
    """

    temperatures: tuple[float, ...] = (300.0,)
    frames: int = 5
    variants: int = 1
    alloy: Mapping[str, float] = field(default_factory=dict)
    substitutions: Mapping[str, int] = field(default_factory=dict)
    vacancies: int = 0
    strain: float = 0.0
    volume: float = 0.0
    relax: bool = True
    timestep: float = 2.0
    friction: float = 0.01
    equilibration: float = 1000.0
    longest: float = 20000.0
    seed: int = 0

    def __post_init__(self):
        """Refuse what cannot be sampled."""
        if not self.temperatures or min(self.temperatures) <= 0:
            raise ValueError(f"got temperatures of {self.temperatures} K, expected positive numbers")
        if min(self.frames, self.variants) < 1 or min(self.vacancies, *self.substitutions.values(), 0) < 0:
            raise ValueError("got a negative number of atoms or no frames, expected at least one frame and variant")
        if not 0 < self.timestep <= self.equilibration <= self.longest:
            raise ValueError(
                f"got timestep={self.timestep}, equilibration={self.equilibration}, longest={self.longest} fs, "
                "expected rising times"
            )
        if not 0 <= self.volume < 0.5 or not 0 <= self.strain < 0.2:
            raise ValueError(f"got strain={self.strain}, volume={self.volume}, expected at most 0.2 and 0.5")
        unknown = [s for s in (*self.alloy, *self.substitutions) if s not in atomic_numbers]
        if unknown:
            raise ValueError(f"got {', '.join(unknown)}, expected chemical symbols")
        if self.alloy and (min(self.alloy.values()) < 0 or sum(self.alloy.values()) <= 0):
            raise ValueError(f"got shares {dict(self.alloy)}, expected positive numbers")


def random_variant(atoms: Atoms, settings: Sampling, rng: np.random.Generator) -> Atoms:
    """Occupy sites, substitute and remove atoms at random; the cell (Å) stays.

    Sites of partial occupancy, as a CIF has them, are those that the alloy's elements share. Labels stay with their
    sites; an atom of another element gets its standard mass. What marks a frame of a data set,
    such as `info["part"]`, is not the variant's.

    Raises:
        ValueError: more atoms to change than there are.

    Source: ours.
    """
    atoms, sites = _settled(atoms, settings)
    out = without_results(atoms.copy())
    out.info = {key: value for key, value in out.info.items() if key not in OF_A_DATA_SET}
    if settings.alloy:
        share = np.array(list(settings.alloy.values())) / sum(settings.alloy.values())
        if not len(sites):
            raise ValueError(
                f"got no atoms of {', '.join(settings.alloy)} in {out.symbols}, expected sites to occupy: the alloy's "
                "elements replace each other"
            )
        bounds = np.rint(np.cumsum(share) * len(sites)).astype(int)
        numbers = np.repeat([atomic_numbers[s] for s in settings.alloy], np.diff([0, *bounds]))
        out.numbers[sites] = rng.permutation(numbers)
    wanted = sum(settings.substitutions.values())
    if wanted + settings.vacancies >= len(out):
        raise ValueError(
            f"got {wanted} substitutions and {settings.vacancies} vacancies in {len(out)} atoms, expected fewer than "
            "atoms; repeat the cell"
        )
    chosen = rng.permutation(len(out))[: wanted + settings.vacancies]
    new = [atomic_numbers[s] for s, n in settings.substitutions.items() for _ in range(n)]
    out.numbers[chosen[:wanted]] = new
    other = out.numbers != atoms.numbers
    if "masses" in out.arrays:
        out.arrays["masses"][other] = atomic_masses[out.numbers[other]]
    del out[chosen[wanted:]]
    return out


def _settled(atoms: Atoms, settings: Sampling) -> tuple[Atoms, np.ndarray]:
    """A start without partial occupancy, which the alloy settles, and the places that the alloy's elements share."""
    shared, kinds = partial_sites(atoms), atoms.arrays.get("spacegroup_kinds")
    if not shared:
        return atoms, np.flatnonzero(np.isin(atoms.symbols, list(settings.alloy)))
    elements = {element for site in shared.values() for element in site}
    whole = all(sum(site.values()) > 1 - WHOLE for site in shared.values())
    if kinds is None or not whole or not elements <= set(settings.alloy):
        check_occupancy(atoms)
    settled = atoms.copy()
    del settled.info["occupancy"]
    return settled, np.flatnonzero(np.isin(kinds.astype(str), list(shared)))


def _strained(atoms: Atoms, settings: Sampling, rng: np.random.Generator) -> Atoms:
    noise = rng.normal(scale=settings.strain, size=(3, 3)) if settings.strain else np.zeros((3, 3))
    tensor = np.eye(3) + (noise + noise.T) / 2
    tensor *= ((1 + rng.uniform(-1, 1) * settings.volume) / np.linalg.det(tensor)) ** (1 / 3)
    out = atoms.copy()
    out.set_cell(atoms.cell.array @ tensor, scale_atoms=True)
    return out


def autocorrelation_time(values: Float[np.ndarray, " n"]) -> float:
    """Integrated autocorrelation time of a series, ½ + Σ C(t)/C(0), in (dimensionless) steps of the series.

    The sum ends at five times its own value; one half is no correlation.

    Source: Sokal, Monte Carlo Methods in Statistical Mechanics (1996), sec. 3.
    """
    x = np.asarray(values, dtype=np.float64) - np.mean(values)
    n = len(x)
    power = np.abs(np.fft.rfft(x, 2 * n)) ** 2
    correlation = np.fft.irfft(power)[:n] / np.arange(n, 0, -1)
    if not correlation[0] > 0:
        return 0.5
    times = np.cumsum(correlation / correlation[0]) - 0.5
    window = np.flatnonzero(np.arange(n) >= 5 * times)
    return float(max(times[window[0] if len(window) else n - 1], 0.5))


def sample(
    atoms: Atoms, calculator, settings: Sampling, done: int = 0, progress: Steps | None = None
) -> Iterator[list[Atoms]]:
    """Yield the snapshots of one variant at one temperature after the other; equal seeds give equal snapshots.

    Args:
        atoms: the start, Å; repeat small cells first.
        calculator: any ASE calculator, eV and Å.
        settings: what to sample.
        done: runs (variants times temperatures) that are known already and left out.
        progress: called with the runs done and the runs in all.

    Yields:
        Snapshots with energies (eV), forces (eV/Å) and, where the calculator gives them, their error bars; `info` holds
        `config_name`, `variant`, `temperature_K`, the mean `md_temperature_K`, `decorrelation_fs`, `time_fs`, and
        `correlated` where the time allowed was too short.

    Raises:
        ValueError: a structure without meaning, or one that the calculator refuses.
        FloatingPointError: the dynamics blew up.

    Source: ours.
    """
    if kind(_settled(atoms, settings)[0]) == "molecule" and len(atoms) == 1:
        raise ValueError("A single atom has no vibrations to follow: give a crystal, a slab or a molecule.")
    runs = [(v, t) for v in range(settings.variants) for t in range(len(settings.temperatures))]
    variant: tuple[int, Atoms] | None = None
    report = progress or logged("runs")
    for number, (v, t) in enumerate(runs):
        report(number, len(runs))
        if number < done:
            continue
        if variant is None or variant[0] != v:
            variant = (v, _variant(atoms, calculator, settings, v))
        frames = _thermalised(variant[1], calculator, settings, t, np.random.default_rng([settings.seed, v, t + 1]))
        for k, frame in enumerate(frames):
            frame.info |= {"config_name": f"v{v}_{settings.temperatures[t]:g}K_{k}", "variant": v}
        yield frames
    report(len(runs), len(runs))


def _variant(atoms: Atoms, calculator, settings: Sampling, number: int) -> Atoms:
    rng = np.random.default_rng([settings.seed, number, 0])
    variant = random_variant(atoms, settings, rng)
    changed = len(variant) != len(atoms) or (variant.numbers != atoms.numbers).any()
    if changed and settings.relax:
        variant = relax(variant, calculator, fmax=0.01, steps=200, symmetry=False).atoms
    return _strained(variant, settings, rng)


def _thermalised(start: Atoms, calculator, s: Sampling, which: int, rng: np.random.Generator) -> list[Atoms]:
    kelvin = s.temperatures[which]
    work = start.copy()
    heat(work, kelvin, rng)
    begin(work, calculator)
    timestep = min(s.timestep, 0.5) if work.get_masses().min() < 5 else s.timestep
    dynamics = Langevin(
        work, timestep * units.fs, temperature_K=kelvin, friction=s.friction / units.fs, fixcm=False, rng=rng
    )
    dynamics.run(int(np.ceil(s.equilibration / timestep)))
    energies, squares, positions, temperatures = [], [], [], []
    least = 20 * s.frames
    while True:
        dynamics.run(RECORD)
        energies.append(work.get_potential_energy())
        if not np.isfinite(energies[-1]) or not work.get_temperature() < 20 * kelvin + 1000:
            raise FloatingPointError(
                f"The dynamics at {kelvin:g} K blew up: {work.get_temperature():.3g} K, {energies[-1]:.3g} eV. Use a "
                "shorter time step, a lower temperature, or a model trained near these structures."
            )
        positions.append(work.get_positions())
        squares.append(float(np.square(positions[-1] - start.positions).sum()))
        temperatures.append(work.get_temperature())
        n = len(energies)
        if n >= least:
            apart = 2 * max(autocorrelation_time(np.array(x)) for x in (energies, squares))
            enough = n >= s.frames * apart
            if enough or n * RECORD * timestep >= s.longest:
                break
            least = int(np.ceil(max(1.2 * n, min(s.frames * apart, 2 * n))))
    info = {"temperature_K": kelvin, "md_temperature_K": round(float(np.mean(temperatures)), 1)}
    info |= {"decorrelation_fs": round(apart * RECORD * timestep, 1)} | ({} if enough else {"correlated": True})
    frames = []
    for k in range(1, s.frames + 1):
        place = k * n // s.frames - 1
        frame = start.copy()
        frame.positions = positions[place]
        frame.arrays.pop("momenta", None)
        frames.append(snapshot(frame, calculator))
        frames[-1].info |= info | {"time_fs": round((place + 1) * RECORD * timestep + s.equilibration, 1)}
    return frames


def repeated(atoms: Atoms, repeat: tuple[int, int, int]) -> Atoms:
    """Repeat a cell (Å) along its periodic vectors, with its labels.

    Raises:
        ValueError: a repetition that is not positive, or one along an open direction.

    Source: ours.
    """
    if min(repeat) < 1 or any(n > 1 and not periodic for n, periodic in zip(repeat, atoms.pbc, strict=True)):
        raise ValueError(f"got a repetition of {repeat}, expected positive numbers, 1 where the cell is not periodic")
    return repeated_cell(atoms, np.diag(repeat))
