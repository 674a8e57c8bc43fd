"""Snapshots of a crystal's short dynamics at several temperatures, and where it falls apart.

Source: ours, on ASE's integrators.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from ase.md.langevin import Langevin

from ase_mlx.adapters.ase.dynamics import heat
from ase_mlx.adapters.ase.job import begin
from ase_mlx.adapters.ase.teaching_frames import nearest_distance

APART = 0.4
"""Root mean square displacement over the nearest distance beyond which a crystal is none any more; it melts at 0.15."""

HEATING, BETWEEN = 0.35, 20
"""Share of a run before its first snapshot, and least steps between two."""


@dataclass(frozen=True)
class Heated:
    """Snapshots (Å) of a run at a temperature (K); `apart` says why it ended early, empty where it did not.

    Source: ours.
    """

    temperature: float
    frames: list[Atoms]
    apart: str = ""


def hot_frames(
    start: Atoms,
    calculator,
    temperature: float,
    steps: int,
    count: int,
    rng: np.random.Generator,
    late: Callable[[], bool] = lambda: False,
    apart: float = APART,
) -> Heated:
    """Heat a crystal at rest by Langevin dynamics, and take snapshots; it ends where the crystal falls apart.

    Args:
        start: a supercell at rest, Å.
        calculator: any ASE calculator, eV and Å.
        temperature: K.
        steps: of 2 fs, or 0.5 fs with atoms lighter than 5 amu.
        count: of snapshots.
        rng: of momenta and thermostat.
        late: asked now and then whether to leave the rest of the run.
        apart: largest rms displacement over the nearest distance (dimensionless); without an end for a liquid.

    Source: ours.
    """
    work, frames = start.copy(), []
    heat(work, temperature, rng)
    begin(work, calculator)
    limit = apart * nearest_distance(start)
    timestep = 0.5 if work.get_masses().min() < 5 else 2.0
    thermostat = Langevin(
        work, timestep * units.fs, temperature_K=temperature, friction=0.02 / units.fs, fixcm=False, rng=rng
    )
    wanted = [int(k) for k in np.linspace(HEATING * steps, steps, count)]
    for step in range(1, steps + 1):
        thermostat.run(1)
        if not step % BETWEEN and late():
            return Heated(temperature, frames)
        if why := _apart(work, start, limit, temperature):
            whole = len(frames) // 2  # what came just before belongs to it
            return Heated(temperature, frames[:whole], f"at {temperature:.0f} K after {step * timestep:g} fs: {why}")
        while wanted and step >= wanted[0]:
            wanted.pop(0)
            frame = Atoms(work.numbers, work.positions, cell=work.cell, pbc=work.pbc)
            frame.info = {"temperature_K": float(temperature)}
            frames.append(frame)
    return Heated(temperature, frames)


def _apart(work: Atoms, start: Atoms, limit: float, temperature: float) -> str:
    moved = work.positions - start.positions
    if not np.isfinite(moved).all():
        return "positions are not finite"
    moved = moved - moved.mean(axis=0)
    size = float(np.sqrt(np.square(moved).sum(axis=1).mean()))
    if size > limit:
        return f"atoms moved by {size:.2f} Å (rms)"
    hot = work.get_temperature()
    return f"{hot:.0f} K" if hot > 5 * temperature + 1000 else ""
