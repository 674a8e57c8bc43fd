"""A short molecular-dynamics run with a watch on temperature, energy conservation and the model's own doubt.

Source: ours, on ASE's integrators.
"""

from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from ase.constraints import FixCom
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import Stationary, ZeroRotation, thermalize_momenta
from ase.md.verlet import VelocityVerlet
from jaxtyping import Float

from ase_mlx.adapters.ase.job import Value, begin, snapshot
from ase_mlx.adapters.ase.supercells import kind, repeated, supercell_matrix
from ase_mlx.models.extrapolation import once, see
from ase_mlx.progress import Steps, logged

BLOCKS = 5
"""Averages over time get their sampling error from this many blocks."""


@dataclass(frozen=True)
class Dynamics:
    """A run at constant temperature up to `thermostat_end`, then at constant energy; times in fs, temperatures in K.

    `energies` are total energies in eV. `sampled_*` belong to `frames`: the rms `forces_std` in eV/Å and the largest
    `distance` (dimensionless, 1 = edge of the training data), `outside` the dimensionless share of environments beyond
    that edge; None where the calculator gives none.

    Source: ours.
    """

    natoms: int
    target: float
    timestep: float
    thermostat_end: float
    times: Float[np.ndarray, " step"]
    temperatures: Float[np.ndarray, " step"]
    energies: Float[np.ndarray, " step"]
    frames: tuple[Atoms, ...]
    sampled_times: Float[np.ndarray, " frame"]
    sampled_forces_std: Float[np.ndarray, " frame"] | None
    sampled_distance: Float[np.ndarray, " frame"] | None
    temperature: Value
    drift: Value
    displacement: Value
    largest_distance: Value | None
    outside: float | None


@once()
def dynamics(
    atoms: Atoms,
    calculator,
    temperature: float = 300.0,
    steps: int = 1000,
    timestep: float | None = None,
    friction: float = 0.01,
    length: float = 10.0,
    samples: int = 25,
    seed: int = 0,
    progress: Steps | None = None,
) -> Dynamics:
    """Langevin dynamics for four fifths of the steps, then constant energy to see whether the model conserves it.

    Args:
        atoms: a relaxed structure, Å; a crystal is repeated to at least `length`, labels and constraints with it.
        calculator: any ASE calculator, eV and Å.
        temperature: in K.
        steps: all steps, dimensionless.
        timestep: in fs; 1, or 0.5 with atoms lighter than 5 amu, if not given.
        friction: of the thermostat in 1/fs.
        length: least height of the cell in Å.
        samples: frames kept and given error bars, dimensionless.
        seed: of velocities and thermostat, dimensionless: equal seeds give equal runs.
        progress: called with the step and `steps`.

    Returns:
        Mean temperature in K and mean square displacement in Å² of the thermostat's second half, drift of the total
        energy in meV/atom/ps at constant energy, and the traces.

    Raises:
        FloatingPointError: the run blew up.
        ValueError: too few steps, no atoms, positions that are not finite, or a constraint that cannot be repeated.

    Source: ours.
    """
    if steps < 50:
        raise ValueError(f"Dynamics needs at least 50 steps for its averages, got {steps}.")
    rng = np.random.default_rng(seed)
    work = _start(atoms, temperature, length, rng)
    begin(work, calculator)
    timestep = timestep or (0.5 if work.get_masses().min() < 5 else 1.0)
    heated = steps * 4 // 5
    trace = _Trace(calculator, timestep, max(1, steps // samples), steps, progress)
    thermostat = Langevin(
        work,
        timestep * units.fs,
        temperature_K=temperature,
        friction=friction / units.fs,
        fixcm=False,
        rng=rng,
    )
    for _ in thermostat.irun(heated):
        trace.record(work)
    verlet = VelocityVerlet(work, timestep * units.fs)
    for number, _ in enumerate(verlet.irun(steps - heated)):
        if number:
            trace.record(work)
    return trace.summary(heated, temperature)


def _start(atoms: Atoms, temperature: float, length: float, rng: np.random.Generator) -> Atoms:
    sort = kind(atoms)
    if sort == "molecule" and len(atoms) == 1:
        raise ValueError("A single atom has no vibrations to follow: give a crystal, a slab or a molecule.")
    work = atoms.copy()
    if sort == "crystal":
        work = repeated(work, supercell_matrix(work, length))
    heat(work, temperature, rng)
    return work


def cell_size(atoms: Atoms, length: float = 10.0) -> int:
    """Count the atoms that `dynamics` would move: a crystal's are repeated to a least height of `length` in Å.

    Source: ours.
    """
    if kind(atoms) != "crystal":
        return len(atoms)
    return len(atoms) * round(abs(np.linalg.det(supercell_matrix(atoms, length))))


def heat(atoms: Atoms, temperature: float, rng: np.random.Generator) -> None:
    """Give atoms near a minimum random momenta for a temperature (K), none as a whole, in place.

    Source: ours.
    """
    # Half of the kinetic energy goes into the springs: from a minimum, twice the temperature is the right start.
    thermalize_momenta(atoms, 2 * temperature, rng=rng)
    Stationary(atoms)
    if kind(atoms) == "molecule":
        ZeroRotation(atoms)
    if not atoms.constraints:
        atoms.set_constraint(FixCom())


class _Trace:
    def __init__(self, calculator, timestep, every, steps, progress):
        self.calculator, self.timestep, self.every = calculator, timestep, every
        self.steps, self.progress = steps, progress or logged("steps of dynamics")
        self.temperatures, self.energies, self.positions, self.frames, self.sampled = [], [], [], [], []

    def record(self, atoms: Atoms) -> None:
        step = len(self.energies)
        energy = atoms.get_total_energy()
        if not np.isfinite(energy) or not np.isfinite(atoms.positions).all():
            raise FloatingPointError(
                f"The dynamics blew up at step {step} ({step * self.timestep:g} fs): the energy or a position is not "
                "finite. Use a shorter time step, a lower temperature, or a model trained near these structures."
            )
        self.temperatures.append(atoms.get_temperature())
        self.energies.append(energy)
        self.positions.append(atoms.get_positions())
        if step % self.every == 0:
            frame = snapshot(atoms, self.calculator)
            frame.info |= {"time_fs": step * self.timestep, "temperature_K": atoms.get_temperature()}
            self.frames.append(frame)
            self.sampled.append(step)
        self.progress(step, self.steps)

    def summary(self, heated: int, target: float) -> Dynamics:
        times = np.arange(len(self.energies)) * self.timestep
        temperatures, energies = np.array(self.temperatures), np.array(self.energies)
        natoms = len(self.frames[0])
        window = slice(heated // 2, heated)
        positions = np.array(self.positions[window])
        squares = np.sum((positions - positions.mean(axis=0)) ** 2, axis=(1, 2)) / natoms
        doubts, distances = _of_frames(self.frames, "forces_std"), _of_frames(self.frames, "distance")
        see(None if distances is None else np.concatenate(distances))
        outside = None if distances is None else float(np.mean(np.concatenate(distances) > 1))
        largest = None if distances is None else Value(float(max(x.max() for x in distances)), None, "1")
        return Dynamics(
            natoms=natoms,
            target=target,
            timestep=self.timestep,
            thermostat_end=heated * self.timestep,
            times=times,
            temperatures=temperatures,
            energies=energies,
            frames=tuple(self.frames),
            sampled_times=np.array(self.sampled) * self.timestep,
            sampled_forces_std=None if doubts is None else np.array([np.sqrt(np.mean(x**2)) for x in doubts]),
            sampled_distance=None if distances is None else np.array([x.max() for x in distances]),
            temperature=_average(temperatures[window], "K"),
            drift=_drift(times[heated:], energies[heated:] / natoms),
            displacement=_average(squares, "Å²"),
            largest_distance=largest,
            outside=outside,
        )


def _of_frames(frames: list[Atoms], name: str) -> list[np.ndarray] | None:
    return [frame.arrays[name] for frame in frames] if name in frames[0].arrays else None


def _average(values: np.ndarray, unit: str) -> Value:
    means = [block.mean() for block in np.array_split(values, BLOCKS)]
    return Value(float(values.mean()), float(np.std(means, ddof=1) / np.sqrt(BLOCKS)), unit, "sampling")


def _drift(times: np.ndarray, energies: np.ndarray) -> Value:
    (slope, _), covariance = np.polyfit(times / 1000, 1000 * energies, 1, cov=True)
    return Value(float(slope), float(np.sqrt(covariance[0, 0])), "meV/atom/ps", "sampling")
