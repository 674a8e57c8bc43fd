"""A whole training run: data, model, fit, error bars, model file.

Source: ours.
"""

import functools
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ase_mlx.data.io import read_frames
from ase_mlx.data.labels import named_labels
from ase_mlx.data.samples import Sample, elements_of, name_of, reference_energies, sample, split, symbols
from ase_mlx.models.potential import Potential, PotentialConfig, potential_loss
from ase_mlx.reading import reading

from .cards import read_card
from .config import TrainConfig, build
from .files import load_model, model_folder, save_model
from .fit import Progress, fit
from .metrics import collect, errors
from .uncertainty import set_uncertainty
from .validation import validation_notes


def prepare(config: TrainConfig) -> tuple[Potential, dict[str, list[Sample]], list[Any]]:
    """Read and check the data, and build an untrained model whose scales (eV, eV/Å) come from the training part.

    Raises:
        FileNotFoundError: no data file.
        ValueError: frames without labels, mixed units, too few frames, wrong settings.

    Source: ours.
    """
    start = _start(config)
    frames = named_labels(read_frames(config.data.file), config.data.energy, config.data.forces, config.data.stress)
    parts = split(frames, config.fit.seed, config.data.validation)
    used = [frames[k] for k in parts["train"]]
    cutoff = start.cutoff if start else float(config.model.get("cutoff", PotentialConfig.cutoff))
    with reading(config.data.file, "labelled frames", "mend or leave out these frames"):
        samples = {p: [sample(frames[k], cutoff, name_of(frames[k], k)) for k in ks] for p, ks in parts.items()}
    elements = elements_of(used)
    unseen = sorted(set(elements_of([frames[k] for ks in parts.values() for k in ks])) - set(elements))
    if unseen:
        raise ValueError(
            f"got {symbols(tuple(unseen))} in validation or test but not in training frames; move some frames"
        )
    if config.fit.hessian_weight > 0 and not any(s.base for s in samples["train"]):
        raise ValueError(
            f"got fit.hessian_weight = {config.fit.hessian_weight}, but no training frame has the arrays displacement "
            "(Å) and force_change (eV/Å); expected at least one; add them, or leave the weight out"
        )
    references = reference_energies(used, elements)
    torch.manual_seed(config.fit.seed)
    if start:
        model = _adapted(start, elements, used, samples["train"])
    else:
        forces = torch.cat([s.targets["forces"] for s in samples["train"]])
        edges = sum(len(s.graph.center) for s in samples["train"]) / len(forces)
        found = {
            "elements": elements,
            "reference_energies": references,
            "energy_scale": float(forces.square().mean().sqrt().clamp_min(1e-3)),
            "neighbors": float(max(edges, 1.0)),
        }
        model = Potential(build(PotentialConfig, found | config.model, "model"))
    return model.to(getattr(torch, config.dtype)), samples, frames


def _start(config: TrainConfig) -> Potential | None:
    """Load the model that a run begins with, where the config names one."""
    if not config.start:
        return None
    start = load_model(config.start)
    if not isinstance(start, Potential):
        raise ValueError(f"got start = {config.start!r}, a {type(start).__name__}; expected a potential's folder")
    given = build(PotentialConfig, asdict(start.config) | config.model, "model")
    changed = [key for key in config.model if getattr(given, key) != getattr(start.config, key)]
    if changed:
        raise ValueError(
            f"got {', '.join(changed)} in [model], expected those of the model to start from; leave these keys out, "
            "or leave out start"
        )
    return start


def _adapted(start: Potential, elements: tuple[int, ...], frames: list[Any], samples: list[Sample]) -> Potential:
    """Give a trained potential the elements of other frames, and reference energies (eV) that fit it to theirs."""
    # a density reads the trunk, which changes: it has to be trained anew
    model = Potential(replace(start.config, elements=elements, reference_energies=(), density=None)).eval()
    model.adopt(start)
    interaction = np.array([float(model(s.graph)["energy"][0]) for s in samples])
    references = reference_energies(frames, elements, interaction)
    adapted = Potential(replace(model.config, reference_energies=references))
    adapted.adopt(model)
    return adapted


def train(
    config: TrainConfig,
    folder: str | Path,
    card: dict[str, Any] | None = None,
    report: Callable[[Progress], None] | None = None,
    device: str = "cpu",
) -> tuple[Potential, dict[str, Any]]:
    """Train a potential (eV, Å) and write it to a folder; run again after a kill, it goes on from the last epoch.

    Args:
        config: a whole run's settings.
        folder: gets model.safetensors, card.json and, while training, checkpoint.safetensors.
        card: more lines for the card, such as a title.
        report: called after each epoch.
        device: "cpu" or a torch device for the fit; error bars are set on the CPU.

    Raises:
        ValueError: unusable data or settings; nothing is written.
        OSError: the folder cannot be written, or another process is training into it.

    Source: ours.
    """
    model, samples, frames = prepare(config)
    f = config.fit
    weights = {name: getattr(f, f"{name}_weight") for name in ("energy", "forces", "stress", "hessian")}
    loss = functools.partial(potential_loss, **weights)
    moved = {p: [s.to(device) for s in samples[p]] for p in ("train", "val")}
    origin = {"started_from": {k: read_card(config.start).get(k) for k in ("title", "sha256")}} if config.start else {}
    with model_folder(folder, model) as folder:
        best, history = fit(model.to(device), loss, moved["train"], moved["val"], f, folder, report, str(origin))
        best = best.to("cpu").eval()
        calibration = set_uncertainty(best, samples["train"], samples["val"], f.seed)
        found = {p: errors(collect(best, samples[p])) for p in ("val", "test") if samples[p]}
        info = describe(config, best, samples) | {
            "calibration": calibration,
            "errors": found.get("test", found["val"]),
            "errors_on": "test" if "test" in found else "val",
            "epochs": history[-1]["epoch"],
            "notes": validation_notes(samples, frames),
        }
        save_model(best, folder, info | origin | (card or {}))
    return best, info


def describe(config: TrainConfig, model: Potential, samples: dict[str, list[Sample]]) -> dict[str, Any]:
    """List what a model card says of the training (units in the names of its entries).

    Source: ours.
    """
    names = {p: [n for s in ss for n in s.names] for p, ss in samples.items()}
    return {
        "title": config.data.title or Path(config.data.file).name,
        "level_of_theory": config.data.level_of_theory,
        "licence": config.data.licence,
        "elements": list(symbols(model.elements)),
        "units": {"length": "Å", "energy": "eV", "forces": "eV/Å", "stress": "eV/Å³, Voigt xx yy zz yz xz xy"},
        "training_data": {
            "file": Path(config.data.file).name,
            "origin": config.data.origin,
            "frames": {p: len(n) for p, n in names.items()},
            "atoms": {p: int(np.sum([len(s.graph.numbers) for s in samples[p]])) for p in names},
            "test_frames": names["test"],
            "validation_frames": names["val"],
        },
        "fit": asdict(config.fit),
    }
