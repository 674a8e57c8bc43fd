"""Residuals of potentials: what they predict of labelled samples beside the labels.

Source: ours.
"""

from collections.abc import Sequence

import numpy as np
import torch

from ase_mlx.data.samples import Sample, batches
from ase_mlx.models import Prediction
from ase_mlx.models.extrapolation import see
from ase_mlx.models.foundation import Foundation
from ase_mlx.models.labelled import hessian_column, moved_atoms
from ase_mlx.models.potential import Potential
from ase_mlx.units import NORMAL_95

from ..metrics import Residuals

QUANTITIES = {"energy": "eV/atom", "forces": "eV/Å", "stress": "eV/Å³", "hessian": "eV/Å²"}
"""What potentials are taught and judged by, and the unit of its errors."""


def collect(
    model: Potential | Foundation, samples: Sequence[Sample], batch_size: int = 16, std: bool = True
) -> dict[str, Residuals]:
    """Predict samples: residuals of energies per atom (eV), forces (eV/Å), stresses (eV/Å³), Hessian columns (eV/Å²).

    Targets of zero weight are left out.

    Source: ours.
    """
    rows: dict[str, dict[str, list[np.ndarray]]] = {name: {} for name in QUANTITIES}
    device = next(model.parameters()).device
    for joined in batches(list(samples), batch_size):
        graph = joined.graph.to(device)
        ask = model.with_members if joined.base is not None else model.with_std
        p = ask(graph) if std else model(graph)
        see(p["distance"].cpu().numpy() if "distance" in p else None)
        parts = {name: _rows(name, joined, p) for name in ("energy", "forces", "stress") if name in p}
        if joined.base is not None and "forces" in p:
            parts["hessian"] = _hessian_rows(model, joined.to(device), p)
        for name, columns in parts.items():
            for column, values in columns.items():
                rows[name].setdefault(column, []).append(values)
    tables = {n: {c: np.concatenate(v) for c, v in columns.items()} for n, columns in rows.items() if columns}
    return {name: _residuals(model, name, table) for name, table in tables.items()}


def _residuals(model: Potential | Foundation, name: str, table: dict[str, np.ndarray]) -> Residuals:
    levels = {0.68: 1.0, 0.95: model.tail.get(name, NORMAL_95)}
    error = np.abs(table["predicted"] - table["reference"])
    relative = float(error.mean() / np.abs(table["reference"]).mean()) if name == "hessian" and len(error) else None
    extra = {} if relative is None else {"relative": relative}
    return Residuals(QUANTITIES[name], levels=levels, extra=extra, **table)


def _rows(name: str, sample: Sample, p: Prediction) -> dict[str, np.ndarray]:
    """Flat columns of one quantity of a batch."""
    weight = sample.weight[name].numpy() > 0
    per_atom = name == "forces"
    keep = weight[sample.graph.atom_graph.numpy()] if per_atom else weight
    scale = 1.0 / sample.graph.n_atoms.numpy() if name == "energy" else 1.0
    columns = {
        "reference": sample.targets[name].numpy() * scale,
        "predicted": p[name].detach().cpu().numpy() * scale,
    }
    if name in p.std:
        columns["std"] = p.std[name].detach().cpu().numpy() * scale
    if per_atom:
        columns["species"] = np.repeat(sample.graph.numbers.numpy()[:, None], 3, 1)
    return {column: values[keep].reshape(-1) for column, values in columns.items()}


def _hessian_rows(model: Potential | Foundation, sample: Sample, p: Prediction) -> dict[str, np.ndarray]:
    moved, members = moved_atoms(sample), "forces" in p.members
    base = model.with_members(sample.base) if members else model(sample.base)
    changes = {
        "reference": sample.targets["force_change"][moved],
        "predicted": p["forces"][moved] - base["forces"],
    }
    rows = {name: hessian_column(sample, change).detach().cpu().flatten().numpy() for name, change in changes.items()}
    rows["species"] = sample.graph.numbers.cpu()[moved].repeat_interleave(3).numpy()
    if members:
        change = p.members["forces"][:, moved] - base.members["forces"]
        rows["std"] = model.hessian_scale * hessian_column(sample, change).std(dim=0).cpu().flatten().numpy()
    return rows


def frame_distance(model: Potential, sample: Sample) -> float:
    """Distance score of a structure: that of its most unusual atom (dimensionless, 1 = edge of the training data).

    Source: ours.
    """
    return float(torch.max(model.distances(sample.graph)))
