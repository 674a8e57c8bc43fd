"""A whole training run of a density on a trained potential: data, fit, posterior, error bars.

Source: ours.
"""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from ase_mlx.data.densities import DensityFrame, read_densities
from ase_mlx.data.free_atoms import free_atom
from ase_mlx.learn.config import FitConfig, TrainConfig, build
from ase_mlx.learn.files import load_model, read_card, save_model
from ase_mlx.learn.fit import Progress, fit
from ase_mlx.models.density import DensityConfig, density_loss, reference_atom
from ase_mlx.models.potential import Potential

from .errors import calibrate, density_errors
from .posterior import NormalEquations, normal_equations, solve
from .samples import check, density_sample

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
        config: of the fit; dimensionless.
        folder: where the checkpoint is kept.
        report: called after each epoch.

    Returns:
        The normal equations, to which further structures can be added, and what was found on the way.

    Source: ours.
    """
    samples = {name: [density_sample(model, f) for f in frames] for name, frames in (("train", train), ("val", val))}
    best, history = fit(model.density, density_loss, samples["train"], samples["val"], config, folder, report)
    model.density.load_state_dict(best.state_dict())
    model.eval()
    equations = normal_equations(model.density, samples["train"])
    found = solve(model.density, equations, config.seed)
    calibration = calibrate(model, val)
    return equations, {"posterior": found, "calibration": calibration, "epochs": history[-1]["epoch"]}


def prepare_density(config: TrainConfig) -> tuple[Potential, dict[str, list[DensityFrame]]]:
    """Read and check densities (e/Å³), and put an untrained density on the trained potential that the config names.

    Raises:
        FileNotFoundError: no such data or model.
        ValueError: no start, no validation frames, densities that do not hold their atoms' electrons.

    Source: ours.
    """
    if not config.start:
        raise ValueError(
            "got kind = 'density' without a start, expected a trained potential; add start = 'sigesn', or a folder"
        )
    start = load_model(config.start)
    if not isinstance(start, Potential):
        raise ValueError(f"got start = {config.start!r}, a {type(start).__name__}; expected a potential's folder")
    torch.manual_seed(config.fit.seed)
    model = with_density(start, config.model)
    parts: dict[str, list[DensityFrame]] = {"train": [], "val": [], "test": []}
    for frame in read_densities(config.data.file):
        parts.get(str(frame.info.get("part", "train")), []).append(frame)
    if len(parts["train"]) < 2 or not parts["val"]:
        raise ValueError(
            f"got {len(parts['train'])} training and {len(parts['val'])} validation densities, expected at least two "
            'and one, marked by part = "train" | "val" | "test"'
        )
    for frame in (f for frames in parts.values() for f in frames):
        check(model, frame)
    return model, parts


def run_density(
    config: TrainConfig,
    folder: str | Path,
    report: Callable[[Progress], None] | None = None,
) -> tuple[Potential, dict[str, Any]]:
    """Train a density (e/Å³) on a potential and write both as one model; goes on from the last epoch after a kill.

    The card is the potential's, with an entry `density` for data, errors and calibration; the normal equations are
    kept beside it, for updates.

    Raises:
        ValueError: unusable data or settings; nothing is written.

    Source: ours.
    """
    model, parts = prepare_density(config)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    equations, found = train_density(model, parts["train"], parts["val"], config.fit, folder, report)
    which = "test" if parts["test"] else "val"
    info = found | {
        "errors": density_errors(model, parts[which]),
        "errors_on": which,
        "title": config.data.title,
        "level_of_theory": config.data.level_of_theory,
        "origin": config.data.origin,
        "licence": config.data.licence,
        "frames": {part: [f.name for f in frames] for part, frames in parts.items()},
        "fit": asdict(config.fit),
    }
    head = ("schema", "kind", "config", "outputs", "e3nn_convention", "sha256")
    card = {key: value for key, value in read_card(config.start).items() if key not in head}
    save_model(model, folder, card | {"density": info})
    equations.save(folder / EQUATIONS)
    return model, info
