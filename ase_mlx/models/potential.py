"""Interatomic potential: energy, forces and stress as its exact derivatives, with a shallow ensemble of readouts.

E = Σ_i [E⁰(Z_i) + s · w·f_i] + E_ZBL, with latent features f_i of an equivariant message-passing trunk, a force scale
s in eV/Å times 1 Å, and one readout w; the members of the ensemble are readouts w + δ_m on the same features.

Source: the trunk follows Batzner et al., Nat. Commun. 13, 2453 (2022); the shallow ensemble Kellner and Ceriotti,
arXiv 2402.16621.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ase_mlx import quantities
from ase_mlx.graph import Graph, Points
from ase_mlx.nn.parameters import declared
from ase_mlx.nn.radial import SILU_GAIN
from ase_mlx.nn.repulsion import zbl
from ase_mlx.nn.trunk import Trunk
from ase_mlx.structure import AtomsLike
from ase_mlx.units import NORMAL_95

from .contract import Field
from .density import Density, DensityConfig
from .density_field import Conditioned, Vector, at_points, conditioned
from .density_planes import AtomPlanes
from .distance import Distance, coordinates
from .error_bars import CALIBRATED, calibrated
from .large import conditioned_structure
from .mechanics import mechanics, sum_by_graph
from .model import Model
from .prediction import Prediction, as_tensors
from .ranges import ELEMENTS, SIZE, expect_ranges


@dataclass(frozen=True)
class PotentialConfig:
    """Size and range of a potential; `cutoff` in Å, everything else dimensionless.

    `by_element` says what elements have of their own in each layer: matrices, or gains and biases of shared ones.
    `repulsion` is where the nuclei's ends, in sums of two covalent radii.

    Source: ours; the defaults are those of `benchmarks/potential.py`.
    """

    elements: tuple[int, ...]
    cutoff: float = 5.0
    l_max: int = 2
    layers: int = 3
    channels: int = 32
    n_basis: int = 8
    radial_hidden: tuple[int, ...] = (64,)
    latent: int = 64
    members: int = 16
    products: bool = False
    reference_energies: tuple[float, ...] = field(default=())
    energy_scale: float = 1.0
    neighbors: float = 28.0
    density: DensityConfig | None = None
    by_element: Literal["matrices", "gains"] = "matrices"
    repulsion: float = 1.0

    def __post_init__(self):
        """Refuse sizes without meaning."""
        if not self.elements or len(set(self.elements)) != len(self.elements):
            raise ValueError(f"got elements={self.elements}, expected distinct atomic numbers; list each once")
        if self.members < 0 or self.members == 1:
            raise ValueError(f"got members={self.members}, expected none or at least two: one member has no spread")
        if self.reference_energies and len(self.reference_energies) != len(self.elements):
            raise ValueError(
                f"got {len(self.reference_energies)} reference energies, expected one an element: {len(self.elements)}"
            )
        expect_ranges(
            self, elements=ELEMENTS, cutoff=(0.5, 20), l_max=(0, 8), layers=(1, 20), channels=(1, 1024),
            n_basis=(1, 128), radial_hidden=SIZE, latent=SIZE, members=(0, 512), energy_scale=(1e-9, 1e6),
            neighbors=(1e-3, 1e5), reference_energies=(-1e7, 1e7), repulsion=(0.1, 1.5),
        )  # fmt: skip
        if self.density and len(self.density.electrons) != len(self.elements):
            raise ValueError(
                f"got {len(self.density.electrons)} numbers of electrons for {len(self.elements)} elements, expected "
                "one each in density.electrons"
            )


BAR_DIRECTIONS = 3
"""Directions of the readout that error bars of forces and stress are taken from: a backward pass each."""


class Potential(Model, Field):
    """Energy, forces and stress of the config's elements, with calibrated error bars once `learn` has set them.

    With `config.density`, also the electron density at points, on features of the same trunk.

    In `eval()` mode on a CPU the radial functions are cubic Hermite tables of 512 intervals, and forces are the exact
    derivatives of that tabulated energy; `train()` evaluates the radial networks and is differentiable to any order.

    Source: see the module.
    """

    outputs = (
        quantities.energy, quantities.energies, quantities.forces, quantities.stress, quantities.stresses,
        quantities.distance, quantities.features,
    )  # fmt: skip

    def __init__(self, config: PotentialConfig):
        """Build with random weights from torch's generator; lengths in Å, energies in eV."""
        super().__init__()
        self.config, self.cutoff, self.elements = config, config.cutoff, tuple(config.elements)
        self.trunk = Trunk(
            len(config.elements), config.cutoff, config.l_max, config.layers, config.channels, config.n_basis,
            config.radial_hidden, config.products, config.neighbors, config.by_element,
        )  # fmt: skip
        self.readout = nn.Parameter(torch.randn(config.layers * config.channels, config.latent))
        self.head = nn.Parameter(torch.randn(config.latent) / math.sqrt(config.latent))
        self.register_buffer("deviations", torch.zeros(config.members, config.latent))
        self.register_buffer(
            "directions", torch.zeros(min(BAR_DIRECTIONS, config.members, config.latent), config.latent)
        )
        read = coordinates(config.l_max, config.layers, config.channels)
        self.distance = Distance(len(config.elements), read, config.by_element == "gains")
        self.register_buffer("std_scale", torch.zeros(len(CALIBRATED)))
        self.register_buffer("std_floor", torch.zeros(len(CALIBRATED)))
        self.register_buffer("std_growth", torch.zeros(len(CALIBRATED)))
        self.register_buffer("std_beyond", torch.zeros(len(CALIBRATED)))
        self.register_buffer("std_tail", torch.full((len(CALIBRATED),), NORMAL_95))
        index = torch.full((120,), -1, dtype=torch.int64)
        index[list(config.elements)] = torch.arange(len(config.elements))
        self.register_buffer("species_index", index, persistent=False)
        e0 = config.reference_energies or (0.0,) * len(config.elements)
        self.register_buffer("reference", torch.tensor(e0, dtype=torch.float64), persistent=False)
        self.density = None
        if config.density is not None:
            self.density = Density(config.density, self.trunk)
            self.outputs = (*Potential.outputs, quantities.density)

    def _apply(self, fn, recurse=True):
        """Keep the reference energies in float64 whatever the model's dtype: their sum is large."""
        super()._apply(fn, recurse)
        self.reference = self.reference.to(torch.float64)
        return self

    def adopt(self, other: "Potential") -> None:
        """Take the weights of a potential of the same sizes; elements that it lacks keep their own.

        Source: ours.
        """
        shared = [z for z in self.elements if z in other.elements]
        own, source = self.species_index[shared], other.species_index[shared]
        parameters = dict(other.named_parameters())
        per_element = declared(self, "per_element")
        with torch.no_grad():
            for name, weight in self.named_parameters():
                if name in per_element:
                    weight[own] = parameters[name][source]
                else:
                    weight.copy_(parameters[name])
        self.trunk.refresh()

    @property
    def tail(self) -> Mapping[str, float]:
        """Half width of the 95 % interval of each of `CALIBRATED` in units of its std (dimensionless)."""
        return dict(zip(CALIBRATED, self.std_tail.tolist(), strict=True))

    @property
    def hessian_scale(self) -> float:
        """What to multiply the members' deviations of second derivatives by (dimensionless); 1 where it is unknown."""
        return float(self.std_scale[CALIBRATED.index("hessian")]) or 1.0

    def latent(self, graph: Graph, vectors: Float[Tensor, "edges 3"]) -> Float[Tensor, "atoms features"]:
        """Evaluate the trunk at edge vectors in Å: the dimensionless features that readouts, and other models, read."""
        return self._latent(self.trunk(graph, vectors, self.species_index[graph.numbers]))

    def _latent(self, layers: Sequence[Tensor]) -> Tensor:
        x = torch.cat([h[:, 0] for h in layers], dim=-1) @ self.readout
        return nn.functional.silu(x / math.sqrt(self.readout.shape[0])) * SILU_GAIN

    def _energies(
        self, graph: Graph, vectors: Tensor, with_distance: bool = True
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Interaction energies (eV) of the atoms, the latent features and the distance scores where they are known."""
        layers = self.trunk(graph, vectors, self.species_index[graph.numbers])
        features = self._latent(layers)
        score = self._distance(graph, vectors, layers) if with_distance else None
        energies = (features @ self.head) * self.config.energy_scale
        distance = torch.linalg.vector_norm(vectors, dim=-1)
        pair = zbl(distance, graph.numbers[graph.center], graph.numbers[graph.neighbor], self.config.repulsion)
        return energies.index_add(0, graph.center, pair), features, score

    @torch.no_grad()
    def _distance(self, graph: Graph, vectors: Tensor, layers: Sequence[Tensor]) -> Tensor | None:
        fitted = self.distance.known
        return self.distance(graph, self.species_index[graph.numbers], vectors, layers) if fitted else None

    @torch.no_grad()
    def distances(self, graph: Graph) -> Float[Tensor, " atoms"] | None:
        """Score how far each atom is from the training data (dimensionless, 1 = edge); None where it is not known.

        Raises:
            ValueError: an element that the model was not made for.
        """
        self.check_elements(graph)
        vectors, species = graph.vectors().to(self.head.dtype), self.species_index[graph.numbers]
        return self._distance(graph, vectors, self.trunk(graph, vectors, species))

    def _leaf(self, graph: Graph) -> Tensor:
        self.check_elements(graph)
        return graph.vectors().to(self.head.dtype).detach().requires_grad_()

    def forward(self, graph: Graph) -> Prediction:
        """Predict energy (eV), energies, forces (eV/Å), stress and stresses (Voigt, eV/Å³; absent without a volume).

        In `eval()` mode also the distance score of each atom (1 = edge of the training data), where it is known.

        Raises:
            ValueError: an element that the model was not made for.
        """
        vectors = self._leaf(graph)
        with torch.enable_grad():
            energies, features, distance = self._energies(graph, vectors, with_distance=not self.training)
            (slope,) = torch.autograd.grad(energies.sum(), vectors, create_graph=self.training)
        values = self._values(graph, vectors, energies, features, slope, distance)
        return Prediction(values if self.training else {k: v.detach() for k, v in values.items()})

    def _values(
        self,
        graph: Graph,
        vectors: Tensor,
        energies: Tensor,
        features: Tensor,
        slope: Tensor,
        distance: Tensor | None,
    ) -> dict[str, Tensor]:
        values = {"energies": energies.to(torch.float64) + self.reference[self.species_index[graph.numbers]]}
        values |= mechanics(graph, vectors, slope)
        values["energy"] = sum_by_graph(graph, values["energies"])
        values["features"] = features
        return values if distance is None else values | {"distance": distance}

    def first_layer(self, graph: Graph) -> Float[Tensor, "core m c"]:
        """Features of the trunk's first layer (dimensionless), which a density reads.

        Raises:
            ValueError: an element that the model was not made for.
        """
        self.check_elements(graph)
        return self.trunk(graph, graph.vectors().to(self.head.dtype), self.species_index[graph.numbers], 1)[0].detach()

    @torch.no_grad()
    def conditioned(self, graph: Graph, charge: float = 0.0, dipole: Vector | None = None) -> Conditioned:
        """The density (e/Å³) of one structure given its electrons: `density_field.conditioned` (e, e Å)."""
        return conditioned(self, graph, charge, dipole)

    def density_planes(
        self,
        structure: AtomsLike,
        points: Points,
        std: bool = False,
        charge: float = 0.0,
        dipole: Vector | None = None,
        axis: int = 0,
    ) -> AtomPlanes:
        """The density (e/Å³) of a structure (Å) of any size on a grid, plane by plane: `large` (e, e Å)."""
        return AtomPlanes(conditioned_structure(self, structure, charge, axis, dipole), points.shape, charge)

    @torch.no_grad()
    def density_features(self, graph: Graph, first: Tensor | None = None) -> Float[Tensor, "core components features"]:
        """What the density's head is linear in (dimensionless), from those of `first_layer` where they are known.

        Raises:
            ValueError: an unknown element.
        """
        vectors, species = graph.vectors().to(self.head.dtype), self.species_index[graph.numbers]
        return self.density.features(graph, vectors, self.first_layer(graph) if first is None else first, species)

    @property
    def density_range(self) -> float:
        """How far an atom's density reaches, Å.

        Raises:
            ValueError: a model without a density.
        """
        if self.density is None:
            raise ValueError(f"got a model without a density; it gives {', '.join(q.name for q in self.outputs)}")
        return self.config.density.range

    def at(self, graph: Graph, points: Points, std: bool = False, charge: float = 0.0) -> Prediction:
        """The density alone (e/Å³) of one structure with a charge (e), on request with its standard deviation."""
        return as_tensors(at_points(self.conditioned(graph, charge), points, std, charge))

    density_at = at

    def core_slope(self, graph: Graph, n_core: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
        """Energies (eV) of the first atoms, the derivative of their sum by edge vectors (eV/Å), and those (Å).

        The last is the distance score of the first atoms (dimensionless), where it is known.
        """
        vectors = self._leaf(graph)
        with torch.enable_grad():
            energies, _, score = self._energies(graph, vectors)
            (slope,) = torch.autograd.grad(energies[:n_core].sum(), vectors)
        reference = self.reference[self.species_index[graph.numbers[:n_core]]]
        values = energies[:n_core].detach().to(torch.float64) + reference
        score = None if score is None else score[:n_core].numpy()
        return values.numpy(), slope.to(torch.float64).numpy(), vectors.detach().to(torch.float64).numpy(), score

    def with_std(self, graph: Graph) -> Prediction:
        """Predict as `forward`, with calibrated `std`; of the members only the energies (eV), which cost nothing.

        The spread of forces and stress is that of `directions`, which carry most of the members' variance, in the same
        forward pass as the prediction; of the energy that of all members, atom by atom (`energy_spread`).

        Source: Kellner and Ceriotti, arXiv 2402.16621, for the shallow ensemble; directions and calibration are ours.
        """
        return self._with_std(graph, members=False)

    def with_members(self, graph: Graph) -> Prediction:
        """Predict as `with_std`, with the energies, forces and stresses of all members: a backward pass for each."""
        return self._with_std(graph, members=True)

    def _with_std(self, graph: Graph, members: bool) -> Prediction:
        if not bool(self.deviations.any()):
            return self(graph)
        has_directions = bool(self.directions.any())  # models of earlier versions have none
        members = members or not has_directions
        readouts = [self.directions] * has_directions + [self.deviations] * members
        vectors = self._leaf(graph)
        with torch.enable_grad():
            energies, features, distance = self._energies(graph, vectors)
            shifts = (features @ torch.cat(readouts).T) * self.config.energy_scale
            sums = [energies.sum(), *shifts.sum(0)]
            slope, *slopes = [torch.autograd.grad(s, vectors, retain_graph=s is not sums[-1])[0] for s in sums]
        features, vectors = features.detach(), vectors.detach()
        mean = {k: v.detach() for k, v in self._values(graph, vectors, energies, features, slope, distance).items()}
        parts = [mechanics(graph, vectors, slope) for slope in slopes]
        spread = {n: torch.stack([p[n] for p in parts]) for n in ("forces", "stress") if n in mean}
        shifts = self._shifts(features, self.deviations)
        deviation = {"energy": sum_by_graph(graph, shifts).T}
        if members:
            deviation |= {n: change[-len(self.deviations) :] for n, change in spread.items()}
        n = len(self.deviations) - 1
        variance = {"energy": deviation["energy"].square().sum(0) / n}
        variance["energies"] = self.energy_spread(graph, features, self.deviations).square()
        if has_directions:
            variance |= {name: x[: len(self.directions)].square().sum(0) for name, x in spread.items()}
        else:
            variance |= {name: x.square().sum(0) / n for name, x in spread.items()}
        std, noise = calibrated(self, graph, variance, mean.get("distance"))
        return Prediction(mean, std, {n: mean[n] + change for n, change in deviation.items()}, noise=noise)

    def _shifts(self, features: Tensor, deviations: Tensor) -> Tensor:
        return (features.to(torch.float64) @ deviations.to(torch.float64).T) * self.config.energy_scale

    def energy_spread(
        self, graph: Graph, features: Float[Tensor, "atoms features"], deviations: Float[Tensor, "members features"]
    ) -> Float[Tensor, " graphs"]:
        """Sum over a structure's atoms what members disagree about the energy of each (eV).

        Args:
            graph: the structures.
            features: of the atoms (dimensionless).
            deviations: of the members' readouts (dimensionless).

        Source: ours.
        """
        variance = self._shifts(features, deviations).square().sum(1) / (len(deviations) - 1)
        return sum_by_graph(graph, variance.sqrt())

    def along_directions(self, graph: Graph) -> Float[Tensor, "directions atoms 3"]:
        """What each of `directions` adds to the forces (eV/Å): the sum of their squares is the variance of bars."""
        vectors = self._leaf(graph)
        with torch.enable_grad():
            sums = ((self.latent(graph, vectors) @ self.directions.T) * self.config.energy_scale).sum(0).unbind()
            slopes = [torch.autograd.grad(s, vectors, retain_graph=s is not sums[-1])[0] for s in sums]
        return torch.stack([mechanics(graph, vectors.detach(), slope)["forces"] for slope in slopes]).cpu()
