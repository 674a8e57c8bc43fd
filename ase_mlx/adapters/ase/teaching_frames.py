"""Structures that teach a potential one crystal: strained, hot, rattled, small displacements, vacancies, surfaces.

Their cells are as large as the potential sees: images of an atom that move with it teach nothing of what lies between
(8 frames of 64 atoms teach more than 24 of 8 atoms).

Source: ours.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from jaxtyping import Int

from ase_mlx.adapters.ase.supercells import heights, repeated, supercell_matrix

LINDEMANN = 0.12
"""Root mean square displacement at melting over the nearest distance, between 0.10 (metals) and 0.15 (MgO)."""

KIND = "taught"
"""Entry of `info`: what a frame is for."""

SMALL = 0.015
"""Å: of the random displacements whose changes of forces are columns of the Hessian."""

LEAST, MOST = 64, 400
"""Atoms of cells for dynamics, and of cells that are enlarged any further."""


@dataclass(frozen=True)
class Share:
    """Numbers of frames of each kind (dimensionless).

    Source: ours.
    """

    rest: int
    hot: int
    rattled: int
    columns: int
    vacancies: int = 0
    surfaces: int = 0


def matrix_of_height(crystal: Atoms, height: float, least: int = 1) -> Int[np.ndarray, "3 3"]:
    """The smallest supercell of a height (Å) and number of atoms, or the largest lower one of at most 400 atoms.

    Source: ours.
    """
    choice = np.eye(3, dtype=int)
    for target in np.linspace(heights(crystal).min(), max(height, 1e-3), 12):
        matrix = supercell_matrix(crystal, target)
        if len(crystal) * abs(np.linalg.det(matrix)) > MOST:
            break
        choice = matrix
    while round(len(crystal) * abs(np.linalg.det(choice))) < least:
        height = 1.03 * heights(repeated(crystal, choice)).min()
        choice = supercell_matrix(crystal, height)
    return choice


def strained(atoms: Atoms, volume: float, shear: float, rng: np.random.Generator) -> Atoms:
    """Strain a cell (Å) at random, its volume changed by a share (dimensionless).

    Source: ours.
    """
    noise = rng.normal(scale=shear, size=(3, 3)) if shear else np.zeros((3, 3))
    tensor = np.eye(3) + (noise + noise.T) / 2
    out = atoms.copy()
    out.set_cell(atoms.cell.array @ (tensor * ((1 + volume) / np.linalg.det(tensor)) ** (1 / 3)), scale_atoms=True)
    return out


def nearest_distance(atoms: Atoms) -> float:
    """Mean distance (Å) of an atom to its nearest one.

    Source: ours.
    """
    from ase.neighborlist import neighbor_list

    reach = 2.0
    while True:
        i, d = neighbor_list("id", atoms, reach)
        nearest = np.full(len(atoms), np.inf)
        np.minimum.at(nearest, i, d)
        if np.isfinite(nearest).all() or reach > 20:
            return float(nearest[np.isfinite(nearest)].mean()) if len(d) else reach
        reach *= 1.3


def teaching_frames(
    crystal: Atoms,
    supercell: Atoms,
    displaced: Callable[[float, np.random.Generator], Atoms],
    hottest: float,
    share: Share,
    rng: np.random.Generator,
) -> list[Atoms]:
    """Make the first frames of one relaxed crystal (Å); `info["taught"]` says what each is for.

    Args:
        crystal: at rest.
        supercell: of it.
        displaced: gives the supercell at a temperature in K.
        hottest: K.
        share: how many of each kind.
        rng: of all that is random.

    Returns:
        Frames without labels; those of kind "column" have the array `displacement` (Å) from a frame "base" before them.

    Source: ours.
    """
    frames: list[Atoms] = []

    def add(kind: str, atoms: Atoms) -> None:
        atoms.calc, atoms.info = None, {KIND: kind}
        frames.append(atoms)

    for temperature in np.linspace(0.02, 1.1, share.hot) * hottest if share.hot else ():
        add("hot", strained(displaced(float(temperature), rng), rng.uniform(-0.03, 0.06), 0.01, rng))
    size = LINDEMANN / np.sqrt(3) * nearest_distance(supercell)
    for _ in range(share.rattled):
        add(
            "rattled",
            strained(rattled(supercell, rng.uniform(0.1, 0.8) * size, rng), rng.uniform(-0.03, 0.05), 0.01, rng),
        )
    for volume in np.linspace(-0.09, 0.09, (share.rest + 1) // 2):
        add("rest", strained(crystal, volume, 0.0, rng))
    for _ in range(share.rest // 2):
        add("rest", strained(crystal, rng.uniform(-0.04, 0.06), 0.02, rng))
    for k in range(share.columns):
        volume = 0.0 if k % 2 == 0 else (-0.02, 0.02, 0.04)[k // 2 % 3]
        base = strained(supercell, volume, 0.0, rng)
        add("base", base)
        moved = rattled(base, SMALL, rng)
        moved.arrays["displacement"] = moved.positions - base.positions
        add("column", moved)
    for k in range(share.vacancies):
        holed = displaced(hottest * (k + 0.5) / share.vacancies * 0.6, rng)
        del holed[rng.integers(len(holed))]
        add("vacancy", holed)
    for k in range(share.surfaces):
        add("surface", opened(displaced(hottest * (k + 0.5) / share.surfaces * 0.5, rng), k % 3, rng))
    return frames


def rattled(atoms: Atoms, size: float, rng: np.random.Generator) -> Atoms:
    """Displace all atoms at random by components of a standard deviation (Å).

    Source: ours.
    """
    out = atoms.copy()
    out.positions += rng.normal(scale=size, size=out.positions.shape)
    return out


def opened(atoms: Atoms, axis: int, rng: np.random.Generator) -> Atoms:
    """Part a cell between its widest-spaced planes along an axis: a slab with a random vacuum of 3 to 10 Å.

    Source: ours.
    """
    out = atoms.copy()
    places = out.get_scaled_positions(wrap=True)
    order = np.sort(places[:, axis])
    gaps = np.diff(np.append(order, order[0] + 1))
    places[:, axis] = (places[:, axis] - order[np.argmax(gaps)] - gaps.max() / 2) % 1
    out.set_scaled_positions(places)
    cell = out.cell.array
    normal = np.cross(cell[(axis + 1) % 3], cell[(axis + 2) % 3])
    cell[axis] += rng.uniform(3, 10) * normal / np.linalg.norm(normal) * np.sign(normal @ cell[axis])
    out.set_cell(cell)
    return out
