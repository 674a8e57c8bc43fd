"""Training a density point by point: samples of descriptors, variational inference, error bars, transfer.

Source: ours; the method is that of arXiv 2308.13096.
"""

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ase_mlx.data.densities import DensityFrame
from ase_mlx.data.free_atoms import free_atom
from ase_mlx.graph import Graph, batch, from_atoms
from ase_mlx.learn.config import FitConfig, build
from ase_mlx.learn.fit import Progress, fit
from ase_mlx.models.density import reference_atom
from ase_mlx.models.point_density import PointDensity, PointDensityConfig, point_density_loss

from .errors import error_bars
from .samples import check, choose, grid_positions

POINTS = 3000
"""Points of a structure; a structure of N atoms gives the N/8-fold."""

TOGETHER = 500
"""Points of one structure that come together in a step."""

FROZEN = 2
"""Layers, from the inputs on, that a transfer leaves as they are."""

CALIBRATION_POINTS = 4000


@dataclass(frozen=True)
class PointSample:
    """Some points of a structure; the attributes of `models.point_density.Described` (e/Å³).

    Source: ours.
    """

    graph: Graph
    descriptors: Float[Tensor, "points d"]
    envelope: Float[Tensor, " points"]
    difference: Float[Tensor, " points"]
    names: tuple[str, ...] = field(default=())

    @property
    def targets(self) -> Mapping[str, Tensor]:
        """What a checkpoint knows its run by (e/Å³)."""
        return {"difference": self.difference}

    @property
    def weight(self) -> Mapping[str, Tensor]:
        """None: all points count alike (dimensionless)."""
        return {}

    @staticmethod
    def join(samples: list["PointSample"]) -> "PointSample":
        """Batch samples (e/Å³) into one."""
        rest = (torch.cat([getattr(s, k) for s in samples]) for k in ("descriptors", "envelope", "difference"))
        return PointSample(batch([s.graph for s in samples]), *rest, tuple(n for s in samples for n in s.names))


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
    found = {
        "elements": tuple(elements),
        "electrons": tuple(n for _, _, n in atoms),
        "radii": tuple(float((r**3 * d).sum() / (r**2 * d).sum()) for r, d, _ in atoms),
    }
    model = PointDensity(build(PointDensityConfig, found | (sizes or {}), "model"))
    for k, (radius, density, electrons) in enumerate(atoms):
        model.atoms[k] = torch.from_numpy(reference_atom(radius, density, electrons, model.config.range))
    return model.eval()


@dataclass(frozen=True)
class _Raw:
    frame: DensityFrame
    graph: Graph
    found: np.ndarray
    envelope: np.ndarray
    difference: np.ndarray


def _raw(model: PointDensity, frame: DensityFrame, n_points: int, seed: int) -> _Raw:
    check(model, frame)
    graph, chosen = from_atoms(frame.atoms, model.cutoff), choose(frame, n_points, seed)
    found, envelope, free = model.describe(graph, grid_positions(frame, chosen))
    return _Raw(frame, graph, found, envelope, frame.density.reshape(-1)[chosen] - free)


def _samples(model: PointDensity, raw: _Raw) -> list[PointSample]:
    x = model.inputs(raw.found)
    rest = [torch.from_numpy(a).to(x.dtype) for a in (raw.envelope, raw.difference)]
    parts = zip(*(torch.split(a, TOGETHER) for a in (x, *rest)), strict=True)
    return [PointSample(raw.graph, *part, (raw.frame.name,)) for part in parts]


def _set_scales(model: PointDensity, raws: list[_Raw]) -> None:
    found = np.concatenate([r.found for r in raws])
    with torch.no_grad():
        model.centre.copy_(torch.from_numpy(found.mean(0)))
        model.width.copy_(torch.from_numpy(found.std(0) + 1e-6 * found.std()))
        relative = np.concatenate([r.difference / np.maximum(r.envelope, 1e-3) for r in raws])
        model.scale.fill_(float(relative.std()))


def train_points(
    model: PointDensity,
    train: list[DensityFrame],
    val: list[DensityFrame],
    config: FitConfig,
    folder: Path | None = None,
    report: Callable[[Progress], None] | None = None,
    frozen: int = 0,
) -> dict[str, Any]:
    """Train a point density in place by variational inference, and set its error bars on `val`.

    Args:
        model: of `point_density`, or one trained before; densities in e/Å³.
        train: structures to learn from.
        val: structures that choose the epoch and set the error bars.
        config: of the fit; a batch is of so many groups of 500 points.
        folder: where the checkpoint is kept.
        report: called after each epoch.
        frozen: layers, from the inputs on, and scales that stay as they are: transfer.

    Returns:
        What was found on the way.

    Source: arXiv 2308.13096 for the method, transfer included; the fit and the error bars are ours.
    """
    size = {f.name: max(TOGETHER, POINTS * len(f.atoms) // 8) for f in (*train, *val)}
    raws = {name: [_raw(model, f, size[f.name], config.seed) for f in fs] for name, fs in
            (("train", train), ("val", val))}  # fmt: skip
    if not frozen:
        _set_scales(model, raws["train"])
    samples = {name: [s for raw in found for s in _samples(model, raw)] for name, found in raws.items()}
    for layer in model.network.layers[:frozen]:
        layer.requires_grad_(False)
    points = sum(len(s.difference) for s in samples["train"])
    loss = functools.partial(point_density_loss, points=points)
    origin = f"frozen {frozen}" if frozen else ""
    best, history = fit(model, loss, samples["train"], samples["val"], config, folder, report, origin)
    model.load_state_dict(best.state_dict())
    model.eval().requires_grad_(True)
    calibration = calibrate_points(model, val, config.seed + 1)
    return {"calibration": calibration, "epochs": history[-1]["epoch"], "points": points}


def calibrate_points(model: PointDensity, frames: list[DensityFrame], seed: int = 1) -> dict[str, float]:
    """Set the weights of epistemic and aleatoric variance and the tail so that error bars (e/Å³) fit held-out frames.

    Source: ours.
    """
    errors, columns = [], []
    for frame in frames:
        raw = _raw(model, frame, CALIBRATION_POINTS, seed)
        x = model.inputs(raw.found)
        mean, variance = model.moments(x, torch.from_numpy(raw.envelope))
        error, share = mean.numpy() - raw.difference, variance.sum(-1).numpy() + 1e-12
        errors.append(error - error.mean() * share / share.mean())  # electrons are counted on whole grids
        columns.append(variance.numpy())
    found, factor, tail = error_bars(np.concatenate(errors), np.concatenate(columns))
    with torch.no_grad():
        model.std_scale.copy_(torch.from_numpy(found * factor**2))
        model.std_tail.fill_(tail)
    return {"epistemic": math.sqrt(found[0]) * factor, "aleatoric": math.sqrt(found[1]) * factor, "tail": tail}
