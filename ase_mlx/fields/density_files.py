"""From a structure to a density file in one call.

Source: ours.
"""

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ase_mlx.data import volumetric
from ase_mlx.data.espresso_density import least_grid, write_charge_density
from ase_mlx.graph import Points, grid
from ase_mlx.models.density_field import Vector
from ase_mlx.models.density_planes import DensityPlanes, on_whole_grid
from ase_mlx.models.electron_count import CoarseGridWarning, check_density, check_electrons
from ase_mlx.models.extrapolation import once, see
from ase_mlx.models.large import distances
from ase_mlx.models.point_density import PointDensity
from ase_mlx.models.potential import Potential
from ase_mlx.structure import AtomsLike, net_charge

from .superposition import SuperposedAtoms

__all__ = ["CoarseGridWarning", "WrittenDensity", "check_place", "write_density", "write_restart"]

TOO_COARSE = 0.01
"""Electrons an atom that a grid may lose before they are restored, above which the user is told."""


@dataclass
class WrittenDensity:
    """What was written: numbers in electrons and e/Å³.

    `electrons` is the sum over the grid times the volume of a point, `expected` what it should be, `restored` what the
    grid alone would have lost or gained, summed over atoms, `negative` the integral of negative values, which are left
    as they are.

    Source: ours.
    """

    path: Path
    shape: tuple[int, int, int]
    electrons: float
    expected: float
    restored: float
    lowest: float
    highest: float
    negative: float
    bytes: int
    seconds: float
    std_path: Path | None = None
    mean_std: float | None = None


@once()
def write_density(
    model: Potential | PointDensity | SuperposedAtoms,
    atoms: AtomsLike,
    path: str | Path,
    spacing: float | None = 0.2,
    shape: tuple[int, int, int] | None = None,
    std: bool = False,
    charge: float | None = None,
    dipole: Vector | None = None,
    dtype: str = "float64",
    progress: Callable[[int, int], None] | None = None,
) -> WrittenDensity:
    """Predict the valence density of a structure and write it plane by plane: CHGCAR, cube, npy or zarr.

    Args:
        model: a potential with a density, a density point by point, or `SuperposedAtoms()`.
        atoms: the structure (Å).
        path: *.cube (e/bohr³), *.npy, *.zarr (e/Å³), or a name with CHG in it (ρ·V, as VASP).
        spacing: largest distance of neighbouring points, Å.
        shape: numbers of points, in place of `spacing`.
        std: also write the standard deviation, to a file with `_std` in its name.
        charge: net charge, dimensionless; −1 is one electron more. None: what `info["charge"]` says, 0 without.
        dipole: of the structure, e Å, from − to +, along what is not periodic (a slab's normal); None: as predicted.
        dtype: "float64" or "float32": faster, the electrons exact to 1e-7 of their number.
        progress: called with planes done and planes in all.

    Raises:
        ValueError: an unknown format or dtype, a cell without volume, an unknown element, a model without a density, a
            dipole of a model point by point, of a charged structure, or along a periodic direction.
        OSError: the disk refused, which is looked at first, or a folder is there that is no zarr array of ours;
            nothing half-written is left.

    Source: ours.
    """
    start, path = time.monotonic(), Path(path)
    points = grid(atoms, spacing if shape is None else None, shape)
    check_place(path, points.shape, std, dtype)
    source = model.density_planes(
        atoms, points, std, net_charge(atoms, charge), dipole, axis=2 if volumetric.kind_of(path) == "CHGCAR" else 0
    )
    if std and not source.known:
        raise ValueError("got std for a model without error bars of its density; train it with validation frames")
    see(distances(model, atoms))
    tally = _Tally(source, points.shape, _volume(atoms), dtype, progress)
    size = volumetric.write(path, atoms, points.shape, tally.planes)
    result = tally.result(path, size)
    if std:
        result.std_path = _std_path(path)
        spread = _Mean(source)
        result.bytes += volumetric.write(result.std_path, atoms, points.shape, spread.planes)
        result.mean_std = spread.total / len(points)
    elif (stale := _std_path(path)).exists():
        warnings.warn(f"{stale.name} is of an earlier call, no error bar of {path.name}: remove it", stacklevel=2)
    result.seconds = time.monotonic() - start
    if not source.counted:
        check_electrons(result.electrons, result.negative, result.expected, np.asarray(atoms.pbc))
    _check_grid(result, len(atoms.numbers))
    return result


def _volume(structure: AtomsLike) -> float:
    return abs(float(np.linalg.det(np.asarray(structure.cell))))


def check_place(path: str | Path, shape: tuple[int, int, int], std: bool = False, dtype: str = "float64") -> None:
    """Look, before the work, whether `write_density` could write a density (e/Å³) of so many points.

    Raises:
        ValueError: an unknown format or dtype.
        OSError: the place cannot be written, the disk has not that much space, or a folder is there that is no zarr
            array of ours.

    Source: ours.
    """
    path = Path(path)
    if dtype not in ("float64", "float32"):
        raise ValueError(f'got dtype={dtype!r}, expected "float64" or "float32"; leave it out for float64')
    for place in (path, _std_path(path)) if std else (path,):
        volumetric.check(place, int(np.prod(shape)) * (1 + std), np.dtype(dtype).itemsize)  # space for both


def _std_path(path: Path) -> Path:
    return path.with_name(f"{path.stem}_std{path.suffix}")


def _check_grid(result: WrittenDensity, n_atoms: int) -> None:
    if result.restored > TOO_COARSE * n_atoms:
        warnings.warn(
            f"got a grid of {result.shape} points, on which the atoms' sums are off by {result.restored:.3g} electrons "
            "in all before they are restored; expected less than 0.01 an atom: the atoms are not resolved, "
            "take a finer spacing",
            CoarseGridWarning,
            stacklevel=3,
        )


class _Tally:
    """Counts what passes by."""

    def __init__(
        self,
        source: DensityPlanes,
        shape: tuple[int, int, int],
        volume: float,
        dtype: str,
        progress: Callable[[int, int], None] | None,
    ):
        self.source, self.shape, self.volume = source, shape, volume
        self.dtype, self.progress = np.dtype(dtype).type, progress
        self.sum = self.negative = self.restored = 0.0
        self.lowest, self.highest = np.inf, -np.inf

    def planes(self, turned: bool) -> Iterator[tuple[int, np.ndarray]]:
        total = self.shape[2] if turned else self.shape[0]
        for first, values, restored in self.source.planes(turned, self.dtype):
            self.sum += float(values.sum(dtype=np.float64))
            self.negative += float(values[values < 0].sum(dtype=np.float64))
            self.lowest, self.highest = min(self.lowest, float(values.min())), max(self.highest, float(values.max()))
            self.restored = restored
            if self.progress is not None:
                self.progress(first + len(values), total)
            yield first, values

    def result(self, path: Path, size: int) -> WrittenDensity:
        volume = self.volume / int(np.prod(self.shape))
        return WrittenDensity(
            path, self.shape, self.sum * volume, self.source.expected, self.restored,
            self.lowest, self.highest, self.negative * volume, size, 0.0,
        )  # fmt: skip


class _Mean:
    """Sums the standard deviation as it passes by."""

    def __init__(self, source: DensityPlanes):
        self.source, self.total = source, 0.0

    def planes(self, turned: bool) -> Iterator[tuple[int, np.ndarray]]:
        for first, values in self.source.std_planes(turned):
            self.total += float(values.sum(dtype=np.float64))
            yield first, values


@once()
def write_restart(
    model: Potential | PointDensity | SuperposedAtoms,
    atoms: AtomsLike,
    folder: str | Path,
    ecut_Ry: float,
    charge: float | None = None,
    prefix: str = "pwscf",
    dipole: Vector | None = None,
) -> Path:
    """Write the predicted density where Quantum ESPRESSO's pw.x reads it with startingpot = 'file'.

    The run has to have the same cell, atoms and cutoff, pseudopotentials with the model's valence, and no spin.

    Args:
        model: a potential with a density, a density point by point, or `SuperposedAtoms()`.
        atoms: the structure (Å).
        folder: `outdir` of the run to come.
        ecut_Ry: its cutoff of the wave functions (ecutwfc), Ry.
        charge: net charge, dimensionless; −1 is one electron more. None: what `info["charge"]` says, 0 without.
        prefix: the run's `prefix`.
        dipole: as for `write_density`, e Å.

    Returns:
        The path of charge-density.dat.

    Raises:
        ValueError: a cell without volume, an unknown element, a restart file of another cell in the folder.

    Source: ours.
    """
    grid(atoms, 1.0)
    cell = np.asarray(atoms.cell, dtype=np.float64)
    shape = least_grid(cell, ecut_Ry)
    see(distances(model, atoms))
    source = model.density_planes(atoms, Points(shape), False, net_charge(atoms, charge), dipole)
    density = on_whole_grid(source)
    if not source.counted:
        check_density(density, _volume(atoms), source.expected, np.asarray(atoms.pbc))
    path = Path(folder) / f"{prefix}.save" / "charge-density.dat"
    write_charge_density(path, density, cell, ecut_Ry)
    return path
