"""Errors of a model against DFT labels by how far their composition is from the nearest one that it learned from.

Source: ours.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ase_mlx.data.densities import DensityFrame, read_densities
from ase_mlx.data.io import read_frames
from ase_mlx.data.label import content_key
from ase_mlx.data.samples import name_of, sample
from ase_mlx.jobs.active_frames import has_labels
from ase_mlx.jobs.active_state import LABELS, WORK
from ase_mlx.learn.active.settings import ActiveSettings, MapSettings
from ase_mlx.learn.density.errors import density_errors
from ase_mlx.learn.density.samples import free_electrons
from ase_mlx.learn.metrics import errors
from ase_mlx.learn.recipes.potential_errors import collect
from ase_mlx.progress import Steps, logged
from ase_mlx.quantities import SYMBOLS

LEARNED = ("train", "val")
"""Parts of files that weights or error bars were set on, and that judge nothing."""

COVERAGE = {"inside_68": "inside_68", "inside_95": "inside_95"}
OF_ENERGY = {"rmse": "rmse_meV_atom", "mean_std": "std_meV_atom"} | COVERAGE
OF_DENSITY = {"error": "error_percent", "std": "std_percent"} | COVERAGE
"""Errors by their names where they are made, and in the table."""


@dataclass(frozen=True)
class Judges:
    """Compositions that a model learned from, and labelled structures (Å, eV, e/Å³) that it did not.

    Attributes:
        trained: shares of the elements (dimensionless) in structures whose energies were learned; a row a composition.
        trained_densities: the same (dimensionless) of densities.
        frames: structures with energies and forces.
        densities: structures with densities.
        notes: what was left out.

    Source: ours.
    """

    trained: Float[np.ndarray, "trained corners"]
    trained_densities: Float[np.ndarray, "trained_densities corners"]
    frames: list[Any]
    densities: list[DensityFrame]
    notes: list[str] = field(default_factory=list)


def shares_of(frames: Iterable[Any], elements: Sequence[str]) -> Float[np.ndarray, "frames corners"]:
    """Share of each element (dimensionless) in structures that have no other one.

    Source: ours.
    """
    numbers = [SYMBOLS.index(symbol) for symbol in elements]
    rows = [[float((atoms.numbers == z).mean()) for z in numbers] for atoms in frames]
    return np.array(rows).reshape(-1, len(elements))


def distances(
    shares: Float[np.ndarray, "frames corners"], trained: Float[np.ndarray, "trained corners"]
) -> Float[np.ndarray, " frames"]:
    """Share of atoms that would have to be of another element to have the nearest trained composition (dimensionless).

    Infinite where nothing was trained.

    Source: ours; half the sum of absolute differences of the shares.
    """
    apart = 0.5 * np.abs(shares[:, None] - trained[None]).sum(axis=2)
    return apart.min(axis=1, initial=np.inf)


def read_judges(settings: ActiveSettings, asked: MapSettings, model: str | Path) -> Judges:
    """Read what a model learned from and what can judge it: files of the settings, and labels in an active folder.

    Structures of `pool` and `test` with labels judge, unless they are among `known` or were learned in the folder.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a damaged file.

    Source: ours.
    """
    inside = lambda atoms: set(atoms.get_chemical_symbols()) <= set(asked.elements)  # noqa: E731
    used = [a for a in read_frames(settings.known) if _part(a) in LEARNED] if settings.known else []
    learned = [a for a in used if _part(a) == "train"]
    held = {_key(a) for file in (settings.validation, settings.test) if file for a in read_frames(file)}
    path = Path(model) / WORK / LABELS
    active = [a for a in (read_frames(path) if path.is_file() else ()) if a.info["label_key"] not in held]
    seen = {_key(a) for a in used} | {str(a.info["label_key"]) for a in active}
    frames: dict[str, Any] = {}
    for file in dict.fromkeys((*settings.pool, *filter(None, (settings.test,)))):
        frames |= {_key(a): a for a in read_frames(file) if has_labels(a) and a.info.get("part") not in LEARNED}
    chosen = [a for key, a in frames.items() if key not in seen and inside(a)]
    known_densities = [f for file in asked.known_densities for f in read_densities(file)]
    densities = [f for file in asked.densities for f in read_densities(file)]
    trained = _compositions(filter(inside, (*learned, *active)), asked.elements)
    taught = [f.atoms for f in known_densities if f.info.get("part", "train") == "train" and inside(f.atoms)]
    notes = [] if len(trained) else ["No distance from trained compositions: none is known; give `known`."]
    return Judges(
        trained,
        _compositions(taught, asked.elements) if asked.known_densities else trained,
        chosen,
        [f for f in densities if f.info.get("part") not in LEARNED and inside(f.atoms)],
        notes,
    )


def _part(atoms: Any) -> str:
    """Part of a known structure; a file that tells none apart was learned from."""
    return str(atoms.info.get("part", "train"))


def _key(atoms: Any) -> str:
    """Content key of a structure, whatever part a file has it for."""
    bare = atoms.copy()
    bare.info.pop("part", None)
    return content_key(bare)


def _compositions(frames: Iterable[Any], elements: Sequence[str]) -> np.ndarray:
    return np.unique(np.round(shares_of(frames, elements), 9), axis=0)


def density_rows(model: Any, frames: Sequence[DensityFrame], progress: Steps | None = None) -> list[dict[str, float]]:
    """Errors of densities, one row a frame: ∫|Δρ| and ∫σ in % of the electrons, shares of grid points inside the bars.

    Source: ours.
    """
    report, rows = progress or logged("densities"), []
    for k, frame in enumerate(frames):
        line = density_errors(model, [frame])
        row = {"error": line["nmae"]}
        if "mean_std" in line:
            electrons = free_electrons(model, frame.atoms.numbers)
            row["std"] = 100 * line["mean_std"] * float(frame.atoms.cell.volume) / electrons
            row |= {name: line[name] for name in ("inside_68", "inside_95")}
        rows.append(row)
        report(k + 1, len(frames))
    return rows


def error_table(
    model: Any, judges: Judges, elements: Sequence[str], step: float, of_densities: Sequence[dict[str, float]] = ()
) -> list[dict[str, Any]]:
    """Errors and coverage of bars by distance from the nearest trained composition.

    Args:
        model: a potential.
        judges: labelled structures, eV and Å.
        elements: corners of the simplex.
        step: width of a class of distances (dimensionless); the first is of trained compositions alone.
        of_densities: rows of `density_rows` (%).

    Returns:
        A row a class: `distance` is its upper end (dimensionless), energies in meV/atom, densities in % of the
        electrons, shares inside 68 and 95 % bars.

    Source: ours.
    """
    shares = shares_of(judges.frames, elements)
    classes = _classes(distances(shares, judges.trained), step)
    density_shares = shares_of([f.atoms for f in judges.densities], elements)
    density_classes = _classes(distances(density_shares, judges.trained_densities), step)
    density_classes = density_classes[: len(of_densities)]
    samples = [sample(atoms, model.cutoff, name_of(atoms, k)) for k, atoms in enumerate(judges.frames)]
    table = []
    for number in sorted({*classes.tolist(), *density_classes.tolist()}):
        inside, same = classes == number, np.flatnonzero(density_classes == number)
        row: dict[str, Any] = {"distance": number * step, "energy_frames": int(inside.sum())}
        line = errors(collect(model, [s for s, of in zip(samples, inside, strict=True) if of])).get("energy", {})
        row |= {f"energy_{label}": line.get(name) for name, label in OF_ENERGY.items()}
        row["density_frames"] = len(same)
        for name, label in OF_DENSITY.items():
            values = [of_densities[k][name] for k in same if name in of_densities[k]]
            row[f"density_{label}"] = float(np.mean(values)) if values else None
        table.append(row)
    return table


def _classes(distance: Float[np.ndarray, " frames"], step: float) -> Int[np.ndarray, " frames"]:
    return np.ceil(distance / step - 1e-6).clip(0).astype(int)
