"""Densities at random points of their grids, as what the fit and the posterior read.

Source: ours.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ase_mlx.data.densities import DensityFrame
from ase_mlx.graph import Graph, batch, from_atoms
from ase_mlx.graph.points import near
from ase_mlx.models.density import Density, Pairs
from ase_mlx.models.density_field import free_atoms_at, pairs_of
from ase_mlx.models.point_density import PointDensity
from ase_mlx.models.potential import Potential

POINTS = 4000
"""Points of a structure of at most 8 atoms; with all 46,656 of a cell, errors on other cells were 2 % smaller."""


@dataclass(frozen=True)
class DensitySample:
    """One or several structures with densities at points, as `Pairs` of points and atoms (e/Å³).

    `first` are features of the trunk's first layer, `species` the elements counted from 0, `difference` is the density
    minus the superposed atoms', `share` one over the sum of squared densities of the structure that a point is of.

    Source: ours.
    """

    graph: Graph
    first: Tensor
    species: Tensor
    pairs: Pairs
    difference: Tensor
    share: Tensor
    point_graph: Tensor
    names: tuple[str, ...] = field(default=())

    def to(self, device: str | torch.device) -> "DensitySample":
        """Move everything to a device (e/Å³, Å)."""
        p = self.pairs
        pairs = Pairs(p.n_points, *(x.to(device) for x in (p.index, p.radial, p.angular)))
        tensors = (x.to(device) for x in (self.difference, self.share, self.point_graph))
        return DensitySample(
            self.graph.to(device), self.first.to(device), self.species.to(device), pairs, *tensors, self.names
        )

    @staticmethod
    def join(samples: list["DensitySample"]) -> "DensitySample":
        """Batch samples (e/Å³) into one."""
        if len(samples) == 1:
            return samples[0]
        total = sum(s.pairs.n_points for s in samples)
        width = max(s.pairs.index.shape[1] for s in samples)
        index, radial, angular, at = [], [], [], 0
        for s in samples:
            p = s.pairs
            grow = (0, width - p.index.shape[1])
            inside = torch.where(p.index < p.n_points, p.index + at, total)
            index.append(torch.nn.functional.pad(inside, grow, value=total))
            radial.append(torch.nn.functional.pad(p.radial, (0, 0, 0, 0, *grow)))
            angular.append(torch.nn.functional.pad(p.angular, (0, 0, *grow)))
            at += p.n_points
        return DensitySample(
            batch([s.graph for s in samples]),
            torch.cat([s.first for s in samples]),
            torch.cat([s.species for s in samples]),
            Pairs(total, torch.cat(index), torch.cat(radial), torch.cat(angular)),
            torch.cat([s.difference for s in samples]),
            torch.cat([s.share for s in samples]),
            torch.cat([torch.full((s.pairs.n_points,), k, dtype=torch.int64) for k, s in enumerate(samples)]),
            tuple(name for s in samples for name in s.names),
        )


def grid_positions(frame: DensityFrame, chosen: np.ndarray) -> np.ndarray:
    """Positions (Å) of points of a frame's grid, given by their flat numbers.

    Source: ours.
    """
    where = np.stack(np.unravel_index(chosen, frame.density.shape), -1)
    return where / np.array(frame.density.shape) @ frame.atoms.cell.array


def choose(frame: DensityFrame, n: int, seed: int) -> np.ndarray:
    """Choose flat numbers of `n` distinct grid points at random, all where there are fewer (dimensionless).

    Source: ours.
    """
    rng = np.random.default_rng([seed, *frame.name.encode()])
    return rng.permutation(frame.density.size)[:n]


def copies(frame: DensityFrame) -> int:
    """Say how many samples of a structure there are: one for each 8 atoms, at least one.

    Source: ours.
    """
    return max(1, round(len(frame.atoms) / 8))


def density_samples(model: Potential, frames: list[DensityFrame], n_points: int = POINTS) -> list[DensitySample]:
    """Take samples of `n_points` points (e/Å³) of each structure, several of a large one: atoms weigh alike.

    Raises:
        ValueError: a density whose electrons are not those of its atoms, or that is not finite.

    Source: ours.
    """
    return [density_sample(model, frame, n_points, seed) for frame in frames for seed in range(copies(frame))]


def density_sample(model: Potential, frame: DensityFrame, n_points: int = POINTS, seed: int = 0) -> DensitySample:
    """Take a frame's density (e/Å³) at random points of its grid, with what does not change while the head is trained.

    Raises:
        ValueError: a density whose electrons are not those of its atoms, or that is not finite.

    Source: ours.
    """
    density, atoms = model.density, frame.atoms
    check(model, frame)
    graph = from_atoms(atoms, model.cutoff)
    chosen = choose(frame, n_points, seed)
    positions = grid_positions(frame, chosen)
    atom, point, vector = near(positions, atoms.positions, atoms.cell.array, atoms.pbc, density.config.range)
    species = model.species_index[graph.numbers]
    free = free_atoms_at(density, species.numpy(), atom, point, np.linalg.norm(vector, axis=1), len(positions))
    values = frame.density.reshape(-1)[chosen]
    with torch.no_grad():
        first = model.first_layer(graph)
    return DensitySample(
        graph,
        first,
        species,
        pairs_of(density, atom, point, vector, len(atoms), len(positions)),
        torch.as_tensor(values - free, dtype=torch.float32),
        torch.full((len(values),), 1 / float(np.square(values).sum()), dtype=torch.float32),
        torch.zeros(len(values), dtype=torch.int64),
        (frame.name,),
    )


def head_of(model: Potential | PointDensity) -> Density | PointDensity:
    """What of a model knows the electrons of its free atoms and its error bars (e/Å³).

    Source: ours.
    """
    return model.density if isinstance(model, Potential) else model


def free_electrons(model: Potential | PointDensity, numbers: np.ndarray) -> float:
    """Count the valence electrons (a dimensionless number) of atoms.

    Source: ours.
    """
    species = model.species_index[torch.tensor(np.asarray(numbers), dtype=torch.int64)].numpy()
    return float(np.asarray(head_of(model).config.electrons)[species].sum())


def check(model: Potential | PointDensity, frame: DensityFrame) -> None:
    """Refuse densities that are not finite, or whose electrons (number) are not those of the atoms.

    Raises:
        ValueError: naming the frame, and what was found.

    Source: ours.
    """
    if not np.isfinite(frame.density).all():
        raise ValueError(f"got NaN or infinite densities in {frame.name}, expected finite e/Å³; leave the frame out")
    model.check_elements(from_atoms(frame.atoms, model.cutoff))
    expected = free_electrons(model, frame.atoms.numbers)
    if abs(frame.electrons - expected) > 1e-3 * expected:
        raise ValueError(
            f"got {frame.electrons:.4f} electrons in {frame.name}, expected {expected:g} of its atoms' valence; the "
            "unit is not e/Å³ (a CHGCAR holds ρ·V, a cube e/bohr³), the grid is too coarse, or the pseudopotentials "
            "differ"
        )
