"""What is known of F(V, T) before a measurement: a curve of energy, and the frequencies of oscillators, against volume.

A spectrum is kept as its quantiles: the mean logarithm of the frequencies in each of a row of bins of rising rank. As
functions of volume they need no modes to be followed, and their thermal functions are those of the spectrum.

Source: ours; the static curve is P. Vinet's, J. Phys. C 19, L467 (1986).
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from ase_mlx.reading import parsed_json, reading
from ase_mlx.units import BOLTZMANN, PLANCK
from ase_mlx.whole.tables import write_json

from ..ranges import expect_ranges

FORMAT = "free energy 1"
OSCILLATORS = 40
"""Bins of a spectrum: their edges are cubes, so that those of a Debye spectrum are equally spaced in frequency."""
DEGREE = 3
"""Of ln ω as a polynomial of ln V."""
REACH = 0.1
"""|ln(V/V₀)| up to which a prior without phonons is asked."""


@dataclass(frozen=True)
class QuasiHarmonicPrior:
    """The quasi-harmonic free energy per atom: Vinet's curve, and oscillators whose frequencies depend on the volume.

    Attributes:
        volume: V₀ of the static curve, Å³/atom.
        bulk_modulus: B₀ of the static curve, GPa.
        derivative: B₀′, dimensionless.
        frequencies: of each oscillator, the polynomial of ln(ω/THz) in ln(V/V₀), lowest power first; dimensionless.
        low: least ln(V/V₀) that it holds for, dimensionless.
        high: largest ln(V/V₀), dimensionless.
        energy: of the static curve at V₀, eV/atom.

    Source: see the module.
    """

    volume: float
    bulk_modulus: float
    derivative: float
    frequencies: tuple[tuple[float, ...], ...]
    low: float = -REACH
    high: float = REACH
    energy: float = 0.0

    def __post_init__(self):
        """Refuse what is no crystal.

        Raises:
            ValueError: naming the number.
        """
        expect_ranges(
            self, "prior.", volume=(0.1, 1e4), bulk_modulus=(1e-3, 1e4), derivative=(1.01, 50), low=(-2, -1e-4),
            high=(1e-4, 2), energy=(-1e9, 1e9),
        )  # fmt: skip
        lengths = {len(line) for line in self.frequencies}
        flat = [c for line in self.frequencies for c in line]
        if len(self.frequencies) < 2 or len(lengths) != 1 or not all(abs(c) < 1e6 for c in flat):
            raise ValueError(
                f"got prior.frequencies of {len(self.frequencies)} oscillators with {sorted(lengths)} coefficients, "
                "expected at least two of equal, finite ones; `free_energy_prior` makes them from phonons"
            )

    @classmethod
    def debye_gruneisen(
        cls,
        volume: float,
        bulk_modulus: float,
        derivative: float,
        debye_temperature: float,
        gruneisen: float,
        power: float = 1.0,
        reach: float = REACH,
        oscillators: int = OSCILLATORS,
    ) -> "QuasiHarmonicPrior":
        """Make one of a Debye spectrum whose temperature depends on volume, by Grüneisen's parameter γ (V/V₀)^q.

        Args:
            volume: of the static curve, Å³/atom.
            bulk_modulus: GPa.
            derivative: B₀′, dimensionless.
            debye_temperature: at that volume, K.
            gruneisen: γ at that volume, dimensionless.
            power: q, dimensionless.
            reach: |ln(V/V₀)| that it holds for, dimensionless.
            oscillators: how many make up the spectrum.

        Raises:
            ValueError: a number that is out of range.

        Source: O. L. Anderson, Equations of State of Solids (1995), chapter 2.
        """
        if not (1 <= debye_temperature <= 1e4 and abs(gruneisen) <= 20 and abs(power) <= 20):
            raise ValueError(
                f"got debye_temperature = {debye_temperature}, gruneisen = {gruneisen}, power = {power}, expected K "
                "from 1 to 10000, and two numbers of at most 20"
            )
        edges = _edges(oscillators)
        area = np.array([u * math.log(u) - u if u else 0.0 for u in edges])
        logs = np.diff(area) / np.diff(edges) / 3 + math.log(BOLTZMANN * debye_temperature / PLANCK)
        slopes = (-gruneisen, -gruneisen * power / 2, -gruneisen * power**2 / 6)
        lines = tuple((float(log), *slopes) for log in logs)
        return cls(volume, bulk_modulus, derivative, lines, -reach, reach)

    @classmethod
    def of_spectra(
        cls,
        static: tuple[float, float, float, float],
        strains: Float[np.ndarray, " v"],
        spectra: Sequence[tuple[np.ndarray, np.ndarray]],
        oscillators: int = OSCILLATORS,
    ) -> "QuasiHarmonicPrior":
        """Make one of spectra at several volumes.

        Args:
            static: V₀ (Å³/atom), B₀ (GPa), B₀′ (dimensionless) and E₀ (eV/atom) of Vinet's curve.
            strains: ln(V/V₀) of the volumes, dimensionless.
            spectra: at each of them, frequencies in THz above zero and their weights, dimensionless.
            oscillators: how many stand for a spectrum.

        Raises:
            ValueError: fewer than three volumes, or frequencies that are not positive.

        Source: ours.
        """
        if len(strains) < 3 or len(strains) != len(spectra):
            raise ValueError(f"got {len(strains)} volumes and {len(spectra)} spectra, expected at least three of both")
        logs = np.array([_quantiles(*spectrum, _edges(oscillators)) for spectrum in spectra])
        powers = np.vander(np.asarray(strains), min(DEGREE, len(strains) - 2) + 1, increasing=True)
        lines = np.linalg.lstsq(powers, logs, rcond=None)[0].T
        volume, modulus, derivative, energy = map(float, static)
        ends = (float(np.min(strains)), float(np.max(strains)))
        return cls(volume, modulus, derivative, tuple(map(tuple, lines.tolist())), *ends, energy)

    @property
    def shares(self) -> Float[np.ndarray, " oscillators"]:
        """Weights of the oscillators: three an atom in all, dimensionless."""
        return 3 * np.diff(_edges(len(self.frequencies)))

    def write(self, path: str | Path) -> None:
        """Write it as JSON.

        Raises:
            OSError: the file cannot be written.
        """
        write_json(Path(path), {"format": FORMAT} | asdict(self))

    @classmethod
    def read(cls, path: str | Path) -> "QuasiHarmonicPrior":
        """Read what `write` wrote.

        Raises:
            FileNotFoundError: no such file.
            ValueError: another file.
        """
        with reading(path, "a quasi-harmonic free energy in JSON", "ase-mlx phonons CRYSTAL --qha writes one"):
            table = parsed_json(Path(path).read_text(encoding="utf-8"))
            if not isinstance(table, dict) or table.pop("format", None) != FORMAT:
                raise ValueError(f"got JSON without format {FORMAT!r}, expected a file of a quasi-harmonic free energy")
            return cls(**table | {"frequencies": tuple(tuple(map(float, line)) for line in table["frequencies"])})


def _edges(count: int) -> np.ndarray:
    return (np.arange(count + 1) / count) ** 3


def _quantiles(frequencies: np.ndarray, weights: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Mean ln ω (THz) between ranks."""
    if not np.all(frequencies > 0):
        raise ValueError(f"got a frequency of {np.min(frequencies):.4g} THz, expected positive ones: relax the crystal")
    order = np.argsort(frequencies)
    ranks = np.concatenate([[0.0], np.cumsum(weights[order])])
    areas = np.concatenate([[0.0], np.cumsum(weights[order] * np.log(frequencies[order]))])
    return np.diff(np.interp(edges, ranks / ranks[-1], areas / ranks[-1])) / np.diff(edges)
