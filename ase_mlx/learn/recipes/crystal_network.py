"""Networks of crystals' properties: a table, graphs of its crystals, absolute errors of all targets at once, bars.

Source: ours.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ase_mlx.data.elements import ground_states
from ase_mlx.data.graph_batches import GraphBatches
from ase_mlx.data.samples import Sample, batches, symbols
from ase_mlx.descriptors.composition import FURTHER, PROPERTIES
from ase_mlx.descriptors.elements import LAST, element_property
from ase_mlx.graph import from_atoms
from ase_mlx.models import Model
from ase_mlx.models.crystal_network import LEVELS, TARGETS, CrystalNetwork, CrystalNetworkConfig
from ase_mlx.models.potential import Potential
from ase_mlx.nn.terms import Term
from ase_mlx.quantities import ALL

from ..cards import read_card
from ..config import FitConfig, build
from ..files import load_model
from ..fit import Stage
from ..methods import network
from ..metrics import Residuals, auroc, errors
from ..recipe import Recipe
from ..scales import NOMINAL_68
from .labelled_crystals import labelled_crystal, read_table

COLUMNS = {
    "formation_energy": "formation_energy_per_atom",
    "hull_distance": "e_above_hull",
    "band_gap": "band_gap",
    "metal_probability": "is_metal",
}
"""What columns of the Materials Project are called; other targets have our names."""

ZERO_OF_ELEMENTS = ("formation_energy", "hull_distance")
LIKE = 0.3
"""Share of an element's first features that it has for itself, beside those that follow from its properties."""

SMOOTH = 1e-2
"""Standard deviations within which the absolute error is rounded off."""

RATTLE = 0.02
"""Å: standard deviation of displacements in training."""

STEPS = 600
"""Of the widths' fit."""


@dataclass(frozen=True)
class TableOfCrystals:
    """Which table to learn from: parquet with `lattice`, `numbers`, `frac_coords` and columns of properties.

    `properties` maps targets to columns (eV/atom, eV, GPa, 0 or 1; empty fields are left out); where `band_gap` has a
    column, `metal_probability = ""` follows from it. With `elements` ground states of the elements join the training
    part, at zero eV/atom. Parts as for `crystal_property`: the column `part`, or by formula.

    Source: ours.
    """

    file: str
    properties: dict = field(default_factory=dict)
    elements: bool = False
    title: str = ""
    level_of_theory: str = "not stated"
    licence: str = "not stated"
    origin: str = "not stated"

    def __post_init__(self):
        """Refuse targets that nobody can learn."""
        names = tuple(self.properties)
        if not names or not set(names) <= set(TARGETS):
            raise ValueError(
                f"got data.properties of {', '.join(names) or 'nothing'}, expected some of {', '.join(TARGETS)}, each "
                'with its column, as in properties = { formation_energy = "formation_energy_per_atom" }'
            )


@dataclass(frozen=True)
class CrystalNetworkTraining:
    """A training: `[data]`, `[model]` (keys of `CrystalNetworkConfig`, cutoff in Å), `[fit]`.

    `start` is the folder, or the shipped name, of a potential whose trunk the training begins with; sizes are its own.

    Source: ours.
    """

    data: TableOfCrystals
    model: dict[str, Any] = field(default_factory=dict)
    fit: FitConfig = field(default_factory=lambda: FitConfig(epochs=30, batch_size=24, ema_decay=0.999))
    kind: Literal["crystal_network"] = "crystal_network"
    start: str = ""


class CrystalNetworkRecipe(Recipe):
    """How networks of crystals' properties are taught.

    Source: ours.
    """

    Config = CrystalNetworkTraining
    model: CrystalNetwork

    def __init__(self, config: CrystalNetworkTraining):
        """Read the crystals (Å, the targets' units), and build the untrained network.

        Raises:
            FileNotFoundError: no such file.
            ValueError: unusable data or settings.
        """
        self.config, data = config, config.data
        targets = tuple(data.properties)
        start = _start(config)
        sizes = {"targets": targets, "elements": (1,)} | config.model | (_sizes(start) if start else {})
        cutoff = build(CrystalNetworkConfig, sizes, "model").cutoff
        samples, parts = read_table(Path(data.file), data.properties, cutoff)
        if data.elements:
            zeros = dict.fromkeys(ZERO_OF_ELEMENTS, 0.0)
            joined = [labelled_crystal(from_atoms(a, cutoff), zeros, targets, s) for s, a in ground_states().items()]
            samples, parts = samples + joined, np.concatenate([parts, np.full(len(joined), "train")])
        self.parts = {part: [samples[k] for k in np.flatnonzero(parts == part)] for part in ("train", "val", "test")}
        train, val = self.parts["train"], self.parts["val"]
        if len(train) < 2 or len(val) < 2:
            raise ValueError(f"got {len(train)} training and {len(val)} validation crystals, expected more")
        present = _elements(train)
        elements = start.elements if start else tuple(present)
        if unknown := sorted(set(_elements(train + val + self.parts["test"])) - set(elements)):
            raise ValueError(
                f"got {', '.join(symbols(tuple(unknown)))} in the table, which "
                f"{'the potential to start from' if start else 'no training crystal'} has; expected others only: leave "
                "these crystals out, or move some into the training part"
            )
        if not start:
            edges = sum(len(s.graph.center) for s in train) / sum(len(s.graph.numbers) for s in train)
            sizes = {"neighbors": max(edges, 1.0)} | sizes | {"elements": present}
        torch.manual_seed(config.fit.seed)
        self.model = CrystalNetwork(build(CrystalNetworkConfig, sizes, "model"))
        if start:
            self.model.trunk.load_state_dict(start.trunk.state_dict())
        else:
            _embed_by_properties(self.model)
        self._standardise(train)

    def _standardise(self, train: list[Sample]) -> None:
        for k, name in enumerate(self.model.config.targets):
            values = torch.cat([s.targets[name][s.weight[name] > 0] for s in train])
            if len(values) < 2:
                raise ValueError(f"got {len(values)} training crystals with a {name}, expected at least 2")
            if name != "metal_probability":
                self.model.target_center[k], self.model.target_scale[k] = values.mean(), values.std().clamp_min(1e-9)

    def stages(self) -> Iterator[Stage]:
        """Fit all weights to all targets at once."""
        fit = self.config.fit
        train = GraphBatches(self.parts["train"], fit.batch_size, seed=fit.seed)
        val = GraphBatches(self.parts["val"], 4 * fit.batch_size)
        yield Stage(self.model, network_loss, train, network(fit), val, start=str(self._origin()), settings=asdict(fit))

    def _origin(self) -> dict[str, Any]:
        if not self.config.start:
            return {}
        return {"started_from": {key: read_card(self.config.start).get(key) for key in ("title", "sha256")}}

    def finish(self) -> dict[str, Any]:
        """Set the bars' scales and tails on held-out crystals; give the card's lines (errors in meV/atom, eV, GPa)."""
        calibrate_network(self.model, self.parts["val"])
        data, test = self.config.data, self.parts["test"]
        return self._origin() | {
            "title": data.title,
            "elements": list(symbols(self.model.elements)),
            "level_of_theory": data.level_of_theory,
            "licence": data.licence,
            "origin": data.origin,
            "errors": errors(network_residuals(self.model, test)) if test else {},
            "errors_on": "test",
            "crystals": {name: len(part) for name, part in self.parts.items()},
            "epochs": self.epochs[""],
            "fit": asdict(self.config.fit),
        }

    @classmethod
    def read(cls, model: CrystalNetwork, path: Path, part: str = "all") -> list[Sample]:
        """Read a table with properties (eV/atom, eV, GPa) in columns of their or the Materials Project's names."""
        if path.suffix != ".parquet":
            raise ValueError(
                f"got {path.name}, expected a parquet table of crystals with {', '.join(model.config.targets)}"
            )
        columns = pd.read_parquet(path).columns
        names = {t: next((c for c in (t, COLUMNS.get(t, t)) if c in columns), "") for t in model.config.targets}
        names = {t: c for t, c in names.items() if c or (t == "metal_probability" and names.get("band_gap"))}
        if not names:
            raise ValueError(f"got {path.name} without any of {', '.join(model.config.targets)}, expected such columns")
        samples, parts = read_table(path, names, model.cutoff, model.config.targets)
        chosen = [s for s, p in zip(samples, parts, strict=True) if part in ("all", p)]
        if not chosen:
            raise ValueError(f"got no crystal of part {part!r} in {path}, expected at least one; try --part all")
        return chosen

    @classmethod
    def residuals(cls, model: CrystalNetwork, data: list[Sample]) -> dict[str, Residuals]:
        """Compare properties (eV/atom, eV, GPa)."""
        return network_residuals(model, data)

    @classmethod
    def evaluates(cls, model: Model, path: Path) -> bool:
        """Take tables, for networks of crystals' properties."""
        return isinstance(model, CrystalNetwork)


def _start(config: CrystalNetworkTraining) -> Potential | None:
    if not config.start:
        return None
    start = load_model(config.start)
    if not isinstance(start, Potential) or start.config.by_element != "gains" or start.config.products:
        raise ValueError(
            f'got start = {config.start!r}, expected the folder of a potential with by_element = "gains" and without '
            "products, such as that of universal"
        )
    if changed := [key for key in _sizes(start) if key in config.model]:
        raise ValueError(
            f"got {', '.join(changed)} in [model], which are those of the potential to start from; leave these keys "
            "out, or leave out start"
        )
    return start


@torch.no_grad()
def _embed_by_properties(model: CrystalNetwork) -> None:
    """Begin with elements that are as unlike as their tabulated properties (dimensionless), mixed at random."""
    places = np.minimum(model.elements, LAST)  # beyond, nothing is tabulated
    values = np.stack([element_property(name)[places] for name in (*PROPERTIES, *FURTHER)], axis=1)
    standard = (values - values.mean(0)) / np.maximum(values.std(0), 1e-9)
    standard = torch.from_numpy(standard).to(model.pool.dtype)
    mixed = standard @ torch.randn(standard.shape[1], model.config.channels) / standard.shape[1] ** 0.5
    model.trunk.embedding.copy_((mixed + LIKE * model.trunk.embedding) / (1 + LIKE**2) ** 0.5)


def _elements(samples: list[Sample]) -> list[int]:
    return sorted({int(z) for s in samples for z in s.graph.numbers.unique()})


def _sizes(start: Potential) -> dict[str, Any]:
    names = ("elements", "cutoff", "l_max", "layers", "channels", "n_basis", "radial_hidden", "neighbors")
    return {name: getattr(start.config, name) for name in names}


def network_loss(model: CrystalNetwork, sample: Sample, random: torch.Generator | None = None) -> dict[str, Term]:
    """Absolute errors of standardised targets, squared ones of probabilities, of all members.

    Atoms are moved by `RATTLE`, which costs no property a notable part of its error: that keeps a network from learning
    crystals by heart.

    Args:
        model: the network.
        sample: targets in eV/atom, eV, GPa, 0 or 1; weights (dimensionless).
        random: of the displacements.

    Source: ours; the probability's score is G. W. Brier's, Mon. Weather Rev. 78, 1 (1950).
    """
    graph, vectors = sample.graph, sample.graph.vectors()
    if random is not None:
        moved = _displacements(sample, int(torch.randint(2**31, (), generator=random))).to(vectors)
        vectors = vectors + moved[graph.neighbor] - moved[graph.center]
    crystals = model.vector(graph, vectors)
    means, terms = model.means(crystals, model.hiddens(crystals)), {}
    for k, name in enumerate(model.config.targets):
        weight = sample.weight[name].to(means.dtype)
        if name == "metal_probability":
            truth = sample.targets[name].to(means.dtype).expand_as(means[..., k])
            misfit = (torch.sigmoid(means[..., k]) - truth).square()
        else:
            truth = ((sample.targets[name] - model.target_center[k]) / model.target_scale[k]).to(means.dtype)
            misfit = torch.sqrt((means[..., k] - truth).square() + SMOOTH**2)
        terms[name] = Term((misfit * weight).mean(0).sum(), float(weight.sum()), 1.0)
    return terms


def _displacements(sample: Sample, seed: int) -> Tensor:
    """Displacements of atoms (Å): a crystal's are the same whichever process has it, and beside whichever others."""
    counts = sample.graph.n_atoms.tolist()
    drawn = [
        np.random.default_rng([seed, *name.encode()]).normal(scale=RATTLE, size=(count, 3))
        for name, count in zip(sample.names, counts, strict=True)
    ]
    return torch.from_numpy(np.concatenate(drawn))


@torch.no_grad()
def _predicted(model: CrystalNetwork, data: list[Sample]) -> tuple[dict[str, Tensor], dict[str, Tensor], Sample]:
    """Values and standard deviations in the targets' units, and what they are compared with, in the same order."""
    joined = batches(data, 64)
    predictions = [model.with_std(s.graph) for s in joined]
    values = {n: torch.cat([p[n] for p in predictions]) for n in model.config.targets}
    std = {n: torch.cat([p.std[n] for p in predictions]) for n in model.config.targets}
    truth = {n: torch.cat([s.targets[n] for s in joined]) for n in model.config.targets}
    weight = {n: torch.cat([s.weight[n] for s in joined]) for n in model.config.targets}
    return values, std, Sample(joined[0].graph, truth, weight)


def calibrate_network(model: CrystalNetwork, val: list[Sample]) -> None:
    """Fit the errors' widths to half of the held-out crystals, scale and intervals of the bars to the others, in place.

    Errors of training crystals say nothing of others'. Widths and scales are dimensionless; σ holds 68 % of the errors,
    and intervals of other shares are as wide as these want.

    Source: ours; widths by the likelihood of Laplace distributions with a normal prior of the weights; intervals as in
    Angelopoulos and Bates, arXiv 2107.07511, section 2.3.
    """
    model.eval()
    model.std_scale.fill_(1.0)
    _fit_widths(model, val[::2])
    values, std, truth = _predicted(model, val[1::2])
    for k, name in enumerate(model.config.targets):
        labelled = truth.weight[name] > 0
        if name != "metal_probability" and int(labelled.sum()) > 2:
            z = ((truth.targets[name] - values[name]) / std[name].clamp_min(1e-12)).abs()[labelled]
            levels = (LEVELS * (1 + 1 / len(z))).clamp_max(1.0)
            model.std_scale[k] = torch.quantile(z, NOMINAL_68).clamp_min(1e-9)
            model.half_widths[k] = torch.quantile(z, levels) / model.std_scale[k]


def _fit_widths(model: CrystalNetwork, samples: list[Sample]) -> None:
    joined = batches(samples, 64)
    with torch.no_grad():
        crystals = torch.cat([model.vector(s.graph, s.graph.vectors()) for s in joined])
        hiddens = model.hiddens(crystals)
        means, errors, weights = model.means(crystals, hiddens), [], []
        for k, name in enumerate(model.config.targets):
            target = (torch.cat([s.targets[name] for s in joined]) - model.target_center[k]) / model.target_scale[k]
            errors.append((means[..., k] - target.to(means.dtype)).abs().clamp_min(SMOOTH))
            weights.append(torch.cat([s.weight[name] for s in joined]).to(means.dtype))
        error, weight = torch.stack(errors, -1), torch.stack(weights, -1)
        total = weight.sum(0).clamp_min(1.0)
        model.spread.zero_()
        model.level.copy_(torch.log((error * weight).sum(1, keepdim=True) / total))
    optimizer = torch.optim.Adam([model.spread, model.level], lr=0.02)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = 0.01 * (1 + np.cos(np.pi * step / STEPS))
        width = model.widths(hiddens)
        nats = ((error / width + width.log()) * weight).sum(1) / total
        optimizer.zero_grad()
        (nats.sum() + 0.5 * (model.spread.square().sum(1) / total).sum()).backward()
        optimizer.step()
    model.zero_grad(set_to_none=True)


def network_residuals(model: CrystalNetwork, data: list[Sample]) -> dict[str, Residuals]:
    """Compare predicted and known properties (eV/atom, eV, GPa) of crystals that have them.

    Source: ours.
    """
    values, std, truth = _predicted(model.eval(), data)
    residuals = {}
    for name in model.config.targets:
        labelled = truth.weight[name] > 0
        levels = {level: model.half_width(name, level) for level in (0.68, 0.9, 0.95)}
        row = (x[labelled].numpy() for x in (truth.targets[name], values[name], std[name]))
        reference, predicted, sigma = row
        if name == "metal_probability":
            residuals[name] = Residuals(
                ALL[name].unit,
                reference,
                predicted,
                extra={"auroc": auroc(predicted[reference <= 0.5], predicted[reference > 0.5])},
            )
        else:
            residuals[name] = Residuals(ALL[name].unit, reference, predicted, sigma, levels)
    return residuals
