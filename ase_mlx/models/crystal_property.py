"""Properties of whole crystals from their descriptors, each with its error bar: an ensemble of attenuated networks.

Descriptors come in blocks: composition, structure and, for models with diffraction, the powder pattern. Crystals of
known structure, those with a pattern alone and those with neither have an ensemble each, calibrated by itself. Where
the structure is known its pattern says nothing new, and is not looked at.

Source: ours; the network as in `nn.hyper`, the ensemble after B. Lakshminarayanan et al., NeurIPS 30 (2017).
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from scipy.special import stdtr, stdtrit
from torch import Tensor, nn

from ase_mlx.descriptors import CUTOFF, GROUPS, NAMES, STRUCTURE, VERSION, check_periodic, describe
from ase_mlx.descriptors.composition import composition_descriptors, fractions_of
from ase_mlx.descriptors.diffraction import PATTERN, describe_patterns
from ase_mlx.graph import Graph
from ase_mlx.nn.ensemble import Ensemble
from ase_mlx.nn.hyper import AttenuatedNetwork, Scored
from ase_mlx.quantities import ALL

from .model import Model, check_numbers
from .prediction import Prediction, as_tensors
from .ranges import ELEMENTS, SIZE, expect_ranges

ROWS = 256
"""Crystals are evaluated in blocks of this many, filled up, so that no number depends on its neighbours."""

FARTHEST = 5.0
"""Standardised descriptors are cut at this size."""


VOLUMES = (1.5, 2000.0)
"""Å³ per atom; beyond these a cell is in other units, or empty."""

VIEWS = {"structure": (0, 1), "pattern": (0, 2), "composition": (0,)}
"""Blocks that the ensembles see, by what is known; the first that fits a crystal is asked."""

CLOSEST = 0.5
"""Å; no bond is shorter (H₂: 0.74 Å), so atoms closer than this are one atom given twice."""


@dataclass(frozen=True)
class CrystalPropertyConfig:
    """Sizes of the networks (dimensionless), what they predict, the elements that they were made for.

    `attenuation` None learns λ; `diffraction` adds a block of the powder pattern, and lets the structure be missing;
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
        expect_ranges(
            self, elements=ELEMENTS, members=(1, 512), width=SIZE, depth=(0, 64), hyper_width=SIZE,
            attenuation=(0, 1e6),
        )  # fmt: skip

    @property
    def blocks(self) -> tuple[int, ...]:
        """Numbers of descriptors of composition, of structure and, where asked for, of diffraction."""
        return (STRUCTURE, len(NAMES) - STRUCTURE, *([len(PATTERN)] if self.diffraction else []))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the descriptors of all blocks."""
        return (*NAMES, *PATTERN)[: sum(self.blocks)]

    @property
    def views(self) -> tuple[str, ...]:
        """Which of `VIEWS` have an ensemble."""
        return tuple(VIEWS) if self.diffraction else ("structure",)

    def columns(self, view: str) -> np.ndarray:
        """Places of the descriptors that this ensemble sees."""
        edges = np.cumsum((0, *self.blocks))
        return np.concatenate([np.arange(edges[b], edges[b + 1]) for b in VIEWS[view]])

    def groups(self, view: str) -> tuple[int, ...]:
        """Sizes of the groups of descriptors that attention weighs in this ensemble; none without attention."""
        sizes = [len(places) for places in GROUPS.values() if view == "structure" or places[0] < STRUCTURE]
        sizes += [self.blocks[2]] if view == "pattern" else []
        return tuple(sizes) if self.attention else ()


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
    cells, place = graph.cell.cpu().numpy(), graph.positions.cpu().numpy()
    for volume in (np.abs(np.linalg.det(cells)) / graph.n_atoms.cpu().numpy()).tolist():
        check_volume(volume)
    center, neighbor, shift, crystal = (
        x.cpu().numpy() for x in (graph.center, graph.neighbor, graph.shift, graph.atom_graph)
    )
    lattice = shift @ cells[0] if len(cells) == 1 else np.einsum("es,esx->ex", shift, cells[crystal[center]])
    square = np.square(place[neighbor] - place[center] + lattice).sum(1)
    closest = float(np.sqrt(square.min())) if len(square) else CUTOFF
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
        """Make untrained networks with random weights from torch's generator."""
        super().__init__()
        self.config = config
        self.outputs = tuple(ALL[name] for name in config.targets)
        self.cutoff, self.elements = CUTOFF, config.elements
        settings = (config.width, config.depth, config.hyper_width, config.attenuation, config.literal)
        self.networks = nn.ModuleList(
            Ensemble(
                [
                    AttenuatedNetwork(len(config.columns(view)), *settings, config.groups(view))
                    for _ in range(config.members)
                ]
            )
            for view in config.views
            for _ in config.targets
        )
        self.register_buffer("center", torch.zeros(sum(config.blocks), dtype=torch.float64))
        self.register_buffer("scale", torch.ones(sum(config.blocks), dtype=torch.float64))
        count = len(config.targets)
        for name, start in (("target_center", 0.0), ("target_scale", 1.0), ("freedom", 1e3)):
            self.register_buffer(name, torch.full((count,), start, dtype=torch.float64))
        self.register_buffer("std_scale", torch.ones(count * len(config.views), dtype=torch.float64))

    def described(self, graph: Graph) -> Float[np.ndarray, "crystals n"]:
        """Describe crystals (units as the descriptors') as `table` takes them.

        Raises:
            ValueError: an element that the model was not made for, or no physical crystal.
        """
        check_crystals(graph, self.elements)
        rows = describe(graph)
        return np.column_stack([rows, np.full((len(rows), sum(self.config.blocks[2:])), np.nan)])

    def described_sample(
        self, numbers: ArrayLike, pattern: Float[np.ndarray, " bins"] | None = None
    ) -> Float[np.ndarray, "1 n"]:
        """Describe a crystal of unknown structure by composition and, where there is one, powder pattern.

        Args:
            numbers: atomic numbers of a formula unit or of any multiple of it (no unit).
            pattern: as `bin_pattern` and `powder_patterns` give it (dimensionless).

        Raises:
            ValueError: no atomic numbers, an element that the model was not made for, a pattern that was not measured
                over the angles that count, or a model without diffraction.
        """
        if not self.config.diffraction:
            raise ValueError("got no structure for a model that needs one; train a model with diffraction = true")
        kinds = np.asarray(numbers)
        if kinds.ndim != 1 or not len(kinds) or not np.issubdtype(kinds.dtype, np.integer):
            raise ValueError(
                f"got {numbers!r}, expected the atomic numbers of a formula unit; `Atoms('BaTiO3').numbers` gives them"
            )
        kinds = kinds.astype(np.int64)
        check_numbers(kinds, self.elements)
        parts = [composition_descriptors(fractions_of(kinds, np.zeros(len(kinds), dtype=int), 1))]
        parts += [np.full((1, size), np.nan) for size in self.config.blocks[1:]]
        if pattern is not None:
            parts[2] = describe_patterns(np.asarray(pattern, dtype=np.float64)[None], parts[0])
        return np.column_stack(parts)

    def views(self, rows: Float[np.ndarray, "crystals n"]) -> Int[np.ndarray, " crystals"]:
        """Say which ensemble is asked for each crystal (a place in `config.views`): blocks of NaN are missing.

        Raises:
            ValueError: another number of descriptors, some of a block missing, or a block that the model needs.
        """
        blocks = self.config.blocks
        if rows.ndim != 2 or rows.shape[1] != sum(blocks):
            raise ValueError(
                f"got descriptors of shape {rows.shape}, expected (crystals, {sum(blocks)}); take them from `described`"
            )
        if np.isfinite(rows).all():
            return np.zeros(len(rows), dtype=int)
        parts = np.split(rows, np.cumsum(blocks)[:-1], axis=1)
        present = np.column_stack([np.isfinite(part).all(1) for part in parts])
        missing = np.column_stack([np.isnan(part).all(1) for part in parts])
        choice = np.full(len(rows), -1)
        for k, view in reversed(list(enumerate(self.config.views))):
            choice[present[:, VIEWS[view]].all(1)] = k
        choice[~(present | missing).all(1)] = -1
        if (choice < 0).any():
            raise ValueError(
                f"got {int((choice < 0).sum())} crystals with descriptors that are no numbers, expected all of them; "
                "a model with diffraction can do without a whole block (structure, pattern), no other without any"
            )
        return choice

    def without_others(self, rows: Float[np.ndarray, "crystals n"], view: str) -> Float[np.ndarray, "crystals n"]:
        """Leave out the blocks (NaN; units stay) that this ensemble does not see."""
        return np.where(np.isin(np.arange(rows.shape[1]), self.config.columns(view)), rows, np.nan)

    def inputs(self, rows: Float[np.ndarray, "crystals n"], view: str) -> Float[Tensor, "crystals features"]:
        """Standardise the descriptors that this ensemble sees, and cut them where they are far out (dimensionless)."""
        x = (torch.from_numpy(np.asarray(rows, dtype=np.float64)) - self.center.cpu()) / self.scale.cpu()
        return x[:, self.config.columns(view)].clamp(-FARTHEST, FARTHEST)

    @torch.no_grad()
    def scored(self, rows: Float[np.ndarray, "crystals n"], target: int) -> Scored:
        """Score descriptors by all members of one target, in eV/atom; the variance is the noise's and H's."""
        views, weight = self.views(rows), self.networks[target].stacked[0]
        mean, noise, variance = torch.zeros(3, self.config.members, len(rows), dtype=torch.float64)
        terms = torch.zeros(*mean.shape, rows.shape[1], dtype=torch.float64)
        for k, view in enumerate(self.config.views):
            places, columns = np.flatnonzero(views == k), self.config.columns(view)
            network = self.networks[k * len(self.config.targets) + target]
            for start in range(0, len(places), ROWS):
                now = places[start : start + ROWS]
                block = self.inputs(rows[now], view).to(weight)
                filled = torch.cat([block, block.new_zeros(ROWS - len(block), block.shape[1])])
                outputs = [part[:, : len(block)].cpu().double() for part in network(filled)]
                mean[:, now], noise[:, now], variance[:, now] = outputs[:3]
                terms[:, now[:, None], columns] = outputs[3]
        center, scale = self.target_center[target].cpu(), self.target_scale[target].cpu()
        return Scored(center + scale * mean, scale**2 * noise, scale**2 * variance, scale * terms)

    def table(self, rows: Float[np.ndarray, "crystals n"]) -> Prediction:
        """Predict from descriptors (units as theirs): values, standard deviations and members in eV/atom."""
        values, std, members, noise = {}, {}, {}, {}
        scale = self.std_scale.cpu().numpy().reshape(-1, len(self.config.targets))[self.views(rows)]
        for k, name in enumerate(self.config.targets):
            scores = self.scored(rows, k)
            values[name] = scores.mean.mean(0).numpy()
            between = scores.mean.var(0, correction=0)
            spread = (scores.noise + scores.variance).mean(0) + between
            std[name], noise[name] = (scale[:, k] * part.sqrt().numpy() for part in (spread, scores.noise.mean(0)))
            members[name] = scores.mean.numpy()
        return Prediction(values, std, members, noise=noise)

    def contributions(self, rows: Float[np.ndarray, "crystals n"], name: str) -> Float[np.ndarray, "crystals n"]:
        """Split a prediction into one term a descriptor, in eV/atom; they add up to it but for a constant."""
        return self.scored(rows, self.config.targets.index(name)).terms.mean(0).numpy()

    def probability_below(
        self, prediction: Prediction, name: str, value: Float[np.ndarray, " crystals"] | float
    ) -> Float[np.ndarray, " crystals"]:
        """Give the probability that a property lies below a value in eV/atom (dimensionless)."""
        freedom = float(self.freedom[self.config.targets.index(name)])
        width = np.sqrt((freedom - 2) / freedom)
        return stdtr(freedom, (value - prediction[name]) / (width * prediction.std[name]))

    def half_width(self, name: str, level: float = 0.9) -> float:
        """Give the half width of a central interval of that probability, in standard deviations (dimensionless)."""
        freedom = float(self.freedom[self.config.targets.index(name)])
        return float(stdtrit(freedom, 0.5 + level / 2) * np.sqrt((freedom - 2) / freedom))

    def forward(self, graph: Graph) -> Prediction:
        """Predict crystals, in eV/atom."""
        return as_tensors(Prediction(dict(self.table(self.described(graph)))))

    def with_std(self, graph: Graph) -> Prediction:
        """Predict crystals with standard deviations and members, in eV/atom."""
        return as_tensors(self.table(self.described(graph)))
