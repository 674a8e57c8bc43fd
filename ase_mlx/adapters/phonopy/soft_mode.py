"""The potential along one imaginary mode that the supercell holds exactly, by any ASE calculator.

Source: ours; the modulation is phonopy's (A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023)).
"""

import math
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from jaxtyping import Float, Int
from phonopy import Phonopy

from ase_mlx.adapters.phonopy.labelled import images, labelled
from ase_mlx.adapters.phonopy.stability import ImaginaryModesError, stability
from ase_mlx.models.levels import ModePotential

STEP, LARGEST = 0.05, 1.6
"""Å: displacement of the most moved atom from point to point, and at most."""
POINTS = 8
"""On either side at least: the step is halved until there are as many."""
HIGH, WALL = 0.2, 4.0
"""eV above the lowest energy, and heights of the barrier, that the ends are to have reached."""
MOST = 96
"""Cells along a vector that a wave may need."""
NOISE = 2e-6
"""eV: two sides that differ by less are made equal."""


@dataclass(frozen=True)
class Wave:
    """A mode in the smallest supercell that holds it: atoms at rest (Å), and their moves (Å) of length Q = 1 Å √amu.

    Q² is the sum of m u² over all atoms of that supercell.

    Source: ours.
    """

    atoms: Atoms
    moves: Float[np.ndarray, "atoms 3"]

    def displaced(self, amplitude: float) -> Atoms:
        """Move the atoms by so many Å √amu."""
        atoms = self.atoms.copy()
        atoms.positions += amplitude * self.moves
        return atoms


@dataclass(frozen=True)
class SoftMode:
    """Energies (eV, of the supercell of `atoms` atoms, above that at rest) against displacement (Å √amu) along a mode.

    `frequency` in THz, negative where it is imaginary; `largest` is the displacement in Å of the most moved atom for
    1 Å √amu.

    Source: ours.
    """

    displacement: Float[np.ndarray, " points"]
    energy: Float[np.ndarray, " points"]
    frequency: float
    qpoint: tuple[float, float, float]
    atoms: int
    largest: float
    degenerate: int

    @property
    def potential(self) -> ModePotential:
        """The curve through the points, eV against Å √amu."""
        return ModePotential(tuple(self.displacement.tolist()), tuple(self.energy.tolist()))

    @property
    def notes(self) -> list[str]:
        """What the curve stands for, and where it may mislead."""
        q = ", ".join(f"{x:.3g}" for x in self.qpoint)
        notes = [
            f"one wave at q = ({q}) in a supercell of {self.atoms} atoms that move together: the barrier grows with "
            "the number of atoms, and tunnelling falls; other modes and the cell are held still"
        ]
        if self.degenerate > 1:
            notes.append(f"{self.degenerate} modes have this frequency: one of them is followed, along one direction")
        return notes


def supercell_of(qpoint: tuple[float, ...]) -> Int[np.ndarray, "3 3"]:
    """Find the smallest supercell that holds a wave of dimensionless q: phonopy's matrix, its columns the vectors.

    Raises:
        ValueError: none of up to `MOST` cells along each vector does.

    Source: ours: all whole vectors whose product with q is whole, by three of them in Hermite's form.
    """
    denominators = [next((n for n in range(1, MOST + 1) if abs(n * x - round(n * x)) < 1e-6), 0) for x in qpoint]
    if not all(denominators):
        raise ValueError(f"got q = {qpoint}, expected a wave that at most {MOST} cells along each vector hold")
    order = math.lcm(*denominators)
    a, b, c = (round(order * x) for x in qpoint)
    up = range(1, order + 1)
    first = next((x, 0, 0) for x in up if x * a % order == 0)
    second = next((x, y, 0) for y in up for x in range(first[0]) if (x * a + y * b) % order == 0)
    inside = [(x, y) for y in range(second[1]) for x in range(first[0])]
    third = next((x, y, z) for z in up for x, y in inside if (x * a + y * b + z * c) % order == 0)
    return np.array([first, second, third]).T


def wave(ph: Phonopy, qpoint: tuple[float, ...], band: int = 0) -> Wave:
    """Lay a mode of phonopy's (THz) over the smallest supercell that holds it (Å).

    Source: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023).
    """
    modulated = ph.run_modulations(supercell_of(qpoint), [[list(qpoint), band, 1.0, 0.0]])
    index = images(ph.supercell)[ph.primitive.p2s_map][images(modulated.supercell)]
    atoms, moves = labelled(ph, modulated.supercell, index), np.real(modulated.modulations[0])
    length = float(np.sqrt((atoms.get_masses()[:, None] * moves**2).sum()))
    return Wave(atoms, moves / length)


def soft_mode(ph: Phonopy, calculator, tolerance: float = 0.05, high: float = HIGH, step: float = STEP) -> SoftMode:
    """Compute the potential along the lowest imaginary mode that the supercell holds exactly.

    Args:
        ph: phonons of the unstable crystal, THz.
        calculator: any ASE calculator, eV and Å.
        tolerance: frequencies in THz above minus this count as stable.
        high: energy in eV above the lowest one up to which points are computed; more where the barrier is high.
        step: from point to point, Å of the most moved atom.

    Raises:
        ImaginaryModesError: no mode is imaginary, or only interpolation makes one so.
        RuntimeError: the energy does not rise again within `LARGEST`.

    Source: ours.
    """
    modes = stability(ph)
    if modes.exact >= -tolerance:
        raise ImaginaryModesError(
            f"got a crystal whose modes are real where the supercell is exact ({modes}), expected an imaginary mode; "
            "its harmonic phonons serve, or take a larger supercell"
        )
    mode = wave(ph, modes.exact_qpoint)
    frequencies = ph.run_qpoints([modes.exact_qpoint]).frequencies[0]
    largest = float(np.linalg.norm(mode.moves, axis=1).max())
    rest = _energy(calculator, mode.atoms)
    while True:
        sides = [_side(mode, calculator, sign * step / largest, rest, high) for sign in (1, -1)]
        if min(map(len, sides)) >= POINTS:
            break
        step /= 2
    count = min(map(len, sides))  # as far on either side
    plus, minus = (np.array(side[:count]) for side in sides)
    if np.abs(plus - minus).max() < NOISE:
        plus = minus = (plus + minus) / 2
    displacement = step / largest * np.arange(-count, count + 1)
    energy = np.concatenate([minus[::-1], [0.0], plus])
    same = int((np.abs(frequencies - modes.exact) < 1e-3).sum())
    return SoftMode(displacement, energy, modes.exact, modes.exact_qpoint, len(mode.atoms), largest, same)


def _side(mode: Wave, calculator, step: float, rest: float, high: float) -> list[float]:
    """Energies (eV) at one, two, … steps, until they are high enough above the lowest."""
    energies: list[float] = []
    most = int(LARGEST / (abs(step) * np.linalg.norm(mode.moves, axis=1).max()))
    for k in range(1, most + 1):
        energies.append(_energy(calculator, mode.displaced(k * step)) - rest)
        lowest = min(0.0, *energies)
        if energies[-1] > lowest + max(high, -WALL * lowest):
            return energies
    raise RuntimeError(
        f"got an energy that is {energies[-1]:.3g} eV at {LARGEST:g} Å along the mode, expected it to rise again: the "
        "mode leads to another structure; follow it with on_imaginary='follow'"
    )


def _energy(calculator, atoms: Atoms) -> float:
    return float(calculator.get_property("energy", atoms))
