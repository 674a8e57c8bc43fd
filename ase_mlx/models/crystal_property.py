"""Properties of whole crystals from their descriptors, each with its error bar: an ensemble of attenuated networks.

Source: ours; the network as in `nn.hyper`, the ensemble after B. Lakshminarayanan et al., NeurIPS 30 (2017).
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import t as student
from torch import Tensor, nn

from ase_mlx.descriptors import CUTOFF, GROUPS, NAMES, STRUCTURE, VERSION, check_periodic, describe
from ase_mlx.descriptors.diffraction import BINS, powder_patterns
from ase_mlx.graph import Graph, Points
from ase_mlx.nn.ensemble import Ensemble
from ase_mlx.nn.hyper import AttenuatedNetwork, Scored
from ase_mlx.quantities import ALL

from .model import Model, Prediction, as_tensors, check_numbers

ROWS = 256
"""Crystals are evaluated in blocks of this many, filled up, so that no number depends on its neighbours."""

FARTHEST = 5.0
"""Standardised descriptors are cut at this size."""


VOLUMES = (1.5, 2000.0)
"""Å³ per atom; beyond these a cell is in other units, or empty."""

CLOSEST = 0.5
"""Å; no bond is shorter (H₂: 0.74 Å), so atoms closer than this are one atom given twice."""


@dataclass(frozen=True)
class CrystalPropertyConfig:
    """Sizes of the networks (dimensionless), what they predict, the elements that they were made for.

    `attenuation` None learns λ; `diffraction` adds a block of powder patterns, and lets it or the structure be missing;
    `descriptors` is the version of their definition.

    Source: ours.
    """

    targets: tuple[str, ...]
    elements: tuple[int, ...]
    members: int = 5
    width: int = 128
    depth: int = 3
    hyper_width: int = 64
    attenuation: float | None = None
    literal: bool = False
    attention: bool = False
    diffraction: bool = False
    descriptors: int = VERSION

    def __post_init__(self):
        """Refuse a model of other descriptors: its numbers would be nonsense."""
        if self.descriptors != VERSION:
            raise ValueError(
                f"got a model trained on descriptors of version {self.descriptors}, expected {VERSION}; train it anew"
            )

    @property
    def blocks(self) -> tuple[int, ...]:
        """Numbers of descriptors of composition, of structure and, where asked for, of diffraction."""
        return (STRUCTURE, len(NAMES) - STRUCTURE, *([BINS] if self.diffraction else []))


def check_volume(volume: float) -> None:
    """Refuse a cell whose volume, in Å³ per atom, no crystal has.

    Raises:
        ValueError: naming it, and what may be wrong.

    Source: ours.
    """
    if not VOLUMES[0] <= volume <= VOLUMES[1]:
        raise ValueError(
            f"got a volume of {volume:.3g} Å³ per atom, expected {VOLUMES[0]} to {VOLUMES[1]:.0f}; is the lattice in Å "
            "(not nm or Bohr), and no site counted twice?"
        )


def check_crystals(graph: Graph, elements: tuple[int, ...]) -> Graph:
    """Refuse what no model of crystals can judge: other elements, open directions, wrong units, atoms in one place.

    Args:
        graph: crystals, Å.
        elements: that the model knows.

    Raises:
        ValueError: naming it, and what to do.

    Source: ours.
    """
    check_numbers(graph.numbers.cpu().numpy(), elements)
    check_periodic(graph)
    for volume in (graph.volume / graph.n_atoms).tolist():
        check_volume(volume)
    closest = float(graph.vectors().norm(dim=1).min()) if len(graph.center) else CUTOFF
    if closest < CLOSEST:
        raise ValueError(
            f"got two atoms {closest:.3g} Å apart, expected at least {CLOSEST} Å; remove one, or move them apart"
        )
    return graph


class CrystalProperty(Model):
    """Formation energy, hull distance and their like, in eV/atom, with calibrated standard deviations.

    The predictive distribution is Student's t: its width is the networks' own, its scale and degrees of freedom are
    those of held-out crystals.

    Source: see the module.
    """

    def __init__(self, config: CrystalPropertyConfig):
        """Make untrained networks with random weights (dimensionless) from torch's generator."""
        super().__init__()
        self.config = config
        self.outputs = tuple(ALL[name] for name in config.targets)
        self.cutoff, self.elements = CUTOFF, config.elements
        features = sum(config.blocks) + len(config.blocks) - 1
        groups = (*(len(places) for places in GROUPS.values()), *config.blocks[2:]) if config.attention else ()
        if groups:
            groups = (*groups[:-1], groups[-1] + len(config.blocks) - 1)  # the flags go with the last group
        build = lambda: AttenuatedNetwork(  # noqa: E731
            features, config.width, config.depth, config.hyper_width, config.attenuation, config.literal, groups
        )
        self.networks = nn.ModuleList(Ensemble([build() for _ in range(config.members)]) for _ in config.targets)
        self.register_buffer("center", torch.zeros(sum(config.blocks), dtype=torch.float64))
        self.register_buffer("scale", torch.ones(sum(config.blocks), dtype=torch.float64))
        for name, start in (("target_center", 0.0), ("target_scale", 1.0), ("std_scale", 1.0), ("freedom", 1e3)):
            self.register_buffer(name, torch.full((len(config.targets),), start, dtype=torch.float64))

    def described(self, graph: Graph) -> Float[np.ndarray, "crystals n"]:
        """Describe crystals (units as the descriptors') as `table` takes them.

        Raises:
            ValueError: an element that the model was not made for, or no physical crystal.
        """
        check_crystals(graph, self.elements)
        rows = describe(graph)
        return np.column_stack([rows, powder_patterns(graph)]) if self.config.diffraction else rows

    def inputs(self, rows: Float[np.ndarray, "crystals n"]) -> Float[Tensor, "crystals features"]:
        """Standardise descriptors (dimensionless); a block with NaN is missing and becomes zeros with a flag.

        Raises:
            ValueError: another number of descriptors, or a missing block where the model needs it.
        """
        if rows.shape[1] != sum(self.config.blocks):
            raise ValueError(
                f"got {rows.shape[1]} descriptors, expected {sum(self.config.blocks)}; take them from `described`"
            )
        x = (torch.from_numpy(np.asarray(rows, dtype=np.float64)) - self.center.cpu()) / self.scale.cpu()
        parts, flags = list(torch.split(x, self.config.blocks, dim=1)), []
        for k, part in enumerate(parts):
            missing = ~torch.isfinite(part).all(1)
            if bool(missing.any()) and (k == 0 or not self.config.diffraction):
                raise ValueError(
                    f"got {int(missing.sum())} crystals with descriptors that are no numbers, expected all of them: "
                    "only a model with diffraction can do without the structure or the pattern"
                )
            parts[k] = torch.where(missing[:, None], 0.0, part).clamp(-FARTHEST, FARTHEST)
            flags += [missing[:, None].to(x)] if k else []
        return torch.cat([*parts, *flags], 1)

    @torch.no_grad()
    def scored(self, rows: Float[np.ndarray, "crystals n"], target: int) -> Scored:
        """Score descriptors by all members of one target, in eV/atom; the variance is the noise's and H's."""
        weight = self.networks[target].stacked[0]
        x = self.inputs(rows).to(weight)
        found = []
        for start in range(0, len(x), ROWS):
            block = x[start : start + ROWS]
            filled = torch.cat([block, x.new_zeros(ROWS - len(block), x.shape[1])])
            found.append([part[:, : len(block)].cpu().double() for part in self.networks[target](filled)])
        mean, noise, variance, terms = (torch.cat(parts, 1) for parts in zip(*found, strict=True))
        center, scale = self.target_center[target].cpu(), self.target_scale[target].cpu()
        return Scored(center + scale * mean, scale**2 * noise, scale**2 * variance, scale * terms)

    def table(self, rows: Float[np.ndarray, "crystals n"]) -> Prediction:
        """Predict from descriptors (units as theirs): values, standard deviations and members in eV/atom."""
        values, std, members = {}, {}, {}
        for k, name in enumerate(self.config.targets):
            found = self.scored(rows, k)
            values[name] = found.mean.mean(0).numpy()
            between = found.mean.var(0, correction=0)
            spread = (found.noise + found.variance).mean(0) + between
            std[name] = float(self.std_scale[k]) * spread.sqrt().numpy()
            members[name] = found.mean.numpy()
        return Prediction(values, std, members)

    def contributions(self, rows: Float[np.ndarray, "crystals n"], name: str) -> Float[np.ndarray, "crystals n"]:
        """Split a prediction into one term a descriptor, in eV/atom; they add up to it but for a constant."""
        terms = self.scored(rows, self.config.targets.index(name)).terms.mean(0).numpy()
        return terms[:, : sum(self.config.blocks)]

    def probability_below(
        self, prediction: Prediction, name: str, value: Float[np.ndarray, " crystals"] | float
    ) -> Float[np.ndarray, " crystals"]:
        """Give the probability that a property lies below a value in eV/atom (dimensionless)."""
        freedom = float(self.freedom[self.config.targets.index(name)])
        width = np.sqrt((freedom - 2) / freedom)
        return student.cdf((value - prediction[name]) / (width * prediction.std[name]), freedom)

    def half_width(self, name: str, level: float = 0.9) -> float:
        """Give the half width of a central interval of that probability, in standard deviations (dimensionless)."""
        freedom = float(self.freedom[self.config.targets.index(name)])
        return float(student.ppf(0.5 + level / 2, freedom) * np.sqrt((freedom - 2) / freedom))

    def forward(self, graph: Graph, points: Points | None = None) -> Prediction:
        """Predict crystals, in eV/atom."""
        return as_tensors(Prediction(dict(self.table(self.described(graph)))))

    def with_std(self, graph: Graph, points: Points | None = None) -> Prediction:
        """Predict crystals with standard deviations and members, in eV/atom."""
        return as_tensors(self.table(self.described(graph)))
