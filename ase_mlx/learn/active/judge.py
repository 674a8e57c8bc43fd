"""Errors and error bars of a potential on labelled structures, by kind of structure.

Source: ours.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ase_mlx.data.samples import name_of, sample
from ase_mlx.models.potential import Potential

from ..metrics import errors
from ..recipes.potential_errors import collect, frame_distance


def kind_of(atoms: Any) -> str:
    """Name the kind of a structure: its `kind`, or `family`, in `info`; empty where it has neither.

    Source: ours.
    """
    return str(atoms.info.get("kind", atoms.info.get("family", "")))


def judged(model: Potential, frames: Sequence[Any]) -> dict[str, Any]:
    """Compare a potential with labelled frames (eV, Å): errors of each quantity, and by kind.

    Returns:
        Units in the names; `flagged` is the share of frames with an atom beyond the edge of the training data.

    Source: ours.
    """
    kinds = [kind_of(atoms) for atoms in frames]
    samples = [sample(atoms, model.cutoff, name_of(atoms, k)) for k, atoms in enumerate(frames)]
    line = _line(model, samples)
    names = sorted(set(kinds))
    if len(names) > 1:
        line["kinds"] = {
            name: _line(model, [s for s, kind in zip(samples, kinds, strict=True) if kind == name]) for name in names
        }
    return line


def _line(model: Potential, samples: list[Any]) -> dict[str, Any]:
    table = errors(collect(model, samples))
    forces = np.concatenate([s.targets["forces"].numpy() for s in samples])
    line: dict[str, Any] = {"frames": len(samples)}
    for name, unit in (("energy", "meV_atom"), ("forces", "meV_A"), ("stress", "MPa")):
        if name in table:
            line |= {f"{name}_{what}_{unit}": table[name][what] for what in ("mae", "rmse")}
            line |= {f"{name}_{key}": table[name][key] for key in ("inside_68", "inside_95") if key in table[name]}
    rms = 1e3 * float(np.sqrt(np.square(forces).mean()))
    if rms > 1:  # where symmetry makes forces zero there is no share
        line["forces_share"] = line["forces_rmse_meV_A"] / rms
    if model.distance.known:
        line["flagged"] = float(np.mean([frame_distance(model, s) > 1 for s in samples]))
    return line
