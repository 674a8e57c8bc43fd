"""Atom-centred fields on regular grids in plain torch, for accelerators: what `collocation` does on a CPU.

Every atom has the same list of grid offsets around the corner below it, so that pairs of atoms and points are plain
arrays; those beyond the range weigh nothing.

Source: ours.
"""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .angular import spherical_harmonics

PAIRS_AT_A_TIME = 500_000
"""Pairs of atoms and points: half a kilobyte each."""


def collocate_torch(
    window: Float[Tensor, "planes n2 n3"],
    plane0: int,
    centers: Float[np.ndarray, "atoms 3"],
    tables: Float[Tensor, "atoms components intervals 4"],
    electrons: Float[Tensor, " atoms"] | None,
    axes: Float[np.ndarray, "3 3"],
    length: float,
    periodic: tuple[bool, bool, bool] = (False, True, True),
) -> float:
    """Add atoms' fields to a window of planes of a grid, on the device of the window.

    Arguments and result are those of `collocation.collocate`, in its units (Å, the field's unit), for tensors.

    Source: ours.
    """
    offsets = torch.from_numpy(_offsets(axes, length)).to(window.device)
    step = max(1, PAIRS_AT_A_TIME // len(offsets))
    added = 0.0
    for a in range(0, len(centers), step):
        some = slice(a, a + step)
        corner = torch.from_numpy(np.floor(centers[some])).to(window.device)
        inside = torch.from_numpy(centers[some]).to(corner) - corner
        vector = (offsets - inside[:, None]) @ torch.from_numpy(np.array(axes)).to(corner)
        value, near, bump = _values(vector, tables[some], length)
        if electrons is not None:
            volume = abs(float(np.linalg.det(axes)))
            missing = electrons[some].to(torch.float64) - value.sum(1, dtype=torch.float64) * volume
            weight = (bump.sum(1, dtype=torch.float64) * volume).clamp(min=1e-300)
            value = value + bump * torch.where(bump.any(1), missing / weight, 0.0).to(bump)[:, None]
            added += float(missing.abs().sum())
        point = corner.to(torch.int64)[:, None] + offsets.to(torch.int64)
        _add(window, plane0, point, torch.where(near, value, 0.0), periodic)
    return added


def _offsets(axes: np.ndarray, length: float) -> np.ndarray:
    """List the grid points within `length` (Å) of any place in the step above the origin."""
    reach = length * np.linalg.norm(np.linalg.inv(axes), axis=0)
    ranges = [np.arange(-math.ceil(n), math.ceil(n) + 2) for n in reach]
    points = np.stack(np.meshgrid(*ranges, indexing="ij"), -1).reshape(-1, 3).astype(np.float64)
    corners = np.stack(np.meshgrid(*[[0, 1]] * 3, indexing="ij"), -1).reshape(-1, 3)
    radius = np.linalg.norm((corners - 0.5) @ axes, axis=1).max()
    return points[np.linalg.norm((points - 0.5) @ axes, axis=1) <= length + radius]


def _values(vector: Tensor, tables: Tensor, length: float) -> tuple[Tensor, Tensor, Tensor]:
    """Values at vectors (Å) from each atom, which are in range, and the bump that restores electrons there."""
    n_intervals = tables.shape[2]
    distance = torch.linalg.vector_norm(vector, dim=-1)
    near = distance <= length
    position = (distance * (n_intervals / length)).clamp(max=n_intervals)
    k = position.to(torch.int64).clamp(max=n_intervals - 1)
    t = (position - k).to(tables)
    unit = (vector / distance.clamp(min=1e-12).unsqueeze(-1)).flatten(0, 1)
    y = spherical_harmonics(math.isqrt(tables.shape[1]) - 1, unit).to(tables).unflatten(0, distance.shape)
    atom = torch.arange(len(tables), device=tables.device)[:, None]
    pieces = tables.permute(0, 2, 3, 1)[atom, k]
    a, b, c, d = pieces.unbind(2)
    t = t.unsqueeze(-1)
    value = (y * (((d * t + c) * t + b) * t + a)).sum(-1)
    bump = (1 - (position / n_intervals) ** 2) ** 2
    return torch.where(near, value, 0.0), near, torch.where(near, bump, 0.0).to(value)


def _add(window: Tensor, plane0: int, point: Tensor, value: Tensor, periodic: tuple[bool, bool, bool]) -> None:
    n_planes, n2, n3 = window.shape
    i, j, k = (point[..., 0] - plane0), point[..., 1], point[..., 2]
    here = torch.ones_like(i, dtype=torch.bool)
    for index, n, wraps in zip((i, j, k), window.shape, periodic, strict=True):
        here = here if wraps else here & (index >= 0) & (index < n)
    target = (i % n_planes * n2 + j % n2) * n3 + k % n3
    window.view(-1).index_add_(0, target[here], value[here])
