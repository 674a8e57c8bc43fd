"""The structures that every law is tried on: periodic in 3, 2, 1 and 0 directions, awkward cells, a batch of two.

Source: ours; the awkward cells are those that neighbour lists and stresses of published codes stumble over.
"""

from collections.abc import Callable

import numpy as np

from ase_mlx.models import Model
from ase_mlx.nn.repulsion import RADII
from ase_mlx.structure import Structure

Builder = Callable[[float, np.ndarray, np.random.Generator], Structure]


def build(name: str, model: Model, seed: int = 0) -> tuple[Structure, ...]:
    """Build one geometry from a model's elements, bonds 1.1 times the sum of covalent radii, slightly rattled (Å).

    Args:
        name: a key of `GEOMETRIES`, or "two-crystal batch".
        model: gives the elements and the cutoff (Å).
        seed: of the rattling and of the order of elements.

    Returns:
        One structure, or two for the batch.

    Source: ours; radii of Cordero et al., Dalton Trans. 2832 (2008).
    """
    if name == BATCH:
        return (*build("fcc", model, seed), *build("triclinic", model, seed + 1))
    random = np.random.default_rng(seed)
    elements = np.array([z for z in model.elements if z <= len(RADII)])
    numbers = random.permutation(elements)
    bond = min(2.2 * float(np.mean([RADII[z - 1] for z in elements])), 0.55 * model.cutoff)
    crystal = GEOMETRIES[name](bond, numbers, random)
    rattled = crystal.positions + 0.04 * bond * random.standard_normal(crystal.positions.shape)
    return (Structure(crystal.numbers, rattled, crystal.cell, crystal.pbc),)


def _filled(scaled: list, cell: np.ndarray, numbers: np.ndarray, pbc: tuple[bool, bool, bool]) -> Structure:
    cell = np.asarray(cell, dtype=np.float64)
    positions = np.asarray(scaled, dtype=np.float64).reshape(-1, 3) @ cell
    return Structure(np.resize(numbers, len(positions)), positions, cell, np.array(pbc))


_FCC = [(0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)]
_DIAMOND_CELL = np.array([(0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)])
_ALL = (True, True, True)


def _fcc(bond: float, numbers: np.ndarray, random: np.random.Generator) -> Structure:
    return _filled(_FCC, np.sqrt(2) * bond * np.eye(3), numbers, _ALL)


def _diamond(bond: float, numbers: np.ndarray, random: np.random.Generator) -> Structure:
    sites = [np.array(s) + shift for s in _FCC for shift in (0.0, 0.25)]
    return _filled(sites, 4 / np.sqrt(3) * bond * np.eye(3), numbers, _ALL)


def _triclinic(bond: float, numbers: np.ndarray, random: np.random.Generator) -> Structure:
    cell = 1.35 * bond * np.array([(1.0, 0.1, 0.2), (0.35, 1.2, -0.1), (-0.2, 0.3, 1.5)])
    return _filled([(0.02, 0.05, 0.08), (0.55, 0.1, 0.47), (0.2, 0.6, 0.7)], cell, numbers, _ALL)


def _slab(bond: float, numbers: np.ndarray, random: np.random.Generator) -> Structure:
    a, layer = np.sqrt(2) * bond, bond / np.sqrt(2)
    height = 3 * layer + 4 * bond
    sites = [(x + 0.5 * (k % 2), x, (k - 1) * layer / height) for k in range(3) for x in (0.0, 0.5)]
    return _filled(sites, np.diag([a, a, height]), numbers, (True, True, False))


def _wire(bond: float, numbers: np.ndarray, random: np.random.Generator) -> Structure:
    positions = bond * np.array([(0, 0, 0.0), (0.5, 0.3, 0.8), (-0.3, 0.6, 1.6)])
    return Structure(np.resize(numbers, 3), positions, np.diag([0, 0, 2.4 * bond]), np.array([False, False, True]))


def _molecule(bond: float, numbers: np.ndarray, random: np.random.Generator) -> Structure:
    positions = bond * np.array([(0, 0, 0), (1, 0, 0), (0.4, 0.95, 0), (0.3, 0.2, 1.0), (-0.7, 0.6, 0.5)])
    return Structure(np.resize(numbers, 5), positions, np.zeros((3, 3)), np.zeros(3, dtype=bool))


def _one_atom(bond: float, numbers: np.ndarray, random: np.random.Generator) -> Structure:
    return Structure(numbers[:1].copy(), np.full((1, 3), 0.3 * bond), np.zeros((3, 3)), np.zeros(3, dtype=bool))


def _pair(bond: float, numbers: np.ndarray, random: np.random.Generator) -> Structure:
    positions = bond * np.array([(0.1, 0.2, 0.3), (0.7, 0.8, 0.8)])
    return Structure(np.resize(numbers, 2), positions, np.zeros((3, 3)), np.zeros(3, dtype=bool))


def _primitive(bond: float, numbers: np.ndarray, random: np.random.Generator) -> Structure:
    return _filled([(0, 0, 0), (0.25, 0.25, 0.25)], 4 / np.sqrt(3) * bond * _DIAMOND_CELL, numbers, _ALL)


def _left_handed(bond: float, numbers: np.ndarray, random: np.random.Generator) -> Structure:
    right = _triclinic(bond, numbers, random)
    return Structure(right.numbers, right.positions, right.cell[[1, 0, 2]], right.pbc)


def _skewed(bond: float, numbers: np.ndarray, random: np.random.Generator) -> Structure:
    flat = _primitive(bond, numbers, random)
    return Structure(flat.numbers, flat.positions, np.array([(1, 0, 0), (4, 1, 0), (-3, 5, 1.0)]) @ flat.cell, flat.pbc)


def _unwrapped(bond: float, numbers: np.ndarray, random: np.random.Generator) -> Structure:
    inside = _triclinic(bond, numbers, random)
    far = inside.positions + random.integers(-4, 5, inside.positions.shape) @ inside.cell
    return Structure(inside.numbers, far, inside.cell, inside.pbc)


BATCH = "two-crystal batch"
GEOMETRIES: dict[str, Builder] = {
    "fcc": _fcc,
    "diamond": _diamond,
    "triclinic": _triclinic,
    "slab": _slab,
    "wire": _wire,
    "molecule": _molecule,
    "one atom": _one_atom,
    "isolated pair": _pair,
    "primitive cell smaller than the cutoff": _primitive,
    "left-handed cell": _left_handed,
    "strongly skewed cell": _skewed,
    "unwrapped positions": _unwrapped,
}
OPEN = ("molecule", "one atom", "isolated pair")
NAMES: tuple[str, ...] = (*GEOMETRIES, BATCH)
