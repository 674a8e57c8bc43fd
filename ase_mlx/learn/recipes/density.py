"""Densities on the trunk of a potential: a layer by the common fit, a head in closed form, calibrated error bars.

Source: ours.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch

from ase_mlx.data.densities import DensityFrame, read_densities
from ase_mlx.data.free_atoms import free_atom
from ase_mlx.data.graph_batches import GraphBatches
from ase_mlx.models import Model
from ase_mlx.models.density import Density, DensityConfig, reference_atom
from ase_mlx.models.potential import Potential
from ase_mlx.nn.terms import Term

from ..cards import read_card
from ..config import FitConfig, build
from ..density.errors import calibrate, density_errors, density_residuals
from ..density.posterior import NormalEquations, normal_equations, solve
from ..density.samples import DensitySample, check, density_samples
from ..files import load_model
from ..fit import Report, Stage, fit
from ..methods import network
from ..metrics import Residuals
from ..recipe import Recipe

EQUATIONS = "normal_equations.safetensors"
"""Name of the file of normal equations beside a trained density."""

HEAD = ("schema", "kind", "config", "outputs", "e3nn_convention", "sha256")
"""Lines of a card that its new model writes itself."""


@dataclass(frozen=True)
class DensityData:
    """Which densities to learn from: a file of `data.densities.write_densities`, parts marked in each frame.

    Source: ours.
    """

    file: str
    title: str = ""
    level_of_theory: str = "not stated"
    licence: str = "not stated"
    origin: str = "not stated"


@dataclass(frozen=True)
class DensityTraining:
    """A training: `[data]`, `[model]` (keys of `DensityConfig`, range in Å) and `[fit]` of a TOML file.

    `start` is the folder of the potential on whose trunk the density stands.

    Source: ours.
    """

    data: DensityData
    model: dict[str, Any] = field(default_factory=dict)
    fit: FitConfig = field(default_factory=FitConfig)
    kind: Literal["density"] = "density"
    start: str = ""


class DensitiesRecipe(Recipe):
    """What both kinds of densities share: their files, their card and how they are compared.

    Source: ours.
    """

    config: Any
    model: Model
    parts: Mapping[str, list[DensityFrame]]

    def lines(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """List what the card says of the density (units in the names)."""
        lines = density_lines(self.model, self.parts, self.config.data, self.config.fit)
        return lines | facts | {"epochs": self.epochs[""]}

    @classmethod
    def read(cls, model: Model, path: Path, part: str = "all") -> list[DensityFrame]:
        """Read densities (e/Å³), checked against what the model knows of their atoms."""
        return frames_of(model, path, part)

    @classmethod
    def residuals(cls, model: Model, data: list[DensityFrame]) -> dict[str, Residuals]:
        """Compare densities (e/Å³) point by point."""
        return density_residuals(model, data)


class DensityRecipe(DensitiesRecipe):
    """How densities on potentials are taught.

    Source: ours.
    """

    Config = DensityTraining
    model: Potential

    def __init__(self, config: DensityTraining):
        """Read and check densities (e/Å³), and put an untrained one on the potential.

        Raises:
            FileNotFoundError: no such data or model.
            ValueError: no start or one of another kind, no validation frames, densities without their atoms' electrons.
        """
        self.config = config
        if not config.start:
            raise ValueError(
                "got kind = 'density' without a start, expected a trained potential; add start = 'sigesn', or a folder"
            )
        start = load_model(config.start)
        if not isinstance(start, Potential):
            raise ValueError(
                f"got start = {config.start!r}, a {type(start).__name__}; expected the folder of a Potential"
            )
        torch.manual_seed(config.fit.seed)
        self.model = with_density(start, config.model)
        self.parts = read_parts(self.model, config.data.file)

    def stages(self) -> Iterator[Stage]:
        """Fit the density's layer; the trunk stays."""
        yield density_stage(self.model, self.parts["train"], self.parts["val"], self.config.fit)

    def finish(self) -> dict[str, Any]:
        """Set head and members to the posterior, error bars on held-out cells; the card is the potential's and more."""
        self.equations, facts = finish_density(self.model, self.parts["train"], self.parts["val"], self.config.fit)
        lines = self.lines(facts)
        card = {key: line for key, line in read_card(self.config.start).items() if key not in HEAD}
        shared = {key: lines[key] for key in ("title", "level_of_theory", "licence")}
        return shared | card | {"density": lines}

    def write(self, folder: Path) -> None:
        """Keep the normal equations, for updates."""
        self.equations.save(folder / EQUATIONS)

    @classmethod
    def evaluates(cls, model: Model, path: Path) -> bool:
        """Take files of densities, for potentials that have one."""
        return isinstance(model, Potential) and model.density is not None and path.suffix == ".npz"


def with_density(potential: Potential, sizes: dict[str, Any] | None = None) -> Potential:
    """Copy a potential and give it an untrained density on its trunk, from the reference atoms of its elements.

    Args:
        potential: its weights stay as they are; a density that it has is left out.
        sizes: keys of `DensityConfig`, range in Å.

    Raises:
        ValueError: an element without a reference atom.

    Source: ours.
    """
    atoms = [free_atom(z) for z in potential.elements]
    known_sizes = {"electrons": tuple(n for _, _, n in atoms), **(sizes or {})}
    config = build(DensityConfig, known_sizes, "model")
    model = Potential(replace(potential.config, density=config))
    weights = {k: v for k, v in potential.state_dict().items() if not k.startswith("density.")}
    model.load_state_dict(weights, strict=False)
    for k, (radius, density, electrons) in enumerate(atoms):
        model.density.atoms[k] = torch.from_numpy(reference_atom(radius, density, electrons, config.range))
    return model.eval()


def density_stage(model: Potential, train: list[DensityFrame], val: list[DensityFrame], config: FitConfig) -> Stage:
    """Say how the layer of a density is fitted to some structures, others choosing the epoch (e/Å³).

    Source: ours.
    """
    batches = [
        GraphBatches(density_samples(model, frames), size, seed=config.seed)
        for frames, size in ((train, config.batch_size), (val, 4 * config.batch_size))
    ]
    return Stage(model.density, density_loss, batches[0], network(config), batches[1], settings=asdict(config))


def finish_density(
    model: Potential, train: list[DensityFrame], val: list[DensityFrame], config: FitConfig
) -> tuple[NormalEquations, dict[str, Any]]:
    """Set head and members in closed form from the training structures, error bars from others (e/Å³), in place.

    Source: ours.
    """
    model.eval()
    equations = normal_equations(model.density, density_samples(model, train))
    posterior = solve(model.density, equations, config.seed)
    return equations, {"posterior": posterior, "calibration": calibrate(model, val)}


def train_density(
    model: Potential,
    train: list[DensityFrame],
    val: list[DensityFrame],
    config: FitConfig,
    folder: Path | None = None,
    report: Report | None = None,
) -> tuple[NormalEquations, dict[str, Any]]:
    """Train the density of a potential in place: layer by the common fit, head in closed form, error bars on `val`.

    Args:
        model: of `with_density`; densities in e/Å³.
        train: structures to learn from.
        val: structures that choose the epoch and set the error bars.
        config: of the fit; dimensionless.
        folder: where the checkpoint is kept.
        report: called after each epoch.

    Returns:
        The normal equations, to which further structures can be added, and the posterior's and calibration's numbers.

    Source: ours.
    """
    fit(density_stage(model, train, val, config), folder, report)
    return finish_density(model, train, val, config)


def update_density(
    model: Potential, equations: NormalEquations, frames: list[DensityFrame], seed: int = 0
) -> NormalEquations:
    """Update the posterior of a trained density by further structures, larger ones for example; nothing is retrained.

    Error bars are set anew on these structures, at other points than those added: they hold for their like.

    Args:
        model: changed in place; its layer stays.
        equations: of what it was trained on.
        frames: what to add, densities in e/Å³.
        seed: of the members.

    Returns:
        The normal equations of both together.

    Raises:
        ValueError: densities that do not hold their atoms' electrons.

    Source: ours.
    """
    total = equations + normal_equations(model.density, density_samples(model, frames))
    solve(model.density, total, seed)
    calibrate(model, frames, seed + 1)
    return total


def read_parts(model: Any, path: str | Path) -> dict[str, list[DensityFrame]]:
    """Read densities (e/Å³) by part, each checked against what the model knows of its atoms.

    Raises:
        FileNotFoundError: no such file.
        ValueError: too few training or validation frames, densities that do not hold their atoms' electrons.

    Source: ours.
    """
    parts: dict[str, list[DensityFrame]] = {"train": [], "val": [], "test": []}
    for frame in read_densities(path):
        parts.get(str(frame.info.get("part", "train")), []).append(frame)
    if len(parts["train"]) < 2 or not parts["val"]:
        raise ValueError(
            f"got {len(parts['train'])} training and {len(parts['val'])} validation densities, expected at least two "
            'and one, marked by part = "train" | "val" | "test"'
        )
    for frame in (f for frames in parts.values() for f in frames):
        check(model, frame)
    return parts


def frames_of(model: Any, path: Path, part: str) -> list[DensityFrame]:
    """Read the densities (e/Å³) of one part of a file ("all": of every part), checked.

    Raises:
        ValueError: there is none, or one that does not hold its atoms' electrons.

    Source: ours.
    """
    frames = [f for f in read_densities(path) if part in ("all", str(f.info.get("part", "train")))]
    if not frames:
        raise ValueError(f"got no density of part {part!r} in {path}, expected at least one; try --part all")
    for frame in frames:
        check(model, frame)
    return frames


def density_lines(
    model: Any, parts: dict[str, list[DensityFrame]], data: DensityData, config: FitConfig
) -> dict[str, Any]:
    """List what a card says of a density's data and errors (units in the table).

    Source: ours.
    """
    part = "test" if parts["test"] else "val"
    return {
        "errors": density_errors(model, parts[part]),
        "errors_on": part,
        "title": data.title,
        "level_of_theory": data.level_of_theory,
        "origin": data.origin,
        "licence": data.licence,
        "frames": {name: [f.name for f in frames] for name, frames in parts.items()},
        "fit": asdict(config),
    }


def density_loss(model: Density, sample: DensitySample, random: torch.Generator | None = None) -> dict[str, Term]:
    """Mean over structures of the rms error of the density at points, divided by its rms.

    Args:
        model: the density of a potential, whose trunk is not trained.
        sample: densities in e/Å³.
        random: not used.

    Source: ours.
    """
    graph = sample.graph
    features = model.features(graph, graph.vectors().to(model.head.dtype), sample.first, sample.species)
    coefficients = model.coefficients(features, sample.species, model.head)
    error = sample.pairs.evaluate(coefficients) - sample.difference
    square = error.new_zeros(graph.n_graphs).index_add(0, sample.point_graph, error.square() * sample.share)
    return {"density": Term(torch.sqrt(square + 1e-8).sum(), graph.n_graphs)}
