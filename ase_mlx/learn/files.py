"""Model files (safetensors + JSON card) and training checkpoints; written whole or not at all, never unpickled.

Source: ours.
"""

import hashlib
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from ase_mlx.keep import check_tensors, seal_tensors
from ase_mlx.learn.cards import AGAIN, CARD, WEIGHTS, read_card, weights_of
from ase_mlx.learn.config import build
from ase_mlx.learn.upgrades import SCHEMA, upgrade
from ase_mlx.models.against_dft import AgainstDFT
from ase_mlx.nn.angular import CONVENTION
from ase_mlx.reading import parsed_json, reading
from ase_mlx.whole import check_folder, sole, write_bytes, write_together

KINDS: dict[str, tuple[str, str]] = {
    "potential": ("PotentialConfig", "Potential"),
    "point_density": ("PointDensityConfig", "PointDensity"),
    "crystal_property": ("CrystalPropertyConfig", "CrystalProperty"),
    "crystal_network": ("CrystalNetworkConfig", "CrystalNetwork"),
    "anomaly": ("AnomalyConfig", "AnomalyModel"),
    "crystals": ("CrystalsConfig", "Crystals"),
    "heat": ("HeatConfig", "HeatField"),
    "levels": ("LevelsConfig", "Levels"),
    "boltzmann": ("BoltzmannConfig", "BoltzmannFilm"),
    "free_energy": ("FreeEnergyConfig", "FreeEnergy"),
    "nequix": ("NequixConfig", "Nequix"),
    "sevennet": ("SevenNetConfig", "SevenNet"),
}
"""Kinds of this package: config and model in the module of `models` of that name, imported where a file asks for it.

Third-party kinds join by the entry-point group `ase_mlx.models`.
"""

STATES = 11
"""Copies of a model's numbers on the disk at most: three and two moments in an old and a new checkpoint, the model."""

LARGEST = 1e15
"""Of a weight; the largest of shipped models is 1e7, in a precision matrix."""


def _kind(name: str) -> tuple[type, type[torch.nn.Module]]:
    if name in KINDS:
        module = import_module(f"ase_mlx.models.{name}")
        return tuple(getattr(module, part) for part in KINDS[name])
    for entry in entry_points(group="ase_mlx.models"):
        if entry.name == name:
            return entry.load()[:2]
    raise ValueError(
        f"got a model file of kind {name!r}, but only {', '.join(KINDS)} are known here; install the package "
        "that made it"
    )


def _kind_of(model: torch.nn.Module) -> str:
    for name in KINDS:
        home = f"ase_mlx.models.{name}"  # a module, or a package of several
        if f"{type(model).__module__}.".startswith(f"{home}.") and type(model) is _kind(name)[1]:
            return name
    package = type(model).__module__.split(".")[0]
    for entry in entry_points(group="ase_mlx.models"):
        if entry.module.split(".")[0] == package and entry.load()[1] is type(model):
            return entry.name
    raise ValueError(
        f"got a {type(model).__name__}, expected a model of kind {', '.join(KINDS)} or one named in the "
        "entry-point group ase_mlx.models; register it there as (config class, model class)"
    )


def save_model(model: torch.nn.Module, folder: str | Path, card: dict[str, Any]) -> Path:
    """Write a model (units: eV, Å) with its card into a folder.

    Args:
        model: of a known kind, with a frozen dataclass `config`.
        folder: made if it is not there.
        card: what is known of the model: training data, licence, errors, calibration.

    Raises:
        OSError: the disk refused; an older model in the folder is untouched.

    Source: ours.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    kind = _kind_of(model)
    header = {"kind": kind, "config": asdict(model.config)}
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    content = save(tensors, metadata={"model": json.dumps(header)})
    head = {
        "schema": SCHEMA,
        **header,
        "outputs": {q.name: q.unit for q in model.outputs},
        "e3nn_convention": CONVENTION,
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    text = json.dumps(head | card, indent=1, ensure_ascii=False) + "\n"
    write_together({folder / WEIGHTS: content, folder / CARD: text.encode()})
    return folder


@contextmanager
def model_folder(folder: str | Path, model: torch.nn.Module | None = None, patience: float = 0.0) -> Iterator[Path]:
    """Keep a folder for one training: other processes are kept out, space is looked at before the work.

    `patience` (seconds) is waited for another process to leave it.

    Raises:
        OSError: the folder cannot be written, or has no space for the model and its checkpoint.
        BlockingIOError: another process is training into it.

    Source: ours.
    """
    folder = Path(folder)
    size = sum(p.numel() * p.element_size() for p in model.parameters()) if model else 100_000
    check_folder(folder, STATES * size + 100_000)
    with sole(folder, patience):
        yield folder


def load_model(folder: str | Path) -> torch.nn.Module:
    """Load a model from its folder, float32, in evaluation mode (units: eV, Å).

    Raises:
        FileNotFoundError: no such folder or file.
        ValueError: damaged, truncated or tampered file, unknown kind, newer schema.

    Source: ours.
    """
    card = read_card(folder, as_written=True)
    folder, prefix = weights_of(folder, card)
    if not (folder / WEIGHTS).is_file():
        raise FileNotFoundError(
            f"got {str(folder)!r} without {WEIGHTS}, expected it beside {CARD}; copy the folder again"
        )
    content = (folder / WEIGHTS).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != card.get("sha256"):
        raise ValueError(
            f"got {folder / WEIGHTS} with sha256 {digest[:12]}…, expected {str(card.get('sha256'))[:12]}… from its "
            "card; the file is truncated, damaged or was changed: copy the model folder again from where it came"
        )
    config_class, model_class = _kind(str(card.get("kind")))
    with reading(folder / WEIGHTS, f"the weights that {CARD} beside it describes", AGAIN):
        tensors = {name[len(prefix) :]: x for name, x in load(content).items() if name.startswith(prefix)}
        _expect_finite(tensors)
        head = {} if prefix else parsed_json(_metadata(content).get("model", "{}"))
        changed = [key for key, value in head.items() if card.get(key) != value]
        if changed:
            raise ValueError(f"{', '.join(changed)} of the card are not those that the weights were made with")
        lost = upgrade(card, tensors)
        model = model_class(build(config_class, card["config"], "config"))
        model.load_state_dict(tensors)
        model.against_dft = AgainstDFT.read(card)
    for sentence in lost:
        warnings.warn(sentence, stacklevel=2)
    return model.eval()


def _expect_finite(tensors: dict[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool((tensor.abs() < LARGEST).all()):
            raise ValueError(f"got weights {name!r} that are NaN or above {LARGEST:.0e}, expected finite numbers")


def _metadata(content: bytes) -> dict[str, str]:
    size = int.from_bytes(content[:8], "little")
    return parsed_json(content[8 : 8 + size]).get("__metadata__", {})


def save_state(path: Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write a training checkpoint as one safetensors file with a JSON header (dimensionless tensors).

    Raises:
        OSError: the disk refused; the previous checkpoint is untouched.

    Source: ours.
    """
    plain = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    write_bytes(path, seal_tensors(save(plain, metadata={"state": json.dumps(meta)})))


def load_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a training checkpoint (dimensionless tensors and its header).

    Raises:
        ValueError: the file is damaged.

    Source: ours.
    """
    with reading(path, "a checkpoint", "delete it to start anew"):
        content = path.read_bytes()
        check_tensors(content, must=True)
        return load(content), parsed_json(_metadata(content)["state"])


def parameters_equal(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    """Tell whether two models hold the same numbers to the last bit.

    Source: ours.
    """
    return all(torch.equal(p, q) for p, q in zip(a.state_dict().values(), b.state_dict().values(), strict=True))
