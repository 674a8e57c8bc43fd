"""Quantum ESPRESSO's charge-density.dat: reading and writing plane-wave coefficients of the density.

Source: ours, from the records that pw.x 6.7 writes.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Complex, Float, Int
from scipy.io import FortranFile

BOHR = 0.529177210903
"""Å; CODATA 2018."""


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
    waves = waves / BOHR**3
    if gamma:
        other = np.abs(miller).sum(1) > 0
        miller, waves = np.concatenate([miller, -miller[other]]), np.concatenate([waves, waves[other].conj()])
    return miller, waves


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
