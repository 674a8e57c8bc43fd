"""Atom-centred fields on a grid, plane by plane: no more of the grid in memory than the atoms at hand reach.

Source: ours.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ase_mlx.nn.collocation import collocate, plane_distance
from ase_mlx.nn.collocation_torch import collocate_torch

POINTS_AT_A_TIME = 4_000_000
"""Points of the planes that are made at a time, at least one plane."""

ATOMS_AT_A_TIME = 2048
"""Atoms whose splines are tabulated at a time: 16 kB each."""


@dataclass(frozen=True)
class AtomField:
    """A sum of atom-centred fields in a cell (rows, Å).

    `tables(atoms)` gives the splines of some atoms (components, intervals, 4) in the field's unit, up to `range` (Å),
    and what each atom's points have to sum to (field's unit times Å³; None: whatever they do), on `device`, where the
    grid is filled too. Where `count` is not 1, there are so many fields of the same atoms, their axis after that of the
    components.

    Source: ours.
    """

    positions: Float[np.ndarray, "atoms 3"]
    cell: Float[np.ndarray, "3 3"]
    pbc: Bool[np.ndarray, " 3"]
    range: float
    tables: Callable[[Int[np.ndarray, " some"]], tuple[Tensor, Tensor | None]]
    device: torch.device = torch.device("cpu")
    count: int = 1

    @property
    def turned(self) -> "AtomField":
        """The same field with the cell vectors in reverse order: its planes go along the third one."""
        return replace(self, cell=self.cell[::-1], pbc=self.pbc[::-1])


def planes(
    field: AtomField, shape: tuple[int, int, int], dtype: type = np.float64, threads: int | None = None
) -> Iterator[tuple[int, Float[np.ndarray, "planes n2 n3"], float]]:
    """Evaluate a field on a cell's grid, some planes of the first axis at a time, in order.

    Args:
        field: in any unit.
        shape: points along each cell vector.
        dtype: float32 is faster and counts electrons to 1e-7 of their number only.
        threads: CPU threads; torch's number where None.

    Yields:
        The first plane's number, the planes, and about what restoring the atoms' electrons has added or taken so far,
        summed over atoms (field's unit times Å³).

    Source: ours.
    """
    for first, (values, *_), added in planes_of_all(field, shape, dtype, threads):
        yield first, values, added


def planes_of_all(
    field: AtomField, shape: tuple[int, int, int], dtype: type = np.float64, threads: int | None = None
) -> Iterator[tuple[int, Float[np.ndarray, "fields planes n2 n3"], float]]:
    """Evaluate all of several fields of the same atoms as `planes` does the first one (any unit).

    Source: ours.
    """
    axes = field.cell / np.array(shape)[:, None]
    scaled = field.positions @ np.linalg.inv(axes)
    wrapped = np.where(field.pbc, scaled % np.array(shape), scaled)
    reach = field.range / plane_distance(axes)
    step = max(1, POINTS_AT_A_TIME // (field.count * shape[1] * shape[2]))
    wraps = bool(field.pbc[0]) and step >= shape[0]  # no images where all planes are made at once
    if wraps:
        image, center = np.arange(len(wrapped)), wrapped[:, 0]
    else:
        image, center = _images(wrapped[:, 0], shape[0], reach, bool(field.pbc[0]))
    centers = wrapped[image]
    centers[:, 0] = center
    order = np.argsort(centers[:, 0], kind="stable")
    image, centers = image[order], centers[order]
    threads = torch.get_num_threads() if threads is None else threads
    held = torch.zeros((field.count, 0, *shape[1:]), dtype=torch_dtype(dtype), device=field.device)
    together = max(1, ATOMS_AT_A_TIME // field.count)
    done, added = 0, 0.0
    for start in range(0, shape[0], step):
        stop = min(start + step, shape[0])
        last = len(centers) if stop == shape[0] else int(np.searchsorted(centers[:, 0], stop + reach))
        high = shape[0] if stop == shape[0] else min(shape[0], stop + math.ceil(2 * reach) + 1)
        window = held.new_zeros((field.count, high - start, *shape[1:]))
        window[:, : held.shape[1]] = held
        for a in range(done, last, together):
            some = slice(a, min(a + together, last))
            tables, electrons = field.tables(image[some])
            tables = tables.to(window).unflatten(-3, (-1, field.count)) if tables.ndim == 4 else tables.to(window)
            tables = tables.contiguous()
            where = (axes, field.range, (wraps, bool(field.pbc[1]), bool(field.pbc[2])))
            if field.device.type == "cpu":
                counted = None if electrons is None else electrons.numpy()
                added += collocate(window.numpy(), start, centers[some], tables.numpy(), counted, *where, threads)
            else:
                for own, of_field in zip(window, tables.unbind(2), strict=True):
                    added += collocate_torch(own, start, centers[some], of_field, electrons, *where)
        done = last
        held = window[:, stop - start :]
        yield start, window[:, : stop - start].cpu().numpy(), added * len(scaled) / len(image)


def torch_dtype(dtype: type) -> torch.dtype:
    """Give torch's name of a NumPy type.

    Source: ours.
    """
    return torch.from_numpy(np.empty(0, dtype)).dtype


def whole(field: AtomField, shape: tuple[int, int, int], dtype: type = np.float64) -> Float[np.ndarray, "n1 n2 n3"]:
    """Evaluate a field on the whole grid of its cell, in its unit.

    Source: ours.
    """
    return put_together(((first, values) for first, values, _ in planes(field, shape, dtype)), shape)


def put_together(parts: Iterable[tuple[int, np.ndarray]], shape: tuple[int, int, int]) -> Float[np.ndarray, "n1 n2 n3"]:
    """Put planes that come some at a time, with the number of the first, into one array of their unit.

    Source: ours.
    """
    out = np.empty(0)
    for first, values in parts:
        out = out if len(out) else np.empty(shape, values.dtype)
        out[first : first + len(values)] = values
    return out


def _images(plane: np.ndarray, n: int, reach: float, periodic: bool) -> tuple[np.ndarray, np.ndarray]:
    """Number the atoms and place their images along the first axis wherever they reach planes 0 … n − 1."""
    count = math.ceil(reach / n) + 1 if periodic else 0
    shifts = np.arange(-count, count + 1) * n
    place = plane[:, None] + shifts[None, :]
    atom, shift = np.nonzero((place > -reach) & (place < n - 1 + reach))
    return atom, place[atom, shift]
