"""Electron density point by point: descriptors in body-attached frames, and a Bayesian network.

ρ(r) = Σ_i ρ°_Z(|r − x_i|) + s(r) f(D(r)),   f ~ N(mean, aleatoric variance), with weights drawn from their posterior

where D describes the atoms around r (`nn.frames`) and s falls to zero where there are none. Elements enter by powers of
the mean radius of their free atom, so that descriptors grow no longer than threefold with the number of elements.

Source: the method of arXiv 2308.13096 and 2410.08294 (point-wise density, frames, mean-field variational inference);
descriptors, their smoothness and the count of electrons are ours.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ase_mlx import quantities
from ase_mlx.graph import Graph, Points, from_atoms
from ase_mlx.graph.points import encloses, near
from ase_mlx.nn.bayesian import BayesianNetwork
from ase_mlx.nn.frames import descriptors, powers
from ase_mlx.nn.primitives import INTERVALS, at_distances
from ase_mlx.structure import AtomsLike
from ase_mlx.units import NORMAL_95

from .contract import Field
from .density_field import Vector
from .density_planes import WholePlanes
from .electron_count import check_density
from .model import Model
from .prediction import Prediction
from .ranges import ELEMENTS, SIZE, expect_ranges

BLOCK = 8192
"""Points described at once."""

LEAST_LOG, MOST_LOG = -20.0, 4.0
"""Of the logarithm of the aleatoric variance, relative to that of the training data."""


@dataclass(frozen=True)
class PointDensityConfig:
    """Elements, `electrons` and mean radii (`radii`, Å) of their free atoms, and the sizes of descriptors and network.

    Lengths in Å: `cutoff` of the descriptors, `near` of the neighbours that make frames, `decay` of the frames' weight,
    `range` of the free atoms.

    Source: ours; defaults are those of `benchmarks/density.py`.
    """

    elements: tuple[int, ...]
    electrons: tuple[float, ...]
    radii: tuple[float, ...]
    cutoff: float = 6.0
    near: float = 4.0
    decay: float = 0.8
    range: float = 3.0
    n_radial: int = 16
    degree: int = 4
    hidden: tuple[int, ...] = (192, 192, 192)
    members: int = 16

    def __post_init__(self):
        """Refuse sizes without meaning."""
        if not len(self.elements) == len(self.electrons) == len(self.radii) > 0:
            raise ValueError(
                f"got {len(self.electrons)} numbers of electrons and {len(self.radii)} radii for {len(self.elements)} "
                "elements, expected one each"
            )
        if not 0 < self.near <= self.cutoff or min(self.decay, self.range) <= 0:
            raise ValueError(
                f"got cutoff={self.cutoff}, near={self.near}, decay={self.decay}, range={self.range} Å, expected "
                "positive lengths, near not beyond the cutoff"
            )
        if min(self.n_radial, self.degree, len(self.hidden)) < 1 or self.members < 2:
            raise ValueError(
                f"got n_radial={self.n_radial}, degree={self.degree}, hidden={self.hidden}, members={self.members}; "
                "expected a radial function, degree and hidden layer at least, and two members"
            )
        expect_ranges(
            self, elements=ELEMENTS, electrons=(0, 120), radii=(0, 20), cutoff=(0.5, 20), near=(0.1, 20),
            decay=(1e-3, 20), range=(0.1, 20), n_radial=(1, 128), degree=(1, 16), hidden=SIZE, members=(2, 512),
        )  # fmt: skip


class PointDensity(Model, Field):
    """A density that is predicted at points, each on its own, in e/Å³.

    Source: see the module.
    """

    outputs = (quantities.density,)

    def __init__(self, config: PointDensityConfig):
        """Set up with random mean weights from torch's generator."""
        super().__init__()
        self.config, self.cutoff, self.elements = config, config.cutoff, config.elements
        n = len(config.elements)
        index = torch.full((len(quantities.SYMBOLS),), -1, dtype=torch.int64)
        index[list(config.elements)] = torch.arange(n)
        self.register_buffer("species_index", index, persistent=False)
        size = np.array(config.radii)
        size = (size - size.mean()) / max(float(np.ptp(size)), 1e-9) * 2
        self.chemistry = np.stack([size**k for k in range(min(n, 3))], 1)
        n_inputs = self.chemistry.shape[1] * config.n_radial * len(powers(config.degree))
        self.network = BayesianNetwork((n_inputs, *config.hidden, 2))
        self.register_buffer("centre", torch.zeros(n_inputs))
        self.register_buffer("width", torch.ones(n_inputs))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("atoms", torch.zeros(n, INTERVALS, 4, dtype=torch.float64))
        self.register_buffer("std_scale", torch.zeros(2))
        self.register_buffer("std_tail", torch.tensor(NORMAL_95))

    def _apply(self, fn, recurse=True):
        """Keep the atoms in float64: their electrons are counted to 1e-10."""
        super()._apply(fn, recurse)
        self.atoms = self.atoms.to(torch.float64)
        return self

    @property
    def density_range(self) -> float:
        """How far an atom's density reaches, Å."""
        return max(self.config.range, self.config.near)

    def describe(
        self, graph: Graph, positions: Float[np.ndarray, "points 3"]
    ) -> tuple[Float[np.ndarray, "points d"], Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
        """Descriptors and envelope (dimensionless) of points (Å) of one structure, and superposed atoms (e/Å³)."""
        c = self.config
        where, cell, pbc = (x.cpu().numpy() for x in (graph.positions, graph.cell[0], graph.pbc[0]))
        species = self.species_index[graph.numbers].cpu().numpy()
        atom, point, vector = near(positions, where, cell, pbc, c.cutoff)
        order = np.argsort(point, kind="stable")
        atom, point, vector = atom[order], point[order], vector[order]
        n = len(positions)
        first = np.concatenate([[0], np.cumsum(np.bincount(point, minlength=n))])
        values = descriptors(
            first, -vector, self.chemistry[species[atom]], c.cutoff, c.n_radial, c.degree, c.decay, c.near
        )
        distance = np.linalg.norm(vector, axis=1)
        free = np.bincount(point, at_distances(self.atoms.cpu().numpy()[species], atom, distance, c.range), n) + 0.0
        closeness = np.maximum(1 - (distance / c.near) ** 2, 0) ** 3
        envelope = -np.expm1(np.bincount(point, np.log1p(-np.minimum(closeness, 1 - 1e-12)), n))
        return values.reshape(n, -1), envelope, free

    def inputs(self, descriptors: Float[np.ndarray, "points d"]) -> Float[Tensor, "points d"]:
        """Bring descriptors to zero mean and unit width over the training data (dimensionless)."""
        x = torch.from_numpy(descriptors).to(self.centre.device)
        return ((x - self.centre.to(x)) / self.width.to(x)).to(self.network.layers[0].mean.dtype)

    @torch.no_grad()
    def moments(
        self, x: Float[Tensor, "points d"], envelope: Float[Tensor, " points"]
    ) -> tuple[Float[Tensor, " points"], Float[Tensor, "points 2"]]:
        """Mean of the members' differences (e/Å³) and variances, epistemic and aleatoric ((e/Å³)²), in float64."""
        members = torch.stack([self.network.drawn(x, seed) for seed in range(self.config.members)]).to(torch.float64)
        size = envelope.to(members) * self.scale.to(torch.float64)
        aleatoric = members[..., 1].clamp(LEAST_LOG, MOST_LOG).exp().mean(0)
        variance = torch.stack([members[..., 0].var(0), aleatoric], -1) * size.square().unsqueeze(-1)
        return members[..., 0].mean(0) * size, variance

    def at(self, graph: Graph, points: Points, std: bool = False, charge: float = 0.0) -> Prediction:
        """The density (e/Å³) of one structure, on request with its standard deviation.

        On a grid that holds the whole density the electrons are those of the atoms less `charge` (in e): what is
        missing goes where the variance is. At scattered points nobody can count them.

        Raises:
            ValueError: several structures, an unknown element, a grid for a cell without volume.
        """
        self.check_elements(graph)
        if graph.n_graphs != 1:
            raise ValueError(f"got {graph.n_graphs} structures, expected one: each has its own grid")
        cell = graph.cell[0].cpu().numpy()
        volume = abs(float(np.linalg.det(cell)))
        if points.positions is None and not volume > 1e-6:
            raise ValueError(
                "got a structure whose cell has no volume, expected one that the grid can fill; set atoms.cell, or "
                "give scattered points"
            )
        parts = [self._block(graph, positions) for positions in _blocks(points, cell)]
        mean, variance = (torch.cat([f[k] for f in parts]) for k in (0, 1))
        if points.positions is None:
            free = np.asarray(self.config.electrons)[self.species_index[graph.numbers].cpu().numpy()].sum()
            electrons, pbc = float(free) - charge, graph.pbc[0].cpu().numpy()
            if pbc.all() or encloses(graph, self.density_range):
                share = variance.sum(-1) + 1e-12
                mean = mean + (electrons / volume - mean.mean()) * share / share.mean()
            check_density(mean.cpu().numpy(), volume, electrons, pbc)
        has_std = std and bool((self.std_scale > 0).any())
        parts = variance * self.std_scale.to(variance)  # epistemic and aleatoric
        stds, noise = ({"density": part.sqrt().reshape(points.shape)} for part in (parts.sum(-1), parts[:, 1]))
        return Prediction({"density": mean.reshape(points.shape)}, *(stds, None, "", noise) if has_std else ())

    density_at = at

    def density_planes(
        self,
        structure: AtomsLike,
        points: Points,
        std: bool = False,
        charge: float = 0.0,
        dipole: Vector | None = None,
        axis: int = 0,
    ) -> WholePlanes:
        """The density (e/Å³) of a structure (Å) on a grid, as files and pictures read it, with a charge (e).

        Raises:
            ValueError: a dipole (e Å); an unknown element.
        """
        if dipole is not None:
            raise ValueError(
                "got a dipole for a density point by point, which cannot be conditioned on it; leave it out"
            )
        graph = from_atoms(structure, self.cutoff)
        free = np.asarray(self.config.electrons)[self.species_index[graph.numbers].cpu().numpy()].sum()
        return WholePlanes(self.density_at(graph, points, std, charge), float(free) - charge)

    def _block(self, graph: Graph, positions: np.ndarray) -> tuple[Tensor, Tensor]:
        described, envelope, free = self.describe(graph, positions)
        x = self.inputs(described)
        mean, variance = self.moments(x, torch.from_numpy(envelope).to(x.device))
        return mean + torch.from_numpy(free).to(mean), variance

    def forward(self, graph: Graph) -> Prediction:
        """Predict what needs no points: nothing."""
        return Prediction({})

    with_std = forward


def _blocks(points: Points, cell: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(points), BLOCK):
        chosen = np.arange(start, min(start + BLOCK, len(points)))
        if points.positions is not None:
            yield points.positions[chosen]
        else:
            yield np.stack(np.unravel_index(chosen, points.shape), -1) / np.array(points.shape) @ cell
