"""Error bars of a density set on held-out cells, and the table of its errors.

Source: ours.
"""

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import nnls

from ase_mlx.data.densities import DensityFrame
from ase_mlx.fields import hartree_energy
from ase_mlx.graph import Points, from_atoms
from ase_mlx.graph.points import near
from ase_mlx.models.density import HATS
from ase_mlx.models.density_field import free_atoms_at, pairs_of
from ase_mlx.models.electron_count import CoarseGridWarning
from ase_mlx.models.point_density import PointDensity
from ase_mlx.models.potential import Potential

from ..metrics import Residuals
from .samples import choose, copies, free_electrons, grid_positions, head_of

CALIBRATION_POINTS = 4000


@dataclass(frozen=True)
class _Residuals:
    error: Float[np.ndarray, " points"]
    spread: Float[np.ndarray, " points"]
    hats: Float[np.ndarray, "points profile"]


def _residuals(model: Potential, frame: DensityFrame, seed: int) -> _Residuals:
    """Errors at random points, the members' variance there, and how much each value of the noise's profile adds."""
    field = model.conditioned(from_atoms(frame.atoms, model.cutoff))
    density, n_atoms = field.density, len(field.positions)
    chosen = choose(frame, CALIBRATION_POINTS * copies(frame), seed)
    positions = grid_positions(frame, chosen)
    atom, point, vector = near(positions, field.positions, field.cell, field.pbc, density.config.range)
    distance = np.linalg.norm(vector, axis=1)
    pairs = pairs_of(density, atom, point, vector, n_atoms, len(positions), torch.float64)
    mean = pairs.evaluate(field.coefficients()).numpy()
    mean = mean + free_atoms_at(density, field.species, atom, point, distance, len(positions))
    members = np.stack([pairs.evaluate(field.coefficients(k)).numpy() for k in range(1, field.n_members + 1)])
    n_species = len(density.config.electrons)
    position = np.minimum(distance / density.config.range, 1 - 1e-12) * HATS
    low, part = position.astype(int), position - position.astype(int)
    hats = np.zeros((len(positions), n_species, HATS + 1))
    np.add.at(hats, (point, field.species[atom], low), 1 - part)
    np.add.at(hats, (point, field.species[atom], low + 1), part)
    error = mean - frame.density.reshape(-1)[chosen]
    return _Residuals(error, np.square(members).mean(0), hats[:, :, :HATS].reshape(len(positions), -1))


def calibrate(model: Potential, frames: list[DensityFrame], seed: int = 1) -> dict[str, float]:
    """Set scale, noise and tail of the density's error bars so that they fit held-out frames (e/Å³).

    The variance is s times that of the members plus a profile around each element's atoms, both non-negative and fitted
    to squared errors; one factor then puts 68.3 % of the errors inside σ, and the tail 95 % inside its multiple.

    Source: ours.
    """
    parts = [_residuals(model, frame, seed) for frame in frames]
    error = np.concatenate([p.error for p in parts])
    columns = np.concatenate([np.concatenate([p.spread[:, None], p.hats], 1) for p in parts])
    profile, factor, tail = error_bars(error, columns)
    scale = max(profile[0], 1e-6)
    density = model.density
    with torch.no_grad():
        density.std_scale.fill_(math.sqrt(scale) * factor)
        density.noise.copy_(torch.from_numpy(profile[1:].reshape(density.noise.shape) / scale))
        density.std_tail.fill_(tail)
    return {"scale": math.sqrt(scale) * factor, "tail": tail}


def error_bars(
    error: Float[np.ndarray, " points"], columns: Float[np.ndarray, "points causes"]
) -> tuple[Float[np.ndarray, " causes"], float, float]:
    """Fit a variance, a sum of causes (any unit squared) with non-negative weights, to errors (that unit).

    Returns:
        The weights; a factor that puts 68.3 % of the errors inside σ; the multiple of σ that holds 95 %.

    Source: ours.
    """
    variance = np.full(len(error), float(np.mean(error**2)))
    for _ in range(8):
        profile, _ = nnls(columns / variance[:, None], error**2 / variance)
        variance = np.maximum(columns @ profile, 1e-4 * float(np.mean(error**2)))
    ratio = np.abs(error) / np.sqrt(variance)
    factor = float(np.quantile(ratio, math.erf(1 / math.sqrt(2))))
    return profile, factor, float(np.quantile(ratio, 0.95)) / factor


def compare(frame: DensityFrame, density: Float[np.ndarray, "n1 n2 n3"], electrons: float) -> dict[str, float]:
    """Errors of a density (e/Å³) on a frame's grid: NMAE and NRMSE (%), number of electrons, Hartree energy (eV/atom).

    `hartree` is the self-energy of the difference, `hartree_error` the difference of the self-energies.

    Source: ours.
    """
    difference = density - frame.density
    cell, n = frame.atoms.cell.array, len(frame.atoms)
    return {
        "nmae": 100 * float(np.abs(difference).sum() / frame.density.sum()),
        "nrmse": 100 * float(np.sqrt(np.square(difference).mean() / np.square(frame.density).mean())),
        "electrons": float(density.mean(dtype=np.float64) * frame.atoms.cell.volume - electrons),
        "hartree": hartree_energy(difference, cell) / n,
        "hartree_error": (hartree_energy(density, cell) - hartree_energy(frame.density, cell)) / n,
    }


def density_errors(model: Potential | PointDensity, frames: list[DensityFrame]) -> dict[str, Any]:
    """Average the errors of `compare` over frames, with the coverage of the error bars (fractions of grid points).

    Frames of several families are averaged by `families` too.

    Source: ours.
    """
    return _compared(model, frames)[0]


def density_residuals(model: Potential | PointDensity, frames: list[DensityFrame]) -> dict[str, Residuals]:
    """Compare predicted and reference densities at all points of the grids (e/Å³), with the errors of `compare`.

    Source: ours.
    """
    table, columns = _compared(model, frames)
    flat = {name: np.concatenate(parts) for name, parts in columns.items() if parts}
    levels = {0.68: 1.0, 0.95: float(head_of(model).std_tail)}
    extra = {key: number for key, number in table.items() if key not in ("unit", "mean_std")}
    return {"density": Residuals("e/Å³", levels=levels, extra=extra, **flat)}


def _compared(
    model: Potential | PointDensity, frames: list[DensityFrame]
) -> tuple[dict[str, Any], dict[str, list[np.ndarray]]]:
    """Mean errors of densities (e/Å³), and the densities themselves, flat."""
    rows: dict[str, list[dict[str, float]]] = {}
    columns: dict[str, list[np.ndarray]] = {"reference": [], "predicted": [], "std": []}
    tail = float(head_of(model).std_tail)
    for frame in frames:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CoarseGridWarning)  # the errors below say it in numbers
            p = model.density_at(from_atoms(frame.atoms, model.cutoff), Points(frame.density.shape), True)
        mean = p["density"].numpy()
        row = compare(frame, mean, free_electrons(model, frame.atoms.numbers))
        columns["reference"].append(frame.density.reshape(-1))
        columns["predicted"].append(mean.reshape(-1))
        if "density" in p.std:
            error, std = np.abs(mean - frame.density), p.std["density"].numpy()
            row["inside_68"], row["inside_95"] = float((error < std).mean()), float((error < tail * std).mean())
            row["mean_std"] = float(std.mean())
            columns["std"].append(std.reshape(-1))
        rows.setdefault(str(frame.info.get("family", "")), []).append(row)
    table = _means([row for family in rows.values() for row in family])
    if len(rows) > 1:
        table["families"] = {family: _means(errors) for family, errors in rows.items()}
    return table | {"unit": "e/Å³"}, columns


def _means(rows: list[dict[str, float]]) -> dict[str, Any]:
    """Mean sizes of what all rows have."""
    return {key: float(np.mean([abs(row[key]) for row in rows])) for key in rows[0]} | {"frames": len(rows)}
