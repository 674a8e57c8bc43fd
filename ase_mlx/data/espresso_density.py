"""Quantum ESPRESSO's charge-density.dat: reading and writing plane-wave coefficients of the density.

Source: ours, from the records that pw.x 6.7 writes.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Complex, Float, Int
from scipy.io import FortranFile

from ase_mlx.units import BOHR_IN_A
from ase_mlx.whole import whole_file

REAL = 1e-9
"""Imaginary part of a density over its mean: rounding leaves 1e-15."""


def read_charge_density(path: str | Path) -> tuple[Int[np.ndarray, "waves 3"], Complex[np.ndarray, " waves"]]:
    """Read Miller indices and coefficients (e/Å³) of the density; waves left out at the Γ point are completed.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no charge density, a truncated one, or one of a spin-polarised run.

    Source: ours.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"got {str(path)!r}, expected a charge-density.dat of Quantum ESPRESSO; check the path")
    try:
        with FortranFile(path, "r") as stream:
            gamma, count, spins = (int(n) for n in stream.read_ints(np.int32))
            stream.read_reals(np.float64)
            miller = stream.read_ints(np.int32).reshape(-1, 3).astype(np.int64)
            waves = stream.read_record(np.complex128)
    except Exception as error:  # scipy raises its own kinds for truncated records
        raise ValueError(
            f"got {str(path)!r}, which is no whole charge density ({error}); expected the file of a finished pw.x run"
        ) from error
    if len(miller) != count or len(waves) != count or spins != 1:
        raise ValueError(
            f"got {str(path)!r} with {len(miller)} of {count} waves and {spins} spin components, expected a whole file "
            "of a run without spin"
        )
    waves = waves / BOHR_IN_A**3
    if gamma:
        other = np.abs(miller).sum(1) > 0
        miller, waves = np.concatenate([miller, -miller[other]]), np.concatenate([waves, waves[other].conj()])
    if reason := _no_density(miller, waves):
        raise ValueError(f"got {str(path)!r}, which is damaged: {reason}; expected the file of a finished pw.x run")
    return miller, waves


def _no_density(miller: np.ndarray, waves: np.ndarray) -> str:
    """What makes these waves no density: the format has no checksum, but a density is real and positive on average."""
    if not np.isfinite(waves).all():
        return "some of its waves are not finite"
    forward, back = (np.lexsort((sign * miller).T) for sign in (1, -1))
    if (miller[forward] != -miller[back]).any() or (np.diff(miller[forward], axis=0) == 0).all(1).any():
        return "its Miller indices are not those of a density"
    mean = waves[np.abs(miller).sum(1) == 0].real
    if len(mean) != 1 or mean[0] <= 0 or np.abs(waves).max() > 1.001 * mean[0]:
        return "no wave may be larger than the mean density"
    if np.abs(waves[forward] - waves[back].conj()).max() > REAL * mean[0]:
        return "its density is not real"
    return ""


def on_grid(
    miller: Int[np.ndarray, "waves 3"], waves: Complex[np.ndarray, " waves"], shape: tuple[int, int, int]
) -> Float[np.ndarray, "n1 n2 n3"]:
    """Sum the waves on a grid of the cell (e/Å³).

    Raises:
        ValueError: the grid is too coarse to hold them.

    Source: ours.
    """
    least = 2 * np.abs(miller).max(0) + 1
    if (np.array(shape) < least).any():
        raise ValueError(f"got a grid of {shape} points, expected at least {tuple(least.tolist())} for these waves")
    out = np.zeros(shape, dtype=np.complex128)
    out[tuple((miller % np.array(shape)).T)] = waves
    return np.fft.ifftn(out, norm="forward").real


def ordered_waves(cell: Float[np.ndarray, "3 3"], ecut_Ry: float) -> Int[np.ndarray, "waves 3"]:
    """Miller indices of the waves of a density in the order of pw.x, which its files do not say but rely on.

    By length, in units of 2π over the first cell vector; equal ones by index.

    Args:
        cell: rows, Å.
        ecut_Ry: cutoff of the wave functions, Ry; that of the density is four times as high.

    Source: ours; the order is that of files which pw.x 6.7 wrote.
    """
    first = np.linalg.norm(cell[0])
    reciprocal = np.linalg.inv(cell).T * first
    cutoff = 4 * ecut_Ry / (2 * np.pi * BOHR_IN_A / first) ** 2
    counts = np.floor(np.sqrt(cutoff) * np.linalg.norm(cell, axis=1) / first).astype(int) + 1
    index = np.stack(np.meshgrid(*[np.arange(-n, n + 1) for n in counts], indexing="ij"), -1).reshape(-1, 3)
    square = np.square(index @ reciprocal).sum(1)
    inside = np.flatnonzero(square <= cutoff)
    return index[inside[np.argsort(np.round(square[inside], 7), kind="stable")]]


def least_grid(cell: Float[np.ndarray, "3 3"], ecut_Ry: float) -> tuple[int, int, int]:
    """Numbers of points that hold all waves of a density with wave functions up to `ecut_Ry` (Ry); cell in Å.

    Source: ours.
    """
    longest = 2 * np.sqrt(ecut_Ry) / BOHR_IN_A / (2 * np.pi) * np.linalg.norm(cell, axis=1)
    return tuple(int(n) for n in 2 * np.floor(longest).astype(int) + 2)


def write_charge_density(
    path: str | Path, density: Float[np.ndarray, "n1 n2 n3"], cell: Float[np.ndarray, "3 3"], ecut_Ry: float
) -> None:
    """Write a density (e/Å³) as the charge-density.dat that pw.x starts from with startingpot = 'file'.

    Args:
        path: PREFIX.save/charge-density.dat; folders are made.
        density: e/Å³, on the grid of the cell.
        cell: rows, Å.
        ecut_Ry: cutoff of the wave functions of the run to come, Ry.

    Raises:
        ValueError: a grid too coarse for the cutoff, or a file of another cell in that place.
        OSError: the file cannot be written; what was there is untouched.

    Source: ours.
    """
    path, cell = Path(path), np.asarray(cell, dtype=np.float64)
    miller = ordered_waves(cell, ecut_Ry)
    if (np.array(density.shape) < 2 * np.abs(miller).max(0) + 1).any():
        raise ValueError(
            f"got a grid of {density.shape} points, expected at least {least_grid(cell, ecut_Ry)} for {ecut_Ry:g} Ry"
        )
    reciprocal = 2 * np.pi * np.linalg.inv(cell).T * BOHR_IN_A
    if path.is_file() and np.abs(_reciprocal(path) - reciprocal).max() > 1e-4:
        raise ValueError(
            f"got {str(path)!r} of another cell, expected one of this structure or none; choose another folder, or "
            "remove it"
        )
    waves = np.fft.fftn(density, norm="forward")[tuple((miller % np.array(density.shape)).T)] * BOHR_IN_A**3
    with whole_file(path) as part, FortranFile(part, "w") as stream:
        stream.write_record(np.array([0, len(miller), 1], dtype=np.int32))
        stream.write_record(reciprocal)
        stream.write_record(miller.astype(np.int32))
        stream.write_record(waves)


def _reciprocal(path: Path) -> np.ndarray:
    with FortranFile(path, "r") as stream:
        stream.read_ints(np.int32)
        return stream.read_reals(np.float64).reshape(3, 3)
