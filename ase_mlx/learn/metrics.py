"""Errors per quantity and element, and how far error bars keep their promise.

Source: ours; coverage and reliability as in Kellner and Ceriotti, arXiv 2402.16621.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.stats import rankdata, spearmanr

from ase_mlx.data.samples import Sample, batches, symbols
from ase_mlx.models import Model, Prediction
from ase_mlx.models.extrapolation import see
from ase_mlx.models.potential import hessian_column, moved_atoms
from ase_mlx.units import EV_PER_A3_IN_GPA

from .uncertainty import NORMAL_95

UNITS = {"energy": "meV/atom", "forces": "meV/Å", "stress": "MPa", "hessian": "eV/Å²"}
FACTORS = {"energy": 1e3, "forces": 1e3, "stress": 1e3 * EV_PER_A3_IN_GPA, "hessian": 1.0}


def collect(
    model: Model, samples: list[Sample], batch_size: int = 16, std: bool = True
) -> dict[str, dict[str, np.ndarray]]:
    """Predict samples; per quantity flat arrays: reference, predicted, std, species of each row.

    `tail` is the half width of the 95 % interval in units of std (dimensionless).

    Energies are per atom (eV); forces eV/Å; stress eV/Å³; columns of the Hessian, where samples have some, eV/Å².
    Targets of zero weight are left out.

    Source: ours.
    """
    rows: dict[str, dict[str, list[np.ndarray]]] = {n: {} for n in UNITS}
    device = next(model.parameters()).device
    for joined in batches(samples, batch_size):
        graph = joined.graph.to(device)
        p = model.with_std(graph) if std else model(graph)
        see(p["distance"].cpu().numpy() if "distance" in p else None)
        n_atoms = graph.n_atoms.cpu().numpy()
        if joined.base is not None and "forces" in p:
            for column, values in _hessian_rows(model, joined.to(device), p).items():
                rows["hessian"].setdefault(column, []).append(values)
        for name in UNITS:
            if name not in p:
                continue
            weight = joined.weight[name].numpy() > 0
            per_atom = name == "forces"
            keep = weight[joined.graph.atom_graph.numpy()] if per_atom else weight
            scale = 1.0 / n_atoms if name == "energy" else 1.0
            columns = {
                "reference": joined.targets[name].numpy() * scale,
                "predicted": p[name].detach().cpu().numpy() * scale,
            }
            if name in p.std:
                columns["std"] = p.std[name].detach().cpu().numpy() * scale
            if per_atom:
                columns["species"] = np.repeat(joined.graph.numbers.numpy()[:, None], 3, 1)
            for column, values in columns.items():
                rows[name].setdefault(column, []).append(values[keep].reshape(-1))
    table = {n: {c: np.concatenate(v) for c, v in columns.items()} for n, columns in rows.items() if columns}
    for name, columns in table.items():
        if "std" in columns:
            columns["tail"] = np.array([model.tail.get(name, NORMAL_95)])
    return table


def _hessian_rows(model: Model, sample: Sample, p: Prediction) -> dict[str, np.ndarray]:
    moved, members = moved_atoms(sample), "forces" in p.members
    base = model.with_std(sample.base) if members else model(sample.base)
    changes = {
        "reference": sample.targets["force_change"][moved],
        "predicted": p["forces"][moved] - base["forces"],
    }
    rows = {name: hessian_column(sample, change).detach().cpu().flatten().numpy() for name, change in changes.items()}
    rows["species"] = sample.graph.numbers.cpu()[moved].repeat_interleave(3).numpy()
    if members:
        change = p.members["forces"][:, moved] - base.members["forces"]
        rows["std"] = (
            getattr(model, "hessian_scale", 1.0) * hessian_column(sample, change).std(dim=0).cpu().flatten().numpy()
        )
    return rows


def errors(rows: dict[str, dict[str, np.ndarray]]) -> dict[str, dict[str, Any]]:
    """Summarise `collect`'s rows: MAE, RMSE (meV/atom, meV/Å, MPa), coverages, rank correlation (dimensionless).

    Of the Hessian's columns, in eV/Å², also `relative`: the MAE in units of the reference's mean absolute size.

    Source: ours.
    """
    table: dict[str, dict[str, Any]] = {}
    for name, r in rows.items():
        error = np.abs(r["predicted"] - r["reference"])
        if not len(error):
            continue
        row: dict[str, Any] = {
            "unit": UNITS[name],
            "count": len(error),
            "mae": float(error.mean() * FACTORS[name]),
            "rmse": float(np.sqrt(np.square(error).mean()) * FACTORS[name]),
        }
        if name == "hessian":
            row["relative"] = float(error.mean() / np.abs(r["reference"]).mean())
        if "species" in r:
            row["mae_by_element"] = {
                symbols((int(z),))[0]: float(error[r["species"] == z].mean() * FACTORS[name])
                for z in np.unique(r["species"])
            }
        if "std" in r:
            row["tail"] = float(r["tail"][0]) if "tail" in r else NORMAL_95
            row |= calibration(error, r["std"], row["tail"])
            row["mean_std"] = float(r["std"].mean() * FACTORS[name])
        table[name] = row
    return table


def calibration(
    error: Float[np.ndarray, " rows"], std: Float[np.ndarray, " rows"], tail: float = NORMAL_95
) -> dict[str, float]:
    """Fraction of errors inside σ and tail · σ (nominal 0.683, 0.95), and the rank correlation of |error| and σ.

    Args:
        error: absolute errors, any unit.
        std: standard deviations, the same unit.
        tail: half width of the 95 % interval in units of σ, dimensionless.

    Returns:
        Dimensionless numbers; the rank correlation is NaN-free: 0 where σ does not vary.

    Source: ours.
    """
    rank = spearmanr(error, std).statistic if len(error) > 2 and np.ptp(std) > 0 else 0.0
    rounding = 1e-6 * std.max(initial=0.0)  # where symmetry makes σ and the error zero, rounding decides
    return {
        "inside_68": float((error <= std + rounding).mean()),
        "inside_95": float((error <= tail * std + rounding).mean()),
        "rank_correlation": float(np.nan_to_num(rank)),
    }


def reliability(
    error: Float[np.ndarray, " rows"], std: Float[np.ndarray, " rows"], bins: int = 12
) -> tuple[Float[np.ndarray, " bins"], Float[np.ndarray, " bins"], Int[np.ndarray, " bins"]]:
    """Root mean square predicted σ and error in bins of equal counts (both in the unit given).

    Source: Levi et al., arXiv 1905.11659.
    """
    order = np.argsort(std, kind="stable")
    groups = [g for g in np.array_split(order, min(bins, max(1, len(order) // 5))) if len(g)]
    rms = lambda x: float(np.sqrt(np.mean(np.square(x))))  # noqa: E731
    return (
        np.array([rms(std[g]) for g in groups]),
        np.array([rms(error[g]) for g in groups]),
        np.array([len(g) for g in groups]),
    )


def auroc(inside: Float[np.ndarray, " a"], outside: Float[np.ndarray, " b"]) -> float:
    """Probability that a score outside exceeds one inside (dimensionless; ties count half).

    Source: Mann and Whitney, Ann. Math. Stat. 18, 50 (1947).
    """
    ranks = rankdata(np.concatenate([inside, outside]))
    n, m = len(inside), len(outside)
    return float((ranks[n:].sum() - m * (m + 1) / 2) / (n * m))


def frame_distance(model: Model, sample: Sample) -> float:
    """Distance score of a structure: that of its most unusual atom (dimensionless, 1 = edge of the training data).

    Source: ours.
    """
    p = model(sample.graph)
    return float(torch.max(model.distance(sample.graph, p["features"])))
