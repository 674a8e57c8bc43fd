"""From exact force constants to compressed ones: rank is added until held-out elements are met.

Source: ours.
"""

import time
from dataclasses import dataclass

import numpy as np

from ase_mlx.phonons.compressed import CompressedTensor
from ase_mlx.phonons.crystal import Crystal
from ase_mlx.phonons.tensor_fit import Fit, error, kinds
from ase_mlx.phonons.triplet_sample import sample_triplets

TOLERANCE = 0.025
"""Weighted relative error of held-out elements that "auto" asks for: about half a percent of the conductivity."""

START, STEP, MOST = 96, 48, 384
"""Products, all images counted: at first, added at a time, and at most."""

ITERATIONS = 150
"""Of L-BFGS between additions."""

TRAINING, QUICK, HELD_OUT = (160, 2), (64, 4), (32, 2)
"""First wave vectors and partners of each; the quick ones where a rank is asked for."""

WIDER = 1.1
"""Radius of the mode functions over that of the largest sphere in the supercell."""


@dataclass(frozen=True)
class Compression:
    """A compressed tensor and how it was found: weighted relative errors of elements, dimensionless, and time in s.

    `reached` is False where the tolerance was not met within the rank or the time allowed.

    Source: ours.
    """

    tensor: CompressedTensor
    training: float
    held_out: float
    tolerance: float
    seconds: float
    full_size: int
    compact_size: int

    @property
    def reached(self) -> bool:
        """Whether held-out elements meet the tolerance.

        Source: ours.
        """
        return self.held_out <= self.tolerance

    @property
    def ratios(self) -> tuple[float, float]:
        """Numbers of the full and of the translation-reduced tensor over those stored, dimensionless.

        Source: ours.
        """
        return self.full_size / self.tensor.size, self.compact_size / self.tensor.size


def compress(
    crystal: Crystal,
    rank: int | str = "auto",
    temperature: float = 300.0,
    tolerance: float = TOLERANCE,
    seconds: float = np.inf,
    seed: int = 0,
) -> Compression:
    """Compress third-order force constants for the conductivity.

    Args:
        crystal: force constants and phonons.
        rank: about so many products, all images counted (dimensionless), or "auto": more until the tolerance is met.
        temperature: in K, at which elements are weighted.
        tolerance: weighted relative error of held-out elements, dimensionless.
        seconds: no more rank is added after so many seconds.
        seed: of samples and of the start.

    Returns:
        The tensor with its errors; `reached` says whether the tolerance is met.

    Raises:
        ValueError: a rank that is neither "auto" nor positive.

    Source: ours; the form of Y. Luo et al., arXiv 2503.05913.
    """
    if rank != "auto" and not (isinstance(rank, int) and rank > 0):
        raise ValueError(f'rank: got {rank!r}, expected "auto" or a positive number of products.')
    begin = time.perf_counter()
    training = sample_triplets(
        crystal.third, crystal.modes, *(TRAINING if rank == "auto" else QUICK), temperature, seed
    )
    held_out = sample_triplets(crystal.third, crystal.modes, *HELD_OUT, temperature, seed + 1000)
    mode_kinds = kinds(crystal.group, WIDER * crystal.reach)
    one_each = sum(len(kind.operations) for kind in mode_kinds)
    fit = Fit(crystal.group, mode_kinds, training, seed)

    def grow(products: int) -> None:
        fit.grow([max(1, round(products / one_each))] * len(mode_kinds))

    grow(START if rank == "auto" else rank)
    trained = fit.run(ITERATIONS if rank == "auto" else 2 * ITERATIONS)
    tested = error(fit.tensor, held_out)
    while rank == "auto" and tested > tolerance and time.perf_counter() - begin < seconds:
        if fit.tensor.rank + max(STEP, one_each) > MOST:
            break
        grow(STEP)
        trained = fit.run(ITERATIONS)
        tested = error(fit.tensor, held_out)
    third = crystal.third
    return Compression(
        fit.tensor, trained, tested, tolerance, time.perf_counter() - begin, third.full_size, third.constants.size
    )
