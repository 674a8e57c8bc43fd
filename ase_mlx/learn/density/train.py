"""A whole training run of a density, on a trained potential or point by point: data, fit, posterior, error bars.

Source: ours.
"""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from ase_mlx.data.densities import DensityFrame, read_densities
from ase_mlx.data.free_atoms import free_atom
from ase_mlx.data.samples import symbols
from ase_mlx.learn.cards import read_card
from ase_mlx.learn.config import FitConfig, TrainConfig, build
from ase_mlx.learn.files import load_model, model_folder, save_model
from ase_mlx.learn.fit import Progress, fit
from ase_mlx.models.density import DensityConfig, density_loss, reference_atom
from ase_mlx.models.point_density import PointDensity
from ase_mlx.models.potential import Potential

from .errors import calibrate, density_errors
from .points import FROZEN, point_density, train_points
from .posterior import NormalEquations, normal_equations, solve
from .samples import check, density_samples

EQUATIONS = "normal_equations.safetensors"
"""Name of the file of normal equations beside a trained density."""


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
    given = {"electrons": tuple(n for _, _, n in atoms), **(sizes or {})}
    config = build(DensityConfig, given, "model")
    model = Potential(replace(potential.config, density=config))
    weights = {k: v for k, v in potential.state_dict().items() if not k.startswith("density.")}
    model.load_state_dict(weights, strict=False)
    for k, (radius, density, electrons) in enumerate(atoms):
        model.density.atoms[k] = torch.from_numpy(reference_atom(radius, density, electrons, config.range))
    return model.eval()


def train_density(
    model: Potential,
    train: list[DensityFrame],
    val: list[DensityFrame],
    config: FitConfig,
    folder: Path | None = None,
    report: Callable[[Progress], None] | None = None,
) -> tuple[NormalEquations, dict[str, Any]]:
    """Train the density of a potential in place: layer by the common fit, head in closed form, error bars on `val`.

    Args:
        model: of `with_density`; densities in e/Å³.
        train: structures to learn from.
        val: structures that choose the epoch and set the error bars.
        config: of the fit.
        folder: where the checkpoint is kept.
        report: called after each epoch.

    Returns:
        The normal equations, to which further structures can be added, and what was found on the way.

    Source: ours.
    """
    samples = {name: density_samples(model, frames) for name, frames in (("train", train), ("val", val))}
    best, history = fit(model.density, density_loss, samples["train"], samples["val"], config, folder, report)
    model.density.load_state_dict(best.state_dict())
    model.eval()
    equations = normal_equations(model.density, samples["train"])
    found = solve(model.density, equations, config.seed)
    calibration = calibrate(model, val)
    return equations, {"posterior": found, "calibration": calibration, "epochs": history[-1]["epoch"]}


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


def read_parts(model: Potential | PointDensity, path: str | Path) -> dict[str, list[DensityFrame]]:
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


def prepare_density(
    config: TrainConfig,
) -> tuple[Potential | PointDensity, dict[str, list[DensityFrame]]]:
    """Read and check densities (e/Å³), and make the untrained model that the config names.

    Raises:
        FileNotFoundError: no such data or model.
        ValueError: no start or one of another kind, no validation frames, densities without their atoms' electrons.

    Source: ours.
    """
    torch.manual_seed(config.fit.seed)
    wanted = PointDensity if config.kind == "point_density" else Potential
    if not config.start:
        if wanted is Potential:
            raise ValueError(
                "got kind = 'density' without a start, expected a trained potential; add start = 'sigesn', or a folder"
            )
        numbers = {z for frame in read_densities(config.data.file) for z in frame.atoms.numbers.tolist()}
        model = point_density(tuple(sorted(numbers)), config.model)
        return model, read_parts(model, config.data.file)
    start = load_model(config.start)
    if not isinstance(start, wanted):
        raise ValueError(
            f"got start = {config.start!r}, a {type(start).__name__}; expected the folder of a {wanted.__name__}"
        )
    if wanted is PointDensity and config.model:
        raise ValueError(f"got {', '.join(config.model)} in [model], expected none: sizes are those of the start")
    model = with_density(start, config.model) if wanted is Potential else start
    return model, read_parts(model, config.data.file)


def run_density(
    config: TrainConfig,
    folder: str | Path,
    report: Callable[[Progress], None] | None = None,
) -> tuple[Potential | PointDensity, dict[str, Any]]:
    """Train a density (e/Å³) and write the model; goes on from the last epoch after a kill.

    On a potential, both are one model: the card is the potential's, with an entry `density` for data, errors and
    calibration; the normal equations are kept beside it, for updates.

    Raises:
        ValueError: unusable data or settings; nothing is written.
        OSError: the folder cannot be written, or another process is training into it.

    Source: ours.
    """
    model, parts = prepare_density(config)
    f = config.fit
    with model_folder(folder, model) as folder:
        if isinstance(model, PointDensity):
            moved = FROZEN if config.start else 0
            found = train_points(model, parts["train"], parts["val"], f, folder, report, moved)
        else:
            equations, found = train_density(model, parts["train"], parts["val"], f, folder, report)
        which = "test" if parts["test"] else "val"
        info = found | {
            "errors": density_errors(model, parts[which]),
            "errors_on": which,
            "title": config.data.title,
            "level_of_theory": config.data.level_of_theory,
            "origin": config.data.origin,
            "licence": config.data.licence,
            "frames": {part: [f.name for f in frames] for part, frames in parts.items()},
            "fit": asdict(f),
        }
        head = ("schema", "kind", "config", "outputs", "e3nn_convention", "sha256")
        card = {key: value for key, value in read_card(config.start).items() if key not in head} if config.start else {}
        known = {key: info[key] for key in ("title", "level_of_theory", "licence")}
        if isinstance(model, PointDensity):
            known["elements"] = list(symbols(model.elements))
            card |= known
        save_model(model, folder, known | card | {"density": info})
        if not isinstance(model, PointDensity):
            equations.save(folder / EQUATIONS)
    return model, info
