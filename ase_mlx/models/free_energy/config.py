"""Settings of a model of F(V, T): its prior, how far that may be wrong, and the size of the network.

Source: ours.
"""

from dataclasses import dataclass, field

from ..ranges import expect_ranges
from .prior import QuasiHarmonicPrior


@dataclass(frozen=True)
class Spread:
    """How far a prior may be wrong: standard deviations, which are its bars until there is data. Zero: it is right.

    Attributes:
        volume: of V₀, relative: dimensionless.
        bulk_modulus: of B₀, relative: dimensionless.
        derivative: of B₀′, dimensionless.
        frequencies: of all frequencies together, relative: dimensionless.
        gruneisen: of all Grüneisen parameters together, dimensionless.
        gruneisen_slope: of their change with ln V, dimensionless.
        anharmonic: by which frequencies change with temperature at constant volume, relative: dimensionless.
        detail: of single frequencies, as the network changes them by rank and volume, relative: dimensionless.

    Source: ours.
    """

    volume: float = 0.02
    bulk_modulus: float = 0.10
    derivative: float = 0.5
    frequencies: float = 0.05
    gruneisen: float = 0.3
    gruneisen_slope: float = 1.0
    anharmonic: float = 0.01
    detail: float = 0.04

    def __post_init__(self):
        """Refuse what is no standard deviation.

        Raises:
            ValueError: naming it.
        """
        expect_ranges(
            self, "spread.", volume=(0, 0.3), bulk_modulus=(0, 2), derivative=(0, 5), frequencies=(0, 2),
            gruneisen=(0, 10), gruneisen_slope=(0, 100), anharmonic=(0, 0.5), detail=(0, 1),
        )  # fmt: skip


SHIFTS = ("volume", "bulk_modulus", "derivative", "frequencies", "gruneisen", "gruneisen_slope", "anharmonic")
"""What is moved as a whole; the rest is the network's."""


@dataclass(frozen=True)
class FreeEnergyConfig:
    """A prior (Å³/atom, GPa, THz), how far it may be wrong, and the network of the single frequencies.

    It is a sum of `products` of functions of one coordinate each: `width` and `depth` are their hidden layers',
    `steepness` (dimensionless) the size of the first one's weights.

    Source: ours.
    """

    prior: QuasiHarmonicPrior
    spread: Spread = field(default_factory=Spread)
    products: int = 4
    width: int = 6
    depth: int = 1
    steepness: float = 2.0

    def __post_init__(self):
        """Refuse sizes that are none.

        Raises:
            ValueError: naming the setting.
        """
        expect_ranges(self, "model.", products=(1, 32), width=(1, 128), depth=(1, 4), steepness=(1e-3, 20))
