"""From exact force constants to compressed ones, of a rank at which held-out elements are met.

Source: ours.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ase_mlx.phonons.compressed import CompressedTensor
from ase_mlx.phonons.crystal import Crystal
from ase_mlx.phonons.tensor_files import load_tensor, read_card
from ase_mlx.phonons.tensor_fit import Fit, error, kinds
from ase_mlx.phonons.triplet_sample import TripletSample, sample_triplets
from ase_mlx.progress import Steps, logged

TOLERANCE = 0.025
"""Weighted relative error of held-out elements that "auto" asks for; of what it leaves in a conductivity, a certificate
speaks: half a percent in silicon, rock salt and magnesium oxide, a tenth in zinc telluride."""

RANKS = (192, 384)
"""Products, all images counted, that "auto" tries."""

ITERATIONS, CHECKED, HOPELESS = 150, 50, 1.3
"""Of L-BFGS; between looks at held-out elements where a tolerance is asked for; and how far off (over the tolerance)
they may be in the middle, before the next rank is tried."""

TRAINING, WIDE, HELD_OUT = (64, 2), (64, 4), (32, 2)
"""First wave vectors and partners of each, below the highest rank and from it on; and those held out."""

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
    def errors(self) -> dict[str, float]:
        """All but the tensor, by name: what is kept beside it (errors dimensionless, time in s).

        Source: ours.
        """
        return {name: value for name, value in vars(self).items() if name != "tensor"}

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


def load_compression(path: str | Path) -> Compression:
    """Read a tensor with its errors from a file of `ase-mlx compress`.

    Raises:
        FileNotFoundError, ValueError: as `ase_mlx.phonons.tensor_files.load_tensor`; a file without its errors.

    Source: ours.
    """
    tensor, card = load_tensor(path), read_card(path)
    if "errors" not in card:
        raise ValueError(f"got {str(path)!r}, whose card has no errors of the tensor; compress again")
    return Compression(tensor, **card["errors"])


def compress(
    crystal: Crystal,
    rank: int | str = "auto",
    temperature: float = 300.0,
    tolerance: float = TOLERANCE,
    seconds: float = np.inf,
    seed: int = 0,
    progress: Steps | None = None,
) -> Compression:
    """Compress third-order force constants for the conductivity.

    Args:
        crystal: force constants and phonons.
        rank: about so many products, all images counted (dimensionless), or "auto": those of `RANKS`, until one meets
            the tolerance.
        temperature: in K, at which elements are weighted.
        tolerance: weighted relative error of held-out elements, dimensionless.
        seconds: no higher rank is tried after so many seconds.
        seed: of samples and of the start.
        progress: called with the steps of the fit of one rank done, and how many there are at most.

    Returns:
        The tensor with its errors; `reached` says whether the tolerance is met.

    Raises:
        ValueError: a rank that is neither "auto" nor positive.

    Source: ours; the form of Y. Luo et al., arXiv 2503.05913.
    """
    if rank != "auto" and not (isinstance(rank, int) and rank > 0):
        raise ValueError(f'rank: got {rank!r}, expected "auto" or a positive number of products.')
    begin, progress = time.perf_counter(), progress or logged("steps of a tensor's fit, at most")
    held_out = sample_triplets(crystal.third, crystal.modes, *HELD_OUT, temperature, seed + 1000)
    for products in RANKS if rank == "auto" else (rank,):
        fit = _fit(crystal, products, temperature, seed)
        if rank == "auto":
            trained, tested = _run(fit, held_out, tolerance, products == RANKS[-1], progress)
        else:
            trained, tested = fit.run(ITERATIONS, lambda done: progress(done, ITERATIONS)), error(fit.tensor, held_out)
        if tested <= tolerance or time.perf_counter() - begin > seconds:
            break
    third = crystal.third
    return Compression(
        fit.tensor, trained, tested, tolerance, time.perf_counter() - begin, third.full_size, third.constants.size
    )


def _fit(crystal: Crystal, products: int, temperature: float, seed: int) -> Fit:
    size = WIDE if products >= RANKS[-1] else TRAINING
    training = sample_triplets(crystal.third, crystal.modes, *size, temperature, seed)
    return Fit(crystal.group, kinds(crystal.group, WIDER * crystal.reach), training, products, seed)


def _run(fit: Fit, held_out: TripletSample, tolerance: float, last: bool, progress: Steps) -> tuple[float, float]:
    """Fit until held-out elements meet the tolerance, or will not: errors of training and held-out elements."""
    for done in range(CHECKED, ITERATIONS + 1, CHECKED):
        trained = fit.run(CHECKED, lambda done: progress(done, ITERATIONS))
        tested = error(fit.tensor, held_out)
        if tested <= tolerance or (not last and done >= ITERATIONS // 2 and tested > HOPELESS * tolerance):
            break
    return trained, tested
