"""Densities point by point: samples of descriptors, variational inference, error bars, transfer.

Source: ours; the method is that of arXiv 2308.13096.
"""

import functools
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ase_mlx.data.densities import DensityFrame, read_densities
from ase_mlx.data.free_atoms import free_atom
from ase_mlx.data.graph_batches import GraphBatches
from ase_mlx.data.samples import symbols
from ase_mlx.graph import Graph, batch, from_atoms
from ase_mlx.models import Model
from ase_mlx.models.density import reference_atom
from ase_mlx.models.point_density import LEAST_LOG, MOST_LOG, PointDensity, PointDensityConfig
from ase_mlx.nn.terms import Term

from ..cards import read_card
from ..config import FitConfig, build
from ..density.errors import error_bars
from ..density.samples import check, choose, grid_positions
from ..files import load_model
from ..fit import Report, Stage, fit
from ..methods import network
from .density import HEAD, DensitiesRecipe, DensityData, read_parts

POINTS = 3000
"""Points of a structure; a structure of N atoms gives the N/8-fold."""

TOGETHER = 500
"""Points of one structure that come together in a step."""

FROZEN = 2
"""Layers, from the inputs on, that a transfer leaves as they are."""

CALIBRATION_POINTS = 4000


@dataclass(frozen=True)
class PointDensityTraining:
    """A training: `[data]`, `[model]` (keys of `PointDensityConfig`, lengths in Å) and `[fit]` of a TOML file.

    `start` is the folder of a point density to transfer from; sizes are then its own.

    Source: ours.
    """

    data: DensityData
    model: dict[str, Any] = field(default_factory=dict)
    fit: FitConfig = field(default_factory=FitConfig)
    kind: Literal["point_density"] = "point_density"
    start: str = ""


class PointDensityRecipe(DensitiesRecipe):
    """How point densities are taught.

    Source: ours.
    """

    Config = PointDensityTraining
    model: PointDensity

    def __init__(self, config: PointDensityTraining):
        """Read and check densities (e/Å³), and make the untrained model, or load the one to transfer from.

        Raises:
            FileNotFoundError: no such data or model.
            ValueError: a start of another kind, no validation frames, densities without their atoms' electrons.
        """
        self.config = config
        torch.manual_seed(config.fit.seed)
        if config.start:
            start = load_model(config.start)
            if not isinstance(start, PointDensity):
                raise ValueError(
                    f"got start = {config.start!r}, a {type(start).__name__}; expected the folder of a PointDensity"
                )
            if config.model:
                raise ValueError(
                    f"got {', '.join(config.model)} in [model], expected none: sizes are those of the start"
                )
            self.model = start
        else:
            numbers = {z for frame in read_densities(config.data.file) for z in frame.atoms.numbers.tolist()}
            self.model = point_density(tuple(sorted(numbers)), config.model)
        self.parts = read_parts(self.model, config.data.file)

    def stages(self) -> Iterator[Stage]:
        """Fit the weights' distributions; a transfer leaves the first layers as they are."""
        frozen = FROZEN if self.config.start else 0
        yield points_stage(self.model, self.parts["train"], self.parts["val"], self.config.fit, frozen)

    def finish(self) -> dict[str, Any]:
        """Set error bars on held-out cells, and give the card's lines."""
        facts = finish_points(self.model, self.parts["val"], self.config.fit)
        lines = self.lines(facts)
        start = read_card(self.config.start) if self.config.start else {}
        shared = {key: lines[key] for key in ("title", "level_of_theory", "licence")}
        shared["elements"] = list(symbols(self.model.elements))
        return {key: line for key, line in start.items() if key not in HEAD} | shared | {"density": lines}

    @classmethod
    def evaluates(cls, model: Model, path: Path) -> bool:
        """Take files of densities, for point densities."""
        return isinstance(model, PointDensity) and path.suffix == ".npz"


@dataclass(frozen=True)
class PointSample:
    """Some points of a structure: descriptors, the envelope there, and the difference to free atoms (e/Å³).

    Source: ours.
    """

    graph: Graph
    descriptors: Float[Tensor, "points d"]
    envelope: Float[Tensor, " points"]
    difference: Float[Tensor, " points"]
    names: tuple[str, ...] = field(default=())

    def to(self, device: str | torch.device) -> "PointSample":
        """Move everything to a device."""
        tensors = (getattr(self, name).to(device) for name in ("descriptors", "envelope", "difference"))
        return PointSample(self.graph.to(device), *tensors, self.names)

    @staticmethod
    def join(samples: list["PointSample"]) -> "PointSample":
        """Batch samples (e/Å³) into one."""
        tensors = (torch.cat([getattr(s, k) for s in samples]) for k in ("descriptors", "envelope", "difference"))
        return PointSample(batch([s.graph for s in samples]), *tensors, tuple(n for s in samples for n in s.names))


def point_density(elements: tuple[int, ...], sizes: dict[str, Any] | None = None) -> PointDensity:
    """Make an untrained model from the reference atoms of some elements (atomic numbers).

    Args:
        elements: ascending.
        sizes: keys of `PointDensityConfig`, lengths in Å.

    Raises:
        ValueError: an element without a reference atom.

    Source: ours.
    """
    atoms = [free_atom(z) for z in elements]
    of_atoms = {
        "elements": tuple(elements),
        "electrons": tuple(n for _, _, n in atoms),
        "radii": tuple(float((r**3 * d).sum() / (r**2 * d).sum()) for r, d, _ in atoms),
    }
    model = PointDensity(build(PointDensityConfig, of_atoms | (sizes or {}), "model"))
    for k, (radius, density, electrons) in enumerate(atoms):
        model.atoms[k] = torch.from_numpy(reference_atom(radius, density, electrons, model.config.range))
    return model.eval()


@dataclass(frozen=True)
class _Raw:
    frame: DensityFrame
    graph: Graph
    descriptors: np.ndarray
    envelope: np.ndarray
    difference: np.ndarray


def _raw(model: PointDensity, frame: DensityFrame, n_points: int, seed: int) -> _Raw:
    check(model, frame)
    graph, chosen = from_atoms(frame.atoms, model.cutoff), choose(frame, n_points, seed)
    descriptors, envelope, free = model.describe(graph, grid_positions(frame, chosen))
    return _Raw(frame, graph, descriptors, envelope, frame.density.reshape(-1)[chosen] - free)


def _samples(model: PointDensity, raw: _Raw) -> list[PointSample]:
    x = model.inputs(raw.descriptors)
    tensors = [torch.from_numpy(a).to(x.dtype) for a in (raw.envelope, raw.difference)]
    parts = zip(*(torch.split(a, TOGETHER) for a in (x, *tensors)), strict=True)
    return [PointSample(raw.graph, *part, (raw.frame.name,)) for part in parts]


def _set_scales(model: PointDensity, raws: list[_Raw]) -> None:
    descriptors = np.concatenate([r.descriptors for r in raws])
    with torch.no_grad():
        model.centre.copy_(torch.from_numpy(descriptors.mean(0)))
        model.width.copy_(torch.from_numpy(descriptors.std(0) + 1e-6 * descriptors.std()))
        relative = np.concatenate([r.difference / np.maximum(r.envelope, 1e-3) for r in raws])
        model.scale.fill_(float(relative.std()))


def points_stage(
    model: PointDensity, train: list[DensityFrame], val: list[DensityFrame], config: FitConfig, frozen: int = 0
) -> Stage:
    """Say how a point density is fitted to some structures, others choosing the epoch (e/Å³).

    The scales of its inputs are set to those of the training structures, unless layers are frozen.

    Source: ours.
    """
    size = {f.name: max(TOGETHER, POINTS * len(f.atoms) // 8) for f in (*train, *val)}
    raws = [[_raw(model, f, size[f.name], config.seed) for f in frames] for frames in (train, val)]
    if not frozen:
        _set_scales(model, raws[0])
    samples = [[s for raw in part for s in _samples(model, raw)] for part in raws]
    for layer in model.network.layers[:frozen]:
        layer.requires_grad_(False)
    loss = functools.partial(point_density_loss, points=sum(len(s.difference) for s in samples[0]))
    batches = [
        GraphBatches(part, size, seed=config.seed)
        for part, size in zip(samples, (config.batch_size, 4 * config.batch_size), strict=True)
    ]
    start = f"frozen {frozen}" if frozen else ""
    return Stage(model, loss, batches[0], network(config), batches[1], start=start, settings=asdict(config))


def finish_points(model: PointDensity, val: list[DensityFrame], config: FitConfig) -> dict[str, Any]:
    """Set error bars (e/Å³) on held-out structures, in place.

    Source: ours.
    """
    model.eval().requires_grad_(True)
    return {"calibration": calibrate_points(model, val, config.seed + 1)}


def train_points(
    model: PointDensity,
    train: list[DensityFrame],
    val: list[DensityFrame],
    config: FitConfig,
    folder: Path | None = None,
    report: Report | None = None,
    frozen: int = 0,
) -> dict[str, Any]:
    """Train a point density in place by variational inference, and set its error bars on `val`.

    Args:
        model: of `point_density`, or one trained before; densities in e/Å³.
        train: structures to learn from.
        val: structures that choose the epoch and set the error bars.
        config: of the fit; dimensionless; a batch is of so many groups of 500 points.
        folder: where the checkpoint is kept.
        report: called after each epoch.
        frozen: layers, from the inputs on, and scales that stay as they are: transfer.

    Returns:
        The calibration's numbers.

    Source: arXiv 2308.13096 for the method, transfer included; the fit and the error bars are ours.
    """
    fit(points_stage(model, train, val, config, frozen), folder, report)
    return finish_points(model, val, config)


def calibrate_points(model: PointDensity, frames: list[DensityFrame], seed: int = 1) -> dict[str, float]:
    """Set the weights of epistemic and aleatoric variance and the tail so that error bars (e/Å³) fit held-out frames.

    Source: ours.
    """
    errors, columns = [], []
    for frame in frames:
        raw = _raw(model, frame, CALIBRATION_POINTS, seed)
        x = model.inputs(raw.descriptors)
        mean, variance = model.moments(x, torch.from_numpy(raw.envelope))
        error, share = mean.numpy() - raw.difference, variance.sum(-1).numpy() + 1e-12
        errors.append(error - error.mean() * share / share.mean())  # electrons are counted on whole grids
        columns.append(variance.numpy())
    weights, factor, tail = error_bars(np.concatenate(errors), np.concatenate(columns))
    with torch.no_grad():
        model.std_scale.copy_(torch.from_numpy(weights * factor**2))
        model.std_tail.fill_(tail)
    return {"epistemic": math.sqrt(weights[0]) * factor, "aleatoric": math.sqrt(weights[1]) * factor, "tail": tail}


def point_density_loss(
    model: PointDensity, sample: PointSample, random: torch.Generator, points: int
) -> dict[str, Term]:
    """Negative evidence bound per point: likelihood with a draw of the weights, and their divergence from the prior.

    The likelihood of each point is multiplied by its variance, held fixed, so that the mean is fitted everywhere.

    Args:
        model: trained in place.
        sample: differences to free atoms in e/Å³.
        random: draws the outputs of the layers.
        points: number of points of the whole training data.

    Source: Blundell et al., ICML 37, 1613 (2015); the factor is that of Seitzer et al., arXiv 2203.09168.
    """
    mean, log = model.network(sample.descriptors, random).unbind(-1)
    log = log.clamp(LEAST_LOG, MOST_LOG)
    target = sample.difference / (model.scale * sample.envelope.clamp_min(1e-3))
    square = (mean - target).square()
    factor = log.detach().exp()
    n = len(target)
    return {
        "likelihood": Term(0.5 * ((square * (-log).exp() + log) * factor).sum(), float(factor.sum())),
        "divergence": Term(model.network.divergence() * (n / points), n),
        "mean square": Term(square.detach().sum(), n, 0.0),
    }
