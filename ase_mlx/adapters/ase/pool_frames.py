"""Structures that a potential may ask labels of: vacancies, surfaces, stacking faults, shear, liquids, alloys.

Each has its `kind` in `info`. Perfect ones are brought to life by `snapshots`, with the model of the day.

Source: ours; the cells are those of textbooks.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from ase import Atoms
from ase.build import make_supercell, surface

from ase_mlx.adapters.ase.hot_frames import hot_frames
from ase_mlx.adapters.ase.supercells import repeated
from ase_mlx.adapters.ase.teaching_frames import nearest_distance, strained
from ase_mlx.learn.active.simplex import lattice
from ase_mlx.models.extrapolation import once

MILLER = ((1, 0, 0), (1, 1, 0), (1, 1, 1))


def _named(atoms: Atoms, kind: str, **more: float | str) -> Atoms:
    atoms.calc = None
    atoms.info = {"kind": kind, **more}
    return atoms


def vacancies(crystal: Atoms, repeat: tuple[int, int, int]) -> list[Atoms]:
    """Take one atom of each element out of a supercell of a crystal (Å).

    Source: ours.
    """
    cell = crystal.repeat(repeat)
    out = []
    for symbol in dict.fromkeys(cell.symbols):
        atoms = cell.copy()
        del atoms[next(k for k, s in enumerate(cell.symbols) if s == symbol)]
        out.append(_named(atoms, "vacancy"))
    return out


def surfaces(
    crystal: Atoms,
    layers: int = 6,
    vacuum: float = 10.0,
    planes: Sequence[tuple[int, int, int]] = MILLER,
) -> list[Atoms]:
    """Cut slabs of a crystal (Å) along planes whose indices are those of its cell: give a cubic one for (100), (111).

    Args:
        crystal: with its conventional cell.
        layers: of cells.
        vacuum: between the slab and its image, Å.
        planes: Miller indices.

    Source: `ase.build.surface`.
    """
    out = []
    for plane in planes:
        atoms = surface(crystal, plane, layers, vacuum=vacuum / 2)
        atoms.pbc = True
        out.append(_named(atoms, "surface " + "".join(map(str, plane))))
    return out


def stacking_faults(primitive: Atoms, layers: int = 6, shares: Sequence[float] = (0.5, 1.0)) -> list[Atoms]:
    """Shift the planes (111) of an fcc crystal (Å), one fault a cell, by shares of the partial dislocation's vector.

    Args:
        primitive: with the primitive cell of the fcc lattice (aluminium, silicon, rocksalt …).
        layers: of (111) planes a cell.
        shares: dimensionless; 1 is the intrinsic fault, 1/2 about the way over the barrier.

    Raises:
        ValueError: the cell is none of an fcc lattice.

    Source: the generalised stacking fault of V. Vitek, Philos. Mag. 18, 773 (1968).
    """
    a = primitive.cell.array
    metric = a @ a.T / (a[0] @ a[0])
    if not np.allclose(metric, 0.5 + 0.5 * np.eye(3), atol=1e-3):
        raise ValueError(
            f"got a cell of angles {np.round(primitive.cell.angles(), 2).tolist()} degrees, expected the primitive "
            'cell of an fcc lattice (60, 60, 60), such as ase.build.bulk("Al")'
        )
    stack = make_supercell(primitive, [[-1, 1, 0], [-1, 0, 1], [layers, 0, 0]])
    out = []
    for share in shares:
        partial = share * (stack.cell[0] + stack.cell[1]) / 3
        both = []
        for sign in (1, -1):  # one way atoms come to lie above holes, the other way above atoms
            atoms = stack.copy()
            atoms.set_cell(stack.cell.array + np.array([0 * partial, 0 * partial, sign * partial]), scale_atoms=False)
            both.append(atoms)
        best = max(both, key=lambda atoms: float(np.min(_lengths(atoms))))
        out.append(_named(best, "stacking fault", share=float(share)))
    return out


def _lengths(atoms: Atoms) -> np.ndarray:
    from ase.neighborlist import neighbor_list

    return neighbor_list("d", atoms, 1.2 * nearest_distance(atoms))


def sheared(
    crystal: Atoms, count: int, rng: np.random.Generator, most: float = 0.05, volume: float = 0.05
) -> list[Atoms]:
    """Strain a crystal (Å) by random symmetric tensors: shear up to `most`, volume by up to a share (dimensionless).

    Source: ours.
    """
    out = []
    for _ in range(count):
        noise = rng.uniform(-1, 1, size=(3, 3))
        tensor = (noise + noise.T) / 2
        tensor -= np.trace(tensor) / 3 * np.eye(3)
        tensor *= rng.uniform(0.2, 1.0) * most / np.abs(tensor).max()
        atoms = crystal.copy()
        atoms.set_cell(crystal.cell.array @ (np.eye(3) + tensor), scale_atoms=True)
        out.append(_named(strained(atoms, rng.uniform(-volume, volume), 0.0, rng), "shear"))
    return out


def alloys(
    crystal: Atoms, lengths: Mapping[str, float], divisions: int, rng: np.random.Generator, repeat: int = 1
) -> list[Atoms]:
    """Occupy a crystal's sites at random, once for each composition on a lattice of the simplex, to its corners.

    Args:
        crystal: whose sites are occupied, Å; its first cell vector has the length of the first element's.
        lengths: lattice constant of each element, Å; those of alloys are their means.
        divisions: parts of an edge of the simplex.
        rng: of the occupations.
        repeat: of the cell along each vector.

    Source: ours; L. Vegard, Z. Phys. 5, 17 (1921).
    """
    symbols, own = list(lengths), np.array(list(lengths.values()))
    out = []
    for parts in lattice(len(symbols), divisions):
        atoms = crystal.repeat(repeat)
        atoms.set_cell(atoms.cell.array * float(parts @ own / divisions / own[0]), scale_atoms=True)
        bounds = np.round(np.cumsum([0, *parts]) / divisions * len(atoms)).astype(int)
        order = rng.permutation(len(atoms))
        for symbol, (first, end) in zip(symbols, pairwise(bounds), strict=True):
            atoms.symbols[order[first:end]] = symbol
        out.append(_named(atoms, "alloy"))
    return out


def snapshots(
    starts: Sequence[Atoms], calculator, temperature: float, rng: np.random.Generator, steps: int = 200, count: int = 2
) -> list[Atoms]:
    """Move structures (Å) by Langevin dynamics of a calculator, and take snapshots; one that falls apart gives fewer.

    Args:
        starts: with their `kind`.
        calculator: any ASE calculator, such as the model of the day; eV and Å.
        temperature: K.
        rng: of momenta and thermostat.
        steps: of 2 fs.
        count: of snapshots of each.

    Source: ours.
    """
    out = []
    for start in starts:
        with once(speak=False):
            run = hot_frames(start, calculator, temperature, steps, count, rng)
        out += [_named(atoms, str(start.info.get("kind", "bulk")), temperature_K=temperature) for atoms in run.frames]
    return out


def liquid(
    crystal: Atoms,
    calculator,
    temperature: float,
    rng: np.random.Generator,
    repeat: tuple[int, int, int] = (2, 2, 2),
    steps: int = 1000,
    count: int = 8,
    expansion: float = 0.06,
) -> list[Atoms]:
    """Melt a crystal (Å) at three times a temperature, cool it, and take snapshots.

    Args:
        crystal: in any cell.
        calculator: any ASE calculator, such as the model of the day; eV and Å.
        temperature: of the liquid, K.
        rng: of momenta and thermostat.
        repeat: of the cell.
        steps: of 2 fs, of melting and again of the liquid.
        count: of snapshots.
        expansion: share of the crystal's volume that the liquid takes more; silicon takes less (dimensionless).

    Source: ours.
    """
    start = strained(repeated(crystal, np.diag(repeat)), expansion, 0.0, rng)
    with once(speak=False):
        melted = hot_frames(start, calculator, 3 * temperature, steps, 1, rng, apart=np.inf)
        run = hot_frames(melted.frames[-1], calculator, temperature, steps, count, rng, apart=np.inf)
    return [_named(atoms, "liquid", temperature_K=temperature) for atoms in run.frames]
