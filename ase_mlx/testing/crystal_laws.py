"""The laws of models of whole crystals: what their numbers obey whatever they were trained on.

Source: ours.
"""

from collections.abc import Callable

import numpy as np
import torch

from ase_mlx.graph import Graph, batch, from_atoms
from ase_mlx.models import Model
from ase_mlx.structure import Structure

TOLERANCE = 1e-5
"""Relative above 1; spglib's own decisions have a tolerance of 0.01 Å, which nothing here comes near."""


def _turned(atoms: Structure, random: np.random.Generator, sign: float) -> Structure:
    q, r = np.linalg.qr(random.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    q = q * np.sign(np.linalg.det(q)) * sign
    return Structure(atoms.numbers, atoms.positions @ q.T, atoms.cell @ q.T, atoms.pbc)


def _moved(atoms: Structure, random: np.random.Generator) -> Structure:
    return Structure(atoms.numbers, atoms.positions + random.normal(size=3), atoms.cell, atoms.pbc)


def _permuted(atoms: Structure, random: np.random.Generator) -> Structure:
    order = random.permutation(len(atoms.numbers))
    return Structure(atoms.numbers[order], atoms.positions[order], atoms.cell, atoms.pbc)


def _other_cell(atoms: Structure, random: np.random.Generator) -> Structure:
    turns = np.array([[1, 1, 0], [0, 1, 0], [0, 1, 1]])
    return Structure(atoms.numbers, atoms.positions, turns @ atoms.cell, atoms.pbc)


def _doubled(atoms: Structure, random: np.random.Generator) -> Structure:
    positions = np.concatenate([atoms.positions, atoms.positions + atoms.cell[2]])
    cell = atoms.cell * np.array([[1.0], [1.0], [2.0]])
    return Structure(np.tile(atoms.numbers, 2), positions, cell, atoms.pbc)


CRYSTAL_LAWS: dict[str, Callable[[Structure, np.random.Generator], Structure]] = {
    "rotation": lambda atoms, random: _turned(atoms, random, 1.0),
    "mirror": lambda atoms, random: _turned(atoms, random, -1.0),
    "translation": _moved,
    "permutation": _permuted,
    "choice of lattice vectors": _other_cell,
    "supercell": _doubled,
}
"""What may be done to a crystal without changing any number of it."""


def crystal_violation(model: Model, atoms: Structure, law: str, seed: int = 0) -> float:
    """Measure how far a law of whole crystals is broken: the largest change of any output or spread.

    Args:
        model: one whose outputs are all per structure.
        atoms: a crystal, Å.
        law: one of `CRYSTAL_LAWS`, or "batch" (alone equals among others).
        seed: of what is drawn.

    Returns:
        The change in the outputs' units, relative where they exceed 1.

    Source: ours.
    """
    random = np.random.default_rng(seed)
    graph = lambda a: from_atoms(a, model.cutoff)  # noqa: E731
    if law == "batch":
        others = [graph(_turned(atoms, random, 1.0)), graph(atoms), graph(_doubled(atoms, random))]
        return _difference(_numbers(model, graph(atoms)), _numbers(model, batch(others))[:, 1:2])
    return _difference(_numbers(model, graph(atoms)), _numbers(model, graph(CRYSTAL_LAWS[law](atoms, random))))


def _numbers(model: Model, graph: Graph) -> torch.Tensor:
    prediction = model.with_std(graph)
    return torch.stack([*prediction.values(), *prediction.std.values()])


def _difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(((a - b).abs() / a.abs().clamp_min(1.0)).max())
